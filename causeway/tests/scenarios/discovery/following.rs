//! The zone changes while the client runs.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::field::{Field, request, under_load};
use crate::support::{DEADLINE, Origin, nameserver::Zone, wait_for};

#[test]
fn an_edge_that_is_named_is_used_and_one_that_is_no_longer_named_is_drained() {
    let zone = Zone::new("apps.test").record("edge 1 A 127.0.0.1");
    let Some(mut field) = Field::with_edges(&zone, 2) else {
        return;
    };
    let origin = Origin::by_hand();
    let address = format!("address = \"edge.apps.test:{}\"\nedges = 2", field.port);
    field.start_client(&address, &origin);
    field.await_connected(&["edge-1"]);
    let forward = field.forward();

    // What is under way through the first edge from now on takes as long as it takes.
    let mut caller = TcpStream::connect(field.ingress(1)).unwrap();
    caller.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut at_origin = origin.accept();
    let requests = under_load(forward, || {
        field.names.update("add edge 1 A 127.0.0.2");
        field.await_connected(&["edge-1", "edge-2"]);
        field.names.update("delete edge A 127.0.0.1");
        field.await_connected(&["edge-2"]);
        for _ in 0..20 {
            request(forward).unwrap();
        }
    });
    eprintln!("{requests} requests, and none failed");
    assert!(requests > 0);

    let retired = field.status()["retired_sessions"].clone();
    assert_eq!(retired[0]["peer"], "edge-1", "{retired}");
    echoes(&mut caller, &mut at_origin);
    drop((caller, at_origin));
    wait_for("the session that was left to end", || {
        let retired = field.status()["retired_sessions"].clone();
        retired.as_array()?.is_empty().then_some(())
    });
    let metrics = field.metrics();
    let left = "causeway_edges_left_total{because=\"not_named\"} 1";
    assert!(metrics.contains(left), "{metrics}");

    // And back again.
    field.names.update("add edge 1 A 127.0.0.1");
    field.await_connected(&["edge-1", "edge-2"]);
}

#[test]
fn with_one_session_the_edge_that_is_left_is_replaced_before_it_is_drained() {
    let zone = Zone::new("apps.test").record("edge 1 A 127.0.0.1");
    let Some(mut field) = Field::with_edges(&zone, 2) else {
        return;
    };
    let address = format!("address = \"edge.apps.test:{}\"\nedges = 1", field.port);
    field.start_client(&address, &Origin::echo());
    field.await_connected(&["edge-1"]);
    let forward = field.forward();
    let requests = under_load(forward, || {
        field
            .names
            .update("add edge 1 A 127.0.0.2\ndelete edge A 127.0.0.1");
        field.await_connected(&["edge-2"]);
        for _ in 0..20 {
            request(forward).unwrap();
        }
    });
    eprintln!("{requests} requests, and none failed");
}

/// Who deletes all records by mistake cuts nobody off.
#[test]
fn when_no_edge_is_named_any_more_what_is_connected_stays() {
    let zone = Zone::new("apps.test").record("edge 1 A 127.0.0.1");
    let Some(mut field) = Field::with_edges(&zone, 2) else {
        return;
    };
    let address = format!("address = \"edge.apps.test:{}\"", field.port);
    field.start_client(&address, &Origin::echo());
    field.await_connected(&["edge-1"]);
    field.names.update("delete edge A");
    let name = field.await_name("denied");
    assert_eq!(name["error"], "the name does not exist (NXDOMAIN)");
    assert_eq!(field.connected(), ["edge-1"]);
    request(field.forward()).unwrap();

    field.names.update("add edge 1 A 127.0.0.2");
    field.await_connected(&["edge-2"]);
    request(field.forward()).unwrap();
}

/// A word there and back.
#[track_caller]
fn echoes(caller: &mut TcpStream, at_origin: &mut TcpStream) {
    let mut word = [0; 4];
    caller.write_all(b"ping").unwrap();
    at_origin.read_exact(&mut word).unwrap();
    at_origin.write_all(b"pong").unwrap();
    caller.read_exact(&mut word).unwrap();
    assert_eq!(&word, b"pong");
}
