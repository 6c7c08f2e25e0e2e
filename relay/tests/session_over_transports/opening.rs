//! Streams from either end: data behind the header, Connected, half-close, both ends.

use relay::AppProtocol;
use relay::transport::TransportKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::ends::{End, Pair, request};
use crate::{eventually, pattern, within};

each_transport![
    either_end_opens_and_what_is_written_follows_the_header_at_once,
    the_opener_learns_when_the_target_was_reached,
    a_direction_that_ended_leaves_the_other_open,
    both_ends_learn_that_a_stream_is_complete,
    an_end_is_still_read_after_the_stream_has_retired,
    the_services_of_the_initiator_are_known_and_kept_current,
];

async fn either_end_opens_and_what_is_written_follows_the_header_at_once(transport: TransportKind) {
    let mut pair = Pair::new(transport).await;
    ask_and_answer(&pair.a, &mut pair.b).await;
    ask_and_answer(&pair.b, &mut pair.a).await;
    pair.settled().await;
}

async fn ask_and_answer(opener: &End, acceptor: &mut End) {
    let mut near = opener.open("test").await.into_io();
    near.write_all(b"first").await.unwrap();
    let incoming = acceptor.next().await;
    assert_eq!(incoming.open.service.as_str(), "test");
    assert_eq!(incoming.open.caller, request("test").caller);
    assert_eq!(incoming.open.traceparent, request("test").traceparent);
    let mut far = incoming.stream.into_io();
    let mut read = [0; 5];
    within("data behind the header", far.read_exact(&mut read))
        .await
        .unwrap();
    assert_eq!(&read, b"first");
    far.write_all(b"second").await.unwrap();
    far.shutdown().await.unwrap();
    near.shutdown().await.unwrap();
    let mut rest = String::new();
    within("the answer", near.read_to_string(&mut rest))
        .await
        .unwrap();
    assert_eq!(rest, "second");
    assert_eq!(within("the end", far.read(&mut read)).await.unwrap(), 0);
}

async fn the_opener_learns_when_the_target_was_reached(transport: TransportKind) {
    let mut pair = Pair::new(transport).await;
    let (mut near, far) = pair.stream().await;
    let early = tokio::time::timeout(std::time::Duration::from_millis(50), near.connected());
    assert!(early.await.is_err(), "nobody said so yet");
    far.confirm_connected();
    within("Connected", near.connected()).await.unwrap();
    within("Connected again", near.connected()).await.unwrap();
    drop((near, far));
    pair.settled().await;
}

async fn a_direction_that_ended_leaves_the_other_open(transport: TransportKind) {
    for opener_ends_first in [true, false] {
        let mut pair = Pair::new(transport).await;
        let (near, far) = pair.stream().await;
        let (first, second) = if opener_ends_first {
            (near, far)
        } else {
            (far, near)
        };
        let (mut first, mut second) = (first.into_io(), second.into_io());
        first.write_all(b"question").await.unwrap();
        first.shutdown().await.unwrap();
        let mut asked = String::new();
        within(
            "the question and its end",
            second.read_to_string(&mut asked),
        )
        .await
        .unwrap();
        assert_eq!(asked, "question");
        // More than the base, so that credit must still flow towards an end that is shut.
        let answer = 1 << 20;
        let (written, ()) = within("the answer", async {
            tokio::join!(
                pattern::write(&mut second, 7, answer),
                pattern::expect(&mut first, 7, answer)
            )
        })
        .await;
        written.unwrap();
        drop((first, second));
        pair.settled().await;
    }
}

async fn both_ends_learn_that_a_stream_is_complete(transport: TransportKind) {
    let mut pair = Pair::new(transport).await;
    let (near, far) = pair.stream().await;
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
        assert_eq!(within("both ends know", over).await, Ok(()));
    }
    // Held handles keep their slots and nothing else.
    assert_eq!(pair.a.live() + pair.b.live(), 0);
    drop((near_tx, near_rx, far_tx, far_rx));
    pair.settled().await;
}

/// The peer's end and our acknowledgement of it may both have passed before the reader looks.
async fn an_end_is_still_read_after_the_stream_has_retired(transport: TransportKind) {
    let mut pair = Pair::new(transport).await;
    for _ in 0..50 {
        let (near, far) = pair.stream().await;
        let (mut near, mut far) = (near.into_io(), far.into_io());
        near.shutdown().await.unwrap();
        far.write_all(b"last").await.unwrap();
        far.shutdown().await.unwrap();
        let mut word = [0; 4];
        within("the last word", near.read_exact(&mut word))
            .await
            .unwrap();
        assert_eq!(within("an end", far.read(&mut word)).await.unwrap(), 0);
        eventually("the stream retires", || pair.a.live() + pair.b.live() == 0).await;
        assert_eq!(within("an end", near.read(&mut word)).await.unwrap(), 0);
        assert_eq!(within("an end", far.read(&mut word)).await.unwrap(), 0);
    }
    pair.settled().await;
}

async fn the_services_of_the_initiator_are_known_and_kept_current(transport: TransportKind) {
    let pair = Pair::new(transport).await;
    let (echo, other) = ("echo".parse().unwrap(), "other".parse().unwrap());
    let seen = |name| pair.b.session.service_protocol(name);
    assert_eq!(seen(&echo), Some(AppProtocol::Tcp));
    assert_eq!(seen(&other), None);
    pair.a
        .session
        .announce_services(vec![relay::proto::ServiceInfo {
            name: other.clone(),
            protocol: AppProtocol::H2,
            health: None,
        }]);
    eventually("the new services", || {
        seen(&other) == Some(AppProtocol::H2) && seen(&echo).is_none()
    })
    .await;
}
