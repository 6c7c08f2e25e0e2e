//! Peers that speak by hand: each breach of the rules closes the connection, with a code and a text
//! that say what it was.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

use super::table::BOUNDS;
use super::{tls_pair, within};
use crate::proto::CloseCode;
use crate::transport::tls::TlsConnection;
use crate::transport::tls::frame::{FrameReader, HEADER, Header, Kind, MAX_DATA, Piece, small};
use crate::transport::{Connection, ConnectionLost};

/// A peer that dials, and the end that it speaks to.
async fn facing() -> (TlsStream<TcpStream>, TlsConnection) {
    let (by_hand, listener) = tls_pair().await;
    let connection = TlsConnection::start(listener, BOUNDS).unwrap();
    (by_hand, connection)
}

/// Everything that the end says, until it ends.
async fn last_word(by_hand: &mut TlsStream<TcpStream>) -> (u32, String) {
    let mut bytes = Vec::new();
    let read = within("the end", by_hand.read_to_end(&mut bytes)).await;
    read.expect("close_notify comes before the end of TCP");
    let (mut reader, mut rest) = (FrameReader::default(), &bytes[..]);
    while let Some(piece) = reader.next(&mut rest).unwrap() {
        if let Piece::Close { code, reason } = piece {
            assert!(rest.is_empty(), "it is the last");
            return (code, reason);
        }
    }
    panic!("no reason was given");
}

fn raw(stream: u32, kind: u8, length: u32) -> Vec<u8> {
    let mut bytes = [stream.to_be_bytes(), length.to_be_bytes()].concat();
    bytes[4] = kind;
    bytes
}

fn data(stream: u32, kind: u8, payload: &[u8]) -> Vec<u8> {
    [&raw(stream, kind, payload.len() as u32), payload].concat()
}

const MIDDLE: u8 = 0;
const OPENS: u8 = 1;
const ENDS: u8 = 2;

#[tokio::test]
async fn each_breach_closes_the_connection_and_says_what_it_was() {
    let open = data(0, OPENS, b"x");
    let breaches = [
        ("unknown kind 9", raw(0, 9, 0)),
        ("unknown kind 255", raw(0, 255, 0)),
        ("does not have 0 bytes", raw(0, MIDDLE, 0)),
        (
            "does not have 65537 bytes",
            raw(0, OPENS, MAX_DATA as u32 + 1),
        ),
        ("does not have 16777215 bytes", raw(0, MIDDLE, 0xff_ffff)),
        ("does not have 3 bytes", raw(0, 4, 3)),
        ("does not have 5 bytes", raw(0, 5, 5)),
        ("does not have 7 bytes", raw(0, 6, 7)),
        ("does not have 9 bytes", raw(0, 7, 9)),
        ("does not have 3 bytes", raw(0, 8, 3)),
        ("does not have 2053 bytes", raw(0, 8, 2053)),
        ("in the name of stream 4", raw(4, 6, 8)),
        ("in the name of stream 4", raw(4, 7, 8)),
        ("in the name of stream 4", raw(4, 8, 4)),
        ("not UTF-8", data(0, 8, &[0, 0, 0, 0, 0xff])),
        ("a pong to no ping", data(0, 7, &[1; 8])),
        // Even numbers are the dialler's, from 0 on.
        ("stream 2 is opened and not the next", data(2, OPENS, b"x")),
        ("stream 1 is opened and not the next", data(1, OPENS, b"x")),
        (
            "stream 0 is opened and not the next",
            [&open[..], &open].concat(),
        ),
        ("of stream 0, which does not exist", data(0, MIDDLE, b"x")),
        ("of stream 1, which does not exist", data(1, MIDDLE, b"x")),
        ("of stream 0, which does not exist", raw_code(0, 4)),
        ("of stream 1, which does not exist", raw_code(1, 5)),
        (
            "stream 0 goes on after its end",
            [data(0, OPENS | ENDS, b"x"), data(0, MIDDLE, b"x")].concat(),
        ),
        (
            "stream 0 goes on after its end",
            [&open[..], &raw_code(0, 4), &raw_code(0, 4)].concat(),
        ),
        ("more than 4352 streams at once", {
            let opens = (0..4353).flat_map(|index| data(2 * index, OPENS, b""));
            opens.collect()
        }),
    ];
    for (text, bytes) in breaches {
        let (mut by_hand, connection) = facing().await;
        by_hand.write_all(&bytes).await.unwrap();
        by_hand.flush().await.unwrap();
        let lost = within("the end", connection.lost()).await;
        assert!(lost.to_string().contains(text), "{lost} is not {text}");
        assert!(matches!(lost, ConnectionLost::Other(_)), "{lost}");
        let (code, reason) = last_word(&mut by_hand).await;
        assert_eq!(code, CloseCode::Protocol.number());
        assert!(reason.contains(text), "{reason} is not {text}");
    }
}

