//! A planned stop, and a network that fails meanwhile.

use std::{thread, time::Duration};

use chaos::wire::{Link, Shape};

use super::HEALTHY;
use crate::{
    support::{Network, Side, wait_for},
    udp_blocked::{echoes, echoing},
};

/// Longer than either end waits for a silent peer.
const CUT: Duration = Duration::from_secs(5);

const IMPATIENT: &str = "[session]\nping_interval = \"500ms\"\ndead_after = \"2s\"\n";

#[test]
fn a_stream_of_an_edge_that_drains_survives_a_cut_over_quic() {
    survives_a_cut_while_the_edge_drains("quic");
}

#[test]
fn a_stream_of_an_edge_that_drains_survives_a_cut_over_tls() {
    survives_a_cut_while_the_edge_drains("tls");
}

fn survives_a_cut_while_the_edge_drains(transport: &str) {
    let Some((network, wire)) = Network::over(Link::symmetric(HEALTHY)) else {
        return;
    };
    let mut plane = echoing(&network)
        .transport(transport)
        .edge_toml(IMPATIENT)
        .client_toml(IMPATIENT)
        .start();
    let mut caller = plane.dial_forward("echo");
    assert!(echoes(&mut caller));
    plane.edge.signal("TERM");
    // Nobody new is let in, and the client tries.
    wait_for("the edge to refuse a new session", || {
        let refused = plane
            .edge
            .log()
            .contains("not admitted: this edge is stopping");
        refused.then_some(())
    });

    wire.set_link(Link::symmetric(Shape {
        cut: true,
        ..HEALTHY
    }));
    // What is awaited is the time itself.
    thread::sleep(CUT);
    wire.set_link(Link::symmetric(HEALTHY));
    assert!(echoes(&mut caller));
    let metrics = plane.metrics(Side::Client);
    assert!(
        metrics.contains("\ncauseway_sessions_resumed_total 1\n"),
        "{metrics}"
    );

    drop(caller);
    assert!(plane.edge.ended().success());
}
