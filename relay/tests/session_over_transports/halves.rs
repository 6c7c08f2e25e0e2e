//! The two directions of a stream in different hands: what dropping or ending one of them does.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::ErrorKind;

use bytes::Bytes;
use relay::driver::{StreamReceiver, StreamSender};
use relay::transport::TransportKind;
use relay::{Reset, ResetBy, ResetCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::ends::Pair;
use crate::within;

each_transport![
    a_receiver_that_is_dropped_resets_the_stream_under_its_sender,
    a_receiver_that_was_read_to_its_end_is_not_missed,
    what_was_sent_and_ended_arrives_before_the_reset_of_a_dropped_receiver,
    a_write_after_the_shutdown_is_refused_and_reading_goes_on,
];

async fn send(sender: &mut StreamSender, word: &'static str) {
    within("credit", poll_fn(|cx| sender.poll_ready(cx)))
        .await
        .unwrap();
    sender.send(Bytes::from(word).into());
    within("a flush", poll_fn(|cx| sender.poll_flush(cx)))
        .await
        .unwrap();
}

/// Reads and consumes until the direction ends.
async fn read(receiver: &mut StreamReceiver) -> (Vec<u8>, Result<(), Reset>) {
    let mut all = Vec::new();
    loop {
        let mut chunks = VecDeque::new();
        let received = poll_fn(|cx| receiver.poll_recv(cx, &mut chunks));
        match within("data or an end", received).await {
            Ok(0) => return (all, Ok(())),
            Ok(count) => {
                chunks.iter().for_each(|chunk| all.extend_from_slice(chunk));
                receiver.consumed(count);
            }
            Err(reset) => return (all, Err(reset)),
        }
    }
}

fn cancelled(by: ResetBy) -> Reset {
    Reset {
        code: ResetCode::Cancelled,
        message: String::new(),
        by,
    }
}

async fn a_receiver_that_is_dropped_resets_the_stream_under_its_sender(transport: TransportKind) {
    let mut pair = Pair::new(transport).await;
    for drop_openers in [true, false] {
        let (near, far) = pair.stream().await;
        let (dropping, writing) = if drop_openers {
            (near, far)
        } else {
            (far, near)
        };
        let (sender, receiver) = dropping.split();
        let mut writing = writing.into_io();
        drop(receiver);
        // More than is ever granted unasked: a writer that nobody tells waits for credit.
        let written = within("the writer is told", writing.write_all(&[0; 64 << 10])).await;
        let error = written.unwrap_err();
        let told = error.get_ref().and_then(|inner| inner.downcast_ref());
        assert_eq!(told, Some(&cancelled(ResetBy::Peer)));
        let over = within("the sender is told", poll_fn(|cx| sender.poll_over(cx))).await;
        assert_eq!(over, Err(cancelled(ResetBy::Local)));
    }
    pair.settled().await;
}

async fn a_receiver_that_was_read_to_its_end_is_not_missed(transport: TransportKind) {
    let mut pair = Pair::new(transport).await;
    let (near, far) = pair.stream().await;
    let (mut asking, mut answered) = near.split();
    let (mut answering, mut asked) = far.split();
    send(&mut asking, "question").await;
    asking.finish();
    assert_eq!(read(&mut asked).await, (b"question".to_vec(), Ok(())));
    drop(asked);
    send(&mut answering, "answer").await;
    answering.finish();
    assert_eq!(read(&mut answered).await, (b"answer".to_vec(), Ok(())));
    drop(answered);
    for sender in [&asking, &answering] {
        let over = poll_fn(|cx| sender.poll_over(cx));
        assert_eq!(within("both ends know", over).await, Ok(()));
    }
    drop((asking, answering));
    pair.settled().await;
}

async fn what_was_sent_and_ended_arrives_before_the_reset_of_a_dropped_receiver(
    transport: TransportKind,
) {
    let mut pair = Pair::new(transport).await;
    let (near, far) = pair.stream().await;
    let (_open, mut reading) = near.split();
    let (mut sender, receiver) = far.split();
    send(&mut sender, "the last word").await;
    sender.finish();
    drop(receiver);
    // The end and the reset come as two messages: whoever reads in between sees a clean end.
    let (read, ended) = read(&mut reading).await;
    assert_eq!(read, b"the last word");
    assert!(
        ended == Ok(()) || ended == Err(cancelled(ResetBy::Peer)),
        "{ended:?}"
    );
    let over = within("the sender is told", poll_fn(|cx| sender.poll_over(cx))).await;
    assert_eq!(over, Err(cancelled(ResetBy::Local)));
    drop((_open, reading, sender));
    pair.settled().await;
}

async fn a_write_after_the_shutdown_is_refused_and_reading_goes_on(transport: TransportKind) {
    let mut pair = Pair::new(transport).await;
    let (near, far) = pair.stream().await;
    let (mut near, mut far) = (near.into_io(), far.into_io());
    near.write_all(b"all of it").await.unwrap();
    near.shutdown().await.unwrap();
    let more = within("an answer to the write", near.write(b"more")).await;
    assert_eq!(more.unwrap_err().kind(), ErrorKind::BrokenPipe);
    // Ending twice ends once.
    near.shutdown().await.unwrap();
    let mut read = String::new();
    within("the end", far.read_to_string(&mut read))
        .await
        .unwrap();
    assert_eq!(read, "all of it");
    far.write_all(b"answer").await.unwrap();
    far.shutdown().await.unwrap();
    read.clear();
    within("the answer", near.read_to_string(&mut read))
        .await
        .unwrap();
    assert_eq!(read, "answer");
    drop((near, far));
    pair.settled().await;
}
