//! Strangers: what they say instead of Hello, and what a dialler gets instead of HelloAck.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use quinn::{Endpoint, VarInt};
use relay::driver::handshake::HandshakeError;
use relay::proto::{Close, CloseCode, Control, Version, VersionRange};
use tokio::task::JoinHandle;

use crate::ends::{Guest, Setup, Tls, hello_ack, loopback};
use crate::raw::{Raw, before_hello, echoes, encoded, raw_hello};

/// Who says `words` first is turned away with `code`, and others are served as before and after.
async fn turned_away(words: &[u8], code: CloseCode) {
    let (mut house, bystander, _end, mut raw) = before_hello().await;
    raw.say_bytes(words).await;
    assert_eq!(raw.closed().await, code);
    echoes(&bystander).await;
    let (newcomer, _end) = house.visit().await;
    echoes(&newcomer).await;
}

#[tokio::test]
async fn versions_without_a_common_one_are_told_so() {
    let mut hello = raw_hello();
    hello.versions = VersionRange {
        min: Version(2),
        max: Version(9),
    };
    let (_house, bystander, _end, mut raw) = before_hello().await;
    raw.say(Control::Hello(Box::new(hello))).await;
    let Control::Close(close) = raw.next().await else {
        panic!("no reason was given");
    };
    assert_eq!(close.code, CloseCode::Version);
    assert!(close.message.contains("2 to 9"), "{}", close.message);
    assert_eq!(raw.closed().await, CloseCode::Version);
    echoes(&bystander).await;
}

#[tokio::test]
async fn garbage_instead_of_hello() {
    // Its first letter is a length of 71.
    let request = b"GET /what/a/browser/asks/for HTTP/1.1\r\nHost: edge.example.com\r\n\
        User-Agent: test\r\nAccept: */*\r\n\r\n";
    turned_away(request, CloseCode::Protocol).await;
}

#[tokio::test]
async fn another_message_instead_of_hello() {
    turned_away(&encoded(&Control::Ping { nonce: 1 }), CloseCode::Protocol).await;
}

#[tokio::test]
async fn a_hello_that_is_too_long() {
    // A prefix is enough: 64 KiB and one byte are announced.
    turned_away(&[0x81, 0x80, 0x04], CloseCode::TooLarge).await;
}

#[tokio::test]
async fn a_hello_whose_limits_are_missing() {
    // Field 1, a Hello with versions 1 to 1 and nothing else.
    turned_away(&[6, 0x0a, 4, 0x08, 1, 0x10, 1], CloseCode::Protocol).await;
}

#[tokio::test]
async fn who_connects_and_says_nothing_holds_nobody_up() {
    let (mut house, bystander, _end, silent) = before_hello().await;
    let mut more = vec![silent];
    for _ in 0..20 {
        more.push(Raw::connect(&house).await);
    }
    echoes(&bystander).await;
    let (newcomer, _end) = house.visit().await;
    echoes(&newcomer).await;
}

/// A listener that answers every connection's Hello with `words`, then closes with `code`.
fn answering(words: Bytes, code: CloseCode) -> (SocketAddr, Tls, JoinHandle<()>) {
    let tls = Tls::new();
    let endpoint = Endpoint::server(tls.server(&Setup::default()), loopback()).unwrap();
    let address = endpoint.local_addr().unwrap();
    let answering = tokio::spawn(async move {
        let connection = endpoint.accept().await.unwrap().await.unwrap();
        let (mut send, _recv) = connection.accept_bi().await.unwrap();
        send.write_all(&words).await.unwrap();
        // The dialler closes, or reads for as long as it likes.
        let wait = tokio::time::timeout(Duration::from_millis(200), connection.closed());
        let _ = wait.await;
        connection.close(VarInt::from_u32(code.number()), b"by hand");
        endpoint.wait_idle().await;
    });
    (address, tls, answering)
}

async fn answered_with(words: Bytes) -> HandshakeError {
    let (address, tls, _listener) = answering(words, CloseCode::Internal);
    match Guest::try_dial(address, &tls, Setup::default()).await {
        Ok(_) => panic!("this is no answer to Hello"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn a_refusal_says_why() {
    let close = Close {
        code: CloseCode::Overload,
        message: "full".into(),
        retry_after: Some(Duration::from_secs(9)),
    };
    let error = answered_with(encoded(&Control::Close(close.clone()))).await;
    assert_eq!(error, HandshakeError::Refused(close));
}

#[tokio::test]
async fn a_version_that_was_not_offered() {
    let mut ack = hello_ack(Setup::default().limits());
    ack.version = Version(7);
    let error = answered_with(encoded(&Control::HelloAck(Box::new(ack)))).await;
    assert!(matches!(&error, HandshakeError::Protocol(m) if m.contains('7')));
}

#[tokio::test]
async fn garbage_and_silence_instead_of_an_answer() {
    let error = answered_with(Bytes::from_static(b"\x05junk!")).await;
    assert!(matches!(error, HandshakeError::Protocol(_)), "{error}");
    let error = answered_with(Bytes::new()).await;
    assert!(matches!(error, HandshakeError::Lost(_)), "{error}");
}
