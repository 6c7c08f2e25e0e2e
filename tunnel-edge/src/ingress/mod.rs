//! Ingresses: listeners that turn callers into streams, one module for each kind.
//!
//! `Ingresses` opens and closes them as the configuration says. `arrival`: what all callers'
//! connections go through.

mod arrival;
pub mod http;
mod tcp;

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use certs::Label;
use parking_lot::Mutex;
use relay::Workers;
use relay::listen::{BindError, bind_tcp};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::address_limit::AddressLimit;
use crate::config::{HttpSettings, Ingress, IngressKind};
use crate::metrics::EdgeMetrics;
use crate::registry::Registry;
use http::{HttpIngress, HttpIngressConfig, HttpMetrics};
use tcp::TcpIngress;

/// The configuration key that an error tells to change.
const LISTEN_KEY: &str = "[[ingress]] listen";

/// How long opening a stream to an origin may take, without the origin's own connecting.
const OPEN_DEADLINE: Duration = Duration::from_secs(10);

/// All ingresses. Changes with the configuration.
#[derive(Debug)]
pub(crate) struct Ingresses {
    workers: Arc<Workers>,
    registry: Arc<Registry>,
    metrics: Arc<EdgeMetrics>,
    http_metrics: HttpMetrics,
    open: Mutex<Open>,
    callers: TaskTracker,
}

#[derive(Debug, Default)]
struct Open {
    ingresses: HashMap<Label, OpenIngress>,
    sockets: HashMap<SocketKey, std::net::TcpListener>,
}

/// A listening socket outlives a change of its ingress. One on a port that the system chose
/// belongs to its ingress by name, others by their address alone.
type SocketKey = (Option<Label>, SocketAddr);

#[derive(Debug)]
struct OpenIngress {
    ingress: Ingress,
    addresses: Vec<SocketAddr>,
    stop: CancellationToken,
}

/// Ingresses whose listeners are bound, and cloned for everyone who will accept on them.
#[derive(Debug)]
pub(crate) struct PreparedIngresses {
    ingresses: Vec<Ingress>,
    sockets: HashMap<SocketKey, std::net::TcpListener>,
    opening: Vec<Opening>,
}

/// An ingress that is new or changed.
#[derive(Debug)]
struct Opening {
    ingress: Ingress,
    listeners: Vec<Listening>,
}

/// One of its listeners: where it is, and a handle on it for each worker that accepts there.
#[derive(Debug)]
struct Listening {
    address: SocketAddr,
    sockets: Vec<std::net::TcpListener>,
}

impl Ingresses {
    /// None is open yet.
    pub(crate) fn new(
        workers: Arc<Workers>,
        registry: Arc<Registry>,
        metrics: Arc<EdgeMetrics>,
        http_metrics: HttpMetrics,
    ) -> Self {
        Self {
            workers,
            registry,
            metrics,
            http_metrics,
            open: Mutex::default(),
            callers: TaskTracker::new(),
        }
    }

    /// Binds what is new, so that [`Self::commit`] cannot fail.
    ///
    /// # Errors
    /// If a listener cannot be bound, or the process has no more file descriptors.
    pub(crate) fn prepare(&self, ingresses: &[Ingress]) -> Result<PreparedIngresses, BindError> {
        let open = self.open.lock();
        let wanted: Vec<_> = ingresses.iter().flat_map(socket_keys).collect();
        let leaving = open.sockets.iter().filter(|(key, _)| !wanted.contains(key));
        let leaving: Vec<_> = leaving.map(|(_, socket)| socket).collect();
        let mut sockets = HashMap::new();
        for key in wanted {
            if !open.sockets.contains_key(&key) {
                let socket = bind_tcp(key.1, &leaving, LISTEN_KEY)?;
                sockets.insert(key, socket);
            }
        }
        let is_open = |ingress: &&Ingress| {
            let running = open.ingresses.get(&ingress.name);
            running.is_some_and(|running| running.ingress == **ingress)
        };
        let opening = ingresses
            .iter()
            .filter(|ingress| !is_open(ingress))
            .map(|ingress| {
                let listeners = socket_keys(ingress).map(|key| {
                    let socket = sockets.get(&key).unwrap_or_else(|| &open.sockets[&key]);
                    self.listening(ingress, socket)
                        .map_err(|error| BindError::of_listener(key.1, error, LISTEN_KEY))
                });
                Ok(Opening {
                    ingress: ingress.clone(),
                    listeners: listeners.collect::<Result<_, _>>()?,
                })
            })
            .collect::<Result<_, BindError>>()?;
        Ok(PreparedIngresses {
            ingresses: ingresses.to_vec(),
            sockets,
            opening,
        })
    }

