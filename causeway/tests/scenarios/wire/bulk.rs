//! Bulk on a slow link with a long queue: it must not pass for a dead one.

use std::{
    io::Read,
    net::TcpStream,
    time::{Duration, Instant},
};

use chaos::wire::{Link, Rate, Shape};

use super::{HEALTHY, connected_once};
use crate::{
    support::{Network, Origin, Plane},
    udp_blocked::echoes,
};

/// What is sent may wait for a second before it leaves.
const BLOATED: Shape = Shape {
    rate: Rate::mbit(8),
    queue: 1_000_000,
    ..HEALTHY
};

#[test]
fn quic_stays_alive_beside_bulk() {
    stays_alive_beside_bulk("quic");
}

#[test]
fn tls_stays_alive_beside_bulk() {
    stays_alive_beside_bulk("tls");
}

#[test]
fn yamux_stays_alive_beside_bulk() {
    stays_alive_beside_bulk("yamux");
}

#[test]
fn h2_stays_alive_beside_bulk() {
    stays_alive_beside_bulk("h2");
}

/// A second's worth of bytes is ahead of whatever is sent, heartbeats too. In the long suite, for a minute.
fn stays_alive_beside_bulk(transport: &str) {
    let long = std::env::var_os("CAUSEWAY_TEST_FULL").is_some();
    let duration = Duration::from_secs(if long { 60 } else { 8 });
    let Some((network, _wire)) = Network::over(Link::symmetric(BLOATED)) else {
        return;
    };
    let echo = network.edge.within(Origin::echo);
    let source = network.edge.within(|| Origin::source(u64::MAX));
    let mut plane = Plane::builder()
        .on(&network)
        .transport(transport)
        .forward("echo", &echo.tcp())
        .forward("source", &source.tcp())
        .start();
    let mut quiet = plane.dial_forward("echo");
    assert!(echoes(&mut quiet));
    let mut bulk = plane.dial_forward("source");
    let until = Instant::now() + duration;
    let mut slowest = Duration::ZERO;
    while Instant::now() < until {
        discard(&mut bulk, Duration::from_millis(500));
        let began = Instant::now();
        assert!(echoes(&mut quiet));
        slowest = slowest.max(began.elapsed());
    }
    eprintln!("{transport}: the slowest ping beside bulk took {slowest:?}");
    connected_once(&plane, transport);
}

/// Reads whatever comes for so long.
fn discard(from: &mut TcpStream, duration: Duration) {
    let mut buffer = vec![0; 65_536];
    let until = Instant::now() + duration;
    while Instant::now() < until {
        assert_ne!(from.read(&mut buffer).unwrap(), 0, "it has no end");
    }
}
