//! The http ingress: callers speak HTTP/1.1 or HTTP/2 to the edge, each request is routed by its
//! host to a service of a cluster, and goes there over a connection that is kept for the next.
//!
//! ```text
//! caller ──TCP──▶ accept ──▶ request ──▶ origin ──stream of a session──▶ client ──▶ service
//!                (serve)    (route,     (pools,                          (byte pump)
//!                            headers)    one hyper connection each)
//! ```
//!
//! * `serve`, `caller`: accepting, deadlines and limits of callers' connections.
//! * `request`: one request, from its head to its answer. `route`: which service it is for.
//!   `provenance`: whose it is, and what the origin is told of that; `forwarding`: reading what proxies
//!   say. `headers`, `failure`, `grpc`: what becomes of the head, and what a caller is told, in its
//!   words, when there is no answer.
//! * `origin`, `pool`: connections to origins. `link`: the only place that touches the tunnel.
//! * `replay`: what is kept of a request for a second attempt, and when there is one.
//! * `body`: bodies, streamed in both directions; `upload`: those of requests. `trailers`: what may follow
//!   them.
//! * `switch`: asking for WebSocket and other protocols, in each version's own way; `websocket`:
//!   keys. `upgrade`: the bytes afterwards.
//! * `stall`: how long a body may be withheld. `limits`: every number, with its reason. `metrics`: what is counted.
//!
//! # What holds
//!
//! * Nothing is collected: whoever does not read makes the other end stop writing, alone.
//! * What broke off never looks complete: HTTP/1.1 callers see the connection cut before the
//!   length or the last chunk (HTTP/1.0 callers a reset), HTTP/2 callers RST_STREAM; origins the
//!   same in the other direction.
//! * A caller that hangs up ends its request at the origin.
//! * What the origin learns about the caller (`Forwarded`, `X-Forwarded-For`, `-Host`, `-Proto`)
//!   is what the edge saw or a trusted proxy said, never what the caller said.
//!
//! # Limits of this version
//!
//! Callers connect in the clear. CONNECT is refused, but for extended CONNECT (RFC 8441).
//! 1xx answers other than 100 and 101 are not passed on: hyper's server cannot send them. A 100 is
//! given to HTTP/1.1 callers when an HTTP/1.1 origin gives it (or says nothing for
//! `CONTINUE_WAIT`), with an HTTP/2 origin when the tunnel begins to take the body; never to HTTP/2
//! callers, whose body then waits for the origin all the same. Trailers toward HTTP/1.1 must be announced by `Trailer`.

mod body;
mod caller;
mod failure;
mod forwarding;
mod grpc;
mod headers;
mod limits;
mod link;
mod metrics;
mod origin;
mod pool;
mod provenance;
mod replay;
mod request;
mod route;
mod serve;
mod stall;
mod switch;
mod tasks;
mod trace;
mod trailers;
mod upgrade;
mod upload;
mod websocket;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use certs::ClusterId;
use relay::{Session, SessionId};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use self::limits::REFUSALS;
use self::link::{Link, LinkId};
use self::metrics::IngressMetrics;
use self::origin::Origins;
use crate::address_limit::AddressLimit;
use crate::config::{Callers, Connections, HttpSettings};

pub use self::metrics::HttpMetrics;

/// Finds a live session with a cluster, but for those that were tried.
pub type Lookup = Arc<dyn Fn(&ClusterId, &[SessionId]) -> Option<Session> + Send + Sync>;

/// What an [`HttpIngress`] is made of.
pub struct HttpIngressConfig {
    /// Its name in metrics, and in the caller principal `ingress/<name>` that clients see.
    pub name: String,
    /// Who may call.
    pub callers: Callers,
    /// What holds for their connections.
    pub connections: Connections,
    /// Where requests go, which proxies are believed, and limits.
    pub settings: HttpSettings,
    /// Where sessions are found.
    pub lookup: Lookup,
    /// Where it counts.
    pub metrics: HttpMetrics,
}

impl fmt::Debug for HttpIngressConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpIngressConfig")
            .field("name", &self.name)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// A listener that turns HTTP requests into requests to services.
pub struct HttpIngress {
    name: String,
    callers: Callers,
    connections: Connections,
    settings: HttpSettings,
    lookup: LinkLookup,
    metrics: Arc<IngressMetrics>,
    origins: Arc<Origins>,
    permits: Arc<Semaphore>,
    /// For callers that are only told that they have too many connections.
    refusals: Semaphore,
    address_limit: AddressLimit,
}

type LinkLookup = Box<dyn Fn(&ClusterId, &[LinkId]) -> Option<Link> + Send + Sync>;

impl HttpIngress {
    /// An ingress that does not listen yet.
    #[must_use]
    pub fn new(config: HttpIngressConfig) -> Arc<Self> {
        let lookup = config.lookup.clone();
        let links = Box::new(move |cluster: &ClusterId, tried: &[LinkId]| {
            let tried: Vec<_> = tried.iter().filter_map(LinkId::session).collect();
            lookup(cluster, &tried).map(Link::Tunnel)
        });
        Self::over_links(config, links)
    }

    fn over_links(config: HttpIngressConfig, lookup: LinkLookup) -> Arc<Self> {
        let HttpIngressConfig {
            name,
            callers,
            connections,
            settings,
            lookup: _,
            metrics,
        } = config;
        let metrics = metrics.ingress(&name);
        Arc::new(Self {
            origins: Origins::new(format!("ingress/{name}"), metrics.clone()),
            permits: Arc::new(Semaphore::new(connections.max)),
            refusals: Semaphore::new(REFUSALS),
            address_limit: AddressLimit::new(connections.max_per_address),
            name,
            callers,
            connections,
            settings,
            lookup,
            metrics,
        })
    }

    /// Accepts callers until `stop`, then finishes what they have begun and returns.
    ///
    /// Callers that are not let in are answered 403. After `stop`, HTTP/1.1
    /// connections close behind their current answer, HTTP/2 ones say GOAWAY; upgraded ones last
    /// until an end ends them. Whoever calls this bounds that time: dropping the future cuts what
    /// is left.
    ///
    /// May run several times at once, each with a listener of its own and on any thread: the
    /// connections to origins and the limit of connections are shared.
    pub async fn serve(self: Arc<Self>, listener: TcpListener, stop: CancellationToken) {
        serve::accept(&self, listener, &stop).await;
    }
}

impl fmt::Debug for HttpIngress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpIngress")
            .field("name", &self.name)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
