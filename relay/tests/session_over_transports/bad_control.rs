//! Peers that were let in and then break the rules of the control stream.

use std::time::Duration;

use relay::ResetCode;
use relay::proto::{Ack, Close, CloseCode, Control, Echo, MAX_PADDING, StreamId};

use crate::ends::{Setup, hello_ack, request};
use crate::raw::{Scene, encoded, own, raw_hello, theirs};
use crate::{eventually, within};
use relay::transport::TransportKind;

each_transport![
    a_second_hello,
    words_about_streams_that_never_were,
    garbage_on_the_control_stream,
    a_control_frame_over_64_kib,
    a_control_frame_of_64_kib_and_kinds_from_the_future_are_no_fault,
    a_message_that_comes_byte_by_byte_is_one_message,
    an_acknowledgement_beyond_what_was_sent,
    a_limit_beyond_all_measure_allows_what_may_be_kept,
    credit_given_back_that_was_never_had,
    all_credit_given_back_is_gone,
    the_control_stream_ends_and_the_connection_does_not,
    the_peer_refuses_to_hear_our_control_stream,
    a_flood_of_ends_that_are_over_already,
    a_peer_that_says_goodbye_is_let_go,
    pings_without_end_cost_one_answer_each_at_most,
    a_ping_of_any_length_is_answered_within_bounds,
];

const PROTOCOL: CloseCode = CloseCode::Protocol;

fn ack(stream: StreamId, consumed: u64, limit: u64, ended: bool) -> Control {
    Control::Ack(Ack {
        stream,
        consumed,
        limit,
        ended,
        stopped: false,
    })
}

fn fin(stream: StreamId, last: u64) -> Control {
    Control::Fin { stream, last }
}

fn reset(stream: StreamId) -> Control {
    Control::Reset {
        stream,
        code: ResetCode::Cancelled,
        message: String::new(),
    }
}

/// Each message on a session of its own, which is closed for it.
async fn each_breaks_the_protocol(
    transport: TransportKind,
    messages: impl IntoIterator<Item = Control>,
) {
    for message in messages {
        let mut scene = Scene::new(transport).await;
        scene.raw.say(message).await;
        scene.thrown_out(PROTOCOL).await;
    }
}

async fn a_second_hello(transport: TransportKind) {
    each_breaks_the_protocol(
        transport,
        [
            Control::Hello(Box::new(raw_hello(transport))),
            Control::HelloAck(Box::new(hello_ack(Setup::over(transport).limits()))),
        ],
    )
    .await;
}

async fn words_about_streams_that_never_were(transport: TransportKind) {
    let (released, code) = (1, ResetCode::Cancelled);
    let message = String::new();
    each_breaks_the_protocol(
        transport,
        [
            ack(own(0), 0, 1, false),
            ack(theirs(0), 0, 1, false),
            fin(theirs(0), 0),
            reset(theirs(0)),
            Control::Connected { stream: theirs(0) },
            Control::Connected { stream: own(0) },
            Control::Release {
                stream: own(0),
                released,
            },
            // So far ahead that all those before it would have to be remembered.
            fin(own(1 << 40), 0),
            Control::Reset {
                stream: own(u64::MAX >> 1),
                code,
                message,
            },
        ],
    )
    .await;
}

async fn garbage_on_the_control_stream(transport: TransportKind) {
    for garbage in [
        &b"\x05junk!"[..],
        // A HelloAck with an instance of three bytes.
        &[7, 0x12, 5, 0x2a, 3, 1, 2, 3],
        // A length that never ends.
        &[0x80, 0x80, 0x80, 0x80],
    ] {
        let mut scene = Scene::new(transport).await;
        scene.raw.say_bytes(garbage).await;
        scene.thrown_out(PROTOCOL).await;
    }
}

async fn a_control_frame_over_64_kib(transport: TransportKind) {
    let mut scene = Scene::new(transport).await;
    scene.raw.say_bytes(&[0x81, 0x80, 0x04]).await;
    scene.thrown_out(CloseCode::TooLarge).await;
}

async fn a_control_frame_of_64_kib_and_kinds_from_the_future_are_no_fault(
    transport: TransportKind,
) {
    let mut scene = Scene::new(transport).await;
    // A length of exactly 64 KiB; then field 1000, length-delimited, of 65 536 - 2 - 3 bytes.
    let mut frame = vec![0x80, 0x80, 0x04, 0xc2, 0x3e, 0xfb, 0xff, 0x03];
    frame.resize(3 + (64 << 10), 7);
    scene.raw.say_bytes(&frame).await;
    // A Ping with a field that we do not know.
    scene.raw.say_bytes(&[6, 0x1a, 4, 0x08, 5, 0x78, 1]).await;
    scene
        .raw
        .expect(|message| *message == Control::Pong(Echo::short(5)))
        .await;
    scene.goes_on().await;
}

async fn a_message_that_comes_byte_by_byte_is_one_message(transport: TransportKind) {
    let mut scene = Scene::new(transport).await;
    for byte in encoded(&Control::Ping(Echo::short(77))) {
        scene.raw.say_bytes(&[byte]).await;
        tokio::task::yield_now().await;
    }
    scene
        .raw
        .expect(|message| *message == Control::Pong(Echo::short(77)))
        .await;
    scene.goes_on().await;
}

async fn an_acknowledgement_beyond_what_was_sent(transport: TransportKind) {
    for (consumed, ended) in [(1, false), (0, true)] {
        let mut scene = Scene::new(transport).await;
        let stream = scene.end.open("raw").await;
        let id = stream.id();
        scene.raw.say(ack(id, consumed, 1 << 20, ended)).await;
        scene.thrown_out(PROTOCOL).await;
        assert!(stream.over().await.is_err());
    }
}

