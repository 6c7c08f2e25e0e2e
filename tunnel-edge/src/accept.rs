//! Accepting connections: the endpoint's loop only hands them to workers.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use quinn::{Endpoint, EndpointConfig, Incoming, TokioRuntime};
use relay::WorkerHandle;
use relay::transport::quic::{shown_hint, udp_socket};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::admit::Admission;

/// A bound endpoint that nobody is served at yet.
#[derive(Debug)]
pub(crate) struct TunnelListener {
    endpoint: Endpoint,
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
    /// Binds on `worker`, whose loop will receive the packets.
    pub(crate) async fn bind(
        address: SocketAddr,
        endpoint: EndpointConfig,
        server: quinn::ServerConfig,
        worker: &WorkerHandle,
    ) -> Result<Self, TunnelBindError> {
        let bind = move || {
            let socket = udp_socket(address)?;
            let endpoint = Endpoint::new(endpoint, Some(server), socket, Arc::new(TokioRuntime))?;
            let address = endpoint.local_addr()?;
            Ok(Self { endpoint, address })
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
    /// connections wait, and must then show that their address is theirs.
    pub(crate) async fn serve(
        self,
        admission: Arc<Admission>,
        room: Arc<Semaphore>,
        stop: CancellationToken,
    ) {
        let accepting = async {
            loop {
                let Some(incoming) = self.endpoint.accept().await else {
                    return;
                };
                let Ok(permit) = room.clone().acquire_owned().await else {
                    return;
                };
                let busy = room.available_permits() < admission.max_handshakes / 2;
                let Some(incoming) = validated(incoming, busy) else {
                    continue;
                };
                let peer = incoming.remote_address();
                let span = tracing::error_span!("accept", peer.address = %peer);
                let worker = admission.workers.place(shown_hint(&incoming)).clone();
                let admission = admission.clone();
                let tasks = admission.tasks.clone();
                let admitting = {
                    let worker = worker.clone();
                    async move { admission.admit(incoming, worker, permit).await }
                };
                worker.spawn(tasks.track_future(admitting.instrument(span)));
            }
        };
        let _: Option<()> = stop.run_until_cancelled(accepting).await;
        // New connections are refused from now on; live ones go on.
        self.endpoint.set_server_config(None);
        self.endpoint.wait_idle().await;
    }
}

/// When there is little room, a connection must prove its address first (RFC 9000 §8.1.2).
fn validated(incoming: Incoming, busy: bool) -> Option<Incoming> {
    if busy && !incoming.remote_address_validated() && incoming.may_retry() {
        // It has just been checked that this may be done.
        let _ = incoming.retry();
        return None;
    }
    Some(incoming)
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
