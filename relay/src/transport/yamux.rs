//! yamux on TLS over TCP, by the `yamux` crate.
//!
//! Each end's first stream carries, in one direction, frames of the connection itself: see `muxed`.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::io::AsyncWrite as _;
use futures_util::stream::Stream as _;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt};
use yamux::{Config, ConnectionError, FrameDecodeError, Mode};

use super::muxed::{Ended, Event, Multiplexer, MuxStream, MuxedConnection, PipeEnd, Violation};
use super::tls::{Limits, Side, lost};
use super::{ConnectionLost, SessionBounds, StreamBroken, TransportKind};

/// The application protocol of a Causeway connection of this kind (RFC 7301).
pub const ALPN: &[u8] = b"causeway-yamux/1";

/// What yamux grants each stream at first, and asserts to be within the connection's window.
const FIRST_WINDOW: usize = yamux::DEFAULT_CREDIT as usize;

/// By how much what yamux counts may exceed what we count: it forgets a stream a turn later. Beyond
/// its own limit it would give the connection up, so ours comes first.
const SLACK: usize = 4;

/// How many streams each end can open: every other number of 32 bits, of which yamux leaves the last
/// two unused.
const NUMBERS: u32 = (1 << 31) - 2;

/// Starts to carry, in a task on the runtime that this is called on. The task ends by itself some
/// seconds after the connection does, at most.
///
/// # Errors
/// If the socket has no peer any more.
pub fn start(stream: TlsStream<TcpStream>, bounds: SessionBounds) -> io::Result<MuxedConnection> {
    MuxedConnection::start(TransportKind::Yamux, stream, bounds, Yamux::new)
}

struct Yamux {
    connection: yamux::Connection<Compat<Watched>>,
    gave_up: Arc<AtomicBool>,
    /// The number of the stream on which the peer says what concerns the connection.
    peers_words: u32,
    opened: u32,
}

impl Yamux {
    fn new(pipe: PipeEnd, side: Side, limits: Limits) -> Self {
        let (mode, peers_words) = match side {
            Side::Dialler => (Mode::Client, 2),
            Side::Listener => (Mode::Server, 1),
        };
        let gave_up = Arc::new(AtomicBool::new(false));
        let watched = Watched {
            pipe,
            body: 0,
            gave_up: gave_up.clone(),
        };
        Self {
            connection: yamux::Connection::new(watched.compat(), config(limits), mode),
            gave_up,
            peers_words,
            opened: 0,
        }
    }
}

/// Wide enough that the session's credit binds first: each stream may grow to all that is granted.
fn config(limits: Limits) -> Config {
    let streams = limits.streams.saturating_mul(SLACK);
    let window = streams
        .saturating_mul(FIRST_WINDOW)
        .saturating_add(limits.all_streams);
    let mut config = Config::default();
    config
        .set_max_connection_receive_window(None)
        .set_max_num_streams(streams)
        .set_max_connection_receive_window(Some(window));
    config
}

impl Multiplexer for Yamux {
    type Stream = YamuxStream;

    fn poll_drive(&mut self, cx: &mut Context<'_>) -> Poll<Event<YamuxStream>> {
        let driven = self.connection.poll_next_inbound(cx);
        // It tells the peer and goes on, as if the peer would listen.
        if self.gave_up.swap(false, Ordering::Relaxed) {
            let violation = Violation::OfTheMultiplexer("yamux: it does not keep its rules".into());
            return Poll::Ready(Event::Ended(Ended::Violation(violation)));
        }
        Poll::Ready(match ready!(driven) {
            Some(Ok(stream)) if stream.id().val() == self.peers_words => {
                Event::Words(YamuxStream(stream))
            }
            Some(Ok(mut stream)) => {
                // An empty frame acknowledges it at once: 256 may wait for that, and an answer takes
                // as long as its header. A stream that is new has room for a frame.
                let _ = Pin::new(&mut stream).poll_write(cx, &[]);
                Event::Opened(YamuxStream(stream))
            }
            Some(Err(error)) => Event::Ended(Ended::from(error)),
            None => Event::Ended(Ended::Lost(lost::silently())),
        })
    }

    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<Result<YamuxStream, Ended>> {
        if self.opened == NUMBERS {
            return Poll::Ready(Err(Ended::UsedUp));
        }
        // Pending while the peer has not acknowledged 256 of them. Looked at in every turn, for it is
        // not told when one of those is reset.
        let stream = ready!(self.connection.poll_new_outbound(cx)).map_err(Ended::from)?;
        self.opened += 1;
        Poll::Ready(Ok(YamuxStream(stream)))
    }

