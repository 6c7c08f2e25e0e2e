//! Both ends over TLS on loopback.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;

use super::table::BOUNDS;
use super::{eventually, tls_pair, within};
use crate::proto::{CloseCode, ResetCode};
use crate::transport::tls::TlsConnection;
use crate::transport::tls::room::SEND_QUEUE;
use crate::transport::{
    Connection, ConnectionLost, RecvHalf, SendHalf, SessionBounds, StreamBroken, TransportKind,
    TransportStream,
};

async fn pair() -> (TlsConnection, TlsConnection) {
    pair_within(BOUNDS).await
}

async fn pair_within(bounds: SessionBounds) -> (TlsConnection, TlsConnection) {
    let (a, b) = tls_pair().await;
    let start = |stream| TlsConnection::start(stream, bounds).unwrap();
    (start(a), start(b))
}

async fn stream(a: &TlsConnection, b: &TlsConnection) -> (TransportStream, TransportStream) {
    let mut near = a.open().await.unwrap();
    write(&mut near.send, b"!").await.unwrap();
    let mut far = within("the stream", b.accept()).await.unwrap();
    assert_eq!(read(&mut far.recv).await, Ok(b"!".to_vec()));
    (near, far)
}

async fn write(half: &mut Box<dyn SendHalf>, bytes: &[u8]) -> Result<(), StreamBroken> {
    let mut bytes = Bytes::copy_from_slice(bytes);
    while !bytes.is_empty() {
        let written = poll_fn(|cx| half.poll_write(cx, &mut bytes));
        within("room", written).await?;
    }
    Ok(())
}

/// What arrives next, nothing at the end.
async fn read(half: &mut Box<dyn RecvHalf>) -> Result<Vec<u8>, StreamBroken> {
    let mut chunks = VecDeque::new();
    let count = within("data", poll_fn(|cx| half.poll_read(cx, &mut chunks))).await?;
    let bytes = Vec::from(chunks).concat();
    assert_eq!(bytes.len(), count);
    Ok(bytes)
}

fn nothing_is_left(connections: &[&TlsConnection]) -> bool {
    connections.iter().all(|connection| {
        connection
            .shared
            .with(|streams| streams.count() == 0 && streams.arrived == 0)
    })
}

#[tokio::test]
async fn bytes_cross_both_ways_and_each_direction_ends_by_itself() {
    let (a, b) = pair().await;
    for (opener, acceptor) in [(&a, &b), (&b, &a)] {
        let (mut near, mut far) = stream(opener, acceptor).await;
        write(&mut near.send, b"ask").await.unwrap();
        near.send.finish();
        assert_eq!(read(&mut far.recv).await, Ok(b"ask".to_vec()));
        assert_eq!(read(&mut far.recv).await, Ok(Vec::new()));
        write(&mut far.send, b"answer").await.unwrap();
        far.send.finish();
        assert_eq!(read(&mut near.recv).await, Ok(b"answer".to_vec()));
        assert_eq!(read(&mut near.recv).await, Ok(Vec::new()));
    }
    eventually("all is forgotten", || nothing_is_left(&[&a, &b])).await;
}

#[tokio::test]
async fn both_ends_tell_the_same_of_their_connection() {
    let (a, b) = pair().await;
    for connection in [&a, &b] {
        assert_eq!(connection.transport(), TransportKind::Tls);
        assert_eq!(connection.transport().label(), "tls");
        assert_eq!(connection.key_exchange(), "X25519MLKEM768");
        assert!(connection.remote_address().ip().is_loopback());
    }
    assert_eq!(a.peer_certificates().len(), 1);
    assert_eq!(b.peer_certificates().len(), 0, "none was asked for");
    let keys = |label: &[u8], context: &[u8]| {
        [&a, &b].map(|end| end.export_keying_material(label, context).unwrap())
    };
    let [here, there] = keys(b"label", b"context");
    assert_eq!(here, there);
    assert_ne!(here, keys(b"label", b"another")[0]);
    assert_ne!(here, keys(b"another", b"context")[0]);
}

#[tokio::test]
async fn the_round_trip_is_measured_once_there_is_traffic() {
    let (a, b) = pair().await;
    let assumed = a.rtt();
    let (_near, _far) = stream(&a, &b).await;
    eventually("a pong", || a.rtt() != assumed).await;
    assert!(a.rtt() < Duration::from_secs(5), "{:?}", a.rtt());
}

