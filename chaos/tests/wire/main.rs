//! The wire between hosts, measured by programs and plain sockets that know nothing of it. As root.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    reason = "a test states its expectation by unwrapping"
)]

mod blocked;
mod chance;
mod control;
mod delay;
mod nat;
mod rate;
mod support;
mod topology;
