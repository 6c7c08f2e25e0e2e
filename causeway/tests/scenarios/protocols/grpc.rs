//! The gRPC project's interop cases, by two implementations of others: each as the client of each.

use super::compare;

#[test]
fn grpcio_calls_grpcio() {
    compare("h2c", "grpc_server.py", "grpc_client.py");
}

#[test]
fn grpcio_calls_grpc_js() {
    compare("h2c", "grpc_server.js", "grpc_client.py");
}

#[test]
fn grpc_js_calls_grpcio() {
    compare("h2c", "grpc_server.py", "grpc_client.js");
}

#[test]
fn grpc_js_calls_grpc_js() {
    compare("h2c", "grpc_server.js", "grpc_client.js");
}
