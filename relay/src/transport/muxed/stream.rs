//! One stream: what its two holders and the driver share.
//!
//! Whoever sends writes into the multiplexer directly, which has a bounded queue. What comes is taken
//! out of the multiplexer at once, by a [`Pump`] that the driver polls: so its window never binds,
//! and what a peer can make us hold is what the session has granted, not what the multiplexer would.
//!
//! ```text
//! SendHalf ─────────────────────────────▶ multiplexer
//! RecvHalf ◀── arrived ◀──(Pump, counts)─ multiplexer
//! ```

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use parking_lot::Mutex;

use super::MuxStream;
use super::shared::Shared;
use super::violation::Violation;
use crate::proto::ResetCode;
use crate::transport::tls::arrived::Arrived;
use crate::transport::{RecvHalf, SendHalf, StreamBroken, TransportStream};

/// A stream of the multiplexer `S`, with what has arrived on it.
pub(super) struct Stream<S> {
    id: u32,
    shared: Arc<Shared>,
    state: Mutex<State<S>>,
}

struct State<S> {
    /// None once both directions are over.
    stream: Option<S>,
    out: Out,
    back: Back,
    arrived: Arrived,
    /// What comes is of no interest any more.
    refused: bool,
    writer: Option<Waker>,
    reader: Option<Waker>,
    pump: Option<Waker>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Out {
    Open,
    /// The end is still to be handed over.
    Ending,
    Over,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Back {
    Open,
    /// By its end or a reset: the multiplexer does not always tell them apart.
    Ended,
    Broken,
}

/// Both halves of `stream`, and what moves its bytes while they are held.
pub(super) fn split<S: MuxStream>(shared: &Arc<Shared>, stream: S) -> (TransportStream, Pump<S>) {
    let stream = Arc::new(Stream {
        id: stream.id(),
        shared: shared.clone(),
        state: Mutex::new(State {
            stream: Some(stream),
            out: Out::Open,
            back: Back::Open,
            arrived: Arrived::default(),
            refused: false,
            writer: None,
            reader: None,
            pump: None,
        }),
    });
    let halves = TransportStream {
        send: Box::new(MuxSend(stream.clone())),
        recv: Box::new(MuxRecv(stream.clone())),
    };
    (halves, Pump(stream))
}

impl<S: MuxStream> Stream<S> {
    /// Nothing more is sent, whoever says so: its user, or the peer that reads no more.
    pub(super) fn end_out(&self) {
        let mut state = self.state.lock();
        if state.out == Out::Open {
            state.out = Out::Ending;
        }
        let wake = [state.writer.take(), state.pump.take()];
        drop(state);
        wake.into_iter().flatten().for_each(Waker::wake);
    }

    fn refuse(&self, code: ResetCode) {
        let mut state = self.state.lock();
        let unread = state.arrived.discard();
        let first = !std::mem::replace(&mut state.refused, true);
        let tell = first && state.back == Back::Open;
        state.reader = None;
        let pump = state.pump.take();
        drop(state);
        self.shared.count_taken(unread);
        if tell {
            self.shared.stop(self.id, code);
        }
        pump.into_iter().for_each(Waker::wake);
    }
}

impl<S> fmt::Debug for Stream<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock();
        f.debug_struct("Stream")
            .field("id", &self.id)
            .field("out", &state.out)
            .field("back", &state.back)
            .finish_non_exhaustive()
    }
}

/// Ready when both directions are over, or with what the peer did wrong. Dropping it ends what is
/// not over yet.
pub(super) struct Pump<S>(Arc<Stream<S>>);

impl<S> Pump<S> {
    pub(super) fn stream(&self) -> &Arc<Stream<S>> {
        &self.0
    }
}

impl<S: MuxStream> Future for Pump<S> {
    type Output = (u32, Result<(), Violation>);

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &*self.0;
        let mut state = this.state.lock();
        state.pump = Some(cx.waker().clone());
        let moved = state.take_in(this, cx);
        let over = state.end(cx);
        let news = state.back != Back::Open || state.arrived.len() > 0;
        let reader = state.reader.take_if(|_| news);
        let done = if over { state.stream.take() } else { None };
        drop(state);
        drop(done);
        reader.into_iter().for_each(Waker::wake);
        match moved {
            Err(violation) => Poll::Ready((this.id, Err(violation))),
            Ok(()) if over => Poll::Ready((this.id, Ok(()))),
            Ok(()) => Poll::Pending,
        }
    }
}

