//! The ingress between real hyper callers on loopback and real hyper origins behind a stand-in
//! for the tunnel.

mod arrivals;
mod bodies;
mod breaks;
mod early;
mod failures;
pub(super) mod fake;
mod harness;
mod interim;
mod lifetime;
mod pooling;
mod retries;
mod routes;
mod stalls;
mod trailers;
mod upgrades;
mod websockets;
