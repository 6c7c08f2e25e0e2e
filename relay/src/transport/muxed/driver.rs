//! The task that drives: the multiplexer, its streams, and the frames beside them.
//!
//! ```text
//! Live ──the connection is over──▶ Leaving ──last word sent, the peer has ended──▶ Ending ──▶ gone
//!                                     └─────────────or it takes too long────────────▲
//! ```
//!
//! It lives until the socket is closed; the connection and its streams may be gone before.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, Stream as _};
use parking_lot::Mutex;
use tokio::time::Sleep;

use super::pipe::Pipe;
use super::shared::Shared;
use super::stream::{Pump, Stream, split};
use super::violation::Violation;
use super::words::Words;
use super::{Ended, Event, Multiplexer, MuxStream};
use crate::proto::CloseCode;
use crate::transport::{ConnectionLost, TransportStream};

/// How long the last word may take to be sent, and the peer to end its side.
const LINGER: Duration = Duration::from_secs(2);

/// See the module.
pub(super) struct Driver<M: Multiplexer> {
    multiplexer: M,
    pipe: Arc<Mutex<Pipe>>,
    shared: Arc<Shared>,
    words: Words<M::Stream>,
    pumps: FuturesUnordered<Pump<M::Stream>>,
    /// Streams that are not over, and which end opened them.
    streams: HashMap<u32, Known<M::Stream>>,
    opened_here: usize,
    opened_by_peer: usize,
    stage: Stage,
    /// How long it may still take, once the connection is over.
    patience: Option<Pin<Box<Sleep>>>,
}

struct Known<S> {
    stream: Weak<Stream<S>>,
    opener: Opener,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    Live,
    Leaving,
    Ending,
    Discarding,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Opener {
    Us,
    Peer,
}

impl<M: Multiplexer> Driver<M> {
    pub(super) fn new(multiplexer: M, pipe: Arc<Mutex<Pipe>>, shared: Arc<Shared>) -> Self {
        Self {
            multiplexer,
            pipe,
            shared,
            words: Words::default(),
            pumps: FuturesUnordered::new(),
            streams: HashMap::new(),
            opened_here: 0,
            opened_by_peer: 0,
            stage: Stage::Live,
            patience: None,
        }
    }
}

impl<M: Multiplexer> Future for Driver<M> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        this.pipe.lock().begin_turn();
        if let Stage::Live = this.stage {
            ready!(this.live(cx));
            this.pumps.clear();
            this.streams = HashMap::new();
            this.patience = Some(Box::pin(tokio::time::sleep(LINGER)));
            this.stage = Stage::Leaving;
        }
        let patience = this.patience.as_mut().map(|patience| patience.as_mut());
        let out_of_patience = patience.is_none_or(|patience| patience.poll(cx).is_ready());
        if let Stage::Leaving = this.stage {
            if this.leave(cx).is_pending() && !out_of_patience {
                return Poll::Pending;
            }
            this.stage = Stage::Ending;
        }
        if let Stage::Ending = this.stage
            && this.pipe.lock().poll_end(cx).is_ready()
        {
            this.stage = Stage::Discarding;
        }
        if out_of_patience {
            return Poll::Ready(());
        }
        this.pipe.lock().poll_discard(cx)
    }
}

impl<M: Multiplexer> Drop for Driver<M> {
    /// Whoever still waits is told, also when the worker stops.
    fn drop(&mut self) {
        let gone = "the connection's worker has stopped";
        self.shared.lose(ConnectionLost::Other(gone.into()));
    }
}

// ---- while the connection lives ----

