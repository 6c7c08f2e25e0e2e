//! The socket: as the TLS library writes to it, where what it does not take at once would block, and
//! when all has been said.

use std::io::{self, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// See the module.
pub(in crate::transport) struct SocketWriter<'a, 'b> {
    pub(in crate::transport) socket: &'a mut TcpStream,
    pub(in crate::transport) cx: &'a mut Context<'b>,
}

impl Write for SocketWriter<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        or_would_block(Pin::new(&mut *self.socket).poll_write(self.cx, bytes))
    }

    fn write_vectored(&mut self, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
        or_would_block(Pin::new(&mut *self.socket).poll_write_vectored(self.cx, slices))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads what still comes and drops it, `reads` times in a turn; ready when the peer has ended.
/// Closing a socket with unread bytes resets it, and the peer would lose our last word (RFC 9293
/// §3.6.1).
pub(in crate::transport) fn poll_discard(
    socket: &mut TcpStream,
    buffer: &mut [u8],
    reads: u8,
    cx: &mut Context<'_>,
) -> Poll<()> {
    for _ in 0..reads {
        let mut read = ReadBuf::new(buffer);
        let result = ready!(Pin::new(&mut *socket).poll_read(cx, &mut read));
        if result.is_err() || read.filled().is_empty() {
            return Poll::Ready(());
        }
    }
    cx.waker().wake_by_ref();
    Poll::Pending
}

fn or_would_block(written: Poll<io::Result<usize>>) -> io::Result<usize> {
    match written {
        Poll::Ready(written) => written,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}