    fn listening(
        &self,
        ingress: &Ingress,
        socket: &std::net::TcpListener,
    ) -> io::Result<Listening> {
        // An HTTP caller stays with the worker that accepts it, so every worker accepts; a TCP
        // caller is handed to the worker of its session anyway.
        let acceptors = match ingress.kind {
            IngressKind::Http(_) => self.workers.handles().len(),
            IngressKind::Tcp(_) => 1,
        };
        let sockets = (0..acceptors).map(|_| socket.try_clone());
        Ok(Listening {
            address: socket.local_addr()?,
            sockets: sockets.collect::<io::Result<_>>()?,
        })
    }

    /// Opens what is new or changed and closes what is gone; live callers finish undisturbed.
    pub(crate) fn commit(&self, prepared: PreparedIngresses) {
        let PreparedIngresses {
            ingresses,
            sockets,
            opening,
        } = prepared;
        let mut open = self.open.lock();
        let Open {
            ingresses: running,
            sockets: bound,
        } = &mut *open;
        bound.extend(sockets);
        let wanted: Vec<_> = ingresses.iter().flat_map(socket_keys).collect();
        bound.retain(|key, _| wanted.contains(key));
        running.retain(|_, old| {
            let stays = ingresses.contains(&old.ingress);
            if !stays {
                tracing::info!(ingress = %old.ingress.name, "ingress closed");
                old.stop.cancel();
            }
            stays
        });
        for opening in opening {
            running.insert(opening.ingress.name.clone(), self.open(opening));
        }
    }

    fn open(&self, opening: Opening) -> OpenIngress {
        let Opening { ingress, listeners } = opening;
        let stop = CancellationToken::new();
        let addresses: Vec<_> = listeners
            .iter()
            .map(|listening| listening.address)
            .collect();
        let sockets = listeners.into_iter().map(|listening| listening.sockets);
        match &ingress.kind {
            IngressKind::Tcp(settings) => {
                let tcp = TcpIngress {
                    ingress: ingress.clone(),
                    settings: settings.clone(),
                    address_limit: AddressLimit::new(ingress.connections.max_per_address),
                    open_deadline: OPEN_DEADLINE,
                    registry: self.registry.clone(),
                    metrics: self.metrics.clone(),
                    callers: self.callers.clone(),
                };
                for socket in sockets.flatten() {
                    let serving = tcp.clone().serve(socket, stop.clone());
                    self.workers.first().spawn(serving);
                }
            }
            IngressKind::Http(settings) => {
                let http = self.http(&ingress, settings);
                sockets.for_each(|sockets| self.serve_http(&http, sockets, &stop));
            }
        }
        let listen: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        let (kind, to) = (ingress.kind.as_str(), ingress.kind.leads_to());
        tracing::info!(ingress = %ingress.name, kind, listen = listen.join(", "), to, "ingress open");
        OpenIngress {
            ingress,
            addresses,
            stop,
        }
    }

    fn http(&self, ingress: &Ingress, settings: &HttpSettings) -> Arc<HttpIngress> {
        let registry = self.registry.clone();
        HttpIngress::new(HttpIngressConfig {
            name: ingress.name.to_string(),
            callers: ingress.callers.clone(),
            connections: ingress.connections.clone(),
            settings: settings.clone(),
            lookup: Arc::new(move |cluster, tried| registry.find(cluster, tried)),
            metrics: self.http_metrics.clone(),
        })
    }

    /// Each worker accepts on a handle of its own, so that callers are spread over the cores.
    fn serve_http(
        &self,
        http: &Arc<HttpIngress>,
        sockets: Vec<std::net::TcpListener>,
        stop: &CancellationToken,
    ) {
        for (worker, socket) in self.workers.handles().iter().zip(sockets) {
            let (http, stop) = (http.clone(), stop.clone());
            let serving = async move {
                match tokio::net::TcpListener::from_std(socket) {
                    Ok(listener) => http.serve(listener, stop).await,
                    Err(error) => tracing::error!(%error, "an ingress cannot be served"),
                }
            };
            worker.spawn(self.callers.track_future(serving));
        }
    }

    /// Accepts nobody any more, and waits until the last caller is gone.
    pub(crate) async fn close(&self) {
        for open in self.open.lock().ingresses.values() {
            open.stop.cancel();
        }
        self.open.lock().sockets.clear();
        self.callers.close();
        self.callers.wait().await;
    }

    /// What there is and where it listens, for status; ordered by name.
    pub(crate) fn all(&self) -> Vec<(Ingress, Vec<SocketAddr>)> {
        let open = self.open.lock();
        let mut all: Vec<_> = open
            .ingresses
            .values()
            .map(|open| (open.ingress.clone(), open.addresses.clone()))
            .collect();
        drop(open);
        all.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
        all
    }
}

fn socket_keys(ingress: &Ingress) -> impl Iterator<Item = SocketKey> {
    ingress.listen.iter().map(|address| {
        let owner = (address.port() == 0).then(|| ingress.name.clone());
        (owner, *address)
    })
}
