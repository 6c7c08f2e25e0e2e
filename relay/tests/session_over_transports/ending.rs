//! How sessions end: at once, or after the last stream; and that both ends are told the same.

use std::time::Duration;

use relay::driver::{Closed, ClosedBy};
use relay::proto::Control;
use relay::transport::TransportKind;
use relay::{CloseCode, OpenError, ResetBy, ResetCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::ends::{Pair, request};
use crate::raw::{Scene, own};
use crate::within;

/// How long these drains would wait: for longer than anything else here.
const PATIENCE: Duration = Duration::from_secs(300);

each_transport![
    closing_resets_every_stream_and_tells_both_ends_why,
    an_open_in_the_moment_of_closing_does_not_hang,
    a_drain_waits_for_the_last_stream_and_then_closes,
    the_last_stream_of_a_drain_is_complete_at_both_ends,
    a_drain_without_streams_ends_at_once_and_one_that_outlives_its_grace_resets,
    a_drain_waits_for_streams_that_are_on_their_way,
    a_drain_waits_for_no_word_of_a_peer_that_says_nothing,
    whoever_waits_for_a_header_or_an_answer_is_told_of_the_end,
];

async fn closing_resets_every_stream_and_tells_both_ends_why(transport: TransportKind) {
    // These end a connection, and the session waits for the next.
    let of_a_connection = [CloseCode::Dead, CloseCode::Moved];
    let codes = CloseCode::ALL.iter().copied();
    for code in codes.filter(|code| !of_a_connection.contains(code)) {
        let mut pair = Pair::new(transport).await;
        let mut streams = Vec::new();
        for _ in 0..20 {
            let (near, far) = pair.stream().await;
            streams.extend([near, far]);
        }
        pair.a
            .session
            .close_until(code, "enough", Duration::from_secs(7));
        let Closed { by, close } = pair.a.session.closed().await;
        assert_eq!((by, close.code), (ClosedBy::Local, code));
        let Closed { by, close } = within("the peer hears", pair.b.session.closed()).await;
        assert_eq!((by, close.code), (ClosedBy::Peer, code));
        assert_eq!(close.message, "enough");
        assert_eq!(close.retry_after, Some(Duration::from_secs(7)));
        for stream in streams {
            let told = within("the reset", stream.over()).await.unwrap_err();
            assert_eq!(
                (told.code, told.by),
                (ResetCode::SessionClosed, ResetBy::Local)
            );
        }
        for end in [&pair.a, &pair.b] {
            assert!(!end.session.is_open());
            let refused = within("an answer", end.session.open(request("test"))).await;
            assert_eq!(refused.unwrap_err(), OpenError::SessionClosed);
            within("the tasks end", end.session.finished()).await;
            assert_eq!(end.budget.used(), 0);
        }
    }
}

/// Whoever opens while the session ends gets a refusal or a stream that is reset, never one that
/// hangs.
async fn an_open_in_the_moment_of_closing_does_not_hang(transport: TransportKind) {
    for round in 0..200_u32 {
        let pair = Pair::new(transport).await;
        let session = pair.a.session.clone();
        let opening = tokio::spawn(async move {
            loop {
                match session.open(request("echo")).await {
                    Ok(stream) => {
                        let mut io = stream.into_io();
                        let broken = async {
                            io.write_all(b"word").await?;
                            io.read_exact(&mut [0; 4]).await
                        };
                        if broken.await.is_err() {
                            return;
                        }
                    }
                    Err(OpenError::SessionClosed) => return,
                    Err(error) => panic!("{error}"),
                }
            }
        });
        within("a round trip", pair.a.session.answered()).await;
        for _ in 0..round % 20 {
            tokio::task::yield_now().await;
        }
        let closing = if round % 2 == 0 { &pair.a } else { &pair.b };
        closing.session.close(CloseCode::Shutdown, "");
        within("nobody hangs", opening).await.unwrap();
        for end in [&pair.a, &pair.b] {
            within("the tasks end", end.session.finished()).await;
        }
    }
}

async fn a_drain_waits_for_the_last_stream_and_then_closes(transport: TransportKind) {
    for drained_by_opener in [true, false] {
        let mut pair = Pair::new(transport).await;
        let (near, far) = pair.stream().await;
        let (draining, other) = if drained_by_opener {
            (&pair.a, &pair.b)
        } else {
            (&pair.b, &pair.a)
        };
        let session = draining.session.clone();
        let drained = tokio::spawn(async move { session.drain(Duration::from_secs(60)).await });
        within("the peer hears", other.session.peer_draining()).await;
        for end in [draining, other] {
            let refused = end.session.open(request("test")).await.unwrap_err();
            assert_eq!(refused, OpenError::Draining);
        }
        assert!(!drained.is_finished() && other.session.is_open());
        let (mut near, mut far) = (near.into_io(), far.into_io());
        near.write_all(b"the last").await.unwrap();
        near.shutdown().await.unwrap();
        far.shutdown().await.unwrap();
        let mut last = String::new();
        within("the last word", far.read_to_string(&mut last))
            .await
            .unwrap();
        assert_eq!(last, "the last");
        assert_eq!(within("the end", near.read(&mut [0])).await.unwrap(), 0);
        within("the drain ends", drained).await.unwrap();
        for end in [&pair.a, &pair.b] {
            let closed = within("the session ends", end.session.closed()).await;
            assert_eq!(closed.close.code, CloseCode::Shutdown);
        }
    }
}

/// The last acknowledgement and the close leave together; the peer must not lose the former.
async fn the_last_stream_of_a_drain_is_complete_at_both_ends(transport: TransportKind) {
    for _ in 0..100 {
        let mut pair = Pair::new(transport).await;
        let (near, far) = pair.stream().await;
        let session = pair.a.session.clone();
        let drained = tokio::spawn(async move { session.drain(Duration::from_secs(60)).await });
        within("the peer hears", pair.b.session.peer_draining()).await;
        let (mut near_tx, mut near_rx) = near.split();
        let (mut far_tx, mut far_rx) = far.split();
        near_tx.finish();
        far_tx.finish();
        for receiver in [&mut near_rx, &mut far_rx] {
            let mut chunks = std::collections::VecDeque::new();
            let end = std::future::poll_fn(|cx| receiver.poll_recv(cx, &mut chunks));
            assert_eq!(within("a clean end", end).await, Ok(0));
        }
        for sender in [&near_tx, &far_tx] {
            let over = std::future::poll_fn(|cx| sender.poll_over(cx));
            assert_eq!(within("the stream is over", over).await, Ok(()));
        }
        within("the drain ends", drained).await.unwrap();
    }
}

async fn a_drain_without_streams_ends_at_once_and_one_that_outlives_its_grace_resets(
    transport: TransportKind,
) {
    let pair = Pair::new(transport).await;
    within(
        "nothing to wait for",
        pair.a.session.drain(Duration::from_secs(60)),
    )
    .await;
    within("the peer hears", pair.b.session.closed()).await;

    let mut pair = Pair::new(transport).await;
    let (near, far) = pair.stream().await;
    within(
        "the grace ends",
        pair.b.session.drain(Duration::from_millis(50)),
    )
    .await;
    for stream in [near, far] {
        let told = within("the reset", stream.over()).await.unwrap_err();
        assert_eq!(told.code, ResetCode::SessionClosed);
    }
}

async fn a_drain_waits_for_streams_that_are_on_their_way(transport: TransportKind) {
    let mut scene = Scene::new(transport).await;
    let session = scene.end.session.clone();
    let drained = tokio::spawn(async move { session.drain(PATIENCE).await });
    let raw = &mut scene.raw;
    raw.expect(|it| matches!(it, Control::Drain { opened: 0, .. }))
        .await;
    let (grace, opened) = (PATIENCE, 1);
    raw.say(Control::Drain { grace, opened }).await;
    raw.round_trip().await;
    // Longer than it waits for a peer that says nothing.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert!(!drained.is_finished(), "a stream is still to come");
    let _stream = raw.open(0).await;
    let incoming = scene.end.next().await;
    assert!(!drained.is_finished());
    scene
        .raw
        .say(Control::Reset {
            stream: own(0),
            code: ResetCode::Cancelled,
            message: String::new(),
        })
        .await;
    within("the drain ends", drained).await.unwrap();
    drop(incoming);
}

async fn a_drain_waits_for_no_word_of_a_peer_that_says_nothing(transport: TransportKind) {
    let mut scene = Scene::new(transport).await;
    let session = scene.end.session.clone();
    let drained = tokio::spawn(async move { session.drain(PATIENCE).await });
    scene
        .raw
        .expect(|it| matches!(it, Control::Drain { .. }))
        .await;
    within("the drain ends", drained).await.unwrap();
}

async fn whoever_waits_for_a_header_or_an_answer_is_told_of_the_end(transport: TransportKind) {
    let mut pair = Pair::new(transport).await;
    let (mut near, _far) = pair.stream().await;
    let session = pair.b.session.clone();
    let connected = async {
        let told = near.connected().await.unwrap_err();
        assert_eq!(told.code, ResetCode::SessionClosed);
    };
    tokio::join!(within("the end", connected), async {
        session.close(CloseCode::Revoked, "");
    });
    let closed = within("the end", pair.a.session.closed()).await;
    assert_eq!(closed.close.code, CloseCode::Revoked);
}
