//! Connections that carry a session: one small trait, and what implements it.
//!
//! A transport moves `Bytes` in both directions of any number of streams, and nothing more. An end
//! or an error of one of its streams means nothing by itself: only the session's control messages
//! end a stream. Its own windows are set so that they never bind before the session's credit does.
//!
//! * [`quic`]: QUIC (RFC 9000), by quinn.
//! * [`tls`]: frames of our own on TLS over TCP.
//! * [`yamux`]: yamux on TLS over TCP.
//! * [`h2`]: HTTP/2 (RFC 9113) on TLS over TCP.
//! * [`over_tcp`]: how two ends agree on one of those that run over TLS on TCP.

pub mod h2;
mod muxed;
pub mod over_tcp;
pub mod quic;
mod secured;
pub mod tls;
pub mod yamux;

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use rustls_pki_types::CertificateDer;

use crate::proto::{CloseCode, ResetCode};

pub use muxed::MuxedConnection;

/// Which transport a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TransportKind {
    /// QUIC over UDP.
    Quic,
    /// Our own frames on TLS over TCP.
    Tls,
    /// yamux on TLS over TCP.
    Yamux,
    /// HTTP/2 on TLS over TCP.
    H2,
}

impl TransportKind {
    /// Its name in configuration, status, logs and metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Quic => "quic",
            Self::Tls => "tls",
            Self::Yamux => "yamux",
            Self::H2 => "h2",
        }
    }

    /// The application protocol by which both ends agree on it (RFC 7301).
    pub fn alpn(self) -> &'static [u8] {
        match self {
            Self::Quic => quic::ALPN,
            Self::Tls => tls::ALPN,
            Self::Yamux => yamux::ALPN,
            Self::H2 => h2::ALPN,
        }
    }
}

impl fmt::Display for TransportKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// What the session will do, from which a transport's own limits follow: they must never bind first.
#[derive(Clone, Copy, Debug)]
pub struct SessionBounds {
    /// How many streams there are at most, of both ends together.
    pub streams: u64,
    /// The largest window of one stream, in bytes.
    pub stream_window: u64,
    /// What all streams may have under way together, in bytes: the base of each, and the budget.
    pub all_windows: u64,
    /// How long the session waits at most before it gives a silent connection up.
    pub patience: Duration,
}

/// A live connection to the peer. Every method can be called from anywhere; the tasks that use a
/// connection live on its session's worker.
pub trait Connection: Send + Sync + fmt::Debug {
    /// Which transport this is.
    fn transport(&self) -> TransportKind;

    /// Where the peer is. May change while the connection lives (QUIC migration).
    fn remote_address(&self) -> SocketAddr;

    /// The transport's estimate of the round trip.
    fn rtt(&self) -> Duration;

    /// How many bytes have arrived on all streams, about: more of them prove that the peer is there, also
    /// while nobody reads them.
    fn arrived(&self) -> u64;

    /// How many acknowledgements the transport has had of its own from the peer, which prove that it
    /// is there although no payload comes through; 0 where they cannot be seen.
    fn acknowledgements(&self) -> u64 {
        0
    }

    /// The certificates that the peer proved, its own first.
    fn peer_certificates(&self) -> Vec<CertificateDer<'static>>;

    /// The name of the key exchange, e.g. `X25519MLKEM768`.
    fn key_exchange(&self) -> String;

    /// Keying material bound to this connection (RFC 8446 §7.5), which both ends derive alike.
    fn export_keying_material(
        &self,
        label: &[u8],
        context: &[u8],
    ) -> Result<[u8; 32], ConnectionLost>;

    /// Opens a stream when the transport has room for one. The peer learns of it with the first
    /// byte sent.
    fn open(&self) -> BoxFuture<'_, Result<TransportStream, ConnectionLost>>;

    /// The peer is about to open so many streams at once. Where it needs this end for that, they are made
    /// ready.
    fn expect(&self, _streams: usize) {}

    /// The next stream that the peer opened. Cancel-safe.
    fn accept(&self) -> BoxFuture<'_, Result<TransportStream, ConnectionLost>>;

    /// Closes at once; what was not yet sent may be lost.
    fn close(&self, code: CloseCode, reason: &str);

    /// Waits until the connection is gone. Cancel-safe.
    fn lost(&self) -> BoxFuture<'_, ConnectionLost>;
}

/// A future of a trait method.
pub type BoxFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The two directions of a transport stream.
#[derive(Debug)]
pub struct TransportStream {
    /// To the peer.
    pub send: Box<dyn SendHalf>,
    /// From the peer.
    pub recv: Box<dyn RecvHalf>,
}

/// The direction to the peer. Dropping it without [`finish`](Self::finish) resets it.
pub trait SendHalf: Send + Sync + fmt::Debug {
    /// Hands over as much of `chunk` as there is room for, and takes it off its front.
    /// Ready when anything was taken.
    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        chunk: &mut Bytes,
    ) -> Poll<Result<(), StreamBroken>>;

    /// Nobody waits to write any more, until [`poll_write`](Self::poll_write) is called again: whoever was
    /// refused and is not about to try again when it is woken must say so, for others wait behind it.
    fn withdraw(&mut self) {}

    /// Nothing more will be written.
    fn finish(&mut self);

    /// Gives up what was not yet delivered.
    fn reset(&mut self, code: ResetCode);

    /// Ahead of all others when there is something to send.
    fn prioritize(&mut self);
}

/// The direction from the peer. Dropping it refuses the rest.
pub trait RecvHalf: Send + Sync + fmt::Debug {
    /// Appends the chunks that have arrived, in order; says how many bytes, 0 at the end.
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        chunks: &mut VecDeque<Bytes>,
    ) -> Poll<Result<usize, StreamBroken>>;

    /// Refuses the rest.
    fn stop(&mut self, code: ResetCode);
}

/// A transport stream that moves no more bytes, for whatever reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the transport stream is gone")]
pub struct StreamBroken;

/// Why a connection is gone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectionLost {
    /// The peer closed it and said why.
    #[error("closed by the peer: {code}{}{message}", if message.is_empty() { "" } else { ": " })]
    ByPeer {
        /// Its reason.
        code: CloseCode,
        /// For people.
        message: String,
    },
    /// This end closed it.
    #[error("closed by this end")]
    Locally,
    /// This end refused the peer in TLS.
    #[error("TLS handshake failed: {message}")]
    TlsHere {
        /// The alert that was sent (RFC 8446 §6).
        alert: u8,
        /// What the TLS library says of it.
        message: String,
    },
    /// The peer refused this end in TLS.
    #[error("TLS handshake refused by the peer: alert {alert}")]
    TlsByPeer {
        /// The alert's number (RFC 8446 §6).
        alert: u8,
    },
    /// Nothing was heard for too long.
    #[error("timed out")]
    TimedOut,
    /// The peer does not know this connection any more: it was restarted.
    #[error("reset by the peer: it was restarted")]
    Reset,
    /// Anything else.
    #[error("{0}")]
    Other(String),
}