async fn a_limit_beyond_all_measure_allows_what_may_be_kept(transport: TransportKind) {
    let mut scene = Scene::new(transport).await;
    let stream = scene.end.open("raw").await;
    scene.raw.say(ack(stream.id(), 0, u64::MAX, false)).await;
    scene.raw.round_trip().await;
    let (mut sender, _receiver) = stream.split();
    let ready = std::future::poll_fn(|cx| sender.poll_ready(cx));
    assert_eq!(ready.await.unwrap(), (4 << 20) + (16 << 10));
    scene.goes_on().await;
}

async fn credit_given_back_that_was_never_had(transport: TransportKind) {
    let mut scene = Scene::new(transport).await;
    let stream = scene.raw.open(0).await;
    scene.end.next().await;
    let base = u64::from(Setup::over(transport).base);
    scene
        .raw
        .say(Control::Release {
            stream: stream.id,
            released: base + 1,
        })
        .await;
    scene.thrown_out(PROTOCOL).await;
}

async fn all_credit_given_back_is_gone(transport: TransportKind) {
    let mut scene = Scene::new(transport).await;
    let mut stream = scene.raw.open(0).await;
    let held = scene.end.next().await;
    let released = u64::from(Setup::over(transport).base);
    scene
        .raw
        .say(Control::Release {
            stream: stream.id,
            released,
        })
        .await;
    scene.raw.round_trip().await;
    let (_sender, mut receiver) = held.stream.split();
    stream.send.write_all(b"x").await.unwrap();
    let mut chunks = std::collections::VecDeque::new();
    let read = std::future::poll_fn(|cx| receiver.poll_recv(cx, &mut chunks));
    assert!(within("a reset", read).await.is_err());
    scene.thrown_out(CloseCode::CreditExceeded).await;
}

async fn the_control_stream_ends_and_the_connection_does_not(transport: TransportKind) {
    let mut scene = Scene::new(transport).await;
    scene.raw.control.finish();
    scene.thrown_out(PROTOCOL).await;

    let mut scene = Scene::new(transport).await;
    scene.raw.control.reset();
    scene.thrown_out(PROTOCOL).await;
}

/// Acknowledgements have nowhere to go any more, and pings neither.
async fn the_peer_refuses_to_hear_our_control_stream(transport: TransportKind) {
    let mut scene = Scene::new(transport).await;
    scene.raw.stop_listening();
    // Something to say, so that it is noticed.
    let refused = scene.end.session.open(request("raw")).await.map(drop);
    assert!(refused.is_ok());
    scene.thrown_out(PROTOCOL).await;
}

async fn a_flood_of_ends_that_are_over_already(transport: TransportKind) {
    let few = Setup {
        max_streams: 4,
        ..Setup::over(transport)
    };
    // The house's own acknowledgements have nowhere to go: its peer does not read.
    let mut scene = Scene::with(few).await;
    scene.raw.say(reset(own(0))).await;
    let mut flood = Vec::new();
    while flood.len() < 4 << 20 {
        flood.extend_from_slice(&encoded(&reset(own(0))));
    }
    let flooding = async { while scene.raw.control.write_all(&flood).await.is_ok() {} };
    within("the flood is stopped", flooding).await;
    scene.thrown_out(PROTOCOL).await;
}

async fn a_peer_that_says_goodbye_is_let_go(transport: TransportKind) {
    let mut scene = Scene::new(transport).await;
    let held = scene.end.open("raw").await;
    let close = Close {
        code: CloseCode::Shutdown,
        message: "bye".into(),
        retry_after: Some(Duration::from_secs(3)),
    };
    scene.raw.say(Control::Close(close.clone())).await;
    let closed = within("the goodbye", scene.end.session.closed()).await;
    assert_eq!(closed.close, close);
    let told = within("the reset", held.over()).await.unwrap_err();
    assert_eq!(told.code, ResetCode::SessionClosed);
    scene.thrown_out(CloseCode::Shutdown).await;
}

async fn pings_without_end_cost_one_answer_each_at_most(transport: TransportKind) {
    let mut scene = Scene::new(transport).await;
    for nonce in 0..1000 {
        scene.raw.say(Control::Ping(Echo::short(nonce))).await;
    }
    scene
        .raw
        .expect(|message| *message == Control::Pong(Echo::short(999)))
        .await;
    eventually("nothing is live", || scene.end.live() == 0).await;
    scene.goes_on().await;
}

async fn a_ping_of_any_length_is_answered_within_bounds(transport: TransportKind) {
    let mut scene = Scene::new(transport).await;
    let echo = |nonce, padding| Echo { nonce, padding };
    scene.raw.say(Control::Ping(echo(5, 3000))).await;
    scene
        .raw
        .expect(|message| *message == Control::Pong(echo(5, 3000)))
        .await;
    // A frame of 40 010 bytes: Ping 6 of 40 006 bytes, with 40 000 of padding.
    let mut frame = vec![
        0xca, 0xb8, 2, 0x1a, 0xc6, 0xb8, 2, 0x08, 6, 0x1a, 0xc0, 0xb8, 2,
    ];
    frame.resize(frame.len() + 40_000, 7);
    scene.raw.say_bytes(&frame).await;
    scene
        .raw
        .expect(|message| *message == Control::Pong(echo(6, MAX_PADDING)))
        .await;
    scene.goes_on().await;
}
