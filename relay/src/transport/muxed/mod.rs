//! What the transports share whose multiplexer others wrote: everything but the multiplexer.
//!
//! ```text
//! SendHalf ─▶ multiplexer ─▶ pipe ─▶ TLS records ─▶ one system call     ┐ driver,
//! RecvHalf ◀─(pump)─ multiplexer ◀─ pipe ◀─ TLS records ◀─ 128 KiB      ┘ one task
//! ```
//!
//! * `pipe`: TLS over TCP, as the multiplexer reads and writes it.
//! * `stream`: one stream, between its holders and the multiplexer.
//! * `words`: frames of the connection itself, for what the multiplexer cannot say.
//! * `driver`, `shared`: the task, and what its users hold.

mod driver;
mod pipe;
mod shared;
mod stream;
#[cfg(test)]
pub(super) mod tests;
mod violation;
mod words;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use rustls_pki_types::CertificateDer;
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

use super::secured::{Peer, Secured, keying_material};
use super::tls::{Limits, Side};
use super::{
    BoxFuture, Connection, ConnectionLost, SessionBounds, StreamBroken, TransportKind,
    TransportStream,
};
use crate::proto::CloseCode;
use driver::Driver;
use pipe::Pipe;
use shared::Shared;

pub(super) use pipe::PipeEnd;
pub(super) use violation::Violation;

/// Carries streams over one pipe. Whoever polls is woken when there is more to do.
pub(super) trait Multiplexer: Send + Unpin + 'static {
    /// One of its streams.
    type Stream: MuxStream;

    /// Does all that can be done at present, until there is something to tell.
    fn poll_drive(&mut self, cx: &mut Context<'_>) -> Poll<Event<Self::Stream>>;

    /// A stream of this end; it is driven with the next `poll_drive`.
    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<Result<Self::Stream, Ended>>;

    /// The peer will open so many streams, and may need this end for that.
    fn expect(&mut self, _streams: usize) {}

    /// The stream on which this end says what concerns the connection: once, before all others.
    fn poll_own_words(&mut self, cx: &mut Context<'_>) -> Poll<Result<Self::Stream, Ended>>;
}

/// What a multiplexer tells.
#[derive(Debug)]
pub(super) enum Event<S> {
    /// The peer has opened a stream.
    Opened(S),
    /// The peer has opened the stream on which it says what concerns the connection.
    Words(S),
    /// The connection cannot go on.
    Ended(Ended),
}

/// Why a multiplexer does not go on.
#[derive(Debug)]
pub(super) enum Ended {
    /// Nothing more can be said.
    Lost(ConnectionLost),
    /// The peer broke the rules.
    Violation(Violation),
    /// There are no numbers left for further streams.
    UsedUp,
}

/// One stream of a multiplexer. Dropping it gives up what is not over.
pub(super) trait MuxStream: Send + Unpin + fmt::Debug + 'static {
    /// Its number, which both ends know it by.
    fn id(&self) -> u32;

    /// What has arrived; none at the end, of whatever kind.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>>;

    /// Takes as much of `chunk` as there is room for off its front.
    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        chunk: &mut Bytes,
    ) -> Poll<Result<(), StreamBroken>>;

    /// Nothing more will be written. Ready when that is with the multiplexer, or of no use.
    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<()>;
}

/// A connection after its TLS handshake. Dropping it closes it with `shutdown`, if nobody has
/// closed it before.
pub struct MuxedConnection {
    kind: TransportKind,
    shared: Arc<Shared>,
    tls: Arc<Mutex<rustls::Connection>>,
    arrived: Arc<AtomicU64>,
    peer: Peer,
}

impl MuxedConnection {
    /// Starts the multiplexer that `make` makes, in a task on the runtime that this is called on.
    /// The task ends by itself some seconds after the connection does, at most.
    pub(super) fn start<M: Multiplexer>(
        kind: TransportKind,
        stream: TlsStream<TcpStream>,
        bounds: SessionBounds,
        make: impl FnOnce(PipeEnd, Side, Limits) -> M,
    ) -> io::Result<Self> {
        let Secured {
            socket,
            tls,
            side,
            peer,
        } = Secured::of(stream)?;
        let limits = Limits::new(bounds);
        let shared = Arc::new(Shared::new(limits));
        let tls = Arc::new(Mutex::new(tls));
        let arrived = Arc::default();
        let pipe = Pipe::new(socket, tls.clone(), Arc::clone(&arrived));
        let pipe = Arc::new(Mutex::new(pipe));
        let multiplexer = make(PipeEnd(pipe.clone()), side, limits);
        tokio::spawn(Driver::new(multiplexer, pipe, shared.clone()));
        Ok(Self {
            kind,
            shared,
            tls,
            arrived,
            peer,
        })
    }
}

impl Connection for MuxedConnection {
    fn transport(&self) -> TransportKind {
        self.kind
    }

    fn remote_address(&self) -> SocketAddr {
        self.peer.address
    }

    /// By pings among the frames of the connection, which wait their turn among the streams: what
    /// they measure is the path and what waits before it, which is what the session's windows have
    /// to cover.
    fn rtt(&self) -> Duration {
        self.shared.with(|state| state.round_trip.estimate())
    }

    fn arrived(&self) -> u64 {
        self.arrived.load(Ordering::Relaxed)
    }

    fn peer_certificates(&self) -> Vec<CertificateDer<'static>> {
        self.peer.certificates.clone()
    }

    fn key_exchange(&self) -> String {
        self.peer.key_exchange.clone()
    }

    fn export_keying_material(
        &self,
        label: &[u8],
        context: &[u8],
    ) -> Result<[u8; 32], ConnectionLost> {
        keying_material(&self.tls.lock(), label, context)
    }

    fn open(&self) -> BoxFuture<'_, Result<TransportStream, ConnectionLost>> {
        Box::pin(self.shared.open())
    }

    fn expect(&self, streams: usize) {
        self.shared.expect(streams);
    }

    fn accept(&self) -> BoxFuture<'_, Result<TransportStream, ConnectionLost>> {
        Box::pin(self.shared.accept())
    }

    fn close(&self, code: CloseCode, reason: &str) {
        self.shared.close(code, reason, ConnectionLost::Locally);
    }

    fn lost(&self) -> BoxFuture<'_, ConnectionLost> {
        Box::pin(self.shared.lost())
    }
}

impl Drop for MuxedConnection {
    fn drop(&mut self) {
        self.close(CloseCode::Shutdown, "");
    }
}

impl fmt::Debug for MuxedConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MuxedConnection")
            .field("kind", &self.kind)
            .field("peer", &self.peer)
            .field("shared", &self.shared)
            .finish_non_exhaustive()
    }
}
