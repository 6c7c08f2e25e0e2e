//! A reader that reads nothing stops its own sender, and nobody else.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use relay::transport::TransportKind;
use relay::{Stream, StreamIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf};
use tokio::task::JoinHandle;

use crate::ends::{Pair, Setup};
use crate::{eventually, pattern, within};

each_transport![
    a_sender_stops_within_its_base_until_the_reader_reads,
    a_hundred_readers_that_read_nothing_disturb_nobody,
    what_windows_grew_by_is_given_back_once_the_stream_is_idle,
    a_budget_that_is_spent_slows_streams_down_and_stops_none,
];

const BASE: u64 = 16 << 10;
const WINDOW: u64 = 4 << 20;

/// Sends zeros for as long as there is credit; says how many bytes the stream took.
fn flood(stream: Stream) -> (Arc<AtomicU64>, JoinHandle<()>) {
    let taken = Arc::new(AtomicU64::new(0));
    let counted = taken.clone();
    let sending = tokio::spawn(async move {
        let mut io = stream.into_io();
        while let Ok(count) = io.write(&[0; 64 << 10]).await {
            counted.fetch_add(count as u64, Ordering::Relaxed);
        }
    });
    (taken, sending)
}

async fn read_some(read: &mut ReadHalf<StreamIo>, count: u64) {
    let mut some = read.take(count);
    let read = within("data", tokio::io::copy(&mut some, &mut tokio::io::sink())).await;
    assert_eq!(read.unwrap(), count);
}

/// 10 MiB through a stream of its own, checked.
async fn undisturbed_transfer(pair: &mut Pair) {
    let length = 10 << 20;
    let (near, far) = pair.stream().await;
    let (mut near, mut far) = (near.into_io(), far.into_io());
    within("a transfer beside those that stand still", async {
        let (written, ()) = tokio::join!(
            pattern::write(&mut near, 5, length),
            pattern::expect(&mut far, 5, length)
        );
        written.unwrap();
    })
    .await;
}

async fn a_sender_stops_within_its_base_until_the_reader_reads(transport: TransportKind) {
    let mut pair = Pair::new(transport).await;
    let (near, far) = pair.stream().await;
    let (taken, sending) = flood(near);
    let taken = move || taken.load(Ordering::Relaxed);
    eventually("the base is used up", || taken() == BASE).await;
    undisturbed_transfer(&mut pair).await;
    assert_eq!(taken(), BASE, "no more without an acknowledgement");

    let (mut read, _write) = tokio::io::split(far.into_io());
    let consumed = 64 << 20;
    read_some(&mut read, consumed).await;
    eventually("what was granted is used up", || {
        let ahead = taken() - consumed;
        assert!(ahead <= WINDOW, "{ahead} bytes beyond what was consumed");
        ahead >= BASE && pair.a.session.snapshot().bytes_sent >= taken()
    })
    .await;
    undisturbed_transfer(&mut pair).await;
    let ahead = taken() - consumed;
    assert!(ahead <= WINDOW, "{ahead} bytes beyond what was consumed");
    assert!(ahead > BASE, "a fast reader's window grows");
    assert!(pair.b.budget.used() <= WINDOW - BASE);
    sending.abort();
    drop(read);
    drop(_write);
    pair.settled().await;
}

async fn a_hundred_readers_that_read_nothing_disturb_nobody(transport: TransportKind) {
    let mut pair = Pair::new(transport).await;
    let mut still = Vec::new();
    for _ in 0..100 {
        let (near, far) = pair.stream().await;
        still.push((flood(near), far));
    }
    let used_up = |still: &[((Arc<AtomicU64>, _), _)]| {
        let full =
            |((taken, _), _): &((Arc<AtomicU64>, _), _)| taken.load(Ordering::Relaxed) == BASE;
        still.iter().filter(|one| full(one)).count()
    };
    eventually("all grants are used up", || used_up(&still) == 100).await;
    undisturbed_transfer(&mut pair).await;
    assert_eq!(used_up(&still), 100);
    for ((_, sending), far) in still {
        sending.abort();
        drop(far);
    }
    pair.settled().await;
}

async fn what_windows_grew_by_is_given_back_once_the_stream_is_idle(transport: TransportKind) {
    let mut pair = Pair::new(transport).await;
    let (near, far) = pair.stream().await;
    let (mut near, far) = (near.into_io(), far.into_io());
    let (mut read, mut write) = tokio::io::split(far);
    let length = 64 << 20;
    let written = async {
        let mut offset = 0;
        while offset < length {
            near.write_all(&pattern::bytes(3, offset, 64 << 10))
                .await
                .unwrap();
            offset += 64 << 10;
        }
        near.flush().await.unwrap();
    };
    tokio::join!(written, read_some(&mut read, length));
    assert!(pair.b.budget.used() > 0, "a fast reader's window grows");
    eventually("the budget is given back", || pair.b.budget.used() == 0).await;
    // The stream is as good as new.
    near.write_all(b"again").await.unwrap();
    let mut word = [0; 5];
    within("data", read.read_exact(&mut word)).await.unwrap();
    assert_eq!(&word, b"again");
    near.shutdown().await.unwrap();
    write.shutdown().await.unwrap();
    assert_eq!(within("the end", read.read(&mut word)).await.unwrap(), 0);
    assert_eq!(within("the end", near.read(&mut word)).await.unwrap(), 0);
    drop((near, read, write));
    pair.settled().await;
}

async fn a_budget_that_is_spent_slows_streams_down_and_stops_none(transport: TransportKind) {
    let little = Setup {
        growth: 1 << 20,
        ..Setup::over(transport)
    };
    let mut pair = Pair::with(little, little).await;
    let (near, far) = pair.stream().await;
    let (_taken, sending) = flood(near);
    let (mut read, write) = tokio::io::split(far.into_io());
    read_some(&mut read, 64 << 20).await;
    let spent = pair.b.budget.used();
    assert!(spent <= 1 << 20, "{spent} bytes of growth");
    undisturbed_transfer(&mut pair).await;
    assert!(pair.b.budget.used() <= 1 << 20);
    sending.abort();
    drop((read, write));
    pair.settled().await;
}
