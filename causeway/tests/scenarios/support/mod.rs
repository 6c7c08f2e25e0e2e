//! What the scenarios stand on: a real edge and a real client as processes, origins and callers
//! with plain sockets, and waiting for a state with a deadline.
//!
//! ```no_run
//! let origin = Origin::echo();
//! let plane = Plane::builder().expose("echo", &origin.tcp()).tcp_ingress("echo").start();
//! let stream = plane.dial_tcp("echo");
//! ```

mod http;
mod identity;
pub(crate) mod nameserver;
mod network;
mod nginx;
mod origin;
mod peers;
mod plane;
mod ports;
mod process;
mod programs;
pub(crate) mod stranger;
mod topology;
mod traffic;
mod wait;

pub(crate) use http::{Answer, Request};
pub(crate) use identity::{Authority, causeway};
pub(crate) use network::{Host, Loss, Network};
pub(crate) use nginx::nginx;
pub(crate) use origin::{Origin, refusing_address, unanswering_address};
pub(crate) use peers::{Server, is_root, peer, python, script};
pub(crate) use plane::{Builder, CLUSTER, Plane, Side, admin};
pub(crate) use ports::{address_for_server, port_for_server};
pub(crate) use process::{Process, signal};
pub(crate) use programs::{
    fails, git_commits, git_repository, listens, run, run_into, run_within, succeeds, tree_digest,
};
pub(crate) use topology::topology;
pub(crate) use traffic::{
    Pattern, echoes, pattern_digest, read_digest, reset_on_close, stalls_after,
};
pub(crate) use wait::{DEADLINE, eventually, wait_for};
