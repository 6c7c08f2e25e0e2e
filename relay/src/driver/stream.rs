//! A stream as its user holds it: a sending and a receiving direction.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use tracing::Span;

use super::io::StreamIo;
use super::reset::Reset;
use super::shared::{Shared, Waiter};
use crate::audit::{Entry, Parties, Recording};
use crate::proto::{FrameBuffer, Generation, MAX_HEADER_FRAME, ResetCode, StreamAnswer, StreamId};
use crate::session::Violation;
use crate::transport::{RecvHalf, SendHalf, StreamBroken, TransportStream};

/// One bidirectional stream. Dropping it before both directions are over resets it.
#[derive(Debug)]
pub struct Stream {
    sender: StreamSender,
    receiver: StreamReceiver,
}

/// The direction to the peer.
#[derive(Debug)]
pub struct StreamSender {
    handle: Arc<StreamHandle>,
    half: Box<dyn SendHalf>,
    /// Handed over by the user and not yet counted: credit may have been given back meanwhile.
    uncounted: Bytes,
    /// Counted, or a header, and not yet taken by the transport.
    pending: Bytes,
    finished: bool,
}

/// The direction from the peer. Dropping it before its end was read, and all of it consumed, resets
/// the stream with `Cancelled`, even while the [`StreamSender`] is held; what the sender has sent and
/// ended by then reaches the peer first.
#[derive(Debug)]
pub struct StreamReceiver {
    handle: Arc<StreamHandle>,
    half: Box<dyn RecvHalf>,
    /// Set until the acceptor's answer has come.
    answer: Option<FrameBuffer>,
    /// Payload that came together with the header.
    early: Bytes,
    /// The transport stream will bring nothing more; the session says what that means.
    silent: bool,
}

/// Keeps the stream alive for as long as either direction is held; what was not settled when it is
/// dropped is reset.
#[derive(Debug)]
pub(super) struct StreamHandle {
    shared: Arc<Shared>,
    id: StreamId,
    span: Span,
    bytes_sent: AtomicU64,
    bytes_received: AtomicU64,
    /// What the audit log will say, if there is one.
    entry: OnceLock<Box<Entry>>,
}

impl StreamHandle {
    pub(super) fn new(shared: Arc<Shared>, id: StreamId, span: Span) -> Self {
        shared.add_slot(id);
        Self {
            shared,
            id,
            span,
            bytes_sent: AtomicU64::new(0),
            bytes_received: AtomicU64::new(0),
            entry: OnceLock::new(),
        }
    }

    /// Has the stream recorded when it ends, if streams are.
    pub(super) fn audit(&self, entry: impl FnOnce(Parties) -> Entry) {
        if let Some(parties) = &self.shared.parties {
            // Only whoever made the handle comes here, and once.
            let _ = self.entry.set(Box::new(entry(parties.clone())));
        }
    }

    pub(super) fn id(&self) -> StreamId {
        self.id
    }
}

impl Drop for StreamHandle {
    fn drop(&mut self) {
        let record = self.entry.take().map(|entry| Recording {
            entry,
            bytes_sent: self.bytes_sent.load(Ordering::Relaxed),
            bytes_received: self.bytes_received.load(Ordering::Relaxed),
        });
        self.shared.drop_slot(self.id, record);
    }
}

impl Stream {
    /// For the opener: `header` goes out first, and the answer must come first.
    pub(super) fn opened(handle: StreamHandle, transport: TransportStream, header: Bytes) -> Self {
        let answer = Some(FrameBuffer::new(MAX_HEADER_FRAME));
        Self::new(handle, transport, header, answer)
    }

    /// For the acceptor: its answer goes out first. `early` came right behind the header.
    pub(super) fn accepted(
        handle: StreamHandle,
        transport: TransportStream,
        early: Bytes,
    ) -> Result<Self, Violation> {
        let mut answer = BytesMut::new();
        StreamAnswer {
            stream: handle.id,
            generation: Generation(0),
            received: 0,
            start: 0,
        }
        .encode(&mut answer);
        let mut stream = Self::new(handle, transport, answer.freeze(), None);
        stream.receiver.count(early.len())?;
        stream.receiver.early = early;
        Ok(stream)
    }

