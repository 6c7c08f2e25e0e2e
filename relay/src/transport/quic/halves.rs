//! The two directions of a stream, as their users hold them.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use quinn::VarInt;

use super::line::{Line, Place};
use crate::proto::ResetCode;
use crate::transport::{RecvHalf, SendHalf, StreamBroken, TransportStream};

/// Both, of a connection whose writers stand in this line.
pub(super) fn both(
    (send, recv): (quinn::SendStream, quinn::RecvStream),
    line: &Arc<Line>,
    live: Option<LiveStream>,
) -> TransportStream {
    TransportStream {
        send: Box::new(QuicSend {
            stream: send,
            line: line.clone(),
            place: None,
            ahead: false,
            over: false,
        }),
        recv: Box::new(QuicRecv {
            stream: recv,
            _live: live,
        }),
    }
}

/// A stream of the peer, for as long as its receiving half is held.
#[derive(Debug)]
pub(super) struct LiveStream(Arc<AtomicU32>);

impl LiveStream {
    /// That is in this count already.
    pub(super) fn counted(count: &Arc<AtomicU32>) -> Self {
        Self(count.clone())
    }
}

impl Drop for LiveStream {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[derive(Debug)]
struct QuicSend {
    stream: quinn::SendStream,
    line: Arc<Line>,
    place: Option<Place>,
    /// It goes ahead of others.
    ahead: bool,
    over: bool,
}

impl SendHalf for QuicSend {
    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        chunk: &mut Bytes,
    ) -> Poll<Result<(), StreamBroken>> {
        let most = ready!(self.line.poll_turn(&mut self.place, self.ahead, cx));
        let mut piece = chunk.slice(..chunk.len().min(most));
        // `write_chunks` keeps nothing between polls, so a new future each time is the same future.
        let bufs = std::slice::from_mut(&mut piece);
        match pin!(self.stream.write_chunks(bufs)).poll(cx) {
            Poll::Ready(Ok(written)) => {
                chunk.advance(written.bytes);
                self.line.leave(&mut self.place);
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(_)) => {
                self.line.leave(&mut self.place);
                Poll::Ready(Err(StreamBroken))
            }
            Poll::Pending => {
                self.line.refused(&mut self.place, self.ahead, cx);
                Poll::Pending
            }
        }
    }

    fn withdraw(&mut self) {
        self.line.leave(&mut self.place);
    }

    fn finish(&mut self) {
        self.over = true;
        self.line.leave(&mut self.place);
        // An error says that the peer has refused the rest, which is as good as an end.
        let _ = self.stream.finish();
    }

    fn reset(&mut self, code: ResetCode) {
        self.over = true;
        self.line.leave(&mut self.place);
        let _ = self.stream.reset(VarInt::from_u32(code.number()));
    }

    fn prioritize(&mut self) {
        self.ahead = true;
        let _ = self.stream.set_priority(1);
    }
}

impl Drop for QuicSend {
    /// quinn finishes what is dropped, which would look complete to a peer that trusted it.
    fn drop(&mut self) {
        self.line.leave(&mut self.place);
        if !self.over {
            self.reset(ResetCode::Cancelled);
        }
    }
}

#[derive(Debug)]
struct QuicRecv {
    stream: quinn::RecvStream,
    _live: Option<LiveStream>,
}

/// How many chunks are taken off at once, about one datagram each.
const CHUNKS: usize = 32;

impl RecvHalf for QuicRecv {
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        chunks: &mut VecDeque<Bytes>,
    ) -> Poll<Result<usize, StreamBroken>> {
        // As with `write_chunks`: the future keeps nothing between polls.
        let mut taken = [const { Bytes::new() }; CHUNKS];
        let count = match ready!(pin!(self.stream.read_chunks(&mut taken)).poll(cx)) {
            Ok(count) => count.unwrap_or(0),
            Err(_) => return Poll::Ready(Err(StreamBroken)),
        };
        let arrived = taken.into_iter().take(count);
        let before: usize = chunks.len();
        chunks.extend(arrived);
        Poll::Ready(Ok(chunks.iter().skip(before).map(Bytes::len).sum()))
    }

    fn stop(&mut self, code: ResetCode) {
        let _ = self.stream.stop(VarInt::from_u32(code.number()));
    }
}
