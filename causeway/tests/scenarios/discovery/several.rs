//! Sessions with several edges at once.

use super::field::{Field, request, under_load};
use crate::support::{Origin, nameserver::Zone, wait_for};

#[test]
fn when_one_edge_dies_requests_go_on_by_the_other() {
    let zone = Zone::new("apps.test")
        .record("edge 1 A 127.0.0.1")
        .record("edge 1 A 127.0.0.2");
    let Some(mut field) = Field::with_edges(&zone, 2) else {
        return;
    };
    let address = format!("address = \"edge.apps.test:{}\"\nedges = 2", field.port);
    field.start_client(&address, &Origin::echo());
    field.await_connected(&["edge-1", "edge-2"]);
    let forward = field.forward();
    for _ in 0..4 {
        request(forward).unwrap();
    }
    field.edge(1).kill();
    field.await_connected(&["edge-2"]);
    let requests = under_load(forward, || {
        // Both are looked for, and only one is there.
        wait_for("an attempt at the one that is gone", || {
            let slots = field.status()["dialing"]["slots"].take();
            let errors = slots.as_array()?.iter().map(|slot| &slot["last_error"]);
            errors.clone().any(|error| error.is_string()).then_some(())
        });
        field.start_edge(1);
        field.await_connected(&["edge-1", "edge-2"]);
    });
    eprintln!("{requests} requests, and none failed");
    assert!(requests > 0);
}

#[test]
fn an_edge_that_stops_is_left_before_it_is_gone() {
    let zone = Zone::new("apps.test")
        .record("edge 1 A 127.0.0.1")
        .record("edge 1 A 127.0.0.2");
    let Some(mut field) = Field::with_edges(&zone, 2) else {
        return;
    };
    let address = format!("address = \"edge.apps.test:{}\"\nedges = 1", field.port);
    field.start_client(&address, &Origin::echo());
    let first = wait_for("a session", || field.connected().pop());
    let (first, second) = match first.as_str() {
        "edge-1" => (1, "edge-2"),
        _ => (2, "edge-1"),
    };
    let requests = under_load(field.forward(), || {
        field.edge(first).signal("TERM");
        field.await_connected(&[second]);
        let status = field.edge(first).ended();
        assert_eq!(status.code(), Some(0));
    });
    eprintln!("{requests} requests, and none failed");
}

/// A client that is told to keep more sessions than there are edges keeps those that there are, and
/// does not try over and over.
#[test]
fn with_fewer_edges_than_wanted_there_are_as_many_sessions_as_edges() {
    let zone = Zone::new("apps.test")
        .record("edge 1 A 127.0.0.1")
        .record("edge 1 A 127.0.0.2");
    let Some(mut field) = Field::with_edges(&zone, 1) else {
        return;
    };
    // The same edge by two names.
    let named = format!(
        "address = [\"edge.apps.test:{port}\", \"127.0.0.1:{port}\"]\nconnect_to = \"127.0.0.1\"\nedges = 3",
        port = field.port
    );
    field.start_client(&named, &Origin::echo());
    field.await_connected(&["edge-1"]);
    wait_for("the others to know that there is nothing to do", || {
        let slots = field.status()["dialing"]["slots"].take();
        let idle = slots
            .as_array()?
            .iter()
            .filter(|slot| slot["state"] == "idle");
        (idle.count() == 2).then_some(())
    });
    assert_eq!(field.connected(), ["edge-1"]);
    let status = field.status();
    assert_eq!(
        status["discovery"]["names"],
        serde_json::json!([]),
        "nothing is asked for"
    );
}
