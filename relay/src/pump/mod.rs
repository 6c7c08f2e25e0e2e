//! Moves bytes between a stream and a local socket, both ways at once.
//!
//! ```text
//! socket ──read, as far as credit goes──▶ StreamSender      (end of file becomes Fin)
//! socket ◀──write, gathered────────────── StreamReceiver    (what the socket took is consumed)
//! ```
//!
//! Half-close is kept each way. An end is passed on as an end, and anything else as a reset: on
//! TCP as RST, by closing with a linger time of zero.

mod block;
mod idle;
mod local;
mod queue;
mod socket;

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};

use std::time::Duration;

use bytes::Buf;

pub(crate) use block::release_unused_blocks;
pub use local::{Local, TlsSocket};
pub use queue::ChunkQueue;
pub use socket::{DetachedSocket, Socket, tune};

use idle::IdleWatch;

use crate::driver::{Reset, Stream, StreamReceiver, StreamSender};
use crate::proto::ResetCode;
use crate::transport::BoxFuture;

/// Chunks are gathered up to about this before they are written, in bytes.
const GATHER: usize = 256 * 1024;

/// Who is at the local end, which says whose fault a broken socket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LocalEnd {
    /// Someone who called us.
    Caller,
    /// A target that we called.
    Origin,
}

impl LocalEnd {
    fn reset_code(self) -> ResetCode {
        match self {
            Self::Caller => ResetCode::CallerReset,
            Self::Origin => ResetCode::OriginReset,
        }
    }
}

/// What a pump has done.
#[derive(Debug)]
pub struct Pumped {
    /// From the socket to the stream, in bytes.
    pub sent: u64,
    /// From the stream to the socket, in bytes.
    pub received: u64,
    /// How it ended.
    pub outcome: Result<(), PumpError>,
}

impl fmt::Display for Pumped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sent, received) = (self.sent, self.received);
        write!(f, "{sent} bytes sent, {received} received, ")?;
        match &self.outcome {
            Ok(()) => f.write_str("complete"),
            Err(error) => write!(f, "{error}"),
        }
    }
}

/// Why a pump ended before both directions did.
#[derive(Debug, thiserror::Error)]
pub enum PumpError {
    /// The stream was reset; the socket was reset too.
    #[error(transparent)]
    Stream(#[from] Reset),
    /// The socket broke; the stream was reset.
    #[error("the local connection broke: {0}")]
    Local(#[from] io::Error),
    /// Nothing was moved for this long; both were reset.
    #[error("nothing was moved for {0:?}")]
    Idle(Duration),
}

/// Pumps until both directions have ended and both ends of the stream know it, until either
/// side breaks, or until nothing was moved for `idle_timeout`. Dropping the future resets both.
///
/// Call it within the runtime that polls the future. That lives as long as the stream, so its size
/// counts: an `async fn` has room for its arguments beside what is made of them, and whoever awaits
/// one has room for it twice.
pub fn pump(
    stream: Stream,
    socket: impl Local + 'static,
    end: LocalEnd,
    idle_timeout: Option<Duration>,
) -> BoxFuture<'static, Pumped> {
    // Whatever ends this other than the end of both directions, even the death of the process,
    // closes the socket as a reset.
    socket.reset_on_close(true);
    let (sender, receiver) = stream.split();
    let mut up = Up {
        sender,
        count: 0,
        read_all: false,
        waits_for_stream: false,
    };
    let mut down = Down::new(receiver);
    let mut idle = idle_timeout.map(IdleWatch::new);
    Box::pin(async move {
        let mut broken = Broken::Unwatched;
        let outcome = poll_fn(|cx| {
            if let over @ Poll::Ready(_) = poll_both(&mut up, &mut down, &socket, &mut broken, cx) {
                return over;
            }
            match &mut idle {
                Some(idle) => idle.poll(up.count + down.count, cx),
                None => Poll::Pending,
            }
        })
        .await;
        match &outcome {
            Ok(()) => socket.reset_on_close(false),
            Err(PumpError::Local(error)) => up.sender.reset(end.reset_code(), error.to_string()),
            Err(error @ PumpError::Idle(_)) => {
                up.sender.reset(ResetCode::IdleTimeout, error.to_string());
            }
            Err(PumpError::Stream(_)) => {}
        }
        Pumped {
            sent: up.count,
            received: down.count,
            outcome,
        }
    })
}

/// Ready when the stream is over on both ends. Until then even a pump with nothing left to move
/// watches its socket, so that a late reset is still told.
fn poll_both<'a>(
    up: &mut Up,
    down: &mut Down,
    socket: &'a impl Local,
    broken: &mut Broken<'a>,
    cx: &mut Context<'_>,
) -> Poll<Result<(), PumpError>> {
    let up_ended = up.poll(socket, cx)?.is_ready();
    let down_ended = down.poll(socket, cx)?.is_ready();
    // Asked always: a direction that waits for its socket alone would not hear of a reset.
    if let Poll::Ready(over) = up.sender.poll_over(cx)
        && (over.is_err() || (up_ended && down_ended))
    {
        return Poll::Ready(over.map_err(Into::into));
    }
    // Whoever reads the socket hears of it there.
    if up_ended || up.waits_for_stream {
        broken.poll(socket, cx).map(|error| Err(error.into()))
    } else {
        *broken = Broken::Unwatched;
        Poll::Pending
    }
}

