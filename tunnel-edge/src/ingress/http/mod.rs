//! The http ingress: callers speak HTTP/1.1 or HTTP/2 to the edge, each request is routed by its
//! host to a service of a cluster, and goes there over a connection that is kept for the next.
//!
//! ```text
//! caller ──TCP──▶ accept ──▶ request ──▶ origin ──stream of a session──▶ client ──▶ service
//!                (serve)    (route,     (pools,                          (byte pump)
//!                            headers)    one hyper connection each)
//! ```
//!
//! * [`host`]: host names that name services.
//! * `serve`, `caller`: accepting, deadlines and limits of callers' connections.
//! * `request`: one request, from its head to its answer. `headers`, `failure`, `grpc`: what
//!   becomes of the head, and what a caller is told, in its words, when there is no answer.
//! * `origin`, `pool`: connections to origins. `link`: the only place that touches the tunnel.
//! * `replay`: what is kept of a request for a second attempt, and when there is one.
//! * `body`: bodies, streamed in both directions; `upload`: those of requests.
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
//!   is what the edge saw, never what the caller said.
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
mod grpc;
mod headers;
pub mod host;
mod limits;
mod link;
mod metrics;
mod origin;
mod pool;
mod replay;
mod request;
mod serve;
mod stall;
mod switch;
mod tasks;
mod trace;
mod upgrade;
mod upload;
mod websocket;

#[cfg(test)]
mod tests;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use certs::ClusterId;
use relay::{ServiceName, Session};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use self::link::Link;
use self::metrics::IngressMetrics;
use self::origin::Origins;

pub use self::host::{HostPattern, HostPatternError, HostTooLong};
pub use self::metrics::HttpMetrics;

/// Finds the live session with a cluster.
pub type Lookup = Arc<dyn Fn(&ClusterId) -> Option<Session> + Send + Sync>;

/// What an [`HttpIngress`] is made of.
pub struct HttpIngressConfig {
    /// Its name in metrics, and in the caller principal `ingress/<name>` that clients see.
    pub name: String,
    /// Which service a request is for.
    pub route: Route,
    /// Where sessions are found.
    pub lookup: Lookup,
    /// Where it counts.
    pub metrics: HttpMetrics,
}

impl fmt::Debug for HttpIngressConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpIngressConfig")
            .field("name", &self.name)
            .field("route", &self.route)
            .finish_non_exhaustive()
    }
}

/// Which service a request is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// The one that the request's host names.
    Pattern(HostPattern),
    /// Always the same, whatever the host.
    Fixed(ClusterId, ServiceName),
}

/// A listener that turns HTTP requests into requests to services.
pub struct HttpIngress {
    name: String,
    route: Route,
    lookup: LinkLookup,
    metrics: Arc<IngressMetrics>,
    origins: Arc<Origins>,
    permits: Arc<Semaphore>,
}

type LinkLookup = Box<dyn Fn(&ClusterId) -> Option<Link> + Send + Sync>;

impl HttpIngress {
    /// An ingress that does not listen yet.
    #[must_use]
    pub fn new(config: HttpIngressConfig) -> Arc<Self> {
        let lookup = config.lookup;
        Self::over_links(
            config.name,
            config.route,
            Box::new(move |cluster| lookup(cluster).map(Link::Tunnel)),
            &config.metrics,
        )
    }

    fn over_links(
        name: String,
        route: Route,
        lookup: LinkLookup,
        metrics: &HttpMetrics,
    ) -> Arc<Self> {
        let metrics = metrics.ingress(&name);
        Arc::new(Self {
            origins: Origins::new(format!("ingress/{name}"), metrics.clone()),
            permits: Arc::new(Semaphore::new(limits::MAX_CONNECTIONS)),
            name,
            route,
            lookup,
            metrics,
        })
    }

    /// Accepts callers until `stop`, then finishes what they have begun and returns.
    ///
    /// `allow` says which addresses are let in; others are answered 403. After `stop`, HTTP/1.1
    /// connections close behind their current answer, HTTP/2 ones say GOAWAY; upgraded ones last
    /// until an end ends them. Whoever calls this bounds that time: dropping the future cuts what
    /// is left.
    ///
    /// May run several times at once, each with a listener of its own and on any thread: the
    /// connections to origins and the limit of connections are shared.
    pub async fn serve(
        self: Arc<Self>,
        listener: TcpListener,
        allow: impl Fn(SocketAddr) -> bool + Send,
        stop: CancellationToken,
    ) {
        serve::accept(&self, listener, allow, &stop).await;
    }
}

impl fmt::Debug for HttpIngress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpIngress")
            .field("name", &self.name)
            .field("route", &self.route)
            .finish_non_exhaustive()
    }
}
