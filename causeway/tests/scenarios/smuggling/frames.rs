//! Requests of HTTP/2 as frames, sent as they are, and what becomes of them on both sides.

use std::{net::SocketAddr, process::Stdio};

use serde_json::{Value, json};

use super::{Seen, marker, recording};
use crate::support::{CLUSTER, Plane, run, script};

pub(super) type Field<'a> = (&'a str, &'a str);

pub(super) const GET: [Field<'_>; 4] = [
    (":method", "GET"),
    (":scheme", "http"),
    (":authority", "origin.test"),
    (":path", "/"),
];
pub(super) const POST: [Field<'_>; 4] = [(":method", "POST"), GET[1], GET[2], GET[3]];

/// A second request, for whoever takes it for one.
pub(super) const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: origin.test\r\n\r\n";

/// The request is malformed.
pub(super) const MALFORMED: &str = "RST_STREAM PROTOCOL_ERROR";
/// So is what carries it, and the connection is over: h2 counts among it all that cannot be a field.
pub(super) const BROKEN: &str = "GOAWAY PROTOCOL_ERROR";

/// What is sent, and what is to become of it.
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) frames: Value,
    /// What the caller gets, as `http2_frames.py` prints it.
    pub(super) answer: &'static str,
    pub(super) arrival: Arrival,
}

/// What the origin gets, whole.
#[derive(Clone, Copy)]
pub(super) enum Arrival {
    Never,
    /// A request with this body.
    Once(&'static str),
    /// The same, or nothing: the head is a whole request before the rest contradicts it.
    Perhaps(&'static str),
}

impl Case {
    pub(super) fn arrives(name: &'static str, frames: Value, body: &'static str) -> Self {
        Self {
            name,
            frames,
            answer: "200",
            arrival: Arrival::Once(body),
        }
    }

    pub(super) fn refused(name: &'static str, frames: Value, answer: &'static str) -> Self {
        Self {
            name,
            frames,
            answer,
            arrival: Arrival::Never,
        }
    }
}

/// Sends each case on a connection of its own, and looks at what came of it on both sides.
#[track_caller]
pub(super) fn check(cases: &[Case]) {
    if script("http2_frames.py").is_none() {
        return;
    }
    let (origin, seen) = recording();
    let mut plane = Plane::builder()
        .expose("origin", &origin.http_target())
        .http_ingress_to("web", &format!("{CLUSTER}/origin"))
        .start();
    let web = plane.ingress("web");
    let wrong: Vec<_> = cases
        .iter()
        .filter_map(|case| fault(case, web, &seen))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn fault(case: &Case, web: SocketAddr, seen: &Seen) -> Option<String> {
    let mut sending = script("http2_frames.py").expect("it was there before");
    let sending = sending.arg(web.to_string()).arg(case.frames.to_string());
    let output = run(sending, Stdio::null());
    let answer = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    // Whatever was left on a connection would be in front of this.
    let told = marker(web);
    let arrived = std::mem::take(&mut *seen.lock().unwrap());
    let got: Vec<(&str, &[u8])> = arrived
        .iter()
        .map(|(head, body)| (head.split(' ').nth(1).unwrap_or_default(), &body[..]))
        .collect();
    let once = |body: &'static str| [("/", body.as_bytes()), ("/marker", b"")] == got[..];
    let never = got == [("/marker", &b""[..])];
    let arrived_so = match case.arrival {
        Arrival::Never => never,
        Arrival::Once(body) => once(body),
        Arrival::Perhaps(body) => never || once(body),
    };
    let well_formed = arrived.iter().all(|(head, _)| is_well_formed(head));
    let fine = output.status.success()
        && answer == case.answer
        && told == "/marker"
        && arrived_so
        && well_formed;
    (!fine).then(|| {
        let errors = String::from_utf8_lossy(&output.stderr);
        format!(
            "{}: {answer:?} instead of {:?}, then {told:?}; {arrived:#?}{errors}",
            case.name, case.answer
        )
    })
}

/// A head that reads one way only, in which nobody but the edge says who the caller is.
fn is_well_formed(head: &str) -> bool {
    let head = head.to_ascii_lowercase();
    let (first, fields) = head.split_once("\r\n").unwrap_or_default();
    let mut lengths = 0;
    let plain = fields.split_terminator("\r\n").all(|line| {
        let (name, _) = line.split_once(": ").unwrap_or_default();
        lengths += usize::from(["content-length", "transfer-encoding"].contains(&name));
        // The empty line ends the head; trailers may be behind it.
        line.is_empty() || (!name.is_empty() && !name.contains([' ', ':', '\t']))
    });
    let once = |field: &str| fields.matches(field).count() == 1;
    first.split(' ').count() == 3
        && first.ends_with(" http/1.1")
        && plain
        && lengths <= 1
        && !head.contains("6.6.6.6")
        && !head.contains("smuggled")
        && !head.replace("\r\n", "").contains(|c: char| c.is_control())
        && [
            "x-forwarded-for: 127.0.0.1\r\n",
            "forwarded: for=127.0.0.1;",
            "host: origin.test\r\n",
        ]
        .into_iter()
        .all(|own| once(&format!("\r\n{own}")) || fields.starts_with(own))
}

/// A request without a body.
pub(super) fn bare(fields: &[Field<'_>]) -> Value {
    json!([["HEADERS", 1, ["END_HEADERS", "END_STREAM"], fields]])
}

/// `GET` with one field more.
pub(super) fn get_with(name: &str, value: &str) -> Value {
    bare(&[&GET[..], &[(name, value)]].concat())
}

/// `GET` with another value of one pseudo-header field.
pub(super) fn get_but(name: &str, value: &str) -> Value {
    bare(&GET.map(|field| {
        if field.0 == name {
            (name, value)
        } else {
            field
        }
    }))
}

/// `GET` without one pseudo-header field, and with some other fields.
pub(super) fn get_without(name: &str, more: &[Field<'_>]) -> Value {
    let mut fields = GET.to_vec();
    fields.retain(|field| field.0 != name);
    bare(&[&fields[..], more].concat())
}

/// `POST` with some fields more, and a body.
pub(super) fn post(more: &[Field<'_>], body: &str) -> Value {
    let fields = [&POST[..], more].concat();
    json!([
        ["HEADERS", 1, ["END_HEADERS"], fields],
        ["DATA", 1, ["END_STREAM"], body],
    ])
}

/// `POST` with a body and trailers.
pub(super) fn post_then(trailers: &[Field<'_>]) -> Value {
    let more = [
        ("te", "trailers"),
        ("trailer", "x-sum, x-forwarded-for, forwarded"),
    ];
    let fields = [&POST[..], &more].concat();
    json!([
        ["HEADERS", 1, ["END_HEADERS"], fields],
        ["DATA", 1, [], "abc"],
        ["HEADERS", 1, ["END_HEADERS", "END_STREAM"], trailers],
    ])
}
