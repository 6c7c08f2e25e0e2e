//! The receiving direction of a stream, as its user holds it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};

use super::StreamHandle;
use crate::driver::Reset;
use crate::driver::shared::Waiter;
use crate::proto::{FrameBuffer, Generation, StreamAnswer};
use crate::session::Violation;
use crate::transport::{RecvHalf, StreamBroken};

/// The direction from the peer. Dropping it before its end was read, and all of it consumed, resets
/// the stream with `Cancelled`, even while the [`StreamSender`](super::StreamSender) is held; what the sender has sent and
/// ended by then reaches the peer first.
#[derive(Debug)]
pub struct StreamReceiver {
    handle: Arc<StreamHandle>,
    /// `None` while the stream is on no transport stream.
    half: Option<Box<dyn RecvHalf>>,
    /// Which of the stream's transport streams that is.
    generation: Generation,
    /// How many of the bytes that come next were received before.
    skip: u64,
    /// Set until the acceptor's answer has come.
    answer: Option<FrameBuffer>,
    /// Payload that came together with the header.
    early: Bytes,
    /// The transport stream will bring nothing more; the session says what that means.
    silent: bool,
}

/// The receiving half of a newer transport stream.
#[derive(Debug)]
pub(in crate::driver) struct MovedReceiver {
    pub(in crate::driver) generation: Generation,
    pub(in crate::driver) half: Box<dyn RecvHalf>,
    /// Set if the acceptor's answer must come first.
    pub(in crate::driver) answer: Option<FrameBuffer>,
    /// How many of the bytes that come first were received before.
    pub(in crate::driver) skip: u64,
    /// What came together with the header, not yet counted.
    pub(in crate::driver) early: Bytes,
}

/// What a receiver hears of its stream.
enum News {
    /// All has arrived.
    Ended,
    /// It has lost its transport stream, and is not on another yet.
    Detached,
    /// It is on another.
    Moved(Box<MovedReceiver>),
}

impl StreamReceiver {
    pub(super) fn new(
        handle: Arc<StreamHandle>,
        generation: Generation,
        half: Box<dyn RecvHalf>,
        answer: Option<FrameBuffer>,
    ) -> Self {
        Self {
            handle,
            half: Some(half),
            generation,
            skip: 0,
            answer,
            early: Bytes::new(),
            silent: false,
        }
    }

    /// For what came right behind the header of a new stream.
    pub(super) fn take_early(&mut self, early: Bytes) -> Result<(), Violation> {
        // Nothing may still be a part of what the header was read into.
        if self.count(early.len())? && !early.is_empty() {
            self.early = early;
        }
        Ok(())
    }

    /// Appends the chunks that have arrived; says how many bytes, 0 at the clean end.
    pub fn poll_recv(
        &mut self,
        cx: &mut Context<'_>,
        chunks: &mut VecDeque<Bytes>,
    ) -> Poll<Result<usize, Reset>> {
        if !self.early.is_empty() {
            let early = std::mem::take(&mut self.early);
            let count = early.len();
            chunks.push_back(early);
            return Poll::Ready(Ok(count));
        }
        loop {
            let arrived = match self.poll_news(cx)? {
                Poll::Ready(News::Ended) => return Poll::Ready(Ok(0)),
                Poll::Ready(News::Detached) => {
                    self.half = None;
                    continue;
                }
                Poll::Ready(News::Moved(moved)) => self.go_on_at(*moved, chunks),
                Poll::Pending if self.silent => return Poll::Pending,
                Poll::Pending => ready!(self.poll_payload(cx, chunks)),
            };
            match arrived {
                Ok(0) => {}
                Ok(count) => return Poll::Ready(Ok(count)),
                Err(violation) => {
                    self.handle.shared.violated(&violation);
                    self.silent = true;
                }
            }
        }
    }

    fn poll_news(&self, cx: &mut Context<'_>) -> Poll<Result<News, Reset>> {
        let (handle, has_half) = (&self.handle, self.half.is_some());
        let shared = &handle.shared;
        shared.poll_stream(handle.id, Waiter::Receiver, cx, |session, slot| {
            if session.is_all_received(handle.id) {
                return Some(News::Ended);
            }
            if let Some(moved) = slot.moved_receiver.take() {
                return Some(News::Moved(moved));
            }
            let detached = session.generation(handle.id) != Some(self.generation);
            (has_half && detached).then_some(News::Detached)
        })
    }

