//! A service whose streams end with their connection, by its configuration.

use std::io::{ErrorKind, Read};

use super::{Line, QUICK, await_detached};
use crate::{
    support::{Loss, Network, Origin, Plane, Side, wait_for},
    udp_blocked::{echoes, transports},
};

const ENDS_WITH_IT: &str = "health = \"off\"\nresume = false\n";

#[test]
fn only_streams_of_a_service_that_does_not_resume_end_with_their_connection() {
    let Some(line) = Line::lay() else {
        return;
    };
    let host = &line.network.client;
    let [lasting, fleeting] = [(); 2].map(|()| host.within(Origin::echo));
    let mut plane = line
        .plane("tls", QUICK)
        .expose("lasting", &lasting.tcp())
        .tcp_ingress("lasting")
        .expose_checked("fleeting", &fleeting.tcp(), ENDS_WITH_IT)
        .tcp_ingress("fleeting")
        .start();
    let mut goes_on = plane.dial_ingress("lasting");
    let mut ends = plane.dial_ingress("fleeting");
    assert!(echoes(&mut goes_on) && echoes(&mut ends));

    line.cut();
    await_detached(&mut plane);
    // Nothing passes yet: whoever is told now is told by its own end.
    let error = ends.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
    for side in [Side::Edge, Side::Client] {
        let metrics = plane.metrics(side);
        for said in [
            "\ncauseway_streams_ended_total{how=\"session_closed\",by=\"local\"} 1\n",
            "\ncauseway_sessions_detached 1\n",
        ] {
            assert!(metrics.contains(said), "{}: {metrics}", side.name());
        }
    }
    line.heal();
    assert!(echoes(&mut goes_on));
    let metrics = plane.metrics(Side::Edge);
    assert!(
        metrics.contains("\ncauseway_sessions_detached 0\n"),
        "{metrics}"
    );
    assert!(echoes(&mut plane.dial_ingress("fleeting")));
}

/// A move would end them, though nothing is lost: they stay on their connection, beside the new one.
#[test]
fn a_better_way_ends_none_of_them() {
    let Some(network) = Network::create() else {
        return;
    };
    network.lose(&[Loss::Udp]);
    let fleeting = network.client.within(Origin::echo);
    let mut plane = Plane::builder()
        .on(&network)
        .expose_checked("fleeting", &fleeting.tcp(), ENDS_WITH_IT)
        .tcp_ingress("fleeting")
        .start();
    assert_eq!(transports(&mut plane, Side::Client), ["tls"]);
    let mut caller = plane.dial_ingress("fleeting");
    assert!(echoes(&mut caller));

    network.lose(&[]);
    wait_for("the client to find QUIC", || {
        (transports(&mut plane, Side::Client) == ["quic"]).then_some(())
    });
    assert!(echoes(&mut caller));
    assert!(echoes(&mut plane.dial_ingress("fleeting")));
}
