//! What holds over every multiplexer: two connections facing each other over TLS on loopback.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

use super::MuxedConnection;
use crate::proto::{CloseCode, ResetCode};
use crate::transport::h2;
use crate::transport::tls::tests::{eventually, tls_pair, within};
use crate::transport::{
    Connection, ConnectionLost, RecvHalf, SendHalf, SessionBounds, StreamBroken, TransportKind,
    TransportStream, yamux,
};

pub(in crate::transport) const BOUNDS: SessionBounds = SessionBounds {
    streams: 32_768,
    stream_window: 4 << 20,
    all_windows: 320 << 20,
    patience: Duration::from_secs(50),
};

/// Makes each scenario a test over each multiplexer.
macro_rules! each_multiplexer {
    [$($scenario:ident),+ $(,)?] => {
        mod over_yamux {
            $(#[tokio::test]
            async fn $scenario() {
                super::$scenario(crate::transport::TransportKind::Yamux).await;
            })+
        }
        mod over_h2 {
            $(#[tokio::test]
            async fn $scenario() {
                super::$scenario(crate::transport::TransportKind::H2).await;
            })+
        }
    };
}

each_multiplexer![
    a_close_reaches_the_peer_with_its_code_and_its_reason,
    a_connection_that_is_dropped_says_shutdown,
    a_peer_that_vanishes_has_said_nothing,
    refusing_one_direction_leaves_the_other,
    what_was_written_before_the_end_arrives_before_it,
    nothing_is_kept_of_what_was_sent,
    a_slow_reader_holds_up_nobody_else,
    bytes_written_one_by_one_all_arrive,
    more_than_the_session_grants_is_a_violation,
    more_streams_than_the_session_has_are_a_violation,
    ten_thousand_streams_from_either_end,
    streams_that_are_over_are_forgotten,
    the_round_trip_is_measured_once_something_is_sent,
    both_ends_export_the_same_key,
];

type Start = fn(TlsStream<TcpStream>, SessionBounds) -> io::Result<MuxedConnection>;

fn starter(kind: TransportKind) -> Start {
    match kind {
        TransportKind::Yamux => yamux::start,
        TransportKind::H2 => h2::start,
        TransportKind::Quic | TransportKind::Tls => unreachable!("nothing of theirs is here"),
    }
}

async fn pair(kind: TransportKind, bounds: SessionBounds) -> [Arc<MuxedConnection>; 2] {
    let (dialled, accepted) = tls_pair().await;
    let start = starter(kind);
    [dialled, accepted].map(|stream| Arc::new(start(stream, bounds).unwrap()))
}

/// A stream that `from` opened, at both ends, after its first byte.
async fn stream(from: &MuxedConnection, to: &MuxedConnection) -> [TransportStream; 2] {
    let mut near = within("a stream", from.open()).await.unwrap();
    write(&mut near.send, b"!").await.unwrap();
    let mut far = within("the peer's stream", to.accept()).await.unwrap();
    assert_eq!(read(&mut far.recv, 1).await, b"!");
    [near, far]
}

async fn write(half: &mut Box<dyn SendHalf>, bytes: &[u8]) -> Result<(), StreamBroken> {
    let mut bytes = Bytes::copy_from_slice(bytes);
    while !bytes.is_empty() {
        within("room", poll_fn(|cx| half.poll_write(cx, &mut bytes))).await?;
    }
    Ok(())
}

/// At least `count` bytes, or all before the end.
async fn read(half: &mut Box<dyn RecvHalf>, count: usize) -> Vec<u8> {
    let mut chunks = VecDeque::new();
    let mut have = 0;
    while have < count {
        match within("bytes", poll_fn(|cx| half.poll_read(cx, &mut chunks))).await {
            Ok(more @ 1..) => have += more,
            Ok(0) | Err(StreamBroken) => break,
        }
    }
    Vec::from(chunks).concat()
}

async fn lost(connection: &MuxedConnection) -> ConnectionLost {
    within("the end of the connection", connection.lost()).await
}

