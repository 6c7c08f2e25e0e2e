//! The frames of the TLS transport, against `vectors/frames.txt`.

use relay::transport::tls::Violation;
use relay::transport::tls::frame::{FrameReader, Header, Kind, Piece, close, small};

use crate::hex;
use crate::vectors::vectors;

fn data(stream: u32, opens: bool, ends: bool, payload: &[u8]) -> Vec<u8> {
    let header = Header {
        stream,
        kind: Kind::Data { opens, ends },
        length: payload.len(),
    };
    [&header.encode(), payload].concat()
}

fn piece(stream: u32, opens: bool, ends: bool, payload: &[u8]) -> Piece<'_> {
    Piece::Data {
        stream,
        opens,
        payload,
        ends,
    }
}

/// What `bytes` are, and nothing behind it.
fn read(mut bytes: &[u8]) -> Result<Option<Piece<'_>>, Violation> {
    let piece = FrameReader::default().next(&mut bytes)?;
    assert!(bytes.is_empty(), "all of it is taken");
    Ok(piece)
}

#[test]
fn frames() {
    let vectors = vectors(include_str!("../vectors/frames.txt"));
    let code = |code: u32| code.to_be_bytes();
    let nonce = 42_u64.to_be_bytes();
    let reason = || "full".to_owned();
    let values = [
        (
            "frame-opens",
            data(0, true, false, b"hello"),
            piece(0, true, false, b"hello"),
        ),
        (
            "frame-data",
            data(3, false, false, b"hi"),
            piece(3, false, false, b"hi"),
        ),
        (
            "frame-ends",
            data(3, false, true, b""),
            piece(3, false, true, b""),
        ),
        (
            "frame-opens-and-ends",
            data(6, true, true, b"!"),
            piece(6, true, true, b"!"),
        ),
        (
            "frame-reset",
            small(6, Kind::Reset, &code(8)),
            Piece::Reset { stream: 6, code: 8 },
        ),
        (
            "frame-stop",
            small(6, Kind::Stop, &code(0)),
            Piece::Stop { stream: 6, code: 0 },
        ),
        (
            "frame-ping",
            small(0, Kind::Ping, &nonce),
            Piece::Ping { nonce: 42 },
        ),
        (
            "frame-pong",
            small(0, Kind::Pong, &nonce),
            Piece::Pong { nonce: 42 },
        ),
        (
            "frame-close",
            close(3, "full"),
            Piece::Close {
                code: 3,
                reason: reason(),
            },
        ),
        (
            "frame-close-without-a-text",
            close(0, ""),
            Piece::Close {
                code: 0,
                reason: String::new(),
            },
        ),
    ];
    for (name, bytes, value) in &values {
        let expected = &vectors[*name];
        assert_eq!(hex(bytes), hex(expected), "{name}");
        assert_eq!(read(expected).unwrap().as_ref(), Some(value), "{name}");
    }
    assert_eq!(vectors.len(), values.len(), "all are checked");
}

#[test]
fn what_is_no_frame_is_refused_with_its_reason() {
    let vectors = vectors(include_str!("../vectors/frames-malformed.txt"));
    let reasons = [
        ("unknown-kind", Violation::UnknownKind(9)),
        ("data-of-nothing", Violation::Length(0)),
        ("data-over-64-KiB", Violation::Length(65_537)),
        ("reset-without-a-code", Violation::Length(0)),
        ("stop-with-a-long-code", Violation::Length(8)),
        ("ping-with-a-short-number", Violation::Length(4)),
        ("close-with-a-long-text", Violation::Length(2053)),
        ("ping-of-a-stream", Violation::StreamOfTheConnection(2)),
        ("close-that-is-not-utf-8", Violation::NotText),
    ];
    for (name, reason) in &reasons {
        assert_eq!(read(&vectors[*name]), Err(*reason), "{name}");
    }
    assert_eq!(vectors.len(), reasons.len(), "all are checked");
}

#[test]
fn a_frame_that_is_not_whole_is_awaited() {
    let vectors = vectors(include_str!("../vectors/frames.txt"));
    for name in ["frame-reset", "frame-ping", "frame-close"] {
        let bytes = &vectors[name];
        for count in 0..bytes.len() {
            assert_eq!(read(&bytes[..count]), Ok(None), "{name}, {count} bytes");
        }
    }
}