#[tokio::test]
async fn a_reset_and_a_stop_break_the_other_half_and_no_other_stream() {
    let (a, b) = pair().await;
    let (mut bystander, mut far_bystander) = stream(&a, &b).await;
    let (mut near, mut far) = stream(&a, &b).await;
    near.send.reset(ResetCode::Overload);
    assert_eq!(read(&mut far.recv).await, Err(StreamBroken));
    near.recv.stop(ResetCode::Overload);
    let refused = async {
        while write(&mut far.send, b"more").await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    within("the stop", refused).await;
    write(&mut bystander.send, b"still").await.unwrap();
    assert_eq!(read(&mut far_bystander.recv).await, Ok(b"still".to_vec()));
    drop((near, far, bystander, far_bystander));
    eventually("all is forgotten", || nothing_is_left(&[&a, &b])).await;
}

#[tokio::test]
async fn a_close_says_why_and_what_arrived_before_is_still_read() {
    let (a, b) = pair().await;
    let (mut near, mut far) = stream(&a, &b).await;
    write(&mut near.send, b"before").await.unwrap();
    let arrived = || b.shared.with(|streams| streams.arrived) == 6;
    eventually("it arrives", arrived).await;
    a.close(CloseCode::Overload, "full\u{7}");
    a.close(CloseCode::Internal, "again");
    assert_eq!(within("the end", a.lost()).await, ConnectionLost::Locally);
    let by_peer = ConnectionLost::ByPeer {
        code: CloseCode::Overload,
        message: "full".into(),
    };
    assert_eq!(within("the word", b.lost()).await, by_peer);
    assert_eq!(read(&mut far.recv).await, Ok(b"before".to_vec()));
    assert_eq!(read(&mut far.recv).await, Err(StreamBroken));
    assert_eq!(write(&mut far.send, b"x").await, Err(StreamBroken));
    assert_eq!(write(&mut near.send, b"x").await, Err(StreamBroken));
    assert_eq!(b.open().await.err(), Some(by_peer.clone()));
    assert_eq!(b.accept().await.err(), Some(by_peer));
}

/// Also when more waits to be sent than the peer will ever take.
#[tokio::test]
async fn a_close_goes_ahead_of_what_waits() {
    let (a, b) = pair().await;
    let mut streams = Vec::new();
    for _ in 0..8 {
        let (mut near, far) = stream(&a, &b).await;
        let mut chunk = Bytes::from(vec![0; 200 << 10]);
        let _ = near
            .send
            .poll_write(&mut Context::from_waker(Waker::noop()), &mut chunk);
        streams.push((near, far));
    }
    a.close(CloseCode::Revoked, "");
    let lost = within("the word", b.lost()).await;
    assert!(
        matches!(
            lost,
            ConnectionLost::ByPeer {
                code: CloseCode::Revoked,
                ..
            }
        ),
        "{lost}"
    );
}

#[tokio::test]
async fn a_connection_that_is_dropped_is_closed() {
    let (a, b) = pair().await;
    let (near, _far) = stream(&a, &b).await;
    drop((a, near));
    let lost = within("the word", b.lost()).await;
    assert!(
        matches!(
            lost,
            ConnectionLost::ByPeer {
                code: CloseCode::Shutdown,
                ..
            }
        ),
        "{lost}"
    );
}

#[tokio::test]
async fn whoever_waits_is_told_when_the_socket_is_gone() {
    let (a, b) = tls_pair().await;
    let b = TlsConnection::start(b, BOUNDS).unwrap();
    let mut held = b.open().await.unwrap();
    write(&mut held.send, b"!").await.unwrap();
    let waiting = async { tokio::join!(read(&mut held.recv), b.accept(), b.lost()) };
    let cut = async { drop(a) };
    let (((read, accepted, lost), ()), _) = tokio::join!(
        within("all are told", async { tokio::join!(waiting, cut) }),
        async {}
    );
    assert_eq!(read, Err(StreamBroken));
    assert_eq!(accepted.err(), Some(lost.clone()));
    let ConnectionLost::Other(text) = lost else {
        panic!("{lost}");
    };
    assert!(text.contains("without a close"), "{text}");
}

#[test]
fn whoever_waits_is_told_when_the_worker_stops() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let (a, _b) = runtime.block_on(pair());
    drop(runtime);
    let other = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let lost = other.block_on(within("the word", a.lost()));
    assert!(lost.to_string().contains("worker"), "{lost}");
    assert!(other.block_on(a.open()).is_err());
}