    fn new(
        handle: StreamHandle,
        transport: TransportStream,
        first: Bytes,
        answer: Option<FrameBuffer>,
    ) -> Self {
        let handle = Arc::new(handle);
        Self {
            sender: StreamSender {
                handle: handle.clone(),
                half: transport.send,
                uncounted: Bytes::new(),
                pending: first,
                finished: false,
            },
            receiver: StreamReceiver {
                handle,
                half: transport.recv,
                answer,
                early: Bytes::new(),
                silent: false,
            },
        }
    }

    /// Its id within the session.
    pub fn id(&self) -> StreamId {
        self.sender.handle.id
    }

    /// What log lines about the stream belong in.
    pub fn span(&self) -> &Span {
        self.sender.span()
    }

    /// Waits for the acceptor's word that its target was reached. Cancel-safe.
    pub async fn connected(&mut self) -> Result<(), Reset> {
        let handle = self.sender.handle.clone();
        poll_fn(|cx| handle.shared.poll_connected(handle.id, cx)).await
    }

    /// What was dialled for the stream, for its record. `target` is called only if there is one.
    pub fn note_target(&self, target: impl FnOnce() -> String) {
        if let Some(entry) = self.sender.handle.entry.get() {
            entry.dialled(target());
        }
    }

    /// The acceptor's word that its target was reached.
    pub fn confirm_connected(&self) {
        let handle = &self.sender.handle;
        handle
            .shared
            .with(|session, _| session.connected(handle.id));
    }

    /// Waits until the stream is over: for an acceptor that has not begun to move bytes, so that
    /// it learns of a reset. Cancel-safe.
    pub async fn over(&self) -> Result<(), Reset> {
        poll_fn(|cx| self.sender.poll_over(cx)).await
    }

    /// Resets both directions.
    pub fn reset(self, code: ResetCode, message: impl Into<String>) {
        self.sender.reset(code, message);
    }

    /// As something that reads and writes bytes.
    pub fn into_io(self) -> StreamIo {
        StreamIo::new(self.sender, self.receiver)
    }

    /// The two directions, to be moved by different hands.
    pub fn split(self) -> (StreamSender, StreamReceiver) {
        (self.sender, self.receiver)
    }

    /// Hands what comes first to the transport.
    pub(super) async fn flush(&mut self) -> Result<(), Reset> {
        poll_fn(|cx| self.sender.poll_flush(cx)).await
    }

    /// The same, as far as it goes without waiting. The rest goes before the first payload.
    pub(super) async fn flush_what_fits(&mut self) -> Result<(), Reset> {
        let tried = poll_fn(|cx| Poll::Ready(self.sender.poll_flush(cx))).await;
        match tried {
            Poll::Ready(flushed) => flushed,
            Poll::Pending => Ok(()),
        }
    }
}

impl StreamSender {
    /// The stream's id within its session.
    pub fn id(&self) -> StreamId {
        self.handle.id
    }

    pub(super) fn span(&self) -> &Span {
        &self.handle.span
    }

    /// Waits until what was sent before is with the transport and there is credit; how much, in
    /// bytes.
    pub fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, Reset>> {
        ready!(self.poll_flush(cx))?;
        self.poll_credit(cx)
    }

    fn poll_credit(&self, cx: &mut Context<'_>) -> Poll<Result<usize, Reset>> {
        let handle = &self.handle;
        handle
            .shared
            .poll_stream(handle.id, Waiter::Sender, cx, |session, _| {
                let credit = session.credit(handle.id);
                (credit > 0).then(|| usize::try_from(credit).unwrap_or(usize::MAX))
            })
    }

    /// Sends a chunk, when [`Self::poll_ready`] was ready, and best no longer than it said: what
    /// there is no credit for goes later.
    pub fn send(&mut self, chunk: Bytes) {
        assert!(self.uncounted.is_empty(), "send comes after poll_ready");
        self.uncounted = chunk;
        self.count();
    }

    /// Takes over what there is credit for.
    fn count(&mut self) {
        let (handle, wanted) = (&self.handle, self.uncounted.len() as u64);
        let count = handle
            .shared
            .with(|session, now| session.send_up_to(handle.id, wanted, now));
        handle.shared.count_sent(count);
        handle.bytes_sent.fetch_add(count, Ordering::Relaxed);
        self.pending = self.uncounted.split_to(count as usize);
    }

