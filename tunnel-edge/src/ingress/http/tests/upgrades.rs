//! Connections that stop speaking HTTP.

use std::time::Duration;

use http::{Response, Version};
use hyper_util::rt::TokioIo;
use relay::{AppProtocol, ResetCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::breaks::read_head;
use super::fake::FakeIo;
use super::harness::{Answer, Edge, HOST, empty, get, mirror, until, within};

/// A caller and an origin that agree to speak `upper`.
async fn upgraded() -> (Edge, TcpStream, FakeIo) {
    let (edge, mut streams) = Edge::start(AppProtocol::Http1).await;
    let mut caller = edge.connect().await;
    let head = format!(
        "GET /ws HTTP/1.1\r\nhost: {HOST}\r\nconnection: keep-alive, Upgrade\r\n\
         upgrade: upper\r\nsec-websocket-key: x\r\n\r\nearly"
    );
    caller.write_all(head.as_bytes()).await.unwrap();
    let mut origin = within(streams.recv()).await.unwrap();
    let head = read_head(&mut origin).await;
    assert!(head.contains("upgrade: upper\r\n") && head.contains("connection: upgrade\r\n"));
    assert!(head.contains("sec-websocket-key: x\r\n"));
    let answer = b"HTTP/1.1 101 Switching Protocols\r\n\
                   upgrade: upper\r\nconnection: upgrade\r\n\r\nfirst";
    origin.write_all(answer).await.unwrap();
    let head = read_head(&mut caller).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert!(head.contains("upgrade: upper\r\n") && head.contains("connection: upgrade\r\n"));
    assert_eq!(read(&mut caller, 5).await, "first");
    assert_eq!(read(&mut origin, 5).await, "early");
    (edge, caller, origin)
}

async fn read(from: &mut (impl AsyncReadExt + Unpin), bytes: usize) -> String {
    let mut text = vec![0; bytes];
    within(from.read_exact(&mut text)).await.unwrap();
    String::from_utf8(text).unwrap()
}

#[tokio::test]
async fn both_sides_speak_and_end_each_for_itself() {
    let (edge, mut caller, mut origin) = upgraded().await;
    for turn in 0..100 {
        let text = format!("{turn:04}");
        caller.write_all(text.as_bytes()).await.unwrap();
        assert_eq!(read(&mut origin, 4).await, text);
        origin.write_all(text.as_bytes()).await.unwrap();
        assert_eq!(read(&mut caller, 4).await, text);
    }
    assert_eq!(edge.metric("causeway_http_requests_in_flight"), 1);
    caller.shutdown().await.unwrap();
    assert_eq!(within(origin.read(&mut [0])).await.unwrap(), 0);
    // The other direction goes on.
    origin.write_all(b"after").await.unwrap();
    assert_eq!(read(&mut caller, 5).await, "after");
    origin.shutdown().await.unwrap();
    assert_eq!(within(caller.read(&mut [0])).await.unwrap(), 0);
    until(|| edge.metric("causeway_http_requests_in_flight") == 0).await;
    assert_eq!(
        edge.metric("causeway_http_requests_total{ingress=\"main\",class=\"1xx\"}"),
        1
    );
}

#[tokio::test]
async fn the_origins_end_leaves_the_callers_side_open() {
    let (_edge, mut caller, mut origin) = upgraded().await;
    origin.shutdown().await.unwrap();
    assert_eq!(within(caller.read(&mut [0])).await.unwrap(), 0);
    caller.write_all(b"after").await.unwrap();
    assert_eq!(read(&mut origin, 5).await, "after");
    drop(caller);
    assert_eq!(within(origin.read(&mut [0])).await.unwrap(), 0);
}

#[tokio::test]
async fn a_clean_end_takes_nothing_back_from_a_slow_reader() {
    let (_edge, mut caller, mut origin) = upgraded().await;
    caller.shutdown().await.unwrap();
    assert_eq!(within(origin.read(&mut [0])).await.unwrap(), 0);
    let tail: Vec<u8> = (0..=250).cycle().take(3 << 20).collect();
    let sent = tail.clone();
    let sending = tokio::spawn(async move {
        origin.write_all(&sent).await.unwrap();
        origin.shutdown().await.unwrap();
    });
    let mut received = Vec::new();
    let mut piece = vec![0; 16 * 1024];
    loop {
        let length = within(caller.read(&mut piece)).await.unwrap();
        if length == 0 {
            break;
        }
        received.extend_from_slice(&piece[..length]);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(received == tail, "{} bytes", received.len());
    sending.await.unwrap();
}

#[tokio::test]
async fn the_sessions_worker_moves_the_bytes() {
    let (edge, mut caller, mut origin) = upgraded().await;
    edge.session.freeze(true);
    caller.write_all(b"later").await.unwrap();
    let soon = Duration::from_millis(100);
    assert!(timeout(soon, origin.read_u8()).await.is_err());
    edge.session.freeze(false);
    assert_eq!(read(&mut origin, 5).await, "later");
}

#[tokio::test]
async fn a_reset_of_the_origin_resets_the_caller() {
    let (_edge, mut caller, origin) = upgraded().await;
    origin.reset(ResetCode::OriginReset);
    let error = within(caller.read(&mut [0])).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_reset_of_the_caller_resets_the_origin() {
    let (_edge, caller, mut origin) = upgraded().await;
    caller.set_zero_linger().unwrap();
    drop(caller);
    assert_eq!(within(origin.was_reset()).await, ResetCode::Cancelled);
    let error = origin.read(&mut [0]).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn the_end_of_the_ingress_is_a_reset_for_both() {
    let (edge, mut caller, mut origin) = upgraded().await;
    edge.stop.cancel();
    caller.write_all(b"goes on").await.unwrap();
    assert_eq!(read(&mut origin, 7).await, "goes on");
    edge.serving.abort();
    let error = within(caller.read(&mut [0])).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    within(origin.was_reset()).await;
}

#[tokio::test]
async fn an_origin_may_decline() {
    let edge = Edge::with_origin(AppProtocol::Http1, mirror).await;
    let mut caller = edge.caller(Version::HTTP_11).await;
    for _ in 0..2 {
        let mut request = get("/");
        let headers = request.headers_mut();
        headers.insert("connection", "upgrade".parse().unwrap());
        headers.insert("upgrade", "websocket".parse().unwrap());
        let answer = Answer::read(caller.send(request).await.unwrap()).await;
        assert!(
            answer.text.contains("\"upgrade\": \"websocket\""),
            "{}",
            answer.text
        );
        assert_eq!(answer.status, 200);
    }
    assert_eq!(edge.session.opened().len(), 1);
}

#[tokio::test]
async fn h2c_is_not_offered_to_origins() {
    for protocol in [AppProtocol::Http1, AppProtocol::H2] {
        let edge = Edge::with_origin(protocol, mirror).await;
        let mut request = get("/");
        let headers = request.headers_mut();
        headers.insert("connection", "upgrade, http2-settings".parse().unwrap());
        headers.insert("upgrade", "h2c".parse().unwrap());
        headers.insert("http2-settings", "AAMAAABkAAQAAP__".parse().unwrap());
        let mut caller = edge.caller(Version::HTTP_11).await;
        let answer = Answer::read(caller.send(request).await.unwrap()).await;
        assert_eq!(answer.status, 200);
        assert!(!answer.text.contains("h2c") && !answer.text.contains("http2-"));
    }
}

#[tokio::test]
async fn a_hyper_client_and_a_hyper_server_meet() {
    let handler = |mut request: http::Request<hyper::body::Incoming>| async move {
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let mut io = TokioIo::new(upgrade.await.unwrap());
            let (mut reader, mut writer) = tokio::io::split(&mut io);
            tokio::io::copy(&mut reader, &mut writer).await.unwrap();
            writer.shutdown().await.unwrap();
        });
        Response::builder()
            .status(101)
            .header("connection", "upgrade")
            .header("upgrade", "echo")
            .body(empty())
            .unwrap()
    };
    let edge = Edge::with_origin(AppProtocol::Http1, handler).await;
    let mut request = get("/");
    let headers = request.headers_mut();
    headers.insert("connection", "upgrade".parse().unwrap());
    headers.insert("upgrade", "echo".parse().unwrap());
    let mut caller = edge.caller(Version::HTTP_11).await;
    let answer = caller.send(request).await.unwrap();
    assert_eq!(answer.status(), 101);
    let mut io = TokioIo::new(within(hyper::upgrade::on(answer)).await.unwrap());
    io.write_all(b"hello").await.unwrap();
    assert_eq!(read(&mut io, 5).await, "hello");
    io.shutdown().await.unwrap();
    assert_eq!(within(io.read(&mut [0])).await.unwrap(), 0);
}
