//! A peer that vanishes without a word is given up after the stated patience and the grace (shorter than
//! that here), whatever else is under way.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use relay::ResetCode;
use relay::driver::{Closed, ClosedBy};
use relay::proto::CloseCode;
use relay::session::LivenessConfig;
use relay::transport::TransportKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use crate::ends::{End, Guest, House, Pair, Setup};
use crate::wire::Wire;
use crate::{eventually, within};

each_transport![
    an_idle_session_notices_within_its_patience,
    pings_keep_an_idle_session_beyond_its_patience,
    streams_are_reset_when_their_peer_is_gone,
    a_sender_whose_queue_is_full_notices_too,
    a_slow_reader_notices_while_it_still_has_to_read,
    a_process_that_is_gone_is_noticed,
];

const PATIENCE: Duration = Duration::from_millis(1500);

/// How late a busy machine may be.
const SLACK: Duration = Duration::from_secs(2);

fn impatient(transport: TransportKind) -> Setup {
    Setup {
        liveness: LivenessConfig {
            ping: Duration::from_millis(300),
            dead: PATIENCE,
            idle_ping: Duration::from_millis(300),
            idle_dead: PATIENCE,
            full_size: false,
        },
        ..Setup::over(transport)
    }
}

/// A pair with a wire between.
async fn far_pair(transport: TransportKind) -> (Pair, Wire) {
    far_pair_with(impatient(transport)).await
}

async fn far_pair_with(setup: Setup) -> (Pair, Wire) {
    let mut house = House::listen(setup).await;
    let wire = Wire::to(setup.transport, house.address).await;
    let guest = Guest::dial(wire.address, &house.certificate, setup).await;
    let end = house.admitted().await;
    let pair = Pair::of(guest, house, end);
    within("a round trip", pair.a.session.answered()).await;
    (pair, wire)
}

async fn given_up(end: &End, since: Instant) {
    let Closed { by, close } = within("the peer is given up", end.session.closed()).await;
    let after = since.elapsed();
    assert_eq!((by, close.code), (ClosedBy::Grace, CloseCode::Dead));
    assert!(
        after < PATIENCE + SLACK && after > PATIENCE / 2,
        "given up after {after:?}"
    );
}

async fn an_idle_session_notices_within_its_patience(transport: TransportKind) {
    let (pair, wire) = far_pair(transport).await;
    wire.cut();
    let cut_at = Instant::now();
    tokio::join!(given_up(&pair.a, cut_at), given_up(&pair.b, cut_at));
}

async fn pings_keep_an_idle_session_beyond_its_patience(transport: TransportKind) {
    let (pair, _wire) = far_pair(transport).await;
    let closed = async { tokio::join!(pair.a.session.closed(), pair.b.session.closed()) };
    let early = tokio::time::timeout(PATIENCE * 2, closed).await;
    assert!(early.is_err(), "{early:?}");
}

async fn streams_are_reset_when_their_peer_is_gone(transport: TransportKind) {
    let (mut pair, wire) = far_pair(transport).await;
    let (near, far) = pair.stream().await;
    wire.cut();
    let cut_at = Instant::now();
    let (near, far) = within("the streams end", async {
        tokio::join!(near.over(), far.over())
    })
    .await;
    for told in [near, far] {
        assert_eq!(told.unwrap_err().code, ResetCode::GraceExpired);
    }
    tokio::join!(given_up(&pair.a, cut_at), given_up(&pair.b, cut_at));
}

/// More is waiting to be sent than the connection holds, so that not even a ping gets out.
async fn a_sender_whose_queue_is_full_notices_too(transport: TransportKind) {
    // Eight grants are more than a transport queues.
    let (mut pair, wire) = far_pair_with(Setup {
        base: 2 << 20,
        max_streams: 64,
        ..impatient(transport)
    })
    .await;
    let mut sending = Vec::new();
    for _ in 0..8 {
        let (near, far) = pair.stream().await;
        let mut near = near.into_io();
        sending.push(tokio::spawn(async move {
            while near.write_all(&[0; 64 << 10]).await.is_ok() {}
        }));
        let (mut read, write) = tokio::io::split(far.into_io());
        sending.push(tokio::spawn(async move {
            let _write = write;
            let _ = tokio::io::copy(&mut read, &mut tokio::io::sink()).await;
        }));
    }
    eventually("all are under way", || {
        pair.a.session.snapshot().bytes_sent > 64 << 20
    })
    .await;
    wire.cut();
    let cut_at = Instant::now();
    tokio::join!(given_up(&pair.a, cut_at), given_up(&pair.b, cut_at));
    for task in sending {
        within("the streams end", task).await.unwrap();
    }
}

/// What is read after the cut arrived before it.
async fn a_slow_reader_notices_while_it_still_has_to_read(transport: TransportKind) {
    let (mut pair, wire) = far_pair_with(Setup {
        base: 2 << 20,
        ..impatient(transport)
    })
    .await;
    let (near, far) = pair.stream().await;
    let (mut near, mut far) = (near.into_io(), far.into_io());
    near.write_all(&[0; 2 << 20]).await.unwrap();
    near.flush().await.unwrap();
    let read = Arc::new(AtomicUsize::new(0));
    let total = read.clone();
    let reading = tokio::spawn(async move {
        let mut some = [0; 4 << 10];
        while let Ok(count @ 1..) = far.read(&mut some).await {
            total.fetch_add(count, Ordering::Relaxed);
            // Slower than it came: most of it is still there when the connection is dead.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    eventually("all of it has come", || wire.carried() > 2 << 20).await;
    wire.cut();
    let cut_at = Instant::now();
    tokio::join!(given_up(&pair.a, cut_at), given_up(&pair.b, cut_at));
    reading.abort();
    let read = read.load(Ordering::Relaxed);
    assert!(
        read < 1 << 20,
        "{read} bytes were read: too fast to show anything"
    );
}

async fn a_process_that_is_gone_is_noticed(transport: TransportKind) {
    let mut pair = Pair::with(impatient(transport), impatient(transport)).await;
    within("a round trip", pair.a.session.answered()).await;
    let (near, far) = pair.stream().await;
    let Pair { a, b, b_house, .. } = pair;
    let gone_at = Instant::now();
    // Its threads stop with all that runs on them, the endpoint first of all.
    drop((b, b_house));
    drop(far);
    let told = within("the stream ends", near.over()).await.unwrap_err();
    assert_eq!(told.code, ResetCode::GraceExpired);
    let closed = within("the session ends", a.session.closed()).await;
    assert_ne!(closed.by, ClosedBy::Local, "{closed}");
    assert!(gone_at.elapsed() < PATIENCE + SLACK);
}