impl<S: MuxStream> State<S> {
    /// Takes what has come out of the multiplexer.
    fn take_in(&mut self, of: &Stream<S>, cx: &mut Context<'_>) -> Result<(), Violation> {
        let Some(stream) = &mut self.stream else {
            return Ok(());
        };
        while self.back == Back::Open {
            match stream.poll_read(cx) {
                Poll::Pending => break,
                Poll::Ready(None) => self.back = Back::Ended,
                Poll::Ready(Some(_)) if self.refused => {}
                Poll::Ready(Some(part)) => {
                    if self.arrived.len() + part.len() > of.shared.limits.one_stream {
                        return Err(Violation::BeyondTheWindow(of.id));
                    }
                    self.arrived.push(&part);
                    of.shared.count_arrived(part.len())?;
                }
            }
        }
        Ok(())
    }

    /// Hands the end over, if it is due; whether both directions are over.
    fn end(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(stream) = &mut self.stream else {
            return true;
        };
        if self.out == Out::Ending && stream.poll_finish(cx).is_ready() {
            self.out = Out::Over;
        }
        self.out == Out::Over && (self.back != Back::Open || self.refused)
    }
}

impl<S> Drop for Pump<S> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        let stream = state.stream.take();
        state.out = Out::Over;
        if state.back == Back::Open {
            state.back = Back::Broken;
        }
        let wake = [state.writer.take(), state.reader.take(), state.pump.take()];
        drop(state);
        drop(stream);
        wake.into_iter().flatten().for_each(Waker::wake);
    }
}

#[derive(Debug)]
struct MuxSend<S: MuxStream>(Arc<Stream<S>>);

impl<S: MuxStream> SendHalf for MuxSend<S> {
    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        chunk: &mut Bytes,
    ) -> Poll<Result<(), StreamBroken>> {
        let mut state = self.0.state.lock();
        let state = &mut *state;
        let Some(stream) = state.stream.as_mut().filter(|_| state.out == Out::Open) else {
            return Poll::Ready(Err(StreamBroken));
        };
        let written = stream.poll_write(cx, chunk);
        match &written {
            Poll::Ready(Ok(())) => self.0.shared.with(|shared| shared.written = true),
            Poll::Ready(Err(StreamBroken)) => {}
            Poll::Pending => state.writer = Some(cx.waker().clone()),
        }
        written
    }

    fn finish(&mut self) {
        self.0.end_out();
    }

    /// What the multiplexer has taken it delivers: there is no reset of one direction.
    fn reset(&mut self, _: ResetCode) {
        self.0.end_out();
    }

    /// The multiplexer serves its streams in turn.
    fn prioritize(&mut self) {}
}

impl<S: MuxStream> Drop for MuxSend<S> {
    fn drop(&mut self) {
        self.0.end_out();
    }
}

#[derive(Debug)]
struct MuxRecv<S: MuxStream>(Arc<Stream<S>>);

impl<S: MuxStream> RecvHalf for MuxRecv<S> {
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        chunks: &mut VecDeque<Bytes>,
    ) -> Poll<Result<usize, StreamBroken>> {
        let mut state = self.0.state.lock();
        if state.arrived.len() > 0 {
            let count = state.arrived.take(chunks);
            drop(state);
            self.0.shared.count_taken(count);
            return Poll::Ready(Ok(count));
        }
        match state.back {
            Back::Ended if !state.refused => Poll::Ready(Ok(0)),
            Back::Open if !state.refused => {
                state.reader = Some(cx.waker().clone());
                Poll::Pending
            }
            Back::Open | Back::Ended | Back::Broken => Poll::Ready(Err(StreamBroken)),
        }
    }

    fn stop(&mut self, code: ResetCode) {
        self.0.refuse(code);
    }
}

impl<S: MuxStream> Drop for MuxRecv<S> {
    fn drop(&mut self) {
        self.0.refuse(ResetCode::Cancelled);
    }
}
