//! The sending direction of a stream, as its user holds it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tracing::Span;

use super::StreamHandle;
use crate::driver::Reset;
use crate::driver::shared::{Slot, Waiter};
use crate::proto::{Generation, ResetCode, StreamId};
use crate::session::{Chunk, SessionState};
use crate::transport::{SendHalf, StreamBroken};

/// The direction to the peer.
#[derive(Debug)]
pub struct StreamSender {
    pub(super) handle: Arc<StreamHandle>,
    /// `None` while the stream is on no transport stream.
    half: Option<Box<dyn SendHalf>>,
    /// Which of the stream's transport streams that is.
    generation: Generation,
    /// Handed over by the user and not yet counted: credit may have been given back meanwhile.
    uncounted: Chunk,
    /// Counted, or a header, and not yet taken by the transport.
    pending: Bytes,
    finished: bool,
}

/// Where a sender goes on, if anywhere.
type NextHalf = Option<(Generation, Box<dyn SendHalf>)>;

impl StreamSender {
    /// `first` goes out ahead of everything.
    pub(super) fn new(
        handle: Arc<StreamHandle>,
        generation: Generation,
        half: Box<dyn SendHalf>,
        first: Bytes,
    ) -> Self {
        Self {
            handle,
            half: Some(half),
            generation,
            uncounted: Chunk::default(),
            pending: first,
            finished: false,
        }
    }

    /// The stream's id within its session.
    pub fn id(&self) -> StreamId {
        self.handle.id
    }

    pub(in crate::driver) fn span(&self) -> &Span {
        &self.handle.span
    }

    /// Waits until what was sent before is with the transport and there is credit; how much, in
    /// bytes.
    pub fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, Reset>> {
        ready!(self.poll_flush(cx))?;
        self.poll_credit(cx)
    }

    /// Ready with the credit there is, once there is some and a transport stream to use it on.
    fn poll_credit(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, Reset>> {
        loop {
            let (id, has_half) = (self.handle.id, self.half.is_some());
            let current = (has_half, self.generation);
            let polled = self
                .handle
                .shared
                .poll_stream(id, Waiter::Sender, cx, |session, slot| {
                    if let Some(moved) = moved(session, slot, id, current) {
                        return Some(Err(moved));
                    }
                    let credit = session.credit(id);
                    let usable = has_half && credit > 0;
                    usable.then(|| Ok(usize::try_from(credit).unwrap_or(usize::MAX)))
                });
            match ready!(polled)? {
                Ok(credit) => return Poll::Ready(Ok(credit)),
                Err(half) => self.move_to(half),
            }
        }
    }

    /// Sends a chunk, when [`Self::poll_ready`] was ready, and best no longer than it said: what
    /// there is no credit for goes later.
    pub fn send(&mut self, chunk: Chunk) {
        assert!(self.uncounted.is_empty(), "send comes after poll_ready");
        self.uncounted = chunk;
        self.count();
    }

    /// Takes over what there is credit for.
    fn count(&mut self) {
        let (handle, generation) = (&self.handle, self.generation);
        let uncounted = &mut self.uncounted;
        let counted = handle
            .shared
            .with(|session, now| session.send(handle.id, generation, uncounted, now));
        let count = counted.len() as u64;
        handle.shared.count_sent(count);
        handle.bytes_sent.fetch_add(count, Ordering::Relaxed);
        self.pending = counted;
    }

    /// Waits until everything that was sent is with the transport, or is kept to be sent again.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Reset>> {
        loop {
            if self.pending.is_empty() {
                if self.uncounted.is_empty() {
                    return Poll::Ready(Ok(()));
                }
                ready!(self.poll_credit(cx))?;
                self.count();
                continue;
            }
            let half = self.half.as_mut();
            match half.map_or(Poll::Pending, |it| it.poll_write(cx, &mut self.pending)) {
                Poll::Ready(Ok(())) => {}
                // A broken transport stream means nothing by itself: wait for the session's word.
                Poll::Ready(Err(StreamBroken)) | Poll::Pending => {
                    let id = self.handle.id;
                    let current = (self.half.is_some(), self.generation);
                    let polled =
                        self.handle
                            .shared
                            .poll_stream(id, Waiter::Sender, cx, |session, slot| {
                                moved(session, slot, id, current)
                            });
                    let half = ready!(polled)?;
                    self.move_to(half);
                }
            }
        }
    }

    /// What is not with the transport yet waits until somebody flushes or sends.
    pub(in crate::driver) fn withdraw(&mut self) {
        if let Some(half) = &mut self.half {
            half.withdraw();
        }
    }

    /// Goes on at another transport stream, or waits for one. What was under way on the former one is
    /// sent again by whoever moved the stream.
    fn move_to(&mut self, half: NextHalf) {
        self.pending = Bytes::new();
        if let Some((generation, half)) = half {
            self.generation = generation;
            self.half = Some(half);
        } else {
            self.half = None;
        }
    }

    /// Ends this direction; everything that was sent must be with the transport.
    pub fn finish(&mut self) {
        let flushed = self.pending.is_empty() && self.uncounted.is_empty();
        assert!(flushed, "finish comes after flush");
        if !self.finished {
            self.finished = true;
            let handle = &self.handle;
            handle.shared.with(|session, _| session.finish(handle.id));
            // Whoever moves the stream sees the end from now on, or had handed the half over before.
            if let Some((_, half)) = handle.shared.take_sender(handle.id) {
                self.half = Some(half);
            }
            if let Some(half) = &mut self.half {
                half.finish();
            }
        }
    }

    /// Resets both directions.
    pub fn reset(&self, code: ResetCode, message: impl Into<String>) {
        let handle = &self.handle;
        handle
            .shared
            .with(|session, _| session.reset(handle.id, code, message.into()));
    }

    /// Whether [`Self::finish`] was called.
    pub(in crate::driver) fn is_finished(&self) -> bool {
        self.finished
    }

    /// Waits until both ends know that the stream is over. Ready with the reset if it was one.
    pub fn poll_over(&self, cx: &mut Context<'_>) -> Poll<Result<(), Reset>> {
        self.handle.shared.poll_over(self.handle.id, cx)
    }
}

/// Whether a sender has left its transport stream, and for which: `Some(None)` between two of them,
/// `None` if it is where it was.
fn moved(
    session: &SessionState,
    slot: &mut Slot,
    id: StreamId,
    (has_half, generation): (bool, Generation),
) -> Option<NextHalf> {
    if let Some(half) = slot.moved_sender.take() {
        return Some(Some(half));
    }
    (has_half && session.generation(id) != Some(generation)).then_some(None)
}
