//! Strangers: what they say instead of Hello, and what a dialler gets instead of HelloAck.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use relay::driver::handshake::{Dialled, HandshakeError, MOST_PROBES};
use relay::proto::{Close, CloseCode, Control, Echo, Version, VersionRange};
use relay::transport::TransportKind;
use tokio::task::JoinHandle;

use crate::connect::{Certificate, Listener};
use crate::ends::{Guest, Setup, hello_ack};
use crate::raw::{Raw, RawSend, before_hello, echoes, encoded, raw_hello};
use crate::within;

each_transport![
    versions_without_a_common_one_are_told_so,
    garbage_instead_of_hello,
    another_message_instead_of_hello,
    pings_ahead_of_hello_are_answered_alike,
    more_pings_ahead_of_hello_than_there_may_be,
    a_hello_that_is_too_long,
    a_hello_whose_limits_are_missing,
    who_connects_and_says_nothing_holds_nobody_up,
    a_refusal_says_why,
    a_version_that_was_not_offered,
    garbage_and_silence_instead_of_an_answer,
];

/// Who says `words` first is turned away with `code`, and others are served as before and after.
async fn turned_away(transport: TransportKind, words: &[u8], code: CloseCode) {
    let (mut house, bystander, _end, mut raw) = before_hello(transport).await;
    raw.say_bytes(words).await;
    assert_eq!(raw.closed().await, code);
    echoes(&bystander).await;
    let (newcomer, _end) = house.visit().await;
    echoes(&newcomer).await;
}

async fn versions_without_a_common_one_are_told_so(transport: TransportKind) {
    let mut hello = raw_hello(transport);
    hello.versions = VersionRange {
        min: Version(2),
        max: Version(9),
    };
    let (_house, bystander, _end, mut raw) = before_hello(transport).await;
    raw.say(Control::Hello(Box::new(hello))).await;
    let Control::Close(close) = raw.next().await else {
        panic!("no reason was given");
    };
    assert_eq!(close.code, CloseCode::Version);
    assert!(close.message.contains("2 to 9"), "{}", close.message);
    assert_eq!(raw.closed().await, CloseCode::Version);
    echoes(&bystander).await;
}

async fn garbage_instead_of_hello(transport: TransportKind) {
    // Its first letter is a length of 71.
    let request = b"GET /what/a/browser/asks/for HTTP/1.1\r\nHost: edge.example.com\r\n\
        User-Agent: test\r\nAccept: */*\r\n\r\n";
    turned_away(transport, request, CloseCode::Protocol).await;
}

async fn another_message_instead_of_hello(transport: TransportKind) {
    turned_away(
        transport,
        &encoded(&Control::Pong(Echo::short(1))),
        CloseCode::Protocol,
    )
    .await;
}

async fn pings_ahead_of_hello_are_answered_alike(transport: TransportKind) {
    let (house, bystander, _end, raw) = before_hello(transport).await;
    drop(raw);
    let setup = Setup::over(transport);
    let dialling = house.certificate.dialler(&setup).dial(house.address);
    let mut dialled = Dialled::new(within("a connection", dialling).await);
    for _ in 0..MOST_PROBES {
        within("a probe", dialled.probe()).await.unwrap();
    }
    let greeting = dialled.greet(raw_hello(transport));
    within("a session", greeting).await.unwrap();
    echoes(&bystander).await;
}

async fn more_pings_ahead_of_hello_than_there_may_be(transport: TransportKind) {
    let ping = encoded(&Control::Ping(Echo::short(1)));
    turned_away(
        transport,
        &ping.repeat(MOST_PROBES + 1),
        CloseCode::Protocol,
    )
    .await;
}

async fn a_hello_that_is_too_long(transport: TransportKind) {
    // A prefix is enough: 64 KiB and one byte are announced.
    turned_away(transport, &[0x81, 0x80, 0x04], CloseCode::TooLarge).await;
}

async fn a_hello_whose_limits_are_missing(transport: TransportKind) {
    // Field 1, a Hello with versions 1 to 1 and nothing else.
    turned_away(
        transport,
        &[6, 0x0a, 4, 0x08, 1, 0x10, 1],
        CloseCode::Protocol,
    )
    .await;
}

async fn who_connects_and_says_nothing_holds_nobody_up(transport: TransportKind) {
    let (mut house, bystander, _end, silent) = before_hello(transport).await;
    let mut more = vec![silent];
    for _ in 0..20 {
        more.push(Raw::connect(&house).await);
    }
    echoes(&bystander).await;
    let (newcomer, _end) = house.visit().await;
    echoes(&newcomer).await;
}

/// A listener that answers every connection's Hello with `words`, then closes with `code`.
async fn answering(
    transport: TransportKind,
    words: Bytes,
    code: CloseCode,
) -> (SocketAddr, Certificate, JoinHandle<()>) {
    let certificate = Certificate::new();
    let listener = Listener::bind(&certificate, &Setup::over(transport)).await;
    let address = listener.address();
    let answering = tokio::spawn(async move {
        let connection = listener.accept().await.unwrap().connected().await.unwrap();
        let stream = connection.accept().await.unwrap();
        RawSend(stream.send).write_all(&words).await.unwrap();
        // The dialler closes, or reads for as long as it likes.
        let wait = tokio::time::timeout(Duration::from_millis(200), connection.lost());
        let _ = wait.await;
        connection.close(code, "by hand");
        connection.lost().await;
        listener.finished().await;
    });
    (address, certificate, answering)
}

async fn answered_with(transport: TransportKind, words: Bytes) -> HandshakeError {
    let (address, certificate, _listener) = answering(transport, words, CloseCode::Internal).await;
    match Guest::try_dial(address, &certificate, Setup::over(transport)).await {
        Ok(_) => panic!("this is no answer to Hello"),
        Err(error) => error,
    }
}

async fn a_refusal_says_why(transport: TransportKind) {
    let close = Close {
        code: CloseCode::Overload,
        message: "full".into(),
        retry_after: Some(Duration::from_secs(9)),
    };
    let error = answered_with(transport, encoded(&Control::Close(close.clone()))).await;
    assert_eq!(error, HandshakeError::Refused(close));
}

async fn a_version_that_was_not_offered(transport: TransportKind) {
    let mut ack = hello_ack(Setup::over(transport).limits());
    ack.version = Version(7);
    let error = answered_with(transport, encoded(&Control::HelloAck(Box::new(ack)))).await;
    assert!(matches!(&error, HandshakeError::Protocol(m) if m.contains('7')));
}

async fn garbage_and_silence_instead_of_an_answer(transport: TransportKind) {
    let error = answered_with(transport, Bytes::from_static(b"\x05junk!")).await;
    assert!(matches!(error, HandshakeError::Protocol(_)), "{error}");
    let error = answered_with(transport, Bytes::new()).await;
    assert!(matches!(error, HandshakeError::Lost(_)), "{error}");
}
