//! WebSocket (RFC 6455) by two implementations of others: each as the client of each.

use super::compare;

#[test]
fn websockets_calls_websockets() {
    compare("http", "ws_server.py", "ws_client.py");
}

#[test]
fn websockets_calls_ws() {
    compare("http", "ws_server.js", "ws_client.py");
}

#[test]
fn ws_calls_websockets() {
    compare("http", "ws_server.py", "ws_client.js");
}

#[test]
fn ws_calls_ws() {
    compare("http", "ws_server.js", "ws_client.js");
}
