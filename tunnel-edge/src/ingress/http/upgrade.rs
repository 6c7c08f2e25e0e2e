//! Connections and streams that stop speaking HTTP: WebSocket and whatever else both ends agree on
//! (RFC 9110 §7.8, RFC 8441).

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional_with_sizes};

use super::caller::{BusyGuard, Caller, CutGuard};
use super::limits::SPLICE_BUFFER;
use super::link::Link;
use super::metrics::RequestGuard;
use super::origin::Lease;
use super::tasks::{Handover, Tasks, Writer};

/// The two sides of what was upgraded, which are joined once HTTP is over on both.
#[derive(Debug)]
pub(super) struct Splice {
    pub(super) caller: Side,
    pub(super) origin: Side,
    pub(super) lease: Lease,
    pub(super) hold: Hold,
    pub(super) request: RequestGuard,
    pub(super) link: Link,
}

/// One of the sides.
#[derive(Debug)]
pub(super) struct Side {
    pub(super) upgrade: OnUpgrade,
    /// Only of a stream of HTTP/2.
    pub(super) handover: Option<Handover>,
}

/// What keeps the caller's connection as it must be while the bytes move.
#[derive(Debug)]
pub(super) enum Hold {
    /// The connection itself was upgraded.
    Connection(CutGuard),
    /// A stream of it was.
    Stream(BusyGuard),
}

impl Splice {
    /// Joins the sides once HTTP is over on both: on a connection of HTTP/1.1 that is for the task
    /// of the caller's connection to say, on a stream there is nothing to wait for.
    pub(super) fn begin(self, caller: &Caller, tasks: &Tasks) {
        match self.hold {
            Hold::Connection(_) => caller.set_splice(self),
            Hold::Stream(_) => self.spawn(tasks),
        }
    }

    /// Runs on the thread that owns the session, as one of `tasks`.
    pub(super) fn spawn(self, tasks: &Tasks) {
        let link = self.link.clone();
        link.spawn(tasks.owned(self.run()));
    }

    /// Moves bytes both ways until both ends have ended. An end is passed on as an end and leaves
    /// the other direction alone; if either side fails, both are reset. So they are if the future
    /// is dropped.
    async fn run(self) {
        let joined = async {
            let (mut caller, mut origin) =
                tokio::try_join!(self.caller.open(), self.origin.open())?;
            let (called, answered) = (caller.writing.clone(), origin.writing.clone());
            let size = SPLICE_BUFFER;
            tokio::select! {
                // The copying first: it drives the writers as far as it can.
                biased;
                copied = copy_bidirectional_with_sizes(&mut caller, &mut origin, size, size) => {
                    copied?;
                }
                error = reset(&called) => return Err(error.into()),
                error = reset(&answered) => return Err(error.into()),
            }
            // Before the caller's socket is dropped: a reset would take back what the kernel has
            // yet to send.
            match self.hold {
                Hold::Connection(cut) => cut.disarm(),
                Hold::Stream(busy) => drop(busy),
            }
            drop((caller, origin));
            self.lease.finish();
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
        };
        if let Err(error) = joined.await {
            tracing::debug!(%error, seconds = self.request.elapsed().as_secs(), "upgraded connection failed");
        }
    }
}

impl Side {
    async fn open(self) -> Result<SideIo, Box<dyn std::error::Error + Send + Sync>> {
        let io = TokioIo::new(self.upgrade.await?);
        let writing = match self.handover {
            Some(handover) => Writing::Stream(handover.take().await),
            None => Writing::Connection,
        };
        let writing = Arc::new(Mutex::new(writing));
        Ok(SideIo { io, writing })
    }
}

/// The bytes of one side. Dropping it before both directions have ended resets it.
struct SideIo {
    io: TokioIo<Upgraded>,
    writing: Arc<Mutex<Writing>>,
}

/// How far the direction towards the side's other end is.
enum Writing {
    /// A connection of HTTP/1.1, which does its own writing.
    Connection,
    /// A stream: bytes go to the writer, which is driven by whoever reads or writes.
    Stream(Writer),
    /// The writer is told to end.
    Ending(Writer),
    /// It has ended the stream, or failed in doing so.
    Ended,
    /// The other end reset the stream, or its connection is gone.
    Reset,
}

impl Writing {
    /// Moves on what was written. An error once the other end has reset the stream.
    fn drive(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let (writer, ended) = match self {
            Self::Connection | Self::Ended => return Ok(()),
            Self::Reset => return Err(io::ErrorKind::ConnectionReset.into()),
            Self::Stream(writer) => (writer, Self::Reset),
            Self::Ending(writer) => (writer, Self::Ended),
        };
        if writer.as_mut().poll(cx).is_pending() {
            return Ok(());
        }
        *self = ended;
        self.drive(cx)
    }

    /// Nothing more is written: the writer ends when it has sent what it has.
    fn end(&mut self) {
        *self = match std::mem::replace(self, Self::Ended) {
            Self::Stream(writer) => Self::Ending(writer),
            other @ (Self::Connection | Self::Ending(_) | Self::Ended | Self::Reset) => other,
        };
    }
}

/// Returns when the other end of a side has reset its stream, even while nobody reads there
/// because the stream's end was read before. Cancel safe.
async fn reset(writing: &Mutex<Writing>) -> io::Error {
    poll_fn(|cx| match writing.lock().drive(cx) {
        Ok(()) => Poll::Pending,
        Err(error) => Poll::Ready(error),
    })
    .await
}

impl AsyncRead for SideIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        let ended = read.is_ready() && buf.filled().len() == before;
        // hyper takes a reset with CANCEL for an end; the writer does not. What was read counts
        // first.
        if ended || read.is_pending() {
            self.writing.lock().drive(cx)?;
        }
        read
    }
}

impl AsyncWrite for SideIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.writing.lock().drive(cx)?;
        let written = ready!(Pin::new(&mut self.io).poll_write(cx, buf))?;
        self.writing.lock().drive(cx)?;
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writing.lock().drive(cx)?;
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Closes the way to a writer, if there is one.
        let shut = Pin::new(&mut self.io).poll_shutdown(cx);
        match &mut *self.writing.lock() {
            Writing::Connection => return shut,
            writing @ (Writing::Stream(_)
            | Writing::Ending(_)
            | Writing::Ended
            | Writing::Reset) => {
                writing.end();
                writing.drive(cx)?;
            }
        }
        // Says whether the writer has ended the stream or failed.
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
