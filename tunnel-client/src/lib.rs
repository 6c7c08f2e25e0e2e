//! The compute plane's end of a tunnel.
//!
//! ```text
//! config ──▶ run ─┬─ discover: names ▶ DNS ▶ candidates, kept true
//!                 ├─ keep:    candidates ▶ dial ▶ handshake ▶ Session, again and again
//!                 ├─ expose:  stream of the edge ▶ allow-list ▶ dial origin ▶ pump
//!                 └─ forward: local caller ▶ Session ▶ stream to an upstream ▶ pump
//! ```
//!
//! * [`config`] is `client.toml`.
//! * [`run()`] is one client from start to stop.
//! * `discover`: where edges are.
//! * `keep`, `dial`: a session to an edge, kept alive; `link`: what the others see of it.
//! * `expose`: the allow-list, and what is behind it.
//! * `health`: how what is behind it is.
//! * [`hello`] is the service that is built in.
//! * `forward`: local listeners that lead to upstreams.
//! * `replica`: which copy this client is.
//! * `revocation`: whose certificate is revoked.
//! * `status`, `metrics`: what can be seen of it.

pub mod config;
mod dial;
mod discover;
mod expose;
mod forward;
mod health;
pub mod hello;
mod keep;
mod link;
mod metrics;
mod replica;
mod revocation;
mod run;
mod status;

pub use replica::ReplicaError;
pub use run::{StartError, run};
