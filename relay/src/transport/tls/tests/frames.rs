//! The codec: whole frames, frames in parts, and bytes that are none.

use proptest::collection::vec;
use proptest::prelude::*;

use crate::transport::tls::batch::Batch;
use crate::transport::tls::frame::{
    FrameReader, HEADER, Header, Kind, MAX_DATA, MAX_REASON, Piece, close, small,
};
use crate::transport::tls::violation::Violation;

/// The pieces of `bytes`, with the payload of each frame put together again.
fn read(parts: impl IntoIterator<Item = Vec<u8>>) -> Result<Vec<(String, Vec<u8>)>, Violation> {
    let (mut reader, mut pieces) = (FrameReader::default(), Vec::new());
    let mut begun: Option<(u32, bool, Vec<u8>)> = None;
    for part in parts {
        let mut part = &part[..];
        while let Some(piece) = reader.next(&mut part)? {
            match piece {
                Piece::Data {
                    stream,
                    opens,
                    payload,
                    ends,
                } => {
                    let (_, _, so_far) = begun.get_or_insert((stream, opens, Vec::new()));
                    so_far.extend_from_slice(payload);
                    // A test's frames all have the length that is their stream's number.
                    if so_far.len() == stream as usize {
                        let (_, opens, payload) = begun.take().unwrap();
                        pieces.push((format!("data {stream} {opens} {ends}"), payload));
                    }
                }
                other @ (Piece::Reset { .. }
                | Piece::Stop { .. }
                | Piece::Ping { .. }
                | Piece::Pong { .. }
                | Piece::Close { .. }) => pieces.push((format!("{other:?}"), Vec::new())),
            }
        }
        assert!(part.is_empty(), "all of it is taken");
    }
    Ok(pieces)
}

fn data(stream: u32, opens: bool, ends: bool) -> Vec<u8> {
    let header = Header {
        stream,
        kind: Kind::Data { opens, ends },
        length: stream as usize,
    };
    let payload = (0..stream).map(|at| (at * 7 / 3) as u8);
    header.encode().into_iter().chain(payload).collect()
}

fn frame() -> impl Strategy<Value = (String, Vec<u8>)> {
    let length = prop_oneof![1..20u32, 16_000..16_500u32, Just(MAX_DATA as u32)];
    prop_oneof![
        (length, any::<bool>(), any::<bool>()).prop_map(|(stream, opens, ends)| (
            format!("data {stream} {opens} {ends}"),
            data(stream, opens, ends)
        )),
        (any::<u32>(), any::<u32>()).prop_map(|(stream, code)| (
            format!("{:?}", Piece::Reset { stream, code }),
            small(stream, Kind::Reset, &code.to_be_bytes())
        )),
        (any::<u32>(), any::<u32>()).prop_map(|(stream, code)| (
            format!("{:?}", Piece::Stop { stream, code }),
            small(stream, Kind::Stop, &code.to_be_bytes())
        )),
        any::<u64>().prop_map(|nonce| (
            format!("{:?}", Piece::Ping { nonce }),
            small(0, Kind::Ping, &nonce.to_be_bytes())
        )),
        any::<u64>().prop_map(|nonce| (
            format!("{:?}", Piece::Pong { nonce }),
            small(0, Kind::Pong, &nonce.to_be_bytes())
        )),
        (any::<u32>(), ".{0,200}").prop_map(|(code, reason)| (
            format!(
                "{:?}",
                Piece::Close {
                    code,
                    reason: reason.clone()
                }
            ),
            close(code, &reason)
        )),
    ]
}

proptest! {
    #[test]
    fn frames_come_out_as_they_went_in_however_they_are_cut(
        frames in vec(frame(), 1..12),
        cuts in vec(1..3000usize, 1..8),
    ) {
        let bytes: Vec<u8> = frames.iter().flat_map(|(_, bytes)| bytes.clone()).collect();
        let (mut parts, mut at, mut lengths) = (Vec::new(), 0, cuts.iter().cycle());
        while at < bytes.len() {
            let end = bytes.len().min(at + lengths.next().unwrap());
            parts.push(bytes[at..end].to_vec());
            at = end;
        }
        let pieces = read(parts).unwrap();
        prop_assert_eq!(pieces.len(), frames.len());
        for ((name, payload), (expected, bytes)) in pieces.iter().zip(&frames) {
            prop_assert_eq!(name, expected);
            if !payload.is_empty() {
                prop_assert_eq!(&payload[..], &bytes[HEADER..]);
            }
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in vec(any::<u8>(), 0..200)) {
        let (mut reader, mut rest) = (FrameReader::default(), &bytes[..]);
        while let Ok(Some(_)) = reader.next(&mut rest) {}
    }

    #[test]
    fn a_batch_is_its_parts_in_order(parts in vec((any::<bool>(), 0..2000usize), 0..30)) {
        let (mut batch, mut expected) = (Batch::default(), Vec::new());
        for (at, (copied, length)) in parts.into_iter().enumerate() {
            let part = vec![at as u8; length];
            expected.extend_from_slice(&part);
            if copied { batch.copy(&part) } else { batch.push(part.into()) }
        }
        let together: Vec<u8> = batch.slices().iter().flat_map(|slice| slice.to_vec()).collect();
        prop_assert_eq!(batch.is_empty(), expected.is_empty());
        prop_assert_eq!(together, expected);
        batch.clear();
        prop_assert!(batch.is_empty() && batch.slices().is_empty());
    }
}

#[test]
fn a_frame_of_one_byte_at_a_time_is_one_frame() {
    let bytes = [data(300, true, true), close(6, "so")].concat();
    let pieces = read(bytes.into_iter().map(|byte| vec![byte])).unwrap();
    let names: Vec<_> = pieces.iter().map(|(name, _)| &name[..]).collect();
    let closed = format!(
        "{:?}",
        Piece::Close {
            code: 6,
            reason: "so".into()
        }
    );
    assert_eq!(names, ["data 300 true true", &closed]);
}

#[test]
fn a_reason_is_cut_to_what_fits_and_stays_text() {
    let long = "ü".repeat(MAX_REASON);
    let mut reader = FrameReader::default();
    let bytes = close(0, &long);
    let Ok(Some(Piece::Close { reason, .. })) = reader.next(&mut &bytes[..]) else {
        panic!("a close is a close");
    };
    assert_eq!(reason.len(), MAX_REASON);
}
