//! The tcp ingress: each caller is a stream to one service.
//!
//! A session may end, be left or be full between the moment it is found and the moment it is asked
//! for a stream. Then the next session with the cluster is asked, each of them once, and all of them
//! within one deadline.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use relay::descriptors::{Purpose, leave_reserve};
use relay::driver::{OpenRequest, Stream};
use relay::proto::SessionId;
use relay::pump::{Local, LocalEnd, Socket, pump};
use relay::{Caller, OpenError, Session};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use super::arrival::{arrive, is_announced};
use crate::address_limit::{AddressGuard, AddressLimit};

use crate::config::{Ingress, TcpSettings};
use crate::metrics::EdgeMetrics;
use crate::registry::Registry;

/// How long accepting pauses when there is no room for a socket.
const NO_ROOM_PAUSE: Duration = Duration::from_millis(100);

/// A tcp ingress on one listener.
#[derive(Clone, Debug)]
pub(super) struct TcpIngress {
    pub(super) ingress: Ingress,
    pub(super) settings: TcpSettings,
    pub(super) address_limit: AddressLimit,
    /// How long a caller waits for its stream, over however many sessions.
    pub(super) open_deadline: Duration,
    pub(super) registry: Arc<Registry>,
    pub(super) metrics: Arc<EdgeMetrics>,
    pub(super) callers: TaskTracker,
}

