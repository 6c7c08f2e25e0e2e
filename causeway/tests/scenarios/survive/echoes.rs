//! Cuts that no connection survives, and every stream does.

use std::{
    io::{self, Write},
    net::{Shutdown, TcpStream},
    thread,
    time::{Duration, Instant},
};

use chaos::wire::{Link, Shape};

use crate::{
    support::{Network, Origin, Pattern, Plane, Side, pattern_digest, read_digest},
    udp_blocked::echoes,
};

/// Twice as long as an end waits for a silent peer.
const CUT: Duration = Duration::from_secs(30);

const HEALTHY: Shape = Shape {
    delay: Duration::from_millis(5),
    ..Shape::CLEAR
};

/// Half of them opened by each end.
const STREAMS: usize = 200;

/// What each caller sends into the cut, and gets back.
const BYTES: u64 = 100_000;

#[test]
fn streams_survive_a_cut_over_quic() {
    streams_survive_a_cut("quic");
}

#[test]
fn streams_survive_a_cut_over_tls() {
    streams_survive_a_cut("tls");
}

#[test]
fn streams_survive_a_cut_over_yamux() {
    streams_survive_a_cut("yamux");
}

#[test]
fn streams_survive_a_cut_over_h2() {
    streams_survive_a_cut("h2");
}

fn streams_survive_a_cut(transport: &str) {
    let Some((network, wire)) = Network::over(Link::symmetric(HEALTHY)) else {
        return;
    };
    let upstream = network.edge.within(Origin::echo);
    let exposed = network.client.within(Origin::echo);
    let mut plane = Plane::builder()
        .on(&network)
        .transport(transport)
        .forward("echo", &upstream.tcp())
        .expose("db", &exposed.tcp())
        .tcp_ingress("db")
        .start();
    let mut callers: Vec<TcpStream> = (0..STREAMS)
        .map(|nth| match nth % 2 {
            0 => plane.dial_forward("echo"),
            _ => plane.dial_ingress("db"),
        })
        .collect();
    for caller in &mut callers {
        assert!(echoes(caller));
    }

    wire.set_link(Link::symmetric(Shape {
        cut: true,
        ..HEALTHY
    }));
    let cut = Instant::now();
    let senders: Vec<_> = callers.iter().map(send_pattern).collect();
    // What is awaited is the time itself.
    thread::sleep(CUT.saturating_sub(cut.elapsed()));
    wire.set_link(Link::symmetric(HEALTHY));
    let healed = Instant::now();

    let readers: Vec<_> = callers
        .into_iter()
        .map(|mut caller| {
            thread::spawn(move || {
                let read = read_digest(&mut caller).unwrap();
                (read, healed.elapsed())
            })
        })
        .collect();
    let mut took: Vec<_> = readers
        .into_iter()
        .map(|reader| {
            let (read, took) = reader.join().unwrap();
            assert_eq!(read, (BYTES, pattern_digest(BYTES)), "{transport}");
            took
        })
        .collect();
    for sender in senders {
        sender.join().unwrap();
    }
    took.sort();
    let p99 = took[STREAMS * 99 / 100 - 1];
    eprintln!("{transport}: {p99:?} after healing, 99 of 100 streams were complete");
    for side in [Side::Client, Side::Edge] {
        let metrics = plane.metrics(side);
        let resumed = metrics
            .lines()
            .find_map(|line| line.strip_prefix("causeway_sessions_resumed_total "));
        assert_ne!(
            resumed,
            Some("0"),
            "{side:?}: the connection was not replaced"
        );
    }
    assert!(echoes(&mut plane.dial_forward("echo")));
    assert!(echoes(&mut plane.dial_ingress("db")));
}

fn send_pattern(caller: &TcpStream) -> thread::JoinHandle<()> {
    let mut caller = caller.try_clone().unwrap();
    thread::spawn(move || {
        io::copy(&mut Pattern::new(BYTES), &mut caller).unwrap();
        caller.flush().unwrap();
        caller.shutdown(Shutdown::Write).unwrap();
    })
}
