//! A stream as its user holds it: a sending and a receiving direction.

mod receiver;
mod sender;

use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use tracing::Span;

use super::io::StreamIo;
use super::reset::Reset;
use super::shared::Shared;
use crate::audit::{Entry, Parties, Recording};
use crate::proto::{FrameBuffer, Generation, MAX_HEADER_FRAME, ResetCode, StreamAnswer, StreamId};
use crate::session::Violation;
use crate::transport::TransportStream;

pub(super) use receiver::MovedReceiver;
pub use receiver::StreamReceiver;
pub use sender::StreamSender;

/// One bidirectional stream. Dropping it before both directions are over resets it.
#[derive(Debug)]
pub struct Stream {
    sender: StreamSender,
    receiver: StreamReceiver,
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
        Self::new(handle, transport, Generation(0), header, answer)
    }

    /// For the acceptor: its answer goes out first. `early` came right behind the header.
    pub(super) fn accepted(
        handle: StreamHandle,
        transport: TransportStream,
        early: Bytes,
        answer: StreamAnswer,
    ) -> Result<Self, Violation> {
        let mut first = BytesMut::new();
        answer.encode(&mut first);
        let generation = answer.generation;
        let mut stream = Self::new(handle, transport, generation, first.freeze(), None);
        stream.receiver.take_early(early)?;
        Ok(stream)
    }

    fn new(
        handle: StreamHandle,
        transport: TransportStream,
        generation: Generation,
        first: Bytes,
        answer: Option<FrameBuffer>,
    ) -> Self {
        let handle = Arc::new(handle);
        Self {
            sender: StreamSender::new(handle.clone(), generation, transport.send, first),
            receiver: StreamReceiver::new(handle, generation, transport.recv, answer),
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
            Poll::Pending => {
                self.sender.withdraw();
                Ok(())
            }
        }
    }
}
