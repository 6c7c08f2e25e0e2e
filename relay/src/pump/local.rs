//! What a pump needs of a local socket, and how each kind gives it.

use std::future::Future;
use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BufMut};
use parking_lot::Mutex;
use socket2::SockRef;
use tokio::io::{AsyncWrite, Interest};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;

use super::block::{BLOCK, read_block};
use super::queue::ChunkQueue;
use super::socket::Socket;
use crate::session::Chunk;

/// How many chunks are written at once, about one datagram each.
const GATHERED_CHUNKS: usize = 64;

/// A local socket, or what stands for one.
pub trait Local: Send + Sync {
    /// What has arrived, at most `limit` bytes; none at the end.
    fn poll_read(&self, cx: &mut Context<'_>, limit: usize) -> Poll<io::Result<Chunk>>;

    /// Writes from the front of `arrived` and takes off what was written; says how many bytes.
    fn poll_write(&self, cx: &mut Context<'_>, arrived: &mut ChunkQueue)
    -> Poll<io::Result<usize>>;

    /// Writes out what is buffered.
    fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Writes out what is buffered and ends our direction.
    fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Waits until the socket breaks. For a socket whose own direction has ended already, so that
    /// reading tells nothing any more.
    fn broken(&self) -> impl Future<Output = io::Error> + Send;

    /// Whether closing shows the other end a reset, as far as the kind of socket can say so.
    fn reset_on_close(&self, reset: bool);
}

/// What TCP and unix sockets of the runtime have in common.
trait Ready {
    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
    fn try_read_buf(&self, buf: &mut impl BufMut) -> io::Result<usize>;
    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
    fn try_write_vectored(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize>;
}

macro_rules! ready_socket {
    ($($kind:ty),*) => {$(
        impl Ready for $kind {
            fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                Self::poll_read_ready(self, cx)
            }
            fn try_read_buf(&self, buf: &mut impl BufMut) -> io::Result<usize> {
                Self::try_read_buf(self, buf)
            }
            fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                Self::poll_write_ready(self, cx)
            }
            fn try_write_vectored(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
                Self::try_write_vectored(self, bufs)
            }
        }
    )*};
}
ready_socket!(TcpStream, UnixStream);

impl Local for Socket {
    fn poll_read(&self, cx: &mut Context<'_>, limit: usize) -> Poll<io::Result<Chunk>> {
        match self {
            Self::Tcp(socket) => read_when_ready(socket, cx, limit),
            Self::Unix(socket) => read_when_ready(socket, cx, limit),
        }
    }

    fn poll_write(
        &self,
        cx: &mut Context<'_>,
        arrived: &mut ChunkQueue,
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(socket) => write_when_ready(socket, cx, arrived),
            Self::Unix(socket) => write_when_ready(socket, cx, arrived),
        }
    }

    fn poll_flush(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let socket = match self {
            Self::Tcp(socket) => SockRef::from(socket),
            Self::Unix(socket) => SockRef::from(socket),
        };
        Poll::Ready(match socket.shutdown(Shutdown::Write) {
            // It has closed already, having read all that it wanted: an end meets an end.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
            ended => ended,
        })
    }

    async fn broken(&self) -> io::Error {
        let (ready, error) = match self {
            Self::Tcp(socket) => (socket.ready(Interest::ERROR).await, socket.take_error()),
            Self::Unix(socket) => (socket.ready(Interest::ERROR).await, socket.take_error()),
        };
        match (ready, error) {
            (_, Ok(Some(error))) | (_, Err(error)) | (Err(error), Ok(None)) => error,
            (Ok(_), Ok(None)) => io::ErrorKind::ConnectionReset.into(),
        }
    }

    fn reset_on_close(&self, reset: bool) {
        match self {
            Self::Tcp(socket) => reset_tcp_on_close(socket, reset),
            // A unix socket knows no reset; see `docs/protocol.md`.
            Self::Unix(_) => {}
        }
    }
}

/// A TLS connection to a target.
#[derive(Debug)]
pub struct TlsSocket(Mutex<TlsStream<TcpStream>>);

impl TlsSocket {
    /// After its handshake.
    pub fn new(stream: TlsStream<TcpStream>) -> Self {
        Self(Mutex::new(stream))
    }

    /// The connection itself.
    pub fn into_inner(self) -> TlsStream<TcpStream> {
        self.0.into_inner()
    }
}

impl Local for TlsSocket {
    fn poll_read(&self, cx: &mut Context<'_>, limit: usize) -> Poll<io::Result<Chunk>> {
        read_block(|block| {
            let mut limited = block.limit(limit.min(BLOCK));
            let mut stream = self.0.lock();
            let read = tokio_util::io::poll_read_buf(Pin::new(&mut *stream), cx, &mut limited);
            read.map_ok(drop)
        })
    }

    fn poll_write(
        &self,
        cx: &mut Context<'_>,
        arrived: &mut ChunkQueue,
    ) -> Poll<io::Result<usize>> {
        let mut stream = self.0.lock();
        let count = ready!(Pin::new(&mut *stream).poll_write(cx, arrived.chunk()))?;
        arrived.advance(count);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.lock()).poll_flush(cx)
    }

    fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.lock()).poll_shutdown(cx)
    }

    fn broken(&self) -> impl Future<Output = io::Error> + Send {
        // Behind TLS's own end nothing is said; a later reset shows when we write.
        std::future::pending()
    }

    fn reset_on_close(&self, reset: bool) {
        reset_tcp_on_close(self.0.lock().get_ref().0, reset);
    }
}

fn read_when_ready(
    socket: &impl Ready,
    cx: &mut Context<'_>,
    limit: usize,
) -> Poll<io::Result<Chunk>> {
    loop {
        ready!(socket.poll_read_ready(cx))?;
        let read = read_block(|block| {
            let read = socket.try_read_buf(&mut block.limit(limit.min(BLOCK)));
            Poll::Ready(read.map(drop))
        });
        match read {
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
            read @ (Poll::Ready(_) | Poll::Pending) => return read,
        }
    }
}

fn write_when_ready(
    socket: &impl Ready,
    cx: &mut Context<'_>,
    arrived: &mut ChunkQueue,
) -> Poll<io::Result<usize>> {
    loop {
        ready!(socket.poll_write_ready(cx))?;
        let mut slices = [IoSlice::new(&[]); GATHERED_CHUNKS];
        let count = arrived.chunks_vectored(&mut slices);
        match socket.try_write_vectored(&slices[..count]) {
            Ok(written) => {
                arrived.advance(written);
                return Poll::Ready(Ok(written));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Poll::Ready(Err(error)),
        }
    }
}

/// A linger time of zero makes a close a reset (socket(7)).
fn reset_tcp_on_close(socket: &TcpStream, reset: bool) {
    // Fails only on a socket that is gone already.
    let _ = SockRef::from(socket).set_linger(reset.then_some(Duration::ZERO));
}
