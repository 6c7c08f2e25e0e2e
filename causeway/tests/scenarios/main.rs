//! The tunnel as its users have it: the real binary as an edge and as a client, certificates and
//! configuration files as a deployment has them, and real sockets at both ends.
//!
//! One subject a module; what they share is in [`support`].
#![allow(
    clippy::unwrap_used,
    reason = "a test states its expectation by unwrapping"
)]

mod audit;
mod backpressure;
mod bad_input;
mod bench;
mod blocked_audit;
mod callers;
mod chaos_proxy;
mod clusters;
mod descriptors;
mod discovery;
mod dns;
mod dns_beside_knot;
mod dns_embedded;
mod grace;
mod half_close;
mod hangup;
mod idle;
mod leaks;
mod listeners;
mod logs;
mod long_packets;
mod mixed_load;
mod nameservers;
mod places;
mod protocols;
mod quickstart;
mod rebind;
mod reload;
mod restart;
mod routes;
mod smuggling;
mod sockets;
mod support;
mod survive;
mod third_party;
mod topology;
mod traffic;
mod udp_blocked;
mod udp_unblocked;
mod wire;
