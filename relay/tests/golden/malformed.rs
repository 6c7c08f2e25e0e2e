//! Bytes that are no message, and what is said of them.

use relay::proto::{
    Control, FrameBuffer, FrameError, MAX_CONTROL_FRAME, MAX_HEADER_FRAME, ParseError,
    StreamAnswer, StreamHeader,
};

/// What is said of bytes that are no message; the first part of the name is where they stand.
pub(crate) const MALFORMED: &[(&str, &str)] = &[
    ("control/cut-in-the-length", "awaits more"),
    ("control/cut-in-the-message", "awaits more"),
    (
        "control/length-of-five-bytes",
        "the length of a frame is malformed",
    ),
    (
        "control/over-64-KiB",
        "a frame of 65537 bytes is over the limit of 65536",
    ),
    (
        "header/over-16-KiB",
        "a frame of 16385 bytes is over the limit of 16384",
    ),
    ("control/cut-inside", "not protobuf"),
    ("control/message-longer-than-its-frame", "not protobuf"),
    ("control/wrong-type", "not protobuf"),
    ("control/number-of-eleven-bytes", "not protobuf"),
    ("control/not-utf-8", "not protobuf"),
    (
        "control/hello-versions-reversed",
        "field version_min: greater than version_max",
    ),
    ("control/hello-without-limits", "field limits: missing"),
    (
        "control/hello-short-instance",
        "field instance: has 16 bytes, not 15",
    ),
    (
        "control/hello-short-beside",
        "field beside: has 16 bytes, not 15",
    ),
    ("control/edge-list-of-65", "field edges: more than 64 edges"),
    (
        "control/hello-beside-nine",
        "field beside: more than 8 sessions",
    ),
    (
        "control/hello-without-replica",
        "field replica: a replica's name has 1 to 64 letters, digits, dots, underscores and hyphens",
    ),
    (
        "control/hello-replica-with-a-slash",
        "field replica: a replica's name has 1 to 64 letters, digits, dots, underscores and hyphens",
    ),
    (
        "control/hello-base-over-4-GiB",
        "field stream_base: over 4 GiB",
    ),
    (
        "control/hello-service-in-capitals",
        "field services.name: service name \"DB\" may have only a-z, 0-9 and inner single hyphens, e.g. \"log-relay\"",
    ),
    (
        "control/hello-continue-without-mode",
        "field mode: neither join nor replace",
    ),
    (
        "control/hello-continue-in-an-unknown-mode",
        "field mode: neither join nor replace",
    ),
    (
        "control/hello-ack-short-session",
        "field session: has 16 bytes, not 8",
    ),
    (
        "control/hello-ack-hint-of-three-bytes",
        "field worker_hint: has 8 bytes or none",
    ),
    ("header/empty", "field kind: neither open nor attach"),
    ("header/unknown-kind", "field kind: neither open nor attach"),
    (
        "header/open-without-service",
        "field service: a service name has 1 to 63 characters, not 0",
    ),
    (
        "header/open-of-a-double-hyphen",
        "field service: service name \"a--b\" may have only a-z, 0-9 and inner single hyphens, e.g. \"log-relay\"",
    ),
    (
        "header/open-from-a-host-name",
        "field address: invalid socket address syntax",
    ),
    ("answer/wrong-type", "not protobuf"),
];

/// What becomes of bytes at the place that `name` begins with.
pub(crate) fn outcome(name: &str, bytes: &[u8]) -> String {
    let (place, _) = name.split_once('/').unwrap();
    let limit = if place == "control" {
        MAX_CONTROL_FRAME
    } else {
        MAX_HEADER_FRAME
    };
    let mut buffer = FrameBuffer::new(limit);
    buffer.push(bytes);
    let frame = match buffer.next_frame() {
        Ok(Some(frame)) => frame,
        Ok(None) => return "awaits more".to_owned(),
        Err(error @ (FrameError::TooLarge { .. } | FrameError::BadLength)) => {
            return error.to_string();
        }
    };
    let error = match place {
        "control" => Control::decode(frame).unwrap_err(),
        "header" => StreamHeader::decode(frame).unwrap_err(),
        "answer" => StreamAnswer::decode(frame).unwrap_err(),
        other => panic!("{other} is no place"),
    };
    match error {
        // The library's own words are its own business.
        ParseError::Protobuf(_) => "not protobuf".to_owned(),
        ParseError::Field { .. } => error.to_string(),
    }
}
