//! Local listeners that lead to the edge's upstreams.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use relay::driver::{OpenError, OpenRequest, Stream};
use relay::listen::{BindError, Listener};
use relay::pump::{LocalEnd, Socket, pump, tune};
use relay::settings::ListenAddr;
use relay::transport::BoxFuture;
use relay::{Caller, ServiceName, WorkerHandle};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::config::{CallerSockets, Forward};
use crate::link::Link;
use crate::metrics::ClientMetrics;

/// How long a caller waits for a session before it is reset.
const SESSION_WAIT: Duration = Duration::from_secs(10);

/// How many callers a client serves at once; further ones wait in the kernel's backlog.
pub(crate) const MAX_CALLERS: usize = 16_384;

/// All forwards. Changes with the configuration.
#[derive(Debug)]
pub(crate) struct Forwards {
    worker: WorkerHandle,
    link: Arc<Link>,
    metrics: Arc<ClientMetrics>,
    open: Mutex<HashMap<Key, OpenForward>>,
    callers: TaskTracker,
    room: Arc<Semaphore>,
}

/// A listener outlives a change of what it leads to. One on a port that the system chose belongs to
/// its service, others to their address alone.
type Key = (Option<ServiceName>, ListenAddr);

/// Listeners that are bound and not yet served.
#[derive(Debug)]
pub(crate) struct PreparedForwards {
    wanted: HashMap<Key, Destination>,
    bound: Vec<(Key, Arc<Listener>)>,
}

/// Where callers go, and how their connections are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Destination {
    service: ServiceName,
    sockets: CallerSockets,
}

#[derive(Debug)]
struct OpenForward {
    address: ListenAddr,
    /// Callers that are accepted from now on go there.
    destination: watch::Sender<Destination>,
    /// For whoever listens in its place. It is kept by the task that accepts.
    listener: Weak<Listener>,
    stop: CancellationToken,
}

impl Forwards {
    pub(crate) fn new(worker: WorkerHandle, link: Arc<Link>, metrics: Arc<ClientMetrics>) -> Self {
        Self {
            worker,
            link,
            metrics,
            open: Mutex::default(),
            callers: TaskTracker::new(),
            room: Arc::new(Semaphore::new(MAX_CALLERS)),
        }
    }

    /// Binds what is new, so that [`Self::commit`] cannot fail.
    ///
    /// # Errors
    /// If a listener cannot be bound.
    pub(crate) async fn prepare(
        &self,
        forwards: &[Forward],
    ) -> Result<PreparedForwards, BindError> {
        let wanted: HashMap<Key, Destination> = forwards
            .iter()
            .flat_map(|forward| {
                let destination = Destination {
                    service: forward.service.clone(),
                    sockets: forward.sockets,
                };
                let entry = move |listen: &ListenAddr| (key(forward, listen), destination.clone());
                forward.listen.iter().map(entry)
            })
            .collect();
        let leaving: Vec<_> = {
            let open = self.open.lock();
            let leaving = open.iter().filter(|(key, _)| !wanted.contains_key(*key));
            leaving
                .filter_map(|(_, forward)| forward.listener.upgrade())
                .collect()
        };
        let mut bound = Vec::new();
        for key in wanted.keys() {
            if !self.open.lock().contains_key(key) {
                bound.push((key.clone(), self.bind(&key.1, leaving.clone()).await?));
            }
        }
        Ok(PreparedForwards { wanted, bound })
    }

    /// Opens what is new and closes what is gone; callers of what is closed finish undisturbed.
    pub(crate) fn commit(&self, prepared: PreparedForwards) {
        let PreparedForwards { wanted, bound } = prepared;
        let mut open = self.open.lock();
        open.retain(|key, forward| {
            let Some(destination) = wanted.get(key) else {
                tracing::info!(listen = %forward.address, "forward closed");
                forward.stop.cancel();
                return false;
            };
            forward.destination.send_if_modified(|current| {
                let changed = current != destination;
                current.clone_from(destination);
                changed
            });
            true
        });
        for (key, listener) in bound {
            let (destination, destinations) = watch::channel(wanted[&key].clone());
            let forward = OpenForward {
                address: listener.address(),
                destination,
                listener: Arc::downgrade(&listener),
                stop: CancellationToken::new(),
            };
            let service = &wanted[&key].service;
            tracing::info!(%service, listen = %forward.address, "forward open");
            self.accept(destinations, listener, forward.stop.clone());
            open.insert(key, forward);
        }
    }

    /// Listens no more, and waits until the last caller is gone.
    pub(crate) async fn close(&self) {
        for forward in self.open.lock().values() {
            forward.stop.cancel();
        }
        self.callers.close();
        self.callers.wait().await;
    }

