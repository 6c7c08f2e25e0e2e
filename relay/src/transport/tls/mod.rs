//! Frames of our own on TLS over TCP.
//!
//! The session already has credit, ends and resets, so a multiplexer under it needs little more than
//! framing. What remains is to be fast and fair on one ordered pipe:
//!
//! ```text
//! SendHalf ─▶ streams ─(schedule)─▶ batch ─▶ TLS records ─▶ one system call      ┐ carrier,
//! RecvHalf ◀─ streams ◀──(heard)── frames ◀─ TLS records ◀─ 128 KiB at once      ┘ one task
//! ```
//!
//! * [`frame`], `violation`: the bytes on the wire, and what is wrong with others.
//! * `streams`, `heard`, `room`, `schedule`, `arrived`, `table`, `round_trip`: the state, and what changes
//!   it. Pure.
//! * `batch`: frames that become TLS records together.
//! * `carrier`, `shared`, `halves`: the task, and what its users hold.
//! * `lost`: what an error means.
//!
//! Little waits to be sent (256 KiB for all streams, and as little as possible in the kernel), short
//! messages and the control stream pass the bulk of others, and writers wait in line for room. What
//! has arrived waits for its reader without holding up anybody else: it is bounded by what the
//! session has granted, and a peer that sends more is closed.

pub(super) mod arrived;
mod batch;
mod carrier;
pub mod frame;
mod halves;
mod heard;
pub(super) mod lost;
mod room;
pub(super) mod round_trip;
mod schedule;
mod shared;
pub(super) mod socket;
mod streams;
mod table;
#[cfg(test)]
pub(super) mod tests;
mod violation;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustls_pki_types::CertificateDer;
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

use super::secured::{Peer, Secured, keying_material};
use super::{BoxFuture, Connection, ConnectionLost, SessionBounds, TransportKind, TransportStream};
use crate::proto::CloseCode;
use carrier::Carrier;
use shared::Shared;
use streams::Streams;

pub use lost::by_io as lost_by_io;
pub use violation::Violation;

pub(super) use streams::{Limits, Side};

/// The application protocol of a Causeway connection of this kind (RFC 7301).
pub const ALPN: &[u8] = b"causeway-tls/1";

/// A connection after its TLS handshake. Dropping it closes it with `shutdown`, if nobody has
/// closed it before.
pub struct TlsConnection {
    shared: Arc<Shared>,
    peer: Peer,
}

impl TlsConnection {
    /// Starts to carry, in a task on the runtime that this is called on. The task ends by itself
    /// some seconds after the connection does, at most.
    ///
    /// # Errors
    /// If the socket has no peer any more.
    pub fn start(stream: TlsStream<TcpStream>, bounds: SessionBounds) -> io::Result<Self> {
        let Secured {
            socket,
            tls,
            side,
            peer,
        } = Secured::of(stream)?;
        let connection = Self {
            peer,
            shared: Arc::new(Shared::new(tls, Streams::new(side, bounds))),
        };
        tokio::spawn(Carrier::new(socket, connection.shared.clone()));
        Ok(connection)
    }
}

impl Connection for TlsConnection {
    fn transport(&self) -> TransportKind {
        TransportKind::Tls
    }

    fn remote_address(&self) -> SocketAddr {
        self.peer.address
    }

    fn rtt(&self) -> Duration {
        self.shared.with(|streams| streams.round_trip.estimate())
    }

    fn arrived(&self) -> u64 {
        self.shared.arrived.load(Ordering::Relaxed)
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
        keying_material(&self.shared.tls.lock(), label, context)
    }

    fn open(&self) -> BoxFuture<'_, Result<TransportStream, ConnectionLost>> {
        let opened = self.shared.with(Streams::open);
        Box::pin(async { Ok(halves::both(&self.shared, opened?)) })
    }

    fn accept(&self) -> BoxFuture<'_, Result<TransportStream, ConnectionLost>> {
        Box::pin(async {
            let key = self.shared.accept().await?;
            Ok(halves::both(&self.shared, key))
        })
    }

    fn close(&self, code: CloseCode, reason: &str) {
        self.shared
            .with(|streams| streams.close(code, reason, ConnectionLost::Locally));
    }

    fn lost(&self) -> BoxFuture<'_, ConnectionLost> {
        Box::pin(self.shared.lost())
    }
}

impl Drop for TlsConnection {
    fn drop(&mut self) {
        self.close(CloseCode::Shutdown, "");
    }
}

impl fmt::Debug for TlsConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsConnection")
            .field("peer", &self.peer)
            .field("shared", &self.shared)
            .finish_non_exhaustive()
    }
}
