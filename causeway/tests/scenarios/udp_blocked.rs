//! A network that loses UDP: the client comes by TLS on TCP, unless it was told not to.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use serde_json::Value;

use crate::support::{Builder, Loss, Network, Origin, Plane, Side, wait_for};

/// How soon after its start a client must serve its callers.
const SOON: Duration = Duration::from_secs(3);

#[test]
fn a_client_comes_by_tcp_where_udp_is_lost() {
    let Some(network) = Network::create() else {
        return;
    };
    network.lose(&[Loss::Udp]);
    let mut plane = echoing(&network).launch();
    wait_for("an answer to a caller of the forward", || {
        answers(&mut plane).then_some(())
    });
    let after = plane.client.started().elapsed();
    eprintln!("the first answer came {after:?} after the client's start");
    assert!(after < SOON, "the first answer came after {after:?}");

    plane.await_session();
    for side in [Side::Edge, Side::Client] {
        assert_eq!(transports(&mut plane, side), ["tls"], "{}", side.name());
    }
    assert!(network.client.udp_sent() > 0, "QUIC was not even tried");
    // The attempt that another was faster than has no outcome.
    assert_eq!(
        attempts(&plane),
        [r#"{transport="tls",outcome="reached"} 1"#]
    );
}

#[test]
fn told_to_use_quic_a_client_uses_nothing_else_and_says_why_it_is_not_ready() {
    let Some(network) = Network::create() else {
        return;
    };
    network.lose(&[Loss::Udp]);
    let mut plane = echoing(&network)
        .transport("quic")
        .client_toml("[session]\nhandshake_timeout = \"1s\"\n[backoff]\nmax = \"1s\"\n")
        .launch();
    const WHY: &str = "no answer within 1s; is UDP let through to it?";
    wait_for("two attempts that failed", || {
        let status = plane.status(Side::Client);
        let dialing = &status["dialing"];
        let error = dialing["last_error"].as_str()?;
        assert!(error.contains(WHY), "{error}");
        (dialing["attempt"].as_u64()? > 2).then_some(())
    });
    let (status, reasons) = plane.readyz(Side::Client);
    assert_eq!(status, 503);
    assert!(reasons.contains(WHY), "{reasons}");
    assert_eq!(network.client.tcp_sent(), 0, "TCP was tried");
    let attempts = attempts(&plane);
    assert!(
        matches!(&attempts[..], [only] if only.starts_with(r#"{transport="quic",outcome="failed"} "#)),
        "{attempts:?}"
    );

    network.lose(&[]);
    plane.await_session();
    assert!(answers(&mut plane));
    assert_eq!(transports(&mut plane, Side::Client), ["quic"]);
}

#[test]
fn told_to_use_one_over_tcp_a_client_sends_nothing_over_udp() {
    for transport in ["tls", "yamux", "h2"] {
        let Some(network) = Network::create() else {
            return;
        };
        let mut plane = echoing(&network).transport(transport).start();
        assert!(answers(&mut plane), "{transport}");
        for side in [Side::Client, Side::Edge] {
            assert_eq!(transports(&mut plane, side), [transport], "{}", side.name());
        }
        assert_eq!(
            attempts(&plane),
            [format!(
                r#"{{transport="{transport}",outcome="reached"}} 1"#
            )]
        );
        assert!(network.client.tcp_sent() > 0, "{transport}");
        assert_eq!(network.client.udp_sent(), 0, "{transport}: UDP was tried");
    }
}

/// The transport that begins second does not end the first.
#[test]
fn quic_may_answer_after_its_head_start() {
    let Some(network) = Network::create() else {
        return;
    };
    network.lose(&[Loss::Udp, Loss::Tcp]);
    let mut plane = echoing(&network).launch();
    wait_for("TCP to be tried beside UDP", || {
        (network.client.udp_sent() > 0 && network.client.tcp_sent() > 0).then_some(())
    });
    network.lose(&[Loss::Tcp]);
    plane.await_session();
    assert!(answers(&mut plane));
    assert_eq!(transports(&mut plane, Side::Client), ["quic"]);
    assert_eq!(
        attempts(&plane),
        [r#"{transport="quic",outcome="reached"} 1"#],
        "it was the first attempt"
    );
}

/// A client with a forward to an echo beside the edge.
pub(super) fn echoing(network: &Network) -> Builder {
    let origin = network.edge.within(Origin::echo);
    Plane::builder().on(network).forward("echo", &origin.tcp())
}

/// Whether a new caller of the forward gets an answer.
fn answers(plane: &mut Plane) -> bool {
    echoes(&mut plane.dial_forward("echo"))
}

pub(super) fn echoes(caller: &mut TcpStream) -> bool {
    let mut word = [0; 4];
    caller.write_all(b"ping").is_ok() && caller.read_exact(&mut word).is_ok() && &word == b"ping"
}

/// The transports of all sessions of one process.
pub(super) fn transports(plane: &mut Plane, side: Side) -> Vec<String> {
    let status = plane.status(side);
    let sessions = status["sessions"].as_array().unwrap();
    let transport = |session: &Value| session["transport"].as_str().unwrap().to_owned();
    sessions.iter().map(transport).collect()
}

/// What the client has counted of its attempts: labels and number.
pub(super) fn attempts(plane: &Plane) -> Vec<String> {
    let metrics = plane.metrics(Side::Client);
    let lines = metrics.lines();
    lines
        .filter_map(|line| line.strip_prefix("causeway_edge_attempts_total"))
        .map(str::to_owned)
        .collect()
}