    /// Goes on at another transport stream.
    fn go_on_at(
        &mut self,
        moved: MovedReceiver,
        chunks: &mut VecDeque<Bytes>,
    ) -> Result<usize, Violation> {
        let MovedReceiver {
            generation,
            half,
            answer,
            skip,
            early,
        } = moved;
        self.generation = generation;
        self.half = Some(half);
        self.answer = answer;
        self.skip = skip;
        self.silent = false;
        if early.is_empty() {
            return Ok(0);
        }
        let before = chunks.len();
        chunks.push_back(early);
        self.keep_new(chunks, before)
    }

    /// Takes what the transport has; nothing when that is nothing new.
    fn poll_payload(
        &mut self,
        cx: &mut Context<'_>,
        chunks: &mut VecDeque<Bytes>,
    ) -> Poll<Result<usize, Violation>> {
        let Some(half) = &mut self.half else {
            // Whoever moves the stream wakes its receiver.
            return Poll::Pending;
        };
        if self.answer.is_some() {
            let mut head = VecDeque::new();
            let Ok(1..) = ready!(half.poll_read(cx, &mut head)) else {
                self.silent = true;
                return Poll::Ready(Ok(0));
            };
            return Poll::Ready(self.take_answer(head, chunks));
        }
        let before = chunks.len();
        match ready!(half.poll_read(cx, chunks)) {
            Ok(0) | Err(StreamBroken) => {
                // The session says what that means.
                self.silent = true;
                Poll::Ready(Ok(0))
            }
            Ok(_) => Poll::Ready(self.keep_new(chunks, before)),
        }
    }

    /// Takes the acceptor's answer off the front of what it sends.
    fn take_answer(
        &mut self,
        head: VecDeque<Bytes>,
        chunks: &mut VecDeque<Bytes>,
    ) -> Result<usize, Violation> {
        let mut frames = self.answer.take().expect("the answer is awaited");
        head.iter().for_each(|chunk| frames.push(chunk));
        let frame = match frames.next_frame() {
            Ok(Some(frame)) => frame,
            Ok(None) => {
                self.answer = Some(frames);
                return Ok(0);
            }
            Err(_) => return Err(Violation::Unexpected("an answer over 16 KiB")),
        };
        let answer = StreamAnswer::decode(frame)
            .map_err(|_| Violation::Unexpected("a malformed answer to a header"))?;
        let (handle, generation) = (&self.handle, self.generation);
        handle
            .shared
            .with(|session, _| session.handle_answer(handle.id, generation, &answer))?;
        let rest = frames.into_rest();
        if rest.is_empty() {
            return Ok(0);
        }
        let before = chunks.len();
        chunks.push_back(rest);
        self.keep_new(chunks, before)
    }

    /// Drops what was received before from the chunks behind the first `before`, and counts the rest;
    /// keeps none of them if the stream has moved on meanwhile.
    fn keep_new(
        &mut self,
        chunks: &mut VecDeque<Bytes>,
        before: usize,
    ) -> Result<usize, Violation> {
        while self.skip > 0 && chunks.len() > before {
            let chunk = &mut chunks[before];
            let known = chunk
                .len()
                .min(usize::try_from(self.skip).unwrap_or(usize::MAX));
            chunk.advance(known);
            self.skip -= known as u64;
            if chunk.is_empty() {
                chunks.remove(before);
            }
        }
        let count = chunks.range(before..).map(Bytes::len).sum();
        if count > 0 && !self.count(count)? {
            chunks.truncate(before);
            return Ok(0);
        }
        Ok(count)
    }

    /// Counts bytes that have arrived. `false` if the stream has moved on: they come again elsewhere.
    fn count(&self, count: usize) -> Result<bool, Violation> {
        let (handle, generation) = (&self.handle, self.generation);
        let is_new = handle
            .shared
            .received(handle.id, generation, count as u64)?;
        if is_new {
            handle.shared.count_received(count as u64);
            let total = &handle.bytes_received;
            total.fetch_add(count as u64, Ordering::Relaxed);
        }
        Ok(is_new)
    }

    /// `count` bytes were taken by the local socket or reader.
    pub fn consumed(&self, count: usize) {
        let handle = &self.handle;
        handle
            .shared
            .with(|session, now| session.consumed(handle.id, count as u64, now));
    }
}

impl Drop for StreamReceiver {
    fn drop(&mut self) {
        let handle = &self.handle;
        handle
            .shared
            .with(|session, _| session.stop_receiving(handle.id));
    }
}
