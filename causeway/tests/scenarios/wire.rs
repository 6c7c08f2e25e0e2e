//! Bad links between edge and client: what a caller notices of them, over each transport.

mod bulk;
mod draining;
mod ladder;

use std::{
    io::{self, Read, Write},
    net::Shutdown,
    thread,
    time::Duration,
};

use chaos::wire::{Link, Probability, Shape, Way};

use crate::{
    support::{Network, Pattern, Plane, pattern_digest, read_digest},
    udp_blocked::{attempts, echoes, echoing},
};

const HEALTHY: Shape = Shape {
    delay: Duration::from_millis(5),
    ..Shape::CLEAR
};

#[test]
fn quic_goes_on_after_a_cut() {
    goes_on_after_a_cut("quic");
}

#[test]
fn tls_goes_on_after_a_cut() {
    goes_on_after_a_cut("tls");
}

#[test]
fn yamux_goes_on_after_a_cut() {
    goes_on_after_a_cut("yamux");
}

#[test]
fn h2_goes_on_after_a_cut() {
    goes_on_after_a_cut("h2");
}

/// Five seconds are less than a connection may be silent, so nobody loses a stream.
fn goes_on_after_a_cut(transport: &str) {
    const CUT: Duration = Duration::from_secs(5);
    let Some((network, wire)) = Network::over(Link::symmetric(HEALTHY)) else {
        return;
    };
    let mut plane = echoing(&network).transport(transport).start();
    let mut caller = plane.dial_forward("echo");
    assert!(echoes(&mut caller));

    wire.set_link(Link::symmetric(Shape {
        cut: true,
        ..HEALTHY
    }));
    caller.write_all(b"sent into the cut").unwrap();
    // What is awaited is the time itself.
    thread::sleep(CUT);
    assert_ne!(wire.tally(Way::Up).cut, 0, "nothing was sent into the cut");
    wire.set_link(Link::symmetric(HEALTHY));

    let mut back = [0; 17];
    caller.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"sent into the cut");
    assert!(echoes(&mut caller));
    assert!(echoes(&mut plane.dial_forward("echo")));
}

/// QUIC knows a connection by its ids, so a new port of its client is none of its streams' business.
#[test]
fn quic_goes_on_after_a_rebinding() {
    let Some((network, wire)) = Network::over_nat(Link::symmetric(HEALTHY)) else {
        return;
    };
    let mut plane = echoing(&network).transport("quic").start();
    let mut caller = plane.dial_forward("echo");
    assert!(echoes(&mut caller));
    for _ in 0..3 {
        wire.rebind();
        assert!(echoes(&mut caller));
    }
    assert!(echoes(&mut plane.dial_forward("echo")));
    connected_once(&plane, "quic");
}

#[test]
fn what_is_corrupted_on_the_way_is_never_delivered() {
    const BYTES: u64 = 2_000_000;
    for transport in ["quic", "tls", "yamux", "h2"] {
        let Some((network, wire)) = Network::over(Link::symmetric(Shape {
            corrupt: Probability::percent(1),
            ..HEALTHY
        })) else {
            return;
        };
        let mut plane = echoing(&network).transport(transport).start();
        let mut caller = plane.dial_forward("echo");
        let mut sender = caller.try_clone().unwrap();
        let sending = thread::spawn(move || {
            io::copy(&mut Pattern::new(BYTES), &mut sender).unwrap();
            sender.shutdown(Shutdown::Write).unwrap();
        });
        let (count, digest) = read_digest(&mut caller).unwrap();
        sending.join().unwrap();
        assert_eq!(count, BYTES, "{transport}");
        assert_eq!(digest, pattern_digest(BYTES), "{transport}");
        for way in [Way::Up, Way::Down] {
            assert_ne!(wire.tally(way).corrupted, 0, "{transport}, {way:?}");
        }
    }
}

/// That the client's first connection is still the one it has. It looks for other edges behind the
/// same address from time to time, and finds the same one.
#[track_caller]
fn connected_once(plane: &Plane, transport: &str) {
    let mut attempts = attempts(plane);
    attempts.retain(|attempt| !attempt.contains(r#"outcome="duplicate""#));
    assert_eq!(
        attempts,
        [format!(
            r#"{{transport="{transport}",outcome="reached"}} 1"#
        )],
        "the client had to dial again"
    );
}
