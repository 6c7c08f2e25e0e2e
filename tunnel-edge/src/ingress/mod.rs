//! Ingresses: listeners that turn callers into streams, one module for each kind.
//!
//! [`Ingresses`] opens and closes them as the configuration says.

pub mod http;
mod tcp;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use certs::Label;
use parking_lot::Mutex;
use relay::Workers;
use relay::listen::{BindError, bind_tcp};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{HttpRoute, Ingress, IngressKind};
use crate::metrics::EdgeMetrics;
use crate::registry::Registry;
use http::{HttpIngress, HttpIngressConfig, HttpMetrics, Route};
use tcp::TcpIngress;

/// The configuration key that an error tells to change.
const LISTEN_KEY: &str = "[[ingress]] listen";

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

/// Ingresses whose listeners are bound.
#[derive(Debug)]
pub(crate) struct PreparedIngresses {
    ingresses: Vec<Ingress>,
    sockets: HashMap<SocketKey, std::net::TcpListener>,
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

    /// Binds what is new, so that [`Self::commit`] has only to serve.
    ///
    /// # Errors
    /// If a listener cannot be bound.
    pub(crate) fn prepare(&self, ingresses: &[Ingress]) -> Result<PreparedIngresses, BindError> {
        let open = self.open.lock();
        let mut sockets = HashMap::new();
        for key in ingresses.iter().flat_map(socket_keys) {
            if !open.sockets.contains_key(&key) {
                let socket = bind_tcp(key.1, LISTEN_KEY)?;
                sockets.insert(key, socket);
            }
        }
        Ok(PreparedIngresses {
            ingresses: ingresses.to_vec(),
            sockets,
        })
    }

    /// Opens what is new or changed and closes what is gone; live callers finish undisturbed.
    pub(crate) fn commit(&self, prepared: PreparedIngresses) -> io::Result<()> {
        let PreparedIngresses { ingresses, sockets } = prepared;
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
        for ingress in ingresses {
            if let Entry::Vacant(vacant) = running.entry(ingress.name.clone()) {
                vacant.insert(self.open(&ingress, bound)?);
            }
        }
        Ok(())
    }

    fn open(
        &self,
        ingress: &Ingress,
        bound: &HashMap<SocketKey, std::net::TcpListener>,
    ) -> io::Result<OpenIngress> {
        let stop = CancellationToken::new();
        let mut addresses = Vec::new();
        let http = match &ingress.kind {
            IngressKind::Http(route) => Some(self.http(ingress, route)),
            IngressKind::Tcp(_) => None,
        };
        for key in socket_keys(ingress) {
            let socket = &bound[&key];
            addresses.push(socket.local_addr()?);
            match (&ingress.kind, &http) {
                (IngressKind::Tcp(to), _) => {
                    let tcp = TcpIngress {
                        ingress: ingress.clone(),
                        to: to.clone(),
                        registry: self.registry.clone(),
                        metrics: self.metrics.clone(),
                        callers: self.callers.clone(),
                    };
                    let (socket, stop) = (socket.try_clone()?, stop.clone());
                    self.workers.first().spawn(tcp.serve(socket, stop));
                }
                (IngressKind::Http(_), Some(http)) => {
                    self.serve_http(http, ingress, socket, &stop)?
                }
                (IngressKind::Http(_), None) => unreachable!("an http ingress was made above"),
            }
        }
        let listen: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        tracing::info!(ingress = %ingress.name, kind = ingress.kind.as_str(), listen = listen.join(", "), to = ingress.kind.leads_to(), "ingress open");
        Ok(OpenIngress {
            ingress: ingress.clone(),
            addresses,
            stop,
        })
    }

    fn http(&self, ingress: &Ingress, route: &HttpRoute) -> Arc<HttpIngress> {
        let registry = self.registry.clone();
        HttpIngress::new(HttpIngressConfig {
            name: ingress.name.to_string(),
            route: match route {
                HttpRoute::Pattern(pattern) => Route::Pattern(pattern.clone()),
                HttpRoute::Fixed(to) => Route::Fixed(to.cluster.clone(), to.service.clone()),
            },
            lookup: Arc::new(move |cluster| registry.find(cluster)),
            metrics: self.http_metrics.clone(),
        })
    }

    /// Every worker accepts, so that callers are spread over the cores.
    fn serve_http(
        &self,
        http: &Arc<HttpIngress>,
        ingress: &Ingress,
        socket: &std::net::TcpListener,
        stop: &CancellationToken,
    ) -> io::Result<()> {
        for worker in self.workers.handles() {
            let (http, stop, callers) = (http.clone(), stop.clone(), ingress.callers.clone());
            let socket = socket.try_clone()?;
            let serving = async move {
                match tokio::net::TcpListener::from_std(socket) {
                    Ok(listener) => {
                        let allow = move |caller: SocketAddr| callers.admit(caller.ip());
                        http.serve(listener, allow, stop).await;
                    }
                    Err(error) => tracing::error!(%error, "an ingress cannot be served"),
                }
            };
            worker.spawn(self.callers.track_future(serving));
        }
        Ok(())
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
