//! A stream as something that reads and writes bytes.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tracing::Span;

use super::reset::Reset;
use super::stream::{StreamReceiver, StreamSender};
use crate::proto::{ResetCode, StreamId};
use crate::pump::ChunkQueue;

/// The largest piece that one write takes, in bytes.
const MAX_WRITE: usize = 64 * 1024;

/// A stream as `AsyncRead` and `AsyncWrite`.
///
/// End of file is the peer's clean end, `shutdown` is ours; a write after it is an error of kind
/// `BrokenPipe`. A reset is an error of kind
/// `ConnectionReset` whose inner error is the [`Reset`]. Dropping it before both directions ended
/// resets the stream.
#[derive(Debug)]
pub struct StreamIo {
    id: StreamId,
    sender: StreamSender,
    receiver: StreamReceiver,
    arrived: ChunkQueue,
    ended: bool,
}

impl StreamIo {
    pub(super) fn new(sender: StreamSender, receiver: StreamReceiver) -> Self {
        Self {
            id: sender.id(),
            sender,
            receiver,
            arrived: ChunkQueue::default(),
            ended: false,
        }
    }

    /// The stream's id within its session.
    pub fn id(&self) -> StreamId {
        self.id
    }

    /// What log lines about the stream belong in.
    pub fn span(&self) -> &Span {
        self.sender.span()
    }

    /// Resets both directions.
    pub fn reset(&self, code: ResetCode, message: impl Into<String>) {
        self.sender.reset(code, message);
    }
}

impl AsyncRead for StreamIo {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.arrived.has_remaining() && !this.ended {
            let received = this
                .arrived
                .append(|chunks| this.receiver.poll_recv(cx, chunks));
            let count = ready!(received).map_err(as_io)?;
            this.ended = count == 0;
        }
        let taken = this.arrived.remaining().min(buf.remaining());
        buf.put((&mut this.arrived).take(taken));
        if taken > 0 {
            this.receiver.consumed(taken);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for StreamIo {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.sender.is_finished() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let credit = ready!(this.sender.poll_ready(cx)).map_err(as_io)?;
        let count = buf.len().min(credit).min(MAX_WRITE);
        if count > 0 {
            this.sender
                .send(Bytes::copy_from_slice(&buf[..count]).into());
            // What the transport does not take now it takes before the next write.
            if let Poll::Ready(Err(reset)) = this.sender.poll_flush(cx) {
                return Poll::Ready(Err(as_io(reset)));
            }
        }
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().sender.poll_flush(cx).map_err(as_io)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.sender.poll_flush(cx)).map_err(as_io)?;
        this.sender.finish();
        Poll::Ready(Ok(()))
    }
}

fn as_io(reset: Reset) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, reset)
}
