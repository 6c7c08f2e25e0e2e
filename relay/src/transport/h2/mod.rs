//! HTTP/2 (RFC 9113) on TLS over TCP, by the `h2` crate, for networks that let nothing else through.
//!
//! Only an HTTP/2 client can open streams, and a client of ours has to be able to while nobody may
//! dial it: so whoever listens is the HTTP/2 *client*, and whoever dialled the server. A stream is a
//! request whose body goes one way and whose answer's body goes the other.
//!
//! ```text
//! edge (HTTP/2 client)                          client (HTTP/2 server)
//!   │ ── causeway-stream: connection ───────────▶ │ answered at once: frames of the connection
//!   │ ── causeway-stream: open ─────────────────▶ │ answered at once: a stream that the edge opened
//!   │ ── causeway-stream: ahead ────────────────▶ │ answered when the client opens a stream
//! ```
//!
//! * `edge`, `client`: the two ends.
//! * `stream`: a request and its answer, as both directions of a stream.

mod client;
mod edge;
mod stream;
#[cfg(test)]
mod tests;

use std::io;

use http::{HeaderMap, HeaderValue};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

use super::muxed::{Ended, MuxedConnection, Violation};
use super::tls::{Limits, lost};
use super::{ConnectionLost, SessionBounds, TransportKind};
use crate::proto::plain;

/// The application protocol of a Causeway connection of this kind (RFC 9113 §3.2).
pub const ALPN: &[u8] = b"h2";

/// Where every request goes. Nobody looks it up: the server is the one who dialled.
const URI: &str = "https://edge.causeway.invalid/causeway";

/// What a request is for.
const FIELD: &str = "causeway-stream";

/// The most that a flow-control window can be (RFC 9113 §6.9.1).
const MAX_WINDOW: usize = (1 << 31) - 1;

/// How much waits to be sent on one stream, in bytes.
const SEND_BUFFER: usize = 64 << 10;

/// How many small frames may wait to be taken: any number. They are taken with each turn, before
/// which no more is read than a turn allows, and callers who write byte by byte are no attack.
const SMALL_FRAMES: usize = usize::MAX;

/// The fields of a request or an answer, in bytes.
const FIELDS: u32 = 4 << 10;

/// Starts to carry, in a task on the runtime that this is called on. The task ends by itself some
/// seconds after the connection does, at most.
///
/// # Errors
/// If the socket has no peer any more.
pub fn start(stream: TlsStream<TcpStream>, bounds: SessionBounds) -> io::Result<MuxedConnection> {
    let kind = TransportKind::H2;
    match stream {
        TlsStream::Client(_) => MuxedConnection::start(kind, stream, bounds, |pipe, _, limits| {
            client::Client::new(pipe, limits)
        }),
        TlsStream::Server(_) => MuxedConnection::start(kind, stream, bounds, |pipe, _, limits| {
            edge::Edge::new(pipe, limits)
        }),
    }
}

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// Frames of the connection, in both directions.
    Connection,
    /// A stream that the edge opens.
    Open,
    /// A stream for the client to open.
    Ahead,
}

impl Purpose {
    fn word(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Open => "open",
            Self::Ahead => "ahead",
        }
    }

    fn value(self) -> HeaderValue {
        HeaderValue::from_static(self.word())
    }

    fn of(fields: &HeaderMap) -> Option<Self> {
        let said = fields.get(FIELD)?;
        let all = [Self::Connection, Self::Open, Self::Ahead];
        all.into_iter().find(|purpose| said == purpose.word())
    }
}

/// Both windows, wide enough that the session's credit binds first, in bytes.
fn windows(limits: Limits) -> (u32, u32) {
    let window = |bytes: usize| u32::try_from(bytes.min(MAX_WINDOW)).expect("it is below 2³¹");
    (window(limits.one_stream), window(limits.all_streams))
}

/// How many requests may be open at once: those of both ends, and what is still to be forgotten.
/// Our own limits come first.
fn requests(limits: Limits) -> usize {
    limits.streams.saturating_mul(4).min(1 << 30)
}

impl From<h2::Error> for Ended {
    fn from(error: h2::Error) -> Self {
        if let Some(error) = error.get_io() {
            return Self::Lost(lost::by_io(error));
        }
        let what = plain(format!("HTTP/2: {error}"));
        if error.is_remote() {
            Self::Lost(ConnectionLost::Other(what))
        } else {
            Self::Violation(Violation::OfTheMultiplexer(what))
        }
    }
}
