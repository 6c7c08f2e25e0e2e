//! The tcp ingress: each caller is a stream to one service.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use relay::driver::OpenRequest;
use relay::pump::{Local, LocalEnd, Socket, pump};
use relay::{Caller, Session};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{Ingress, ServiceAddress};
use crate::metrics::EdgeMetrics;
use crate::registry::Registry;

/// How many callers one listener serves at once; further ones wait in the kernel's backlog.
const MAX_CALLERS: usize = 16_384;

/// How long accepting pauses when there is no room for a socket.
const NO_ROOM_PAUSE: Duration = Duration::from_millis(100);

/// A tcp ingress on one listener.
#[derive(Clone, Debug)]
pub(super) struct TcpIngress {
    pub(super) ingress: Ingress,
    pub(super) to: ServiceAddress,
    pub(super) registry: Arc<Registry>,
    pub(super) metrics: Arc<EdgeMetrics>,
    pub(super) callers: TaskTracker,
}

impl TcpIngress {
    /// Accepts until `stop`; callers that were accepted go on.
    pub(super) async fn serve(self, socket: std::net::TcpListener, stop: CancellationToken) {
        let listener = match TcpListener::from_std(socket) {
            Ok(listener) => listener,
            Err(error) => {
                tracing::error!(ingress = %self.ingress.name, %error, "an ingress cannot be served");
                return;
            }
        };
        let _: Option<()> = stop.run_until_cancelled(self.accept(&listener)).await;
    }

    async fn accept(&self, listener: &TcpListener) {
        let room = Arc::new(Semaphore::new(MAX_CALLERS));
        loop {
            let Ok(permit) = room.clone().acquire_owned().await else {
                return;
            };
            match listener.accept().await {
                Ok((socket, address)) => self.admit(socket, address, permit),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    tracing::warn!(ingress = %self.ingress.name, %error, "cannot accept now");
                    tokio::time::sleep(NO_ROOM_PAUSE).await;
                }
            }
        }
    }

    /// Hands the caller to the worker of its session, or resets it.
    fn admit(&self, socket: TcpStream, address: SocketAddr, permit: OwnedSemaphorePermit) {
        // Small writes of interactive protocols go out at once.
        let _ = socket.set_nodelay(true);
        let socket = Socket::Tcp(socket);
        if !self.ingress.callers.admit(address.ip()) {
            return self.turn_away(&socket, address, "not_allowed");
        }
        let Some(session) = self.registry.find(&self.to.cluster) else {
            return self.turn_away(&socket, address, "not_connected");
        };
        let worker = session.worker().clone();
        let this = self.clone();
        // Through a plain file descriptor: it belongs to the other worker's loop from then on.
        let detached = match socket.detach() {
            Ok(detached) => detached,
            Err(error) => {
                tracing::warn!(%error, "a caller cannot be handed over");
                return;
            }
        };
        worker.spawn(self.callers.track_future(async move {
            let _permit = permit;
            match detached.attach() {
                Ok(socket) => this.relay(&session, socket, address).await,
                Err(error) => tracing::warn!(%error, "a caller cannot be taken over"),
            }
        }));
    }

    async fn relay(&self, session: &Session, socket: Socket, address: SocketAddr) {
        let request = OpenRequest {
            service: self.to.service.clone(),
            caller: Caller {
                principal: format!("ingress/{}", self.ingress.name),
                address: Some(address),
            },
            traceparent: None,
        };
        let stream = match session.open(request).await {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!(ingress = %self.ingress.name, to = %self.to, %error, "no stream");
                return self.turn_away(&socket, address, "not_opened");
            }
        };
        let id = stream.id();
        let pumped = pump(stream, socket, LocalEnd::Caller).await;
        let outcome = match pumped.outcome {
            Ok(()) => "complete",
            Err(_) => "reset",
        };
        self.metrics.caller(self.ingress.name.as_str(), outcome);
        tracing::debug!(ingress = %self.ingress.name, to = %self.to, stream = %id, %pumped, "caller over");
    }

    fn turn_away(&self, socket: &Socket, caller: SocketAddr, why: &'static str) {
        self.metrics.caller(self.ingress.name.as_str(), why);
        tracing::warn!(ingress = %self.ingress.name, to = %self.to, %caller, why, "a caller is reset");
        socket.reset_on_close(true);
    }
}
