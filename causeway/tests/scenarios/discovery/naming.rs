//! How edges are named: SRV records, aliases, long answers, wrong ones.

use super::field::{Field, request};
use crate::support::{Origin, nameserver::Zone, wait_for};

/// The SRV records that an edge of this port publishes.
fn srv(port: u16, priority: u16, weight: u16, target: &str) -> String {
    format!("add _causeway._tcp 1 SRV {priority} {weight} {port} {target}")
}

#[test]
fn srv_records_say_which_edge_comes_first() {
    let zone = Zone::new("apps.test")
        .record("edge-1 1 A 127.0.0.1")
        .record("edge-2 1 CNAME alias")
        .record("alias 1 A 127.0.0.2");
    let Some(mut field) = Field::with_edges(&zone, 2) else {
        return;
    };
    let first = srv(field.port, 20, 0, "edge-1.apps.test.");
    let second = srv(field.port, 10, 5, "edge-2.apps.test.");
    field.names.update(&format!("{first}\n{second}"));
    field.start_client("srv = \"apps.test\"\nedges = 1", &Origin::echo());
    field.await_connected(&["edge-2"]);
    let told = field.status()["discovery"]["edges"].clone();
    let of = |name: &str| {
        let named = format!("{name}.apps.test:{}", field.port);
        let found = told
            .as_array()
            .unwrap()
            .iter()
            .find(|it| it["name"] == *named);
        found.unwrap_or_else(|| panic!("{named} in {told}")).clone()
    };
    assert_eq!(
        (&of("edge-2")["priority"], &of("edge-2")["weight"]),
        (&10.into(), &5.into())
    );
    assert_eq!(of("edge-1")["priority"], 20);
    request(field.forward()).unwrap();

    field.edge(2).kill();
    field.await_connected(&["edge-1"]);
    request(field.forward()).unwrap();
}

#[test]
fn an_srv_target_of_a_dot_says_that_there_is_no_edge() {
    let zone = Zone::new("apps.test")
        .record("edge-1 1 A 127.0.0.1")
        .record("_causeway._tcp 1 SRV 0 0 0 .");
    let Some(mut field) = Field::with_edges(&zone, 1) else {
        return;
    };
    field.start_client("srv = \"apps.test\"", &Origin::echo());
    let name = field.await_name("denied");
    assert_eq!(
        name["error"],
        "its SRV record says that the service is not there (target \".\")"
    );
    let there = srv(field.port, 0, 0, "edge-1.apps.test.");
    field
        .names
        .update(&format!("delete _causeway._tcp SRV\n{there}"));
    field.await_connected(&["edge-1"]);
}

/// More than one datagram can hold, to be asked again at once, under an alias.
#[test]
fn a_long_answer_comes_by_tcp_and_a_ttl_of_nothing_is_bounded() {
    let mut zone = Zone::new("apps.test")
        .record("edge-1 0 A 127.0.0.1")
        .record("_causeway._tcp 0 CNAME all");
    // A target cannot be shortened in an answer (RFC 2782), so that 60 of them take some 4 KiB.
    for number in 0..59 {
        let target = format!("no-edge-at-all-but-a-name-that-is-quite-long-{number}");
        zone = zone.record(&format!("all 0 SRV 5 0 1 {target}"));
    }
    let Some(mut field) = Field::with_edges(&zone, 1) else {
        return;
    };
    let real = format!("add all 0 SRV 5 0 {} edge-1.apps.test.", field.port);
    field.names.update(&real);
    field.start_client("srv = \"apps.test\"\nedges = 1", &Origin::echo());
    field.await_connected(&["edge-1"]);
    let status = field.status();
    let names = status["discovery"]["names"].as_array().unwrap();
    let owner = names.iter().find(|it| it["kind"] == "srv").unwrap();
    assert_eq!(owner["records"], 60, "{owner}");
    assert_eq!(status["discovery"]["edges"].as_array().unwrap().len(), 1);

    // Asked again and again, but not without a pause.
    field
        .names
        .update("delete edge-1 A\nadd edge-1 0 A 127.0.0.2");
    wait_for("the edge's new address", || {
        let edges = field.status()["discovery"]["edges"].take();
        let moved = format!("127.0.0.2:{}", field.port);
        (edges[0]["addresses"][0] == *moved).then_some(())
    });
}

#[test]
fn a_wrong_answer_leads_to_an_impostor_who_is_found_out() {
    let zone = Zone::new("apps.test").record("edge 1 A 127.0.0.1");
    let Some(mut field) = Field::new(&zone) else {
        return;
    };
    field.start_impostor(1);
    let address = format!("address = \"edge.apps.test:{}\"", field.port);
    field.start_client(&address, &Origin::echo());
    wait_for("the client to say why it is not ready", || {
        let (_, reasons) = field.readyz();
        reasons.contains("TLS failed").then_some(())
    });
    assert!(field.connected().is_empty());

    field.start_edge(2);
    field.names.update("add edge 1 A 127.0.0.2");
    field.await_connected(&["edge-2"]);
    request(field.forward()).unwrap();
    let log = field.client().log();
    assert!(
        log.contains("edge not reached") && log.contains("TLS failed"),
        "{log}"
    );
}
