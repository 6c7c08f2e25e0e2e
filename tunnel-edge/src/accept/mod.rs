//! Accepting connections: the loops only hand them to workers.
//!
//! One port number serves every transport: QUIC on UDP, the others on TCP, told apart by ALPN.

mod quic;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use quinn::EndpointConfig;
use relay::WorkerHandle;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::admit::Admission;
use quic::QuicListener;

/// A bound address that nobody is served at yet.
#[derive(Debug)]
pub(crate) struct TunnelListener {
    quic: QuicListener,
    address: SocketAddr,
}

/// Why the tunnel's address cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} (UDP): {error}; {hint}")]
pub struct TunnelBindError {
    address: SocketAddr,
    error: io::Error,
    hint: &'static str,
}

impl TunnelListener {
    /// Binds on `worker`, whose loop will receive what comes first of each connection.
    pub(crate) async fn bind(
        address: SocketAddr,
        endpoint: EndpointConfig,
        server: quinn::ServerConfig,
        worker: &WorkerHandle,
    ) -> Result<Self, TunnelBindError> {
        let bind = move || {
            let quic = QuicListener::bind(address, endpoint, server)?;
            let address = quic.address()?;
            Ok(Self { quic, address })
        };
        let bound = worker.spawn(async move { bind() }).await;
        bound
            .expect("binding does not panic and its worker outlives it")
            .map_err(|error: io::Error| TunnelBindError {
                address,
                hint: hint(&error),
                error,
            })
    }

    /// Where it listens; the port is the real one if 0 was asked for.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Hands connections to workers until `stop`. At most `room` handshakes are under way; further
    /// connections wait.
    pub(crate) async fn serve(
        self,
        admission: Arc<Admission>,
        room: Arc<Semaphore>,
        stop: CancellationToken,
    ) {
        self.quic.serve(admission, room, stop).await;
    }
}

fn hint(error: &io::Error) -> &'static str {
    const HINTS: [(io::ErrorKind, &str); 3] = [
        (
            io::ErrorKind::AddrInUse,
            "is another causeway running? stop it, or set [listen] tunnel",
        ),
        (
            io::ErrorKind::PermissionDenied,
            "give the edge the right to use that port, or set [listen] tunnel",
        ),
        (
            io::ErrorKind::AddrNotAvailable,
            "use an address of this machine in [listen] tunnel",
        ),
    ];
    let known = HINTS.iter().find(|(kind, _)| *kind == error.kind());
    known.map_or("check [listen] tunnel", |(_, hint)| hint)
}
