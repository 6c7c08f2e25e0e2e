//! The gRPC project's interop cases, by two implementations of others: each as the client of each.

use std::net::SocketAddr;

use super::{Comparison, Report};
use crate::support::{Server, script};

/// Every case of `client` against `server`, without and with the tunnel.
#[track_caller]
fn compare(server: &str, client: &str) {
    let (Some(mut serving), Some(_)) = (script(server), script(client)) else {
        return;
    };
    let server = Server::start(server, &mut serving);
    Comparison::of("h2c", server.address()).run(|address: SocketAddr| {
        let mut calling = script(client).unwrap();
        Report::of(&calling.arg(address.to_string()).output().unwrap())
    });
}

#[test]
fn grpcio_calls_grpcio() {
    compare("grpc_server.py", "grpc_client.py");
}

#[test]
fn grpcio_calls_grpc_js() {
    compare("grpc_server.js", "grpc_client.py");
}

#[test]
fn grpc_js_calls_grpcio() {
    compare("grpc_server.py", "grpc_client.js");
}

#[test]
fn grpc_js_calls_grpc_js() {
    compare("grpc_server.js", "grpc_client.js");
}