    /// What listens where, for status.
    pub(crate) fn addresses(&self) -> Vec<(ServiceName, ListenAddr)> {
        let open = self.open.lock();
        let mut all: Vec<_> = open
            .values()
            .map(|forward| {
                let service = forward.destination.borrow().service.clone();
                (service, forward.address.clone())
            })
            .collect();
        all.sort();
        all
    }

    /// On the worker, whose loop will wait for callers.
    async fn bind(
        &self,
        address: &ListenAddr,
        leaving: Vec<Arc<Listener>>,
    ) -> Result<Arc<Listener>, BindError> {
        let address = address.clone();
        let bind = move || Listener::bind_beside(&address, &leaving, "[[forward]] listen");
        self.worker
            .spawn(async move { bind().map(Arc::new) })
            .await
            .expect("binding does not panic and its worker outlives it")
    }

    fn accept(
        &self,
        destinations: watch::Receiver<Destination>,
        listener: Arc<Listener>,
        stop: CancellationToken,
    ) {
        let (link, metrics) = (self.link.clone(), self.metrics.clone());
        let (callers, room) = (self.callers.clone(), self.room.clone());
        let accepting = async move {
            loop {
                let Ok(permit) = room.clone().acquire_owned().await else {
                    return;
                };
                let (socket, address) = listener.accept_caller().await;
                let destination = destinations.borrow().clone();
                if let Socket::Tcp(socket) = &socket {
                    tune(socket, destination.sockets.keepalive);
                }
                let (link, metrics) = (link.clone(), metrics.clone());
                // The task lives as long as its caller, so its size counts: what opening a stream
                // takes is in a box that is gone by then.
                let connecting = Box::pin(connect(link, metrics, destination, address, socket));
                callers.spawn(async move {
                    if let Some(relaying) = connecting.await {
                        relaying.await;
                    }
                    drop(permit);
                });
            }
        };
        self.worker
            .spawn(async move { stop.run_until_cancelled(accepting).await });
    }
}

fn key(forward: &Forward, listen: &ListenAddr) -> Key {
    let owner = (!listen.is_fixed()).then(|| forward.service.clone());
    (owner, listen.clone())
}

/// Opens a stream for a caller; what is answered moves the caller's bytes.
async fn connect(
    link: Arc<Link>,
    metrics: Arc<ClientMetrics>,
    destination: Destination,
    address: Option<SocketAddr>,
    socket: Socket,
) -> Option<BoxFuture<'static, ()>> {
    let Destination { service, sockets } = destination;
    let request = OpenRequest {
        service: service.clone(),
        caller: Caller {
            principal: format!("forward/{service}"),
            address,
        },
        traceparent: None,
    };
    let stream = match open(&link, request).await {
        Ok(stream) => stream,
        Err(NotOpened::NoSession) => {
            metrics.forwarded("no_session");
            tracing::warn!(%service, "a caller is reset: no session with an edge");
            reset(&socket);
            return None;
        }
        Err(NotOpened::NoStream(error)) => {
            metrics.forwarded("not_opened");
            tracing::warn!(%service, %error, "a caller is reset: no stream");
            reset(&socket);
            return None;
        }
    };
    let span = stream.span().clone();
    let pumping = pump(stream, socket, LocalEnd::Caller, sockets.idle_timeout);
    let relaying = async move {
        let pumped = pumping.await;
        metrics.forwarded(match pumped.outcome {
            Ok(()) => "complete",
            Err(_) => "reset",
        });
        tracing::debug!(%pumped, "caller over");
    };
    Some(Box::pin(relaying.instrument(span)))
}

/// Why a caller has no stream.
enum NotOpened {
    NoSession,
    NoStream(OpenError),
}

/// A stream in any session, and in the next one if a session ends or is left at this very moment:
/// nothing of an open that failed was sent that could have had an effect.
async fn open(link: &Link, request: OpenRequest) -> Result<Stream, NotOpened> {
    let deadline = Instant::now() + SESSION_WAIT;
    let mut tried = Vec::new();
    let mut failed = NotOpened::NoSession;
    loop {
        let Ok(session) = timeout_at(deadline, link.session(&tried)).await else {
            return Err(failed);
        };
        let error = match session.open(request.clone()).await {
            Ok(stream) => return Ok(stream),
            Err(error) => error,
        };
        failed = NotOpened::NoStream(error);
        tried.push(session.id());
        match error {
            OpenError::SessionClosed | OpenError::Draining => {}
            // It had its time. Another session need not be as full, if there is one.
            OpenError::TooManyStreams | OpenError::Timeout => {
                if link.session_now(&tried).is_none() {
                    return Err(failed);
                }
            }
        }
    }
}

fn reset(socket: &Socket) {
    relay::pump::Local::reset_on_close(socket, true);
}