async fn a_close_reaches_the_peer_with_its_code_and_its_reason(kind: TransportKind) {
    for closes in [0, 1] {
        let ends = pair(kind, BOUNDS).await;
        let [_near, _far] = stream(&ends[0], &ends[1]).await;
        ends[closes].close(CloseCode::Overload, "full");
        let by_peer = ConnectionLost::ByPeer {
            code: CloseCode::Overload,
            message: "full".into(),
        };
        assert_eq!(lost(&ends[1 - closes]).await, by_peer);
        assert_eq!(lost(&ends[closes]).await, ConnectionLost::Locally);
        for end in &ends {
            assert!(within("an answer", end.open()).await.is_err());
            assert!(within("an answer", end.accept()).await.is_err());
        }
    }
}

/// At once: nobody has said anything yet.
async fn a_connection_that_is_dropped_says_shutdown(kind: TransportKind) {
    for drops in [0, 1] {
        let mut ends = pair(kind, BOUNDS).await.map(Some);
        ends[drops] = None;
        let by_peer = ConnectionLost::ByPeer {
            code: CloseCode::Shutdown,
            message: String::new(),
        };
        let kept = ends[1 - drops].take().unwrap();
        assert_eq!(lost(&kept).await, by_peer);
    }
}

async fn a_peer_that_vanishes_has_said_nothing(kind: TransportKind) {
    let (dialled, accepted) = tls_pair().await;
    let start = starter(kind);
    let connection = start(dialled, BOUNDS).unwrap();
    drop(accepted);
    let ConnectionLost::Other(why) = lost(&connection).await else {
        panic!("nobody closed it");
    };
    assert!(why.contains("without a close"), "{why}");
}

async fn refusing_one_direction_leaves_the_other(kind: TransportKind) {
    let [a, b] = pair(kind, BOUNDS).await;
    for (from, to) in [(&a, &b), (&b, &a)] {
        let [mut near, mut far] = stream(from, to).await;
        near.recv.stop(ResetCode::Cancelled);
        let broken = async { while write(&mut far.send, &[0; 1024]).await.is_ok() {} };
        within("the peer is told", broken).await;
        write(&mut near.send, b"goes on").await.unwrap();
        assert_eq!(read(&mut far.recv, 7).await, b"goes on");
    }
}

async fn what_was_written_before_the_end_arrives_before_it(kind: TransportKind) {
    let [a, b] = pair(kind, BOUNDS).await;
    for (from, to) in [(&a, &b), (&b, &a)] {
        let [mut near, mut far] = stream(from, to).await;
        let all = vec![7; 100_000];
        write(&mut near.send, &all).await.unwrap();
        near.send.finish();
        assert_eq!(write(&mut near.send, b"more").await, Err(StreamBroken));
        assert_eq!(read(&mut far.recv, usize::MAX).await, all);
        write(&mut far.send, b"answer").await.unwrap();
        assert_eq!(read(&mut near.recv, 6).await, b"answer");
    }
}

/// An empty rest of a chunk would keep all that the chunk is a part of.
async fn nothing_is_kept_of_what_was_sent(kind: TransportKind) {
    let [a, b] = pair(kind, BOUNDS).await;
    for (from, to) in [(&a, &b), (&b, &a)] {
        let [mut near, mut far] = stream(from, to).await;
        let whole = Bytes::from(vec![7; 100_000]);
        let mut rest = whole.clone();
        while !rest.is_empty() {
            let room = poll_fn(|cx| near.send.poll_write(cx, &mut rest));
            within("room", room).await.unwrap();
        }
        assert_eq!(read(&mut far.recv, whole.len()).await, whole);
        eventually("nothing is kept", || whole.is_unique()).await;
    }
}

async fn a_slow_reader_holds_up_nobody_else(kind: TransportKind) {
    let [a, b] = pair(kind, BOUNDS).await;
    let [mut near, mut unread] = stream(&a, &b).await;
    // As much as a session ever grants one stream.
    let all = vec![7; 4 << 20];
    write(&mut near.send, &all).await.unwrap();
    near.send.finish();
    for _ in 0..10 {
        let [mut other, mut answers] = stream(&a, &b).await;
        write(&mut answers.send, b"quick").await.unwrap();
        assert_eq!(read(&mut other.recv, 5).await, b"quick");
    }
    assert_eq!(read(&mut unread.recv, usize::MAX).await, all);
}