fn raw_code(stream: u32, kind: u8) -> Vec<u8> {
    data(stream, kind, &[0; 4])
}

#[tokio::test]
async fn more_than_was_granted_closes_the_connection() {
    // One stream beyond its window; and streams that stay within theirs, together beyond all.
    let one = u32::try_from(BOUNDS.stream_window).unwrap() + (2 << 20);
    for (streams, each, text) in [
        (1, one, "stream 0 sends more than it was granted"),
        (64, 1 << 20, "more than was granted to all streams"),
    ] {
        let (mut by_hand, connection) = facing().await;
        let block = vec![0; MAX_DATA];
        let flood = async {
            for stream in 0..streams {
                let mut kind = OPENS;
                for _ in 0..each as usize / MAX_DATA {
                    by_hand.write_all(&data(2 * stream, kind, &block)).await?;
                    kind = MIDDLE;
                }
            }
            by_hand.flush().await
        };
        // It is cut off somewhere on the way.
        let _ = within("the flood ends", flood).await;
        let lost = within("the end", connection.lost()).await;
        assert!(lost.to_string().contains(text), "{lost} is not {text}");
        let arrived = connection.shared.with(|streams| streams.arrived);
        assert!(arrived < 8 << 20, "{arrived} bytes are held");
    }
}

#[tokio::test]
async fn what_looks_odd_and_breaks_no_rule_is_taken() {
    let (mut by_hand, connection) = facing().await;
    let words = [
        // Opened and ended at once, without a byte.
        data(0, OPENS | ENDS, b""),
        // A stop of a stream whose other direction is over, and of one that is forgotten.
        data(2, OPENS | ENDS, b"x"),
        raw_code(2, 5),
        raw_code(2, 5),
        // As large as a frame may be.
        data(4, OPENS, &[7; MAX_DATA]),
        data(4, ENDS, b""),
        small(0, Kind::Ping, &7_u64.to_be_bytes()),
    ];
    by_hand.write_all(&words.concat()).await.unwrap();
    by_hand.flush().await.unwrap();
    let pong = small(0, Kind::Pong, &7_u64.to_be_bytes());
    let mut heard = Vec::new();
    while !heard.windows(pong.len()).any(|part| part == pong) {
        let read = within("the pong", by_hand.read_buf(&mut heard)).await;
        assert_ne!(read.unwrap(), 0, "the connection lives");
    }
    for _ in 0..3 {
        within("the stream", connection.accept()).await.unwrap();
    }
}

/// Nobody may have to hold answers for a peer that does not read them.
#[tokio::test]
async fn pings_without_end_leave_one_answer_to_be_given() {
    let (mut by_hand, connection) = facing().await;
    for nonce in 0..10_000_u64 {
        let ping = small(0, Kind::Ping, &nonce.to_be_bytes());
        by_hand.write_all(&ping).await.unwrap();
    }
    by_hand.flush().await.unwrap();
    let last = small(0, Kind::Pong, &9_999_u64.to_be_bytes());
    let mut heard = Vec::new();
    while !heard.ends_with(&last) {
        let read = within("the last pong", by_hand.read_buf(&mut heard)).await;
        assert_ne!(read.unwrap(), 0, "the connection lives");
    }
    assert_eq!(heard.len() % (HEADER + 8), 0, "pongs and nothing else");
    connection.close(CloseCode::Shutdown, "");
}

#[tokio::test]
async fn garbage_instead_of_tls_is_a_fault_of_tls() {
    let (by_hand, connection) = facing().await;
    let TlsStream::Client(by_hand) = by_hand else {
        unreachable!("it dialled")
    };
    let (mut socket, _tls) = by_hand.into_inner();
    socket.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let lost = within("the end", connection.lost()).await;
    assert!(matches!(lost, ConnectionLost::TlsHere { .. }), "{lost:?}");
}

#[tokio::test]
async fn an_end_in_the_middle_of_a_frame_is_an_end_without_a_close() {
    let header = Header {
        stream: 0,
        kind: Kind::Data {
            opens: true,
            ends: true,
        },
        length: 100,
    };
    for (words, notify) in [(&header.encode()[..], true), (&header.encode()[..3], false)] {
        let (mut by_hand, connection) = facing().await;
        by_hand.write_all(words).await.unwrap();
        by_hand.flush().await.unwrap();
        if notify {
            by_hand.shutdown().await.unwrap();
        } else {
            drop(by_hand);
        }
        let lost = within("the end", connection.lost()).await;
        assert!(lost.to_string().ends_with("without a close"), "{lost}");
    }
}
