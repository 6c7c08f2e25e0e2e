//! Server-sent events by an EventSource of others. The server sends none before the one in front
//! of it was acknowledged by another request: a tunnel that held one back would stall them all.

use super::compare;

#[test]
fn eventsource_over_http1() {
    compare("http", "sse_server.js 1", "sse_client.js 1");
}

#[test]
fn eventsource_over_http2() {
    compare("h2c", "sse_server.js 2", "sse_client.js 2");
}