    /// Waits until everything that was sent is with the transport.
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
            match self.half.poll_write(cx, &mut self.pending) {
                Poll::Ready(Ok(())) => {}
                // A broken transport stream means nothing by itself: wait for the session's word.
                Poll::Ready(Err(StreamBroken)) | Poll::Pending => {
                    let handle = &self.handle;
                    return handle
                        .shared
                        .poll_stream(handle.id, Waiter::Sender, cx, |_, _| None);
                }
            }
        }
    }

    /// Ends this direction; everything that was sent must be with the transport.
    pub fn finish(&mut self) {
        let flushed = self.pending.is_empty() && self.uncounted.is_empty();
        assert!(flushed, "finish comes after flush");
        if !self.finished {
            self.finished = true;
            self.half.finish();
            let handle = &self.handle;
            handle.shared.with(|session, _| session.finish(handle.id));
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
    pub(super) fn is_finished(&self) -> bool {
        self.finished
    }

    /// Waits until both ends know that the stream is over. Ready with the reset if it was one.
    pub fn poll_over(&self, cx: &mut Context<'_>) -> Poll<Result<(), Reset>> {
        self.handle.shared.poll_over(self.handle.id, cx)
    }
}

impl StreamReceiver {
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
            let handle = &self.handle;
            let ended =
                handle
                    .shared
                    .poll_stream(handle.id, Waiter::Receiver, cx, |session, _| {
                        session.is_all_received(handle.id).then_some(())
                    })?;
            if ended.is_ready() {
                return Poll::Ready(Ok(0));
            }
            if self.silent {
                return Poll::Pending;
            }
            let arrived = match ready!(self.poll_payload(cx, chunks)) {
                Ok(Some(arrived)) => arrived,
                Ok(None) => continue,
                Err(violation) => {
                    self.handle.shared.violated(&violation);
                    self.silent = true;
                    continue;
                }
            };
            if arrived > 0 {
                return Poll::Ready(Ok(arrived));
            }
        }
    }

    /// Takes what the transport has; `None` when it will bring nothing more.
    fn poll_payload(
        &mut self,
        cx: &mut Context<'_>,
        chunks: &mut VecDeque<Bytes>,
    ) -> Poll<Result<Option<usize>, Violation>> {
        if self.answer.is_some() {
            let mut head = VecDeque::new();
            let Ok(1..) = ready!(self.half.poll_read(cx, &mut head)) else {
                self.silent = true;
                return Poll::Ready(Ok(None));
            };
            return Poll::Ready(self.take_answer(head, chunks));
        }
        match ready!(self.half.poll_read(cx, chunks)) {
            Ok(0) | Err(StreamBroken) => {
                self.silent = true;
                Poll::Ready(Ok(None))
            }
            Ok(count) => Poll::Ready(self.count(count).map(Some)),
        }
    }

    /// Takes the acceptor's answer off the front of what it sends.
    fn take_answer(
        &mut self,
        head: VecDeque<Bytes>,
        chunks: &mut VecDeque<Bytes>,
    ) -> Result<Option<usize>, Violation> {
        let mut frames = self.answer.take().expect("the answer is awaited");
        head.iter().for_each(|chunk| frames.push(chunk));
        let frame = match frames.next_frame() {
            Ok(Some(frame)) => frame,
            Ok(None) => {
                self.answer = Some(frames);
                return Ok(Some(0));
            }
            Err(_) => return Err(Violation::Unexpected("an answer over 16 KiB")),
        };
        let answer = StreamAnswer::decode(frame)
            .map_err(|_| Violation::Unexpected("a malformed answer to a header"))?;
        if answer.stream != self.handle.id {
            return Err(Violation::Unexpected("the answer of another stream"));
        }
        let rest = frames.into_rest();
        let count = self.count(rest.len())?;
        if count > 0 {
            chunks.push_back(rest);
        }
        Ok(Some(count))
    }

    fn count(&self, count: usize) -> Result<usize, Violation> {
        let handle = &self.handle;
        handle.shared.count_received(count as u64);
        handle
            .bytes_received
            .fetch_add(count as u64, Ordering::Relaxed);
        handle
            .shared
            .with(|session, now| session.received(handle.id, count as u64, now))?;
        Ok(count)
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
