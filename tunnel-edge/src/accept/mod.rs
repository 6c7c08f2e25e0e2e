//! Accepting connections: the loops only hand them to workers.
//!
//! One port number serves every transport: QUIC on UDP, the others on TCP, told apart by ALPN.

mod quic;
mod tcp;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use quinn::EndpointConfig;
use relay::WorkerHandle;
use relay::listen::BindError;
use relay::transport::SessionBounds;
use tokio::sync::Semaphore;

use crate::admit::Admission;
use quic::QuicListener;
use tcp::TcpListener;

/// How often a port is looked for that is free for UDP and TCP, if any port will do.
const TRIES: usize = 16;

/// A bound address that nobody is served at yet.
#[derive(Debug)]
pub(crate) struct TunnelListener {
    quic: QuicListener,
    tcp: TcpListener,
    address: SocketAddr,
}

/// What connections of each transport begin with.
#[derive(Clone, Debug)]
pub(crate) struct TunnelSetup {
    pub(crate) endpoint: EndpointConfig,
    pub(crate) quic: quinn::ServerConfig,
    pub(crate) tls: Arc<rustls::ServerConfig>,
    pub(crate) bounds: SessionBounds,
}

/// Why the tunnel's address cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum TunnelBindError {
    /// Not for UDP.
    #[error("cannot listen on {address} (UDP): {error}; {hint}")]
    Udp {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        error: io::Error,
        /// What may help.
        hint: &'static str,
    },
    /// Not for TCP.
    #[error("{0} (TCP)")]
    Tcp(#[from] BindError),
}

impl TunnelListener {
    /// Binds on `worker`, whose loop will receive what comes first of each connection.
    pub(crate) async fn bind(
        address: SocketAddr,
        setup: TunnelSetup,
        worker: &WorkerHandle,
    ) -> Result<Self, TunnelBindError> {
        let bind = async move {
            let mut tries = 1;
            loop {
                match Self::bind_here(address, &setup) {
                    Err(TunnelBindError::Tcp(BindError::InUse { .. }))
                        if address.port() == 0 && tries < TRIES =>
                    {
                        tries += 1;
                    }
                    bound => return bound,
                }
            }
        };
        let bound = worker.spawn(bind).await;
        bound.expect("binding does not panic and its worker outlives it")
    }

    fn bind_here(address: SocketAddr, setup: &TunnelSetup) -> Result<Self, TunnelBindError> {
        let (endpoint, server) = (setup.endpoint.clone(), setup.quic.clone());
        let udp = QuicListener::bind(address, endpoint, server)
            .and_then(|quic| Ok((quic.address()?, quic)));
        let (address, quic) = udp.map_err(|error| TunnelBindError::Udp {
            address,
            hint: hint(&error),
            error,
        })?;
        let tcp = TcpListener::bind(address, setup.tls.clone(), setup.bounds)?;
        Ok(Self { quic, tcp, address })
    }

    /// Where it listens; the port is the real one if 0 was asked for.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Hands connections to workers, for as long as it is polled. At most `room` handshakes are under
    /// way; further connections wait.
    pub(crate) async fn serve(self, admission: Arc<Admission>, room: Arc<Semaphore>) {
        tokio::join!(
            self.quic.serve(admission.clone(), room.clone()),
            self.tcp.serve(admission, room),
        );
    }
}

fn hint(error: &io::Error) -> &'static str {
    const HINTS: [(io::ErrorKind, &str); 3] = [
        (
            io::ErrorKind::AddrInUse,
            "something else listens there; stop it, or set [listen] tunnel",
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