/// The end of a socket that is not read. A stream that is idle reads its socket, and holds no room
/// for this.
enum Broken<'a> {
    Unwatched,
    Watched(BoxFuture<'a, io::Error>),
}

impl<'a> Broken<'a> {
    /// Ready when the socket has broken.
    fn poll(&mut self, socket: &'a impl Local, cx: &mut Context<'_>) -> Poll<io::Error> {
        loop {
            match self {
                Self::Unwatched => *self = Self::Watched(Box::pin(socket.broken())),
                Self::Watched(broken) => return broken.as_mut().poll(cx),
            }
        }
    }
}

/// From the socket to the stream.
struct Up {
    sender: StreamSender,
    count: u64,
    read_all: bool,
    /// The socket is not read because there is no credit.
    waits_for_stream: bool,
}

impl Up {
    /// Ready when the socket has ended and the stream was told.
    fn poll(&mut self, socket: &impl Local, cx: &mut Context<'_>) -> Poll<Result<(), PumpError>> {
        while !self.read_all {
            self.waits_for_stream = true;
            let credit = ready!(self.sender.poll_ready(cx))?;
            self.waits_for_stream = false;
            let chunk = ready!(socket.poll_read(cx, credit))?;
            if chunk.is_empty() {
                self.sender.finish();
                self.read_all = true;
            } else {
                self.count += chunk.len() as u64;
                self.sender.send(chunk);
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// From the stream to the socket.
struct Down {
    receiver: StreamReceiver,
    arrived: ChunkQueue,
    count: u64,
    ended: bool,
    told_socket: bool,
}

impl Down {
    fn new(receiver: StreamReceiver) -> Self {
        Self {
            receiver,
            arrived: ChunkQueue::default(),
            count: 0,
            ended: false,
            told_socket: false,
        }
    }

    /// Ready when the stream has ended and the socket was told.
    fn poll(&mut self, socket: &impl Local, cx: &mut Context<'_>) -> Poll<Result<(), PumpError>> {
        while !self.told_socket {
            let mut stream_waits = self.gather(GATHER, cx)?;
            if !self.arrived.has_remaining() {
                if !self.ended {
                    let _: Poll<()> = socket.poll_flush(cx)?;
                    return Poll::Pending;
                }
                ready!(socket.poll_shutdown(cx))?;
                self.told_socket = true;
                break;
            }
            match socket.poll_write(cx, &mut self.arrived)? {
                Poll::Ready(count) => {
                    self.count += count as u64;
                    self.receiver.consumed(count);
                }
                Poll::Pending => {
                    // Whatever the peer sends is taken off the transport while the socket is full:
                    // it was granted, so it is bounded, and a peer that sends more is noticed.
                    while !stream_waits {
                        stream_waits = self.gather(usize::MAX, cx)?;
                    }
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Takes what has arrived until more than `enough` is waiting; says whether the stream has
    /// nothing more now.
    fn gather(&mut self, enough: usize, cx: &mut Context<'_>) -> Result<bool, Reset> {
        while !self.ended && self.arrived.remaining() < enough {
            let receiver = &mut self.receiver;
            match self
                .arrived
                .append(|chunks| receiver.poll_recv(cx, chunks))?
            {
                Poll::Ready(count) => self.ended = count == 0,
                Poll::Pending => return Ok(true),
            }
        }
        Ok(self.ended)
    }
}
