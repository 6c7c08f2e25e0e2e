//! WebSocket (RFC 6455) by two implementations of others: each as the client of each; and over
//! HTTP/2 by a third.

use std::process::Stdio;

use super::{Report, TRANSPORTS, compare};
use crate::support::{CLUSTER, Plane, Server, run, script};

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

/// The caller's WebSocket is a stream of HTTP/2 (RFC 8441), the server's a connection of its own.
#[test]
fn h2_and_wsproto_call_websockets() {
    let (Some(mut serving), Some(_)) = (script("ws_server.py"), script("ws_http2_client.py"))
    else {
        return;
    };
    let server = Server::start("ws_server.py", &mut serving);
    for transport in TRANSPORTS {
        let mut plane = Plane::builder()
            .transport(transport)
            .expose("peer", &format!("http://{}", server.address()))
            .http_ingress_to("web", &format!("{CLUSTER}/peer"))
            .start();
        let web = plane.ingress("web").to_string();
        let mut calling = script("ws_http2_client.py").expect("it was there before");
        let report = Report::of(&run(calling.arg(web), Stdio::null()));
        assert!(
            report.len() > 10 && report.failures().is_empty(),
            "{transport}: {report:#?}"
        );
        assert_eq!(plane.sessions().len(), 1, "{transport}");
    }
}