impl<M: Multiplexer> Driver<M> {
    /// Ready when the connection is over.
    fn live(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // First of all, so that nothing that is asked meanwhile is missed.
        self.shared.driven_by(cx.waker());
        let mut again = true;
        while again && !self.shared.is_over() {
            let ended = self.turn(cx, &mut again);
            let result = self.run_streams(cx);
            if let Err(violation) = result {
                self.shared.violated(&violation);
            }
            // Only now: what came before the end counts, and may say why it ended.
            if let Err(ended) = ended {
                self.end(ended);
            }
        }
        let _ = self.pipe.lock().poll_send(cx);
        if self.shared.is_over() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    /// Lets the multiplexer and those who want a stream have their way; `again` says whether they
    /// should have it once more.
    fn turn(&mut self, cx: &mut Context<'_>, again: &mut bool) -> Result<(), Ended> {
        *again = false;
        let expected = self
            .shared
            .with(|state| std::mem::take(&mut state.expected));
        if expected > 0 {
            self.multiplexer.expect(expected);
        }
        loop {
            match self.drive(cx) {
                Poll::Pending => break,
                Poll::Ready(Event::Ended(ended)) => return Err(ended),
                Poll::Ready(Event::Words(stream)) => self.words.heard_on(stream),
                Poll::Ready(Event::Opened(stream)) => {
                    let limit = self.shared.limits.streams;
                    if self.opened_by_peer == limit {
                        return Err(Ended::Violation(Violation::TooManyStreams(limit)));
                    }
                    self.opened_by_peer += 1;
                    let stream = self.take_in(stream, Opener::Peer);
                    self.shared.accepted(stream);
                }
            }
        }
        if self.words.own.is_none()
            && let Poll::Ready(own) = self.multiplexer.poll_own_words(cx)
        {
            self.words.own = Some(own?);
            *again = true;
        }
        while self.words.own.is_some()
            && self.opened_here < self.shared.limits.streams
            && self.shared.somebody_wants_a_stream()
            && let Poll::Ready(stream) = self.multiplexer.poll_open(cx)
        {
            self.opened_here += 1;
            let stream = self.take_in(stream?, Opener::Us);
            self.shared.opened(stream);
            *again = true;
        }
        Ok(())
    }

    fn drive(&mut self, cx: &mut Context<'_>) -> Poll<Event<M::Stream>> {
        loop {
            self.pipe.lock().begin_drive();
            let driven = self.multiplexer.poll_drive(cx);
            if driven.is_ready() || !self.pipe.lock().makes_room_for_an_answer() {
                return driven;
            }
        }
    }

    fn take_in(&mut self, stream: M::Stream, opener: Opener) -> TransportStream {
        let id = stream.id();
        let (halves, pump) = split(&self.shared, stream);
        let stream = Arc::downgrade(pump.stream());
        self.streams.insert(id, Known { stream, opener });
        self.pumps.push(pump);
        halves
    }

    /// Moves what has come, and says what is to be said.
    fn run_streams(&mut self, cx: &mut Context<'_>) -> Result<(), Violation> {
        while let Poll::Ready(Some((id, moved))) = Pin::new(&mut self.pumps).poll_next(cx) {
            moved?;
            match self.streams.remove(&id).map(|known| known.opener) {
                Some(Opener::Us) => self.opened_here -= 1,
                Some(Opener::Peer) => self.opened_by_peer -= 1,
                None => {}
            }
            if self.streams.len() < self.streams.capacity() / 8 {
                self.streams.shrink_to_fit();
            }
        }
        let streams = &self.streams;
        let listened = self.words.listen(&self.shared, cx, |id| {
            // Of a stream that is over, or that has not come yet, the session will hear.
            let stream = streams.get(&id).and_then(|known| known.stream.upgrade());
            stream.into_iter().for_each(|stream| stream.end_out());
        });
        self.words.speak(&self.shared, cx);
        listened
    }

    fn end(&self, ended: Ended) {
        match ended {
            Ended::Lost(lost) => {
                let unwritable = self.pipe.lock().unwritable();
                self.shared.lose(unwritable.unwrap_or(lost));
            }
            Ended::Violation(violation) => self.shared.violated(&violation),
            Ended::UsedUp => {
                let used_up = "all stream numbers of the connection are used up";
                let why = ConnectionLost::Other(used_up.into());
                self.shared.close(CloseCode::Shutdown, used_up, why);
            }
        }
    }
}

// ---- the end ----

impl<M: Multiplexer> Driver<M> {
    /// Ready when the last word is said and the peer has ended, or has said its own before.
    fn leave(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.shared.with(|state| state.closes) {
            return Poll::Ready(());
        }
        let ended = loop {
            match self.drive(cx) {
                Poll::Pending => break false,
                Poll::Ready(Event::Ended(Ended::Lost(_))) => break true,
                Poll::Ready(Event::Ended(Ended::Violation(_) | Ended::UsedUp)) => {
                    // It may be able to say the last word nevertheless.
                    cx.waker().wake_by_ref();
                    break false;
                }
                Poll::Ready(Event::Opened(_) | Event::Words(_)) => {}
            }
        };
        if self.words.own.is_none()
            && let Poll::Ready(Ok(own)) = self.multiplexer.poll_own_words(cx)
        {
            self.words.own = Some(own);
            // What was opened is driven from the next turn on.
            cx.waker().wake_by_ref();
        }
        self.words.speak(&self.shared, cx);
        let _ = self.pipe.lock().poll_send(cx);
        if ended {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}
