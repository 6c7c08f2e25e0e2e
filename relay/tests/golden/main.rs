//! Every message against committed bytes (`tests/vectors/*.txt`), in both directions: they must not
//! change while a version of the protocol lives. What a stranger may send is here too: frames that
//! are tolerated, and frames that are refused and with which error.
#![allow(
    clippy::unwrap_used,
    reason = "a test states its expectation by unwrapping"
)]

mod frames;
mod malformed;
mod values;
mod vectors;

use std::collections::BTreeSet;

use bytes::{Bytes, BytesMut};
use relay::proto::{
    AppProtocol, CloseCode, Control, Echo, Features, FrameBuffer, Generation, Hello,
    MAX_CONTROL_FRAME, MAX_HEADER_FRAME, ResetCode, StreamAnswer, StreamHeader,
};

use malformed::{MALFORMED, outcome};
use values::{
    close, control_values, fin, header_values, i, r, reset, service, smallest_hello, versions,
};
use vectors::vectors;

#[test]
fn control_messages() {
    let vectors = vectors(include_str!("../vectors/control.txt"));
    for (name, value) in control_values() {
        let bytes = &vectors[name];
        assert_eq!(encoded(|out| value.encode(out)), hex(bytes), "{name}");
        assert_eq!(decode_control(bytes), value, "{name}");
    }
    assert_eq!(vectors.len(), control_values().len(), "all are checked");
    let labels: BTreeSet<_> = control_values()
        .iter()
        .map(|(_, value)| value.label())
        .collect();
    assert_eq!(labels.len(), 13, "every kind is there: {labels:?}");
}

#[test]
fn headers() {
    let vectors = vectors(include_str!("../vectors/header.txt"));
    for (name, value) in header_values() {
        let bytes = &vectors[name];
        assert_eq!(encoded(|out| value.encode(out)), hex(bytes), "{name}");
        let frame = frame(bytes, MAX_HEADER_FRAME);
        assert_eq!(StreamHeader::decode(frame).unwrap(), value, "{name}");
    }
    assert_eq!(vectors.len(), header_values().len(), "all are checked");
}

#[test]
fn answers() {
    let vectors = vectors(include_str!("../vectors/answer.txt"));
    let new = |stream| StreamAnswer {
        stream,
        generation: Generation(0),
        received: 0,
        start: 0,
        resumable: false,
    };
    let moved = StreamAnswer {
        stream: r(0),
        generation: Generation(1),
        received: 12288,
        start: 70000,
        resumable: true,
    };
    let values = [
        ("answer", new(r(0))),
        ("answer-to-i0", new(i(0))),
        ("answer-to-attach", moved),
    ];
    for (name, value) in values {
        let bytes = &vectors[name];
        assert_eq!(encoded(|out| value.encode(out)), hex(bytes), "{name}");
        let frame = frame(bytes, MAX_HEADER_FRAME);
        assert_eq!(StreamAnswer::decode(frame).unwrap(), value, "{name}");
    }
    assert_eq!(vectors.len(), values.len(), "all are checked");
}

#[test]
fn what_a_later_version_may_send_is_tolerated() {
    let vectors = vectors(include_str!("../vectors/tolerated.txt"));
    let smallest = smallest_hello();
    let values = [
        ("unknown-kind", Control::Unknown),
        ("empty", Control::Unknown),
        ("unknown-fields", Control::Ping(Echo::short(42))),
        ("unknown-field-beside-the-kind", fin(r(0), 5)),
        (
            "unknown-features",
            Control::Hello(Box::new(Hello {
                versions: versions(1, 9),
                features: Features(u64::MAX),
                ..smallest
            })),
        ),
        ("unknown-reset-code", reset(r(0), ResetCode::Internal, "")),
        ("unknown-close-code", close(CloseCode::Internal, "", None)),
        (
            "unknown-service-protocol",
            Control::HealthReport(vec![service("db", AppProtocol::Tcp)]),
        ),
        ("zeros-that-are-written", fin(i(0), 0)),
        ("fields-in-another-order", fin(r(0), 5)),
        ("last-kind-counts", Control::Pong(Echo::short(2))),
        (
            "control-characters",
            reset(r(0), ResetCode::Internal, "a[1mb"),
        ),
        ("long-length", Control::Ping(Echo::short(42))),
    ];
    for (name, value) in &values {
        assert_eq!(decode_control(&vectors[*name]), *value, "{name}");
    }
    assert_eq!(vectors.len(), values.len(), "all are checked");
}

#[test]
fn what_is_no_message_is_refused_with_its_reason() {
    let vectors = vectors(include_str!("../vectors/malformed.txt"));
    for (name, expected) in MALFORMED {
        assert_eq!(outcome(name, &vectors[*name]), *expected, "{name}");
    }
    assert_eq!(vectors.len(), MALFORMED.len(), "all are checked");
}

/// The bytes that the protocol's description shows are the ones that are checked here.
#[test]
fn the_description_shows_these_bytes() {
    let description = include_str!("../../../docs/protocol.md");
    let mut all = vectors(include_str!("../vectors/control.txt"));
    all.extend(vectors(include_str!("../vectors/header.txt")));
    all.extend(vectors(include_str!("../vectors/answer.txt")));
    all.extend(vectors(include_str!("../vectors/frames.txt")));
    all.extend(vectors(include_str!("../vectors/yamux.txt")));
    let shown: Vec<_> = description
        .split("```vector\n")
        .skip(1)
        .map(|block| block.split("```").next().unwrap())
        .collect();
    assert!(shown.len() > 10, "the description has examples");
    for block in shown {
        for (name, bytes) in vectors(block) {
            assert_eq!(all.get(&name), Some(&bytes), "{name}");
        }
    }
}

fn encoded(encode: impl FnOnce(&mut BytesMut)) -> String {
    let mut out = BytesMut::new();
    encode(&mut out);
    hex(&out)
}

fn decode_control(bytes: &[u8]) -> Control {
    Control::decode(frame(bytes, MAX_CONTROL_FRAME)).unwrap()
}

/// The payload of the one frame that `bytes` are.
#[track_caller]
fn frame(bytes: &[u8], limit: usize) -> Bytes {
    let mut buffer = FrameBuffer::new(limit);
    buffer.push(bytes);
    let frame = buffer.next_frame().unwrap().expect("a whole frame");
    assert!(buffer.into_rest().is_empty(), "nothing behind it");
    frame
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x} ")).collect()
}
