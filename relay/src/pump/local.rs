//! What a pump needs of a local socket, and how each kind gives it.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use parking_lot::Mutex;
use socket2::SockRef;
use tokio::io::{AsyncWrite, Interest};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;

use super::socket::Socket;

/// How much of a read buffer must be left for it to be used again, in bytes.
const WORTH_READING: usize = 16 * 1024;

/// The size of a read buffer, in bytes.
const READ_BUFFER: usize = 256 * 1024;

/// How many chunks are written at once, about one datagram each.
const GATHERED_CHUNKS: usize = 64;

thread_local! {
    /// One read buffer per worker: taken when a socket is ready, so that an idle stream holds none.
    static READ: RefCell<BytesMut> = RefCell::new(BytesMut::new());
}

/// A local socket, or what stands for one.
pub trait Local: Send + Sync {
    /// At most `limit` bytes that have arrived; none at the end.
    fn poll_read(&self, cx: &mut Context<'_>, limit: usize) -> Poll<io::Result<Bytes>>;

    /// Writes from the front of `chunks` and takes off what was written; says how many bytes.
    fn poll_write(
        &self,
        cx: &mut Context<'_>,
        chunks: &mut VecDeque<Bytes>,
    ) -> Poll<io::Result<usize>>;

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
    fn poll_read(&self, cx: &mut Context<'_>, limit: usize) -> Poll<io::Result<Bytes>> {
        match self {
            Self::Tcp(socket) => read_when_ready(socket, cx, limit),
            Self::Unix(socket) => read_when_ready(socket, cx, limit),
        }
    }

    fn poll_write(
        &self,
        cx: &mut Context<'_>,
        chunks: &mut VecDeque<Bytes>,
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(socket) => write_when_ready(socket, cx, chunks),
            Self::Unix(socket) => write_when_ready(socket, cx, chunks),
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
}

impl Local for TlsSocket {
    fn poll_read(&self, cx: &mut Context<'_>, limit: usize) -> Poll<io::Result<Bytes>> {
        with_read_buffer(|buffer| {
            let mut limited = (&mut *buffer).limit(limit);
            let mut stream = self.0.lock();
            let read = tokio_util::io::poll_read_buf(Pin::new(&mut *stream), cx, &mut limited);
            ready!(read)?;
            Poll::Ready(Ok(buffer.split().freeze()))
        })
    }

    fn poll_write(
        &self,
        cx: &mut Context<'_>,
        chunks: &mut VecDeque<Bytes>,
    ) -> Poll<io::Result<usize>> {
        let Some(chunk) = chunks.front() else {
            return Poll::Ready(Ok(0));
        };
        let mut stream = self.0.lock();
        let count = ready!(Pin::new(&mut *stream).poll_write(cx, chunk))?;
        take_off(chunks, count);
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
) -> Poll<io::Result<Bytes>> {
    loop {
        ready!(socket.poll_read_ready(cx))?;
        let read: io::Result<_> = with_read_buffer(|buffer| {
            socket.try_read_buf(&mut (&mut *buffer).limit(limit))?;
            Ok(buffer.split().freeze())
        });
        match read {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            read => return Poll::Ready(read),
        }
    }
}

fn write_when_ready(
    socket: &impl Ready,
    cx: &mut Context<'_>,
    chunks: &mut VecDeque<Bytes>,
) -> Poll<io::Result<usize>> {
    loop {
        ready!(socket.poll_write_ready(cx))?;
        let mut slices = [IoSlice::new(&[]); GATHERED_CHUNKS];
        let count = chunks.len().min(GATHERED_CHUNKS);
        for (slice, chunk) in slices.iter_mut().zip(&*chunks) {
            *slice = IoSlice::new(chunk);
        }
        match socket.try_write_vectored(&slices[..count]) {
            Ok(written) => {
                take_off(chunks, written);
                return Poll::Ready(Ok(written));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Poll::Ready(Err(error)),
        }
    }
}

fn with_read_buffer<R>(read: impl FnOnce(&mut BytesMut) -> R) -> R {
    READ.with_borrow_mut(|buffer| {
        if buffer.capacity() < WORTH_READING {
            buffer.reserve(READ_BUFFER);
        }
        read(buffer)
    })
}

fn take_off(chunks: &mut VecDeque<Bytes>, mut count: usize) {
    while let Some(chunk) = chunks.front_mut().filter(|_| count > 0) {
        let taken = chunk.len().min(count);
        chunk.advance(taken);
        count -= taken;
        if chunk.is_empty() {
            chunks.pop_front();
        }
    }
}

/// A linger time of zero makes a close a reset (socket(7)).
fn reset_tcp_on_close(socket: &TcpStream, reset: bool) {
    // Fails only on a socket that is gone already.
    let _ = SockRef::from(socket).set_linger(reset.then_some(Duration::ZERO));
}
