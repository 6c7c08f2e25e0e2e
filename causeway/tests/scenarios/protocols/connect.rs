//! ConnectRPC by its own implementation: in the Connect, gRPC and gRPC-Web protocols.

use super::compare;

#[test]
fn connect_node_over_http1() {
    compare("http", "connect_server.js 1", "connect_client.js 1");
}

#[test]
fn connect_node_over_http2() {
    compare("h2c", "connect_server.js 2", "connect_client.js 2");
}
