//! Peers that speak yamux by hand, and numbers that run out.

#[path = "../../../tests/golden/vectors.rs"]
mod vectors;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

use super::{NUMBERS, Yamux, start};
use crate::proto::CloseCode;
use crate::transport::muxed::MuxedConnection;
use crate::transport::muxed::tests::BOUNDS;
use crate::transport::tls::frame::{Kind, close, small};
use crate::transport::tls::tests::{eventually, tls_pair, within};
use crate::transport::{Connection, ConnectionLost, TransportKind};
use vectors::vectors;

const DATA: u8 = 0;
const WINDOW_UPDATE: u8 = 1;
const PING: u8 = 2;
const SYN: u16 = 1;
const ACK: u16 = 2;
const FIN: u16 = 4;

fn frame(kind: u8, flags: u16, stream: u32, length: u32, body: &[u8]) -> Vec<u8> {
    let header = [&[0, kind], &flags.to_be_bytes()[..]].concat();
    [
        &header,
        &stream.to_be_bytes()[..],
        &length.to_be_bytes(),
        body,
    ]
    .concat()
}

fn data(flags: u16, stream: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap();
    frame(DATA, flags, stream, length, body)
}

/// A listening end, and the TLS of a dialler that speaks by hand.
async fn facing() -> (MuxedConnection, TlsStream<TcpStream>) {
    let (dialled, accepted) = tls_pair().await;
    (start(accepted, BOUNDS).unwrap(), dialled)
}

/// The next frame, and what it carries.
async fn next(peer: &mut TlsStream<TcpStream>) -> Option<Vec<u8>> {
    let mut header = [0; 12];
    let read = within("a frame", peer.read_exact(&mut header)).await;
    read.ok()?;
    let length = u32::from_be_bytes(header[8..].try_into().unwrap());
    let mut body = vec![
        0;
        if header[1] == DATA {
            length as usize
        } else {
            0
        }
    ];
    within("its body", peer.read_exact(&mut body))
        .await
        .unwrap();
    Some([header.to_vec(), body].concat())
}

/// What came up to the end, without yamux's own pings and what else is not data.
async fn data_to_the_end(peer: &mut TlsStream<TcpStream>) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    while let Some(frame) = next(peer).await {
        if frame[1] == DATA {
            all.push(frame);
        }
    }
    all
}

#[tokio::test]
async fn each_breach_of_the_rules_closes_the_connection_and_says_so() {
    let words = |frames: &[u8]| data(SYN, 1, frames);
    let breaches = [
        ("yamux: ", [9; 12].to_vec()),
        ("yamux: ", frame(7, 0, 1, 0, b"")),
        ("yamux: ", frame(DATA, SYN, 3, (1 << 20) + 1, b"")),
        ("yamux: ", data(SYN, 2, b"a number of the listener")),
        ("yamux: ", frame(WINDOW_UPDATE, SYN, 4, 0, b"")),
        ("yamux: ", data(SYN, 3, b"").repeat(2)),
        ("yamux: ", data(SYN, 3, &[0; (256 << 10) + 1])),
        ("yamux: ", frame(WINDOW_UPDATE, SYN, 3, u32::MAX, b"")),
        ("yamux: ", frame(PING, ACK, 0, 77, b"")),
        ("unknown kind 9", words(&[0, 0, 0, 0, 9, 0, 0, 0])),
        ("does not have 1 bytes", words(&[0, 0, 0, 0, 8, 0, 0, 1, 0])),
        ("pong to no ping", words(&small(0, Kind::Pong, &[7; 8]))),
        (
            "which the multiplexer carries",
            words(&small(3, Kind::Reset, &[0; 4])),
        ),
    ];
    for (says, bytes) in breaches {
        let (connection, mut peer) = facing().await;
        peer.write_all(&bytes).await.unwrap();
        peer.flush().await.unwrap();
        let lost = within(says, connection.lost()).await;
        let ConnectionLost::Other(why) = lost else {
            panic!("{lost} for {bytes:x?}");
        };
        assert!(
            why.contains("broke the protocol") && why.contains(says),
            "{why}"
        );
        peer.shutdown().await.unwrap();
        data_to_the_end(&mut peer).await;
    }
}

#[tokio::test]
async fn a_frame_cut_short_by_the_end_is_a_lost_connection() {
    let (connection, mut peer) = facing().await;
    peer.write_all(&data(SYN, 3, b"whole")[..14]).await.unwrap();
    peer.shutdown().await.unwrap();
    let lost = within("the end", connection.lost()).await;
    assert_eq!(lost, crate::transport::tls::lost::silently());
}