/// A peer whose session does not read: its own task is busy, or it has stopped.
#[tokio::test]
async fn a_writer_waits_when_the_peer_takes_nothing_and_memory_stays_bounded() {
    let (a, b) = tls_pair().await;
    let a = TlsConnection::start(a, BOUNDS).unwrap();
    let mut streams = Vec::new();
    for _ in 0..32 {
        streams.push(a.open().await.unwrap().send);
    }
    let chunk = Bytes::from(vec![0; 64 << 10]);
    // Until the kernel and the queue are full: everybody waits for as long as anybody looks.
    let mut silent = 0;
    while silent < 20 {
        let mut cx = Context::from_waker(Waker::noop());
        let mut write = |half: &mut Box<dyn SendHalf>| half.poll_write(&mut cx, &mut chunk.clone());
        let took = streams.iter_mut().map(|half| match write(half) {
            Poll::Ready(Ok(())) => true,
            Poll::Ready(Err(StreamBroken)) => panic!("the connection lives"),
            Poll::Pending => false,
        });
        silent = if took.filter(|took| *took).count() == 0 {
            silent + 1
        } else {
            0
        };
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let queued = a.shared.with(|streams| streams.schedule.queued);
    assert!(
        (SEND_QUEUE / 2..=SEND_QUEUE).contains(&queued),
        "{queued} bytes"
    );
    // Once the peer reads, all go on.
    let b = TlsConnection::start(b, BOUNDS).unwrap();
    let reading = tokio::spawn(async move {
        let mut readers = tokio::task::JoinSet::new();
        while let Ok(mut stream) = b.accept().await {
            readers.spawn(async move { while read(&mut stream.recv).await.is_ok() {} });
        }
    });
    for half in &mut streams {
        write(half, &chunk).await.unwrap();
    }
    reading.abort();
}

/// The table of ten thousand is filled and emptied, with resets in between.
#[tokio::test]
async fn ten_thousand_streams_at_once_and_none_afterwards() {
    let (a, b) = pair_within(SessionBounds {
        streams: 16_384,
        ..BOUNDS
    })
    .await;
    let count = 10_000;
    for round in 0..3 {
        let mut held = Vec::new();
        for at in 0..count {
            let mut near = a.open().await.unwrap();
            write(&mut near.send, &u32::to_be_bytes(at)).await.unwrap();
            held.push(near);
        }
        for (at, near) in (0..count).zip(&mut held) {
            let mut far = within("the stream", b.accept()).await.unwrap();
            assert_eq!(read(&mut far.recv).await, Ok(u32::to_be_bytes(at).to_vec()));
            if at % 3 == round {
                far.send.reset(ResetCode::Overload);
                assert_eq!(read(&mut near.recv).await, Err(StreamBroken));
            } else {
                write(&mut far.send, b"here").await.unwrap();
                far.send.finish();
                assert_eq!(read(&mut near.recv).await, Ok(b"here".to_vec()));
            }
        }
        drop(held);
        eventually("all is forgotten", || nothing_is_left(&[&a, &b])).await;
    }
    let capacity = b.shared.with(|streams| streams.table.capacity());
    assert!(capacity < 1024, "{capacity} places are kept");
}

#[tokio::test]
async fn much_data_on_many_streams_arrives_as_it_was_sent() {
    let (a, b) = pair().await;
    let length = 8 << 20;
    let mut tasks = tokio::task::JoinSet::new();
    for seed in 0..8_usize {
        let (mut near, mut far) = stream(&a, &b).await;
        let byte = move |at: usize| (at / 7 + at * seed) as u8;
        tasks.spawn(async move {
            let mut at = 0;
            while at < length {
                let count = (1 + at % 70_000).min(length - at);
                let block: Vec<u8> = (at..at + count).map(byte).collect();
                write(&mut near.send, &block).await.unwrap();
                at += count;
            }
            near.send.finish();
            drop(near.recv);
        });
        tasks.spawn(async move {
            let mut at = 0;
            loop {
                let block = read(&mut far.recv).await.unwrap();
                if block.is_empty() {
                    break;
                }
                assert!(block.iter().zip(at..).all(|(got, at)| *got == byte(at)));
                at += block.len();
            }
            assert_eq!(at, length);
        });
    }
    while let Some(ended) = within("all of it", tasks.join_next()).await {
        ended.unwrap();
    }
    eventually("all is forgotten", || nothing_is_left(&[&a, &b])).await;
}
