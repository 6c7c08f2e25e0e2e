//! The control plane's end of a tunnel.
//!
//! ```text
//! accept ──▶ admit (one deadline: TLS, Hello, policy) ──▶ registry ──▶ Session
//! ingress: caller ▶ authorize ▶ registry(cluster) ▶ stream ▶ pump, or HTTP over pooled streams
//! upstream: stream of a client ▶ authorize ▶ dial ▶ pump
//! ```
//!
//! * [`config`] is `edge.toml`.
//! * [`run()`] is one edge from start to stop.
//! * `accept`, `admit`: from a packet to a session.
//! * `clusters`: what is known of every cluster, for the Cluster Service.
//! * `registry`: which session reaches which cluster.
//! * [`ingress`] turns callers into streams.
//! * `address_limit`: how many connections one address may have.
//! * `upstream`: what compute planes may call here.
//! * `reset_key`: how a restarted edge ends old connections.
//! * `revocation`: whose certificate is revoked.
//! * `status`, `metrics`: what can be seen of it.

mod accept;
mod address_limit;
mod admit;
mod clusters;
pub mod config;
mod dns;
pub mod ingress;
mod metrics;
mod registry;
mod reset_key;
mod revocation;
mod run;
mod status;
mod tenant_budgets;
mod upstream;
mod whole_file;

pub use reset_key::ResetKeyError;
pub use run::{StartError, run};
