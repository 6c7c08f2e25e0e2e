//! The tunnel's UDP socket: QUIC.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use quinn::{Endpoint, EndpointConfig, Incoming, TokioRuntime};
use relay::transport::quic::{QuicConnection, shown_hint, udp_socket};
use relay::transport::{Connection, ConnectionLost};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tracing::Instrument;

use crate::admit::Admission;

/// A bound endpoint that nobody is served at yet.
#[derive(Debug)]
pub(super) struct QuicListener(Endpoint);

impl QuicListener {
    /// The current runtime will receive the packets.
    pub(super) fn bind(
        address: SocketAddr,
        endpoint: EndpointConfig,
        server: quinn::ServerConfig,
    ) -> io::Result<Self> {
        let socket = udp_socket(address)?;
        Endpoint::new(endpoint, Some(server), socket, Arc::new(TokioRuntime)).map(Self)
    }

    pub(super) fn address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// Hands connections to workers, for as long as it is polled. While few handshakes may still begin, connections
    /// must show that their address is theirs.
    pub(super) async fn serve(self, admission: Arc<Admission>, room: Arc<Semaphore>) {
        loop {
            let Some(incoming) = self.0.accept().await else {
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
                let deadline = Instant::now() + admission.handshake_timeout;
                let connecting = connect(incoming);
                async move { admission.admit(connecting, deadline, worker, permit).await }
            };
            worker.spawn(tasks.track_future(admitting.instrument(span)));
        }
    }
}

/// On the worker that it will live on: quinn gives the connection to the runtime that accepts it.
async fn connect(incoming: Incoming) -> Result<Arc<dyn Connection>, ConnectionLost> {
    let connection = incoming.accept()?.await?;
    Ok(Arc::new(QuicConnection::new(connection)))
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
