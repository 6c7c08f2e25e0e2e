//! The tunnel's TCP socket: every transport over TLS.
//!
//! ```text
//! accept ──▶ ClientHello ──▶ to the worker that it names ──▶ TLS ──▶ admission
//! ```

use std::net::SocketAddr;
use std::sync::Arc;

use relay::descriptors::{Purpose, leave_reserve};
use relay::listen::{BindError, Listener};
use relay::pump::Socket;
use relay::settings::ListenAddr;
use relay::transport::over_tcp::{carry, shown_hint};
use relay::transport::tls::lost_by_io;
use relay::transport::{Connection, ConnectionLost, SessionBounds};
use rustls::server::{Accepted, Acceptor};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::{LazyConfigAcceptor, StartHandshake, TlsStream};
use tracing::Instrument;

use crate::admit::{Admission, NotAdmitted};

/// A bound listener that nobody is served at yet.
#[derive(Debug)]
pub(super) struct TcpListener {
    listener: Listener,
    tls: Arc<rustls::ServerConfig>,
    bounds: SessionBounds,
}

impl TcpListener {
    /// The current runtime will accept.
    pub(super) fn bind(
        address: SocketAddr,
        tls: Arc<rustls::ServerConfig>,
        bounds: SessionBounds,
    ) -> Result<Self, BindError> {
        let listener = Listener::bind(&ListenAddr::Ip(address), "[listen] tunnel")?;
        Ok(Self {
            listener,
            tls,
            bounds,
        })
    }

    /// Hands connections to workers, for as long as it is polled.
    pub(super) async fn serve(self, admission: Arc<Admission>, room: Arc<Semaphore>) {
        loop {
            let Ok(permit) = room.clone().acquire_owned().await else {
                return;
            };
            // A listener at an IP address has no callers of another kind.
            let (Socket::Tcp(socket), Some(peer)) = self.listener.accept().await else {
                continue;
            };
            leave_reserve(&socket, Purpose::Tunnels).await;
            let span = tracing::error_span!("accept", peer.address = %peer);
            let (tls, bounds) = (self.tls.clone(), self.bounds);
            let greeting = greet(admission.clone(), socket, tls, bounds, permit);
            tokio::spawn(admission.tasks.track_future(greeting.instrument(span)));
        }
    }
}

/// Reads who is wanted, where the socket was accepted, and hands it on.
async fn greet(
    admission: Arc<Admission>,
    socket: TcpStream,
    tls: Arc<rustls::ServerConfig>,
    bounds: SessionBounds,
    permit: OwnedSemaphorePermit,
) {
    let deadline = Instant::now() + admission.handshake_timeout;
    let hello = LazyConfigAcceptor::new(Acceptor::default(), socket);
    let hello = match timeout_at(deadline, hello).await {
        Ok(Ok(hello)) => hello,
        Ok(Err(error)) => return admission.count_stranger(&lost_by_io(&error).into()),
        Err(_) => return admission.count_stranger(&NotAdmitted::Timeout),
    };
    let hint = hello.client_hello().alpn().and_then(shown_hint);
    let worker = admission.workers.place(hint).clone();
    let StartHandshake { accepted, io, .. } = hello;
    // It belongs to the event loop here, until it is taken out.
    let socket = match io.into_std() {
        Ok(socket) => socket,
        Err(error) => return admission.count_stranger(&lost_by_io(&error).into()),
    };
    let connecting = connect(accepted, socket, tls, bounds);
    let tasks = admission.tasks.clone();
    let admitting = admission.admit(connecting, deadline, worker.clone(), permit);
    worker.spawn(tasks.track_future(admitting.in_current_span()));
}

/// On the worker that the connection will live on.
async fn connect(
    accepted: Accepted,
    socket: std::net::TcpStream,
    tls: Arc<rustls::ServerConfig>,
    bounds: SessionBounds,
) -> Result<Arc<dyn Connection>, ConnectionLost> {
    let finish = async {
        let socket = TcpStream::from_std(socket)?;
        socket.set_nodelay(true)?;
        StartHandshake::from_parts(accepted, socket)
            .into_stream(tls)
            .await
    };
    let stream = finish.await.map_err(|error| lost_by_io(&error))?;
    carry(TlsStream::Server(stream), bounds)
}
