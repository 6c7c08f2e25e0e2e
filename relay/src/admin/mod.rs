//! Health, metrics and status of a process, over HTTP/1.1 or HTTP/2 by prior knowledge.
//!
//! | path | listener | answer |
//! | --- | --- | --- |
//! | `/metrics` | admin, telemetry | OpenMetrics 1.0 text |
//! | `/livez` | admin, telemetry | 200 if every event loop turns, else 503 and which ones do not |
//! | `/readyz` | admin, telemetry | 200 if the process can do its work, else 503 and why not, a reason per line |
//! | `/api/status` | admin | everything the process knows of itself, JSON |
//! | what [`Admin::with_api`] adds | admin | |
//! | `/` | admin | these paths, text |
//!
//! There are two listeners because there are two kinds of readers. *Admin* tells all, and is
//! for whoever is on this machine: a loopback address or a unix socket (mode 0600).
//! *Telemetry* is for probes and scrapers anywhere, and has health and metrics only.
//!
//! ```text
//! Listener::bind(address, surface)? ── before anything else starts, so that a port in use is an error then
//! listener.serve(admin, stop).await ── until stop, and a moment for answers under way
//! ```
//!
//! **DNS rebinding.** A web page can point a name of its own at 127.0.0.1 and then read what
//! listens there as if it were its own. The admin listener on TCP therefore answers 403 to
//! any `Host` that is not an IP address, `localhost` or a name under `localhost`. A unix
//! socket, which browsers cannot reach, and the telemetry listener, which probes reach by
//! DNS names, accept any.
//!
//! **Slow and hostile peers.** Over HTTP/1.1 one request per connection, without a body (413); its
//! head within 10 s and in 16 KiB, all of it within 30 s; at most 64 connections, the 65th ends the
//! oldest, so that peers who say nothing cannot keep a probe out for long. Connections of HTTP/2 are
//! for gRPC, whose requests have bodies and whose answers may last: they may stay, 16 of them at
//! most (503 for the next one), and end when they do not answer a ping for 20 s.

mod both;
mod converse;
mod liveness;
mod process;
mod routes;
mod serve;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use prometheus_client::registry::Registry;

use crate::worker::Workers;

pub use serve::Listener;

pub use crate::listen::BindError;
pub use both::Listeners;
pub use liveness::{Liveness, check_loops};
pub use process::register_process_metrics;

/// A future in a box, as [`Admin::liveness`] returns it.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What a process tells of itself. Each is asked anew for every request.
#[derive(Clone)]
pub struct Admin {
    /// The document of `/api/status`. Called on the runtime that serves: it must not block.
    pub status: Arc<dyn Fn() -> serde_json::Value + Send + Sync>,
    /// The answer of `/readyz`.
    pub readiness: Arc<dyn Fn() -> Readiness + Send + Sync>,
    /// The answer of `/livez`; usually [`check_loops`] over the workers' runtimes.
    pub liveness: Arc<dyn Fn() -> BoxFuture<Liveness> + Send + Sync>,
    /// What `/metrics` encodes.
    pub registry: Arc<Registry>,
    /// What else the admin listener answers.
    pub api: Api,
}

/// More paths of the admin listener.
#[derive(Clone, Debug, Default)]
pub struct Api {
    routes: Router,
    index: String,
}

/// What a process knows of itself.
pub trait Told: Send + Sync + 'static {
    /// The document of `/api/status`. Must not block.
    fn document(&self) -> serde_json::Value;

    /// Whether it can do its work now.
    fn readiness(&self) -> Readiness;
}

impl Admin {
    /// For a process that tells of itself by `told`, and is alive as long as its workers' event
    /// loops turn. Adds `causeway_tasks` to the metrics: how many tasks its workers have.
    pub fn new(told: Arc<impl Told>, workers: &Workers, mut registry: Registry) -> Self {
        process::register_task_metrics(&mut registry, workers);
        let loops: Vec<_> = workers
            .handles()
            .iter()
            .map(|worker| {
                (
                    format!("worker {}", worker.index()),
                    worker.runtime().clone(),
                )
            })
            .collect();
        let ready = told.clone();
        Self {
            status: Arc::new(move || told.document()),
            readiness: Arc::new(move || ready.readiness()),
            liveness: Arc::new(move || Box::pin(check_loops(loops.clone()))),
            registry: Arc::new(registry),
            api: Api::default(),
        }
    }

    /// Lets the admin listener answer `routes` too; `index` describes them, a line each, as
    /// [`/`](self) shows it.
    pub fn with_api(mut self, routes: Router, index: &str) -> Self {
        self.api.routes = self.api.routes.merge(routes);
        self.api.index.push_str(index);
        self
    }
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").finish_non_exhaustive()
    }
}

/// Whether a process can do its work now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// It can.
    Ready,
    /// It cannot, or not any more.
    NotReady {
        /// Why, in words for the operator, one line each.
        reasons: Vec<String>,
    },
}

/// Which listener this is, and so what it serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Surface {
    /// Everything, for this machine only.
    Admin,
    /// Health and metrics, for whoever can reach it.
    Telemetry,
}

impl Surface {
    /// The configuration key that says where it listens.
    fn key(self) -> &'static str {
        match self {
            Self::Admin => "[admin] listen",
            Self::Telemetry => "[telemetry] listen",
        }
    }
}

#[cfg(test)]
mod tests;