/// The listener's words as it says them, the dialler's as it is heard.
#[tokio::test]
async fn the_connections_own_frames_are_as_the_vectors_have_them() {
    let vectors = vectors(include_str!("../../../tests/vectors/yamux.txt"));
    assert_eq!(vectors.len(), 2, "all are checked");
    let (connection, mut peer) = facing().await;
    for stream in [3, 5] {
        let opens = data(SYN, stream, b"!");
        peer.write_all(&opens).await.unwrap();
    }
    for _ in 0..2 {
        drop(within("a stream", connection.accept()).await.unwrap());
    }
    connection.close(CloseCode::Overload, "full");
    peer.shutdown().await.unwrap();
    let said = data_to_the_end(&mut peer);
    let said: Vec<_> = said
        .await
        .into_iter()
        .filter(|frame| frame[7] == 2)
        .collect();
    let carried: Vec<_> = said.iter().map(|frame| &frame[12..]).collect();
    let carried = carried.concat();
    assert_eq!(&said[0][..8], &vectors["yamux-close"][..8]);
    assert!(
        carried.ends_with(&vectors["yamux-close"][12..]),
        "{carried:x?}"
    );

    let (connection, mut peer) = facing().await;
    let mut opened = Vec::new();
    for _ in 0..2 {
        let mut stream = within("a stream", connection.open()).await.unwrap();
        let mut byte = bytes::Bytes::from_static(b"!");
        std::future::poll_fn(|cx| stream.send.poll_write(cx, &mut byte))
            .await
            .unwrap();
        opened.push(stream);
    }
    while next(&mut peer).await.expect("both streams") != data(SYN, 6, b"!") {}
    peer.write_all(&vectors["yamux-stop"]).await.unwrap();
    let broken = std::future::poll_fn(|cx| {
        let mut byte = bytes::Bytes::from_static(b"!");
        match opened[1].send.poll_write(cx, &mut byte) {
            std::task::Poll::Ready(Err(_)) => std::task::Poll::Ready(()),
            std::task::Poll::Ready(Ok(())) => {
                cx.waker().wake_by_ref();
                std::task::Poll::Pending
            }
            std::task::Poll::Pending => std::task::Poll::Pending,
        }
    });
    within("stream 6 is stopped", broken).await;
}

#[tokio::test]
async fn a_close_is_read_before_the_end_that_follows_it() {
    let (connection, mut peer) = facing().await;
    let close = data(SYN, 1, &close(CloseCode::Version.number(), "old"));
    let go_away = frame(3, 0, 0, 0, b"");
    peer.write_all(&[close, go_away].concat()).await.unwrap();
    peer.shutdown().await.unwrap();
    let by_peer = ConnectionLost::ByPeer {
        code: CloseCode::Version,
        message: "old".into(),
    };
    assert_eq!(within("the end", connection.lost()).await, by_peer);
}

#[tokio::test]
async fn each_stream_is_acknowledged_at_once() {
    let (_connection, mut peer) = facing().await;
    peer.write_all(&data(SYN, 3, b"half a header"))
        .await
        .unwrap();
    loop {
        let frame = next(&mut peer).await.expect("an acknowledgement");
        if frame == data(ACK, 3, b"") {
            return;
        }
    }
}

/// Two ends that are busy sending, and have each been asked for a pong, would otherwise wait for each
/// other to read.
#[tokio::test]
async fn a_pong_that_finds_no_room_holds_up_nothing_that_comes() {
    let (connection, mut peer) = facing().await;
    let opens = [data(SYN, 3, b"!"), frame(WINDOW_UPDATE, 0, 3, 1 << 30, b"")];
    peer.write_all(&opens.concat()).await.unwrap();
    let stream = within("a stream", connection.accept()).await.unwrap();
    let (mut send, mut recv) = (stream.send, stream.recv);
    let written = Arc::new(AtomicUsize::new(0));
    let counted = written.clone();
    let flood = tokio::spawn(async move {
        loop {
            let mut chunk = bytes::Bytes::from_static(&[0; 16 << 10]);
            let wrote = std::future::poll_fn(|cx| send.poll_write(cx, &mut chunk)).await;
            wrote.unwrap();
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    let (mut last, mut since) = (0, 0);
    eventually("nothing more can be sent", || {
        let now = written.load(Ordering::Relaxed);
        since = if now == last { since + 1 } else { 0 };
        last = now;
        now > 0 && since > 50
    })
    .await;
    let asks = [frame(PING, SYN, 0, 7, b""), data(0, 3, b"heard")];
    peer.write_all(&asks.concat()).await.unwrap();
    let mut chunks = std::collections::VecDeque::new();
    let mut count = 0;
    while count < b"!heard".len() {
        let read = std::future::poll_fn(|cx| recv.poll_read(cx, &mut chunks));
        count += within("what came behind the ping", read).await.unwrap();
    }
    flood.abort();
}

#[tokio::test]
async fn empty_frames_say_nothing() {
    let (connection, mut peer) = facing().await;
    let frames = [data(SYN, 3, b""), data(0, 3, b""), data(FIN, 3, b"!")].concat();
    peer.write_all(&frames).await.unwrap();
    let mut stream = within("a stream", connection.accept()).await.unwrap();
    let mut chunks = std::collections::VecDeque::new();
    for count in [1, 0] {
        let read = std::future::poll_fn(|cx| stream.recv.poll_read(cx, &mut chunks));
        assert_eq!(within("a byte, the end", read).await, Ok(count));
    }
}

#[tokio::test]
async fn an_end_whose_numbers_are_used_up_closes_and_says_so() {
    let (dialled, accepted) = tls_pair().await;
    let make = |pipe, side, limits| {
        let mut yamux = Yamux::new(pipe, side, limits);
        yamux.opened = NUMBERS - 2;
        yamux
    };
    let old = MuxedConnection::start(TransportKind::Yamux, dialled, BOUNDS, make).unwrap();
    let other = start(accepted, BOUNDS).unwrap();
    let _last = within("the last stream", old.open()).await.unwrap();
    assert!(within("an answer", old.open()).await.is_err());
    let lost = within("the word", other.lost()).await;
    let ConnectionLost::ByPeer { code, message } = lost else {
        panic!("{lost}");
    };
    assert_eq!(code, CloseCode::Shutdown);
    assert!(message.contains("numbers"), "{message}");
}