/// However little the session grants: frames are not what it counts.
async fn bytes_written_one_by_one_all_arrive(kind: TransportKind) {
    let modest = SessionBounds {
        streams: 4,
        stream_window: 64 << 10,
        all_windows: 128 << 10,
        ..BOUNDS
    };
    let [a, b] = pair(kind, modest).await;
    for (from, to) in [(&a, &b), (&b, &a)] {
        let [mut near, mut far] = stream(from, to).await;
        for _ in 0..20_000 {
            write(&mut near.send, b".").await.unwrap();
        }
        near.send.finish();
        assert_eq!(read(&mut far.recv, usize::MAX).await, vec![b'.'; 20_000]);
    }
}

async fn more_than_the_session_grants_is_a_violation(kind: TransportKind) {
    let modest = SessionBounds {
        stream_window: 64 << 10,
        ..BOUNDS
    };
    let (dialled, accepted) = tls_pair().await;
    let start = starter(kind);
    let greedy = start(dialled, BOUNDS).unwrap();
    let strict = start(accepted, modest).unwrap();
    let [mut near, _far] = stream(&greedy, &strict).await;
    let flood = async { while write(&mut near.send, &[0; 64 << 10]).await.is_ok() {} };
    within("the flood is stopped", flood).await;
    let ConnectionLost::ByPeer { code, message } = lost(&greedy).await else {
        panic!("it was not told");
    };
    assert_eq!(code, CloseCode::Protocol);
    assert!(message.contains("more than it was granted"), "{message}");
    let ConnectionLost::Other(why) = lost(&strict).await else {
        panic!("it was the peer's fault");
    };
    assert!(why.contains("broke the protocol"), "{why}");
}

async fn more_streams_than_the_session_has_are_a_violation(kind: TransportKind) {
    let few = SessionBounds {
        streams: 1,
        ..BOUNDS
    };
    let (dialled, accepted) = tls_pair().await;
    let start = starter(kind);
    let many = start(accepted, BOUNDS).unwrap();
    let strict = start(dialled, few).unwrap();
    let mut held = Vec::new();
    while let Ok(mut stream) = within("a stream", many.open()).await {
        let _ = write(&mut stream.send, b"!").await;
        held.push(stream);
    }
    let ConnectionLost::ByPeer { code, message } = lost(&many).await else {
        panic!("it was not told");
    };
    assert_eq!(code, CloseCode::Protocol);
    assert!(message.contains("streams at once"), "{message}");
    assert!(matches!(lost(&strict).await, ConnectionLost::Other(_)));
}

async fn ten_thousand_streams_from_either_end(kind: TransportKind) {
    let ends = pair(kind, BOUNDS).await;
    for opens in [0, 1] {
        let mut held = Vec::new();
        for _ in 0..10_000 {
            held.push(stream(&ends[opens], &ends[1 - opens]).await);
        }
        for [near, far] in &mut held {
            write(&mut far.send, b"back").await.unwrap();
            assert_eq!(read(&mut near.recv, 4).await, b"back");
        }
    }
}

async fn streams_that_are_over_are_forgotten(kind: TransportKind) {
    // Far fewer than are opened, counting those that one end has not forgotten yet.
    let few = SessionBounds {
        streams: 1,
        ..BOUNDS
    };
    let [a, b] = pair(kind, few).await;
    for round in 0..6_000 {
        let (from, to) = if round % 2 == 0 { (&a, &b) } else { (&b, &a) };
        let [mut near, mut far] = stream(from, to).await;
        near.send.finish();
        far.send.finish();
        assert_eq!(read(&mut near.recv, 1).await, b"");
        assert_eq!(read(&mut far.recv, 1).await, b"");
    }
    for _ in 0..6_000 {
        drop(stream(&a, &b).await);
    }
}

async fn the_round_trip_is_measured_once_something_is_sent(kind: TransportKind) {
    let [a, b] = pair(kind, BOUNDS).await;
    let initial = Duration::from_millis(333);
    assert_eq!([a.rtt(), b.rtt()], [initial; 2]);
    let [_near, mut far] = stream(&a, &b).await;
    write(&mut far.send, b"!").await.unwrap();
    eventually("both ends have measured", || {
        a.rtt() != initial && b.rtt() != initial
    })
    .await;
}

async fn both_ends_export_the_same_key(kind: TransportKind) {
    let [a, b] = pair(kind, BOUNDS).await;
    let keys = [&a, &b].map(|end| end.export_keying_material(b"label", b"context").unwrap());
    assert_eq!(keys[0], keys[1]);
    assert_eq!(a.key_exchange(), b.key_exchange());
    assert_eq!(a.peer_certificates().len(), 1);
}
