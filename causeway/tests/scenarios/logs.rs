//! What the two processes log: each line says which session and stream it is about, by its spans,
//! in the words of the audit log; and nobody can fill the disk with lines.

use std::{
    fs,
    io::{Read, Write},
    net::{Shutdown, TcpStream},
};

use serde_json::Value;

use crate::support::stranger::{Stranger, shown};
use crate::support::{
    Authority, CLUSTER, DEADLINE, Origin, Plane, Process, Side, refusing_address, wait_for,
};

const AUDIT: &str = "[audit]\nfile = \"audit.jsonl\"\n";

fn process(plane: &Plane, side: Side) -> &Process {
    match side {
        Side::Edge => &plane.edge,
        Side::Client => &plane.client,
    }
}

/// What a process has logged by now. The last line may still be on its way.
fn lines(process: &Process) -> Vec<Value> {
    let log = process.log();
    log.lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

/// The first line that says `message`, once it is there.
#[track_caller]
fn line(process: &Process, message: &str) -> Value {
    wait_for(message, || {
        let mut lines = lines(process).into_iter();
        lines.find(|line| line["message"] == message)
    })
}

/// The record of the only stream of a service, once it is there.
#[track_caller]
fn record(plane: &Plane, side: Side, service: &str) -> Value {
    wait_for("a record", || {
        let text = fs::read_to_string(plane.path(side).join("audit.jsonl")).unwrap();
        let mut records = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        records.find(|record| record["service"] == service)
    })
}

fn span_names(line: &Value) -> Vec<&str> {
    let spans = line["spans"].as_array().map(Vec::as_slice);
    let names = spans.unwrap_or_default().iter();
    names.filter_map(|span| span["name"].as_str()).collect()
}

/// That a line is about the stream of a record of the same side.
#[track_caller]
fn is_about(line: &Value, record: &Value, side: Side) {
    let outermost = match side {
        Side::Edge => "accept",
        Side::Client => "dial",
    };
    assert_eq!(
        span_names(line),
        [outermost, "session", "stream"],
        "{line:#}"
    );
    let [connection, session, stream] = [0, 1, 2].map(|depth| &line["spans"][depth]);
    // Whom a customer's client talks to is for whoever looks closer, as these tests do.
    assert!(connection["peer.address"].is_string(), "{line:#}");
    assert_eq!(session["session"], record["session"], "{line:#}");
    let cluster = format!(
        "{}/{}",
        session["tenant"].as_str().unwrap(),
        session["cluster"].as_str().unwrap()
    );
    assert_eq!(
        (&*cluster, &record["cluster"]),
        (CLUSTER, &cluster.as_str().into())
    );
    for field in ["stream", "service", "direction"] {
        assert_eq!(stream[field], record[field], "{field}: {line:#}");
    }
}

#[test]
fn the_lines_of_a_stream_say_which_it_is_on_both_sides() {
    let origin = Origin::echo();
    let mut plane = Plane::builder()
        .log("debug")
        .edge_toml(AUDIT)
        .client_toml(AUDIT)
        .expose("echo", &origin.tcp())
        .tcp_ingress("echo")
        .forward("state", &origin.tcp())
        .start();
    for mut caller in [plane.dial_ingress("echo"), plane.dial_forward("state")] {
        caller.write_all(b"hello").unwrap();
        caller.shutdown(Shutdown::Write).unwrap();
        caller.read_to_end(&mut Vec::new()).unwrap();
    }
    for (side, message, service) in [
        (Side::Client, "over", "echo"),
        (Side::Client, "caller over", "state"),
        (Side::Edge, "over", "state"),
    ] {
        let line = line(process(&plane, side), message);
        is_about(&line, &record(&plane, side, service), side);
    }
}

/// At the usual level too; and with the trace of whoever asked.
#[test]
fn a_warning_about_a_stream_says_which_it_is() {
    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    let (refusing, _held) = refusing_address();
    let mut plane = Plane::builder()
        .client_toml(AUDIT)
        .expose("gone", &format!("http://{refusing}"))
        .http_ingress()
        .start();
    let traceparent = format!("00-{TRACE}-b7ad6b7169203331-01");
    let answer = plane.get("gone", "/").header("traceparent", &traceparent);
    assert_eq!(
        answer.send().unwrap().header("causeway-error"),
        Some("connect_refused")
    );
    let warning = line(&plane.client, "target not reached");
    assert_eq!(span_names(&warning), ["dial", "session", "stream"]);
    let record = record(&plane, Side::Client, "gone");
    let stream = &warning["spans"][2];
    assert_eq!(stream["stream"], record["stream"], "{warning:#}");
    assert_eq!(stream["trace_id"], TRACE, "{warning:#}");
    let dial = &warning["spans"][0];
    assert_eq!(dial["peer.address"], Value::Null, "{warning:#}");
}

#[test]
fn who_has_not_proved_who_it_is_has_an_address_and_no_identity() {
    let mut plane = Plane::builder().start();
    let directory = tempfile::tempdir().unwrap();
    let foreign = Authority::create(&directory.path().join("authority"));
    let identity = directory.path().join("state");
    foreign.issue(&["client", CLUSTER], &identity);
    let good = plane.path(Side::Client).join("state");
    let stranger = Stranger::dialing(&good, Some(shown(&identity)));
    if let Ok(connection) = stranger.connect(plane.tunnel()) {
        stranger.closed(&connection).unwrap();
    }
    let refused = line(&plane.edge, "not admitted");
    assert_eq!(span_names(&refused), ["accept"], "{refused:#}");
    assert!(
        refused["spans"][0]["peer.address"].is_string(),
        "{refused:#}"
    );
    assert!(!refused.to_string().contains("acme"), "{refused:#}");
}

#[test]
fn callers_that_are_turned_away_do_not_fill_the_disk() {
    const CALLERS: u64 = 300;
    let mut plane = Plane::builder()
        .tcp_ingress_to("away", "acme/elsewhere/service")
        .start();
    let away = plane.ingress("away");
    for _ in 0..CALLERS {
        // It is reset, sooner or later than its side of the handshake is over, or it reads.
        let _ = TcpStream::connect(away).and_then(|mut caller| {
            caller.set_read_timeout(Some(DEADLINE))?;
            caller.read(&mut [0])
        });
    }
    let reset = "a caller is reset";
    let (logged, told) = wait_for("every caller to be accounted for", || {
        let lines = lines(&plane.edge);
        let logged = lines.iter().filter(|line| line["message"] == reset).count() as u64;
        let others = lines.iter().filter(|line| line["like"] == reset);
        let told: u64 = others.filter_map(|line| line["more"].as_u64()).sum();
        (logged + told == CALLERS).then_some((logged, told))
    });
    assert!(logged >= 10 && told > 0, "{logged} logged, {told} told");
}
