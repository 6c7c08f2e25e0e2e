//! Accepting connections: the endpoint's loop only hands them to workers.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use quinn::{Endpoint, EndpointConfig, Incoming, TokioRuntime};
use relay::WorkerHandle;
use relay::transport::quic::shown_hint;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::admit::Admission;

/// The socket's buffers; the kernel grants less if its own limit is lower.
const UDP_BUFFER: usize = 4 << 20;

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
                let Ok(permit) = room.clone().acquire_owned().await else {
                    return;
                };
                let Some(incoming) = self.endpoint.accept().await else {
                    return;
                };
                let busy = room.available_permits() < admission.max_handshakes / 2;
                let Some(incoming) = validated(incoming, busy) else {
                    continue;
                };
                let worker = admission.workers.place(shown_hint(&incoming)).clone();
                let admission = admission.clone();
                worker.clone().spawn(async move {
                    admission.admit(incoming, worker, permit).await;
                });
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

fn udp_socket(address: SocketAddr) -> io::Result<std::net::UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        socket.set_only_v6(false)?;
    }
    // Smaller buffers lose packets under load but work.
    let _ = socket.set_recv_buffer_size(UDP_BUFFER);
    let _ = socket.set_send_buffer_size(UDP_BUFFER);
    socket.bind(&address.into())?;
    Ok(socket.into())
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