/// A caller that may have a stream.
struct Admitted {
    socket: Socket,
    address: SocketAddr,
    /// The sessions that did not open one for it.
    tried: Vec<SessionId>,
    /// When it must have one.
    open_by: Instant,
    /// What it takes until it is over.
    room: (OwnedSemaphorePermit, AddressGuard),
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
        let accepting = Arc::new(self).accept(&listener);
        let _: Option<()> = stop.run_until_cancelled(accepting).await;
    }

    async fn accept(self: Arc<Self>, listener: &TcpListener) {
        let room = Arc::new(Semaphore::new(self.ingress.connections.max));
        loop {
            let Ok(permit) = room.clone().acquire_owned().await else {
                return;
            };
            match listener.accept().await {
                Ok((socket, peer)) if is_announced(peer, &self.ingress.connections) => {
                    leave_reserve(&socket, Purpose::Callers).await;
                    // Nobody else waits for what a proxy has to say.
                    let this = self.clone();
                    let callers = &self.callers;
                    callers.spawn(async move { this.greet(socket, peer, permit).await });
                }
                Ok((socket, peer)) => {
                    leave_reserve(&socket, Purpose::Callers).await;
                    self.greet(socket, peer, permit).await;
                }
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    tracing::warn!(ingress = %self.ingress.name, %error, "cannot accept now");
                    tokio::time::sleep(NO_ROOM_PAUSE).await;
                }
            }
        }
    }

    /// Hands the caller to the worker of its session, or resets it.
    async fn greet(
        self: &Arc<Self>,
        socket: TcpStream,
        peer: SocketAddr,
        permit: OwnedSemaphorePermit,
    ) {
        match arrive(socket, peer, &self.ingress.connections).await {
            Ok((socket, caller)) => self.admit(Socket::Tcp(socket), caller, permit),
            Err(error) => {
                self.metrics
                    .caller(self.ingress.name.as_str(), "proxy_header");
                tracing::warn!(ingress = %self.ingress.name, %peer, %error, "a caller is reset");
            }
        }
    }

    fn admit(self: &Arc<Self>, socket: Socket, address: SocketAddr, permit: OwnedSemaphorePermit) {
        if !self.ingress.callers.admit(address.ip()) {
            return self.turn_away(&socket, address, "not_allowed");
        }
        let Some(counted) = self.address_limit.enter(address.ip()) else {
            return self.turn_away(&socket, address, "too_many_connections");
        };
        let Some(session) = self.registry.find(&self.settings.to.cluster, &[]) else {
            return self.turn_away(&socket, address, "not_connected");
        };
        let caller = Admitted {
            socket,
            address,
            tried: Vec::new(),
            open_by: Instant::now() + self.open_deadline,
            room: (permit, counted),
        };
        self.hand_over(caller, session);
    }

    /// Goes on with the caller on the worker of `session`. That task lives as long as the caller, so
    /// its size counts: what opening a stream takes is in a box that is gone by then.
    fn hand_over(self: &Arc<Self>, caller: Admitted, session: Session) {
        let Admitted {
            socket,
            address,
            tried,
            open_by,
            room,
        } = caller;
        // Through a plain file descriptor: it belongs to the other worker's loop from then on.
        let detached = match socket.detach() {
            Ok(detached) => detached,
            Err(error) => {
                tracing::warn!(%error, "a caller cannot be handed over");
                return;
            }
        };
        let worker = session.worker().clone();
        let this = self.clone();
        let opening = Box::pin(async move {
            let socket = match detached.attach() {
                Ok(socket) => socket,
                Err(error) => {
                    tracing::warn!(%error, "a caller cannot be taken over");
                    return None;
                }
            };
            let caller = Admitted {
                socket,
                address,
                tried,
                open_by,
                room,
            };
            let (stream, caller) = this.open(&session, caller).await?;
            Some(Box::pin(this.relay(stream, caller)))
        });
        worker.spawn(self.callers.track_future(async move {
            if let Some(relaying) = opening.await {
                relaying.await;
            }
        }));
    }

    /// Opens a stream over `session`, or hands the caller on to one that was not tried yet, if there is
    /// time: nothing that the caller has said was sent by an open that failed. Its header may have been,
    /// and then the origin sees a connection that is reset. What the client says of a stream, such as
    /// that it does not expose the service, is final.
    async fn open(
        self: &Arc<Self>,
        session: &Session,
        mut caller: Admitted,
    ) -> Option<(Stream, Admitted)> {
        let open = session.open(self.request(caller.address));
        let error = match timeout_at(caller.open_by, open).await {
            Ok(Ok(stream)) => return Some((stream, caller)),
            Ok(Err(error)) => error,
            Err(_) => OpenError::Timeout,
        };
        caller.tried.push(session.id());
        let (ingress, to) = (&self.ingress.name, &self.settings.to);
        let next = match caller.open_by > Instant::now() {
            true => self.registry.find(&to.cluster, &caller.tried),
            false => None,
        };
        match next {
            Some(next) => {
                tracing::debug!(%ingress, %to, %error, "no stream: another session is tried");
                self.hand_over(caller, next);
            }
            None => {
                tracing::warn!(%ingress, %to, %error, "no stream");
                self.turn_away(&caller.socket, caller.address, "not_opened");
            }
        }
        None
    }

    fn request(&self, caller: SocketAddr) -> OpenRequest {
        OpenRequest {
            service: self.settings.to.service.clone(),
            caller: Caller {
                principal: format!("ingress/{}", self.ingress.name),
                address: Some(caller),
            },
            traceparent: None,
        }
    }

    /// Moves the caller's bytes.
    fn relay(
        self: Arc<Self>,
        stream: Stream,
        caller: Admitted,
    ) -> impl Future<Output = ()> + Send + use<> {
        let Admitted { socket, room, .. } = caller;
        let span = stream.span().clone();
        let pumping = pump(stream, socket, LocalEnd::Caller, self.settings.idle_timeout);
        let relaying = async move {
            let pumped = pumping.await;
            let outcome = match pumped.outcome {
                Ok(()) => "complete",
                Err(_) => "reset",
            };
            self.metrics.caller(self.ingress.name.as_str(), outcome);
            tracing::debug!(ingress = %self.ingress.name, %pumped, "caller over");
            drop(room);
        };
        relaying.instrument(span)
    }

    fn turn_away(&self, socket: &Socket, caller: SocketAddr, why: &'static str) {
        self.metrics.caller(self.ingress.name.as_str(), why);
        tracing::warn!(ingress = %self.ingress.name, to = %self.settings.to, %caller, why, "a caller is reset");
        socket.reset_on_close(true);
    }
}

#[cfg(test)]
mod tests;
