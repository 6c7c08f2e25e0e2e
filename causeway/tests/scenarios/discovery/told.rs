//! Edges that a client learns of by its edge.

use super::field::{Field, request};
use crate::support::{Origin, nameserver::Zone, wait_for};

#[test]
fn edges_that_an_edge_tells_of_are_used_within_the_suffix_and_drained_when_they_are_not_told_any_more()
 {
    let zone = Zone::new("apps.test")
        .record("edge-1 1 A 127.0.0.1")
        .record("edge-2 1 A 127.0.0.2");
    let Some(mut field) = Field::with_edges(&zone, 2) else {
        return;
    };
    let port = field.port;
    field.tell(
        1,
        &[
            &format!("edge-2.apps.test:{port}"),
            &format!("127.0.0.3:{port}"),
            "edge.elsewhere.test:443",
        ],
    );
    let address = format!("address = \"edge-1.apps.test:{port}\"\nedges = 2");
    field.start_client(&address, &Origin::echo());
    field.await_connected(&["edge-1", "edge-2"]);
    let known = field.status()["discovery"]["edges"].clone();
    let known: Vec<_> = known
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["name"].clone())
        .collect();
    assert_eq!(
        known,
        [
            format!("edge-1.apps.test:{port}"),
            format!("edge-2.apps.test:{port}")
        ]
    );

    field.tell(1, &[&format!("edge-1.apps.test:{port}")]);
    field.await_connected(&["edge-1"]);
    request(field.forward()).unwrap();
    field.tell(1, &[&format!("edge-2.apps.test:{port}")]);
    field.await_connected(&["edge-1", "edge-2"]);
}

#[test]
fn told_to_believe_nothing_a_client_keeps_to_its_own_names() {
    let zone = Zone::new("apps.test")
        .record("edge-1 1 A 127.0.0.1")
        .record("edge-2 1 A 127.0.0.2");
    let Some(mut field) = Field::with_edges(&zone, 2) else {
        return;
    };
    let port = field.port;
    field.tell(1, &[&format!("edge-2.apps.test:{port}")]);
    let address = format!("address = \"edge-1.apps.test:{port}\"\nedges = 2\nsuffix = \"off\"");
    field.start_client(&address, &Origin::echo());
    field.await_connected(&["edge-1"]);
    wait_for("the second keeper to have nothing to do", || {
        (field.status()["dialing"]["slots"][1]["state"] == "idle").then_some(())
    });
    let known = field.status()["discovery"]["edges"].clone();
    assert_eq!(known.as_array().unwrap().len(), 1, "{known}");
}
