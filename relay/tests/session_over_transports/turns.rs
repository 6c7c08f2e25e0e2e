//! Streams that together write more than their connection takes: each has its turn.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use bytes::Bytes;
use relay::ResetCode;
use relay::transport::{Connection, TransportKind, TransportStream};
use tokio::sync::{Barrier, watch};
use tokio::task::{JoinSet, yield_now};

use crate::connect::{Certificate, Listener};
use crate::ends::Setup;
use crate::within;

/// More than fit into what waits to be sent or acknowledged.
const WRITERS: usize = 1000;

/// What each writes at once.
const CHUNK: usize = 16 << 10;

/// How many chunks they write, on average.
const CHUNKS: usize = 8;

#[tokio::test]
async fn writers_take_turns_over_quic() {
    writers_take_turns(TransportKind::Quic).await;
}

#[tokio::test]
async fn writers_take_turns_over_tls() {
    writers_take_turns(TransportKind::Tls).await;
}

async fn writers_take_turns(transport: TransportKind) {
    let (near, far) = pair(transport).await;
    let reading = tokio::spawn(read_all(far));
    let counts: Arc<Vec<AtomicUsize>> = Arc::new((0..WRITERS).map(|_| 0.into()).collect());
    let begun = Arc::new(Barrier::new(WRITERS));
    let (enough, is_enough) = watch::channel(false);
    let mut writers = JoinSet::new();
    for nth in 0..WRITERS {
        let (near, counts, begun) = (near.clone(), counts.clone(), begun.clone());
        let (enough, mut is_enough) = (enough.clone(), is_enough.clone());
        writers.spawn(async move {
            let mut stream = near.open().await.unwrap();
            write(&mut stream, b"begin".as_slice().into()).await;
            begun.wait().await;
            let writing = async {
                loop {
                    write(&mut stream, Bytes::from_static(&[7; CHUNK])).await;
                    counts[nth].fetch_add(1, Ordering::Relaxed);
                    let all = counts.iter().map(|count| count.load(Ordering::Relaxed));
                    if all.sum::<usize>() >= WRITERS * CHUNKS {
                        enough.send_replace(true);
                    }
                    yield_now().await;
                }
            };
            tokio::select! {
                () = writing => {}
                _ = is_enough.wait_for(|enough| *enough) => {}
            }
            // Nobody is to wait for it any more.
            stream.send.reset(ResetCode::Cancelled);
        });
    }
    let _idle = one_that_thinks_better_of_it(near.as_ref()).await;
    let all_wrote = async { while writers.join_next().await.is_some_and(|it| it.is_ok()) {} };
    within("all that is written", all_wrote).await;
    let mut counts: Vec<_> = counts.iter().map(|it| it.load(Ordering::Relaxed)).collect();
    counts.sort();
    let (least, most) = (counts[0], counts[WRITERS - 1]);
    assert!(
        CHUNKS / 2 <= least && most <= 2 * CHUNKS,
        "{transport}: from {least} to {most} chunks, not about {CHUNKS}"
    );
    reading.abort();
}

/// Waits for its turn, then for something else, as an acceptor does that has not reached its target yet.
async fn one_that_thinks_better_of_it(near: &dyn Connection) -> TransportStream {
    let mut stream = near.open().await.unwrap();
    let mut chunk = Bytes::from_static(&[7; CHUNK]);
    poll_fn(|cx| {
        while let Poll::Ready(written) = stream.send.poll_write(cx, &mut chunk) {
            written.unwrap();
            chunk = Bytes::from_static(&[7; CHUNK]);
        }
        Poll::Ready(())
    })
    .await;
    stream.send.withdraw();
    stream
}

async fn write(stream: &mut TransportStream, mut chunk: Bytes) {
    while !chunk.is_empty() {
        poll_fn(|cx| stream.send.poll_write(cx, &mut chunk))
            .await
            .unwrap();
    }
}

/// The dialler's end and the listener's.
async fn pair(transport: TransportKind) -> (Arc<dyn Connection>, Arc<dyn Connection>) {
    let (setup, certificate) = (Setup::over(transport), Certificate::new());
    let listener = Listener::bind(&certificate, &setup).await;
    let accepting = async { listener.accept().await.unwrap().connected().await.unwrap() };
    let dialling = certificate.dialler(&setup).dial(listener.address());
    within("a connection", async { tokio::join!(dialling, accepting) }).await
}

async fn read_all(connection: Arc<dyn Connection>) {
    let mut readers = JoinSet::new();
    while let Ok(mut stream) = connection.accept().await {
        readers.spawn(async move {
            let mut chunks = VecDeque::new();
            while poll_fn(|cx| stream.recv.poll_read(cx, &mut chunks))
                .await
                .is_ok_and(|count| count > 0)
            {
                chunks.clear();
            }
        });
    }
}
