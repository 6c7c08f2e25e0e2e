//! The audit log: a record for each stream, on each side, whatever becomes of it.

use std::{
    fs,
    io::{Read, Write},
    net::Shutdown,
};

use serde_json::Value;

use crate::support::{Builder, CLUSTER, Origin, Plane, Side, refusing_address, wait_for};

const LOG: &str = "[audit]\nfile = \"audit.jsonl\"\n";

fn audited() -> Builder {
    Plane::builder().edge_toml(LOG).client_toml(LOG)
}

/// What one side has recorded by now.
fn records(plane: &Plane, side: Side) -> Vec<Value> {
    let text = fs::read_to_string(plane.path(side).join("audit.jsonl")).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The only record of each side, once it is there; both are about the same stream.
#[track_caller]
fn both(plane: &Plane) -> [Value; 2] {
    let [edge, client] = [Side::Edge, Side::Client].map(|side| {
        wait_for("a record", || {
            let mut records = records(plane, side);
            assert!(records.len() < 2, "{records:#?}");
            records.pop()
        })
    });
    for key in [
        "session",
        "stream",
        "direction",
        "cluster",
        "replica",
        "edge",
        "service",
        "caller",
        "caller_address",
    ] {
        assert_eq!(edge[key], client[key], "{key}");
    }
    assert_eq!(edge["cluster"], CLUSTER);
    assert_eq!(edge["edge"], "edge-1");
    [edge, client]
}

/// What a record says of how the stream ended.
fn end(record: &Value) -> [&str; 3] {
    ["outcome", "code", "reset_by"].map(|key| record[key].as_str().unwrap_or_default())
}

#[test]
fn a_stream_through_a_tcp_ingress() {
    let origin = Origin::echo();
    let mut plane = audited()
        .expose("echo", &origin.tcp())
        .tcp_ingress("echo")
        .start();
    let mut caller = plane.dial_ingress("echo");
    caller.write_all(b"hello").unwrap();
    caller.shutdown(Shutdown::Write).unwrap();
    let mut back = String::new();
    caller.read_to_string(&mut back).unwrap();
    assert_eq!(back, "hello");

    let [edge, client] = both(&plane);
    assert_eq!(edge["direction"], "to_compute");
    assert_eq!(edge["service"], "echo");
    assert_eq!(edge["caller"], "ingress/echo");
    let address = caller.local_addr().unwrap().to_string();
    assert_eq!(edge["caller_address"], address);
    // Only the side that dialled knows what.
    assert_eq!(
        (&edge["target"], &client["target"]),
        (&Value::Null, &origin.tcp().into())
    );
    for record in [&edge, &client] {
        assert_eq!(end(record), ["complete", "", ""]);
        assert_eq!(
            (&record["bytes_sent"], &record["bytes_received"]),
            (&5.into(), &5.into())
        );
    }
}

#[test]
fn a_stream_through_a_forward() {
    let origin = Origin::digest();
    let mut plane = audited().forward("state", &origin.tcp()).start();
    let mut caller = plane.dial_forward("state");
    caller.write_all(&[0; 100]).unwrap();
    caller.shutdown(Shutdown::Write).unwrap();
    let mut back = Vec::new();
    caller.read_to_end(&mut back).unwrap();

    let [edge, client] = both(&plane);
    assert_eq!(edge["direction"], "to_control");
    assert_eq!(client["caller"], "forward/state");
    assert_eq!(
        (&edge["target"], &client["target"]),
        (&origin.tcp().into(), &Value::Null)
    );
    assert_eq!(
        (&client["bytes_sent"], &edge["bytes_received"]),
        (&100.into(), &100.into())
    );
    assert_eq!(client["bytes_received"], back.len());
    assert_eq!(
        (end(&edge), end(&client)),
        (["complete", "", ""], ["complete", "", ""])
    );
}

#[test]
fn what_is_refused_or_not_reached() {
    let (refusing, _held) = refusing_address();
    let mut plane = audited()
        .expose("gone", &format!("tcp://{refusing}"))
        .tcp_ingress("gone")
        .tcp_ingress_to("secret", &format!("{CLUSTER}/secret"))
        .start();
    for (ingress, code) in [("gone", "connect_refused"), ("secret", "unknown_service")] {
        let mut caller = plane.dial_ingress(ingress);
        caller.read_to_end(&mut Vec::new()).unwrap_err();
        for (side, by) in [(Side::Edge, "peer"), (Side::Client, "here")] {
            let record = wait_for("a record", || {
                let records = records(&plane, side);
                records
                    .into_iter()
                    .find(|record| record["service"] == ingress)
            });
            assert_eq!(end(&record), ["reset", code, by], "{record:#}");
        }
    }
}

/// The client's side cannot tell any more; the edge's does.
#[test]
fn a_client_that_is_killed() {
    let origin = Origin::by_hand();
    let mut plane = audited()
        .expose("hand", &origin.tcp())
        .tcp_ingress("hand")
        .edge_toml("[session]\ngrace = \"1s\"\n")
        .start();
    let mut caller = plane.dial_ingress("hand");
    caller.write_all(b"x").unwrap();
    let _held = origin.accept();
    plane.client.kill();
    let record = wait_for("the edge's record", || records(&plane, Side::Edge).pop());
    assert_eq!(end(&record), ["reset", "grace_expired", "here"]);
    assert_eq!(record["bytes_sent"], 1);
}

/// Requests share connections to the origin: a record is about one of those.
#[test]
fn a_stop_leaves_no_stream_without_its_record() {
    let mut plane = audited().expose("hello", "hello").http_ingress().start();
    for _ in 0..3 {
        let answer = plane.get("hello", "/bytes?n=1000").send().unwrap();
        assert_eq!(answer.text().unwrap().len(), 1000);
    }
    assert_eq!(records(&plane, Side::Edge), Vec::<Value>::new());
    plane.client.signal("TERM");
    plane.edge.signal("TERM");
    assert!(plane.client.ended().success());
    assert!(plane.edge.ended().success());
    let [edge, client] = both(&plane);
    assert_eq!(edge["caller"], "ingress/web");
    assert_eq!(edge["bytes_received"], client["bytes_sent"]);
    assert!(edge["bytes_received"].as_u64().unwrap() > 3000);
}

#[test]
fn a_pooled_connection_that_is_closed_between_requests_is_complete() {
    let mut plane = audited().expose("hello", "hello").http_ingress().start();
    plane.get("hello", "/").send().unwrap().text().unwrap();
    // It waits for idle connections to go.
    plane.client.signal("TERM");
    let [edge, client] = both(&plane);
    assert_eq!(
        (end(&edge), end(&client)),
        (["complete", "", ""], ["complete", "", ""])
    );
}

#[test]
fn a_full_disk_stops_no_stream_and_is_told() {
    let origin = Origin::echo();
    let mut plane = Plane::builder()
        .client_toml("[audit]\nfile = \"/dev/full\"\n")
        .expose("echo", &origin.tcp())
        .tcp_ingress("echo")
        .start();
    for _ in 0..3 {
        let mut caller = plane.dial_ingress("echo");
        caller.write_all(b"hello").unwrap();
        caller.shutdown(Shutdown::Write).unwrap();
        let mut back = String::new();
        caller.read_to_string(&mut back).unwrap();
        assert_eq!(back, "hello");
    }
    wait_for("lost records to be counted", || {
        let lost = "causeway_audit_records_total{outcome=\"lost\"} 3";
        plane.metrics(Side::Client).contains(lost).then_some(())
    });
    let said = "the audit log cannot be written";
    assert_eq!(plane.client.log().matches(said).count(), 1);
}

#[test]
fn a_log_that_cannot_be_opened_stops_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let authority = crate::support::Authority::create(&directory.path().join("authority"));
    authority.issue(&["edge", "edge-1"], &directory.path().join("state"));
    let config = directory.path().join("edge.toml");
    fs::write(
        &config,
        "[identity]\ndir = \"state\"\n[listen]\ntunnel = \"127.0.0.1:0\"\n[admin]\nlisten = \"off\"\n\
         [audit]\nfile = \"missing/audit.jsonl\"\n",
    )
    .unwrap();
    let mut edge = crate::support::causeway();
    let output = edge
        .arg("edge")
        .arg("--config")
        .arg(&config)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("cannot open the audit log"), "{said}");
    assert!(said.contains("missing/audit.jsonl"), "{said}");
}
