//! Every protocol that the two planes speak, by clients and servers that others wrote: what they
//! make of each other must not depend on whether the tunnel is between them.
//!
//! One suite a module; each runs *direct* and then *through the tunnel*, and [`Comparison`] holds
//! the two results against each other. The peers' programs are in `causeway/tests/peers`.

mod comparison;
mod connect;
mod drip;
mod events;
mod git;
mod grpc;
mod grpc_restart;
mod load;
mod nginx;
mod postgresql;
mod redis;
mod slow_readers;
mod ssh;
mod websocket;

pub(crate) use comparison::{Comparison, Report, TRANSPORTS, Way, on_each_transport};
pub(crate) use postgresql::Postgres;
pub(crate) use ssh::Sshd;

use std::process::Stdio;

use crate::support::{Server, run, script};

/// Runs every case of the program `client` against the program `server`, which speaks `scheme`,
/// without and with the tunnel.
#[track_caller]
fn compare(scheme: &str, server: &str, client: &str) {
    let (Some(mut serving), Some(_)) = (script(server), script(client)) else {
        return;
    };
    let server = Server::start(server, &mut serving);
    Comparison::of(scheme, server.address()).run(|address| {
        let mut calling = script(client).expect("it was there before");
        Report::of(&run(calling.arg(address.to_string()), Stdio::null()))
    });
}