    fn poll_own_words(&mut self, cx: &mut Context<'_>) -> Poll<Result<YamuxStream, Ended>> {
        self.poll_open(cx)
    }
}

impl From<ConnectionError> for Ended {
    fn from(error: ConnectionError) -> Self {
        let violation =
            |what: &dyn std::fmt::Display| Violation::OfTheMultiplexer(format!("yamux: {what}"));
        match error {
            ConnectionError::Io(error) | ConnectionError::Decode(FrameDecodeError::Io(error)) => {
                Self::Lost(lost::by_io(&error))
            }
            ConnectionError::Decode(error) => Self::Violation(violation(&error)),
            ConnectionError::NoMoreStreamIds => Self::UsedUp,
            ConnectionError::Closed => Self::Lost(lost::silently()),
            other
            @ (ConnectionError::TooManyStreams | ConnectionError::InvalidWindowUpdate | _) => {
                Self::Lost(ConnectionLost::Other(format!("yamux: {other}")))
            }
        }
    }
}

#[derive(Debug)]
struct YamuxStream(yamux::Stream);

impl MuxStream for YamuxStream {
    fn id(&self) -> u32 {
        self.0.id().val()
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            return Poll::Ready(match ready!(Pin::new(&mut self.0).poll_next(cx)) {
                // A frame that only opens, or only ends.
                Some(Ok(packet)) if packet.as_ref().is_empty() => continue,
                Some(Ok(packet)) => Some(Bytes::from_owner(packet)),
                Some(Err(_)) | None => None,
            });
        }
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        chunk: &mut Bytes,
    ) -> Poll<Result<(), StreamBroken>> {
        let written = ready!(Pin::new(&mut self.0).poll_write(cx, chunk));
        Poll::Ready(match written {
            Ok(count) => {
                // Nothing of it is kept once all of it is taken, though its owner may hold the rest.
                drop(chunk.split_to(count));
                Ok(())
            }
            Err(_) => Err(StreamBroken),
        })
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.0).poll_close(cx).map(drop)
    }
}

/// The pipe, and a look at the headers that yamux writes to it: when it gives the connection up, it
/// says so to the peer and to nobody else.
#[derive(Debug)]
struct Watched {
    pipe: PipeEnd,
    /// What is still to come of the frame whose header was written last, in bytes.
    body: usize,
    gave_up: Arc<AtomicBool>,
}

/// yamux's header: version, kind, flags (2), stream (4), length (4).
const HEADER: usize = 12;
const DATA: u8 = 0;
const GO_AWAY: u8 = 3;

impl AsyncWrite for Watched {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        // It is taken as it is written: a header, a body.
        let count = ready!(Pin::new(&mut this.pipe).poll_write(cx, bytes))?;
        if this.body > 0 {
            this.body = this.body.saturating_sub(count);
        } else if let Some(&[_, kind, _, _, _, _, _, _, l0, l1, l2, l3]) =
            bytes.first_chunk::<HEADER>()
        {
            if kind == DATA {
                this.body = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
            }
            if kind == GO_AWAY {
                this.gave_up.store(true, Ordering::Relaxed);
            }
        }
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().pipe).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().pipe).poll_shutdown(cx)
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().pipe).poll_read(cx, out)
    }
}

#[cfg(test)]
mod tests;
