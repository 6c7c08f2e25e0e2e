//! `Expect: 100-continue` (RFC 9110 §10.1.1).

use std::time::Duration;

use http::Version;
use relay::AppProtocol;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::super::limits::CONTINUE_WAIT;
use super::breaks::read_head;
use super::fake::FakeIo;
use super::harness::{
    Answer, Edge, HOST, channel, data, echo, read_to_end, request, until, within,
};

const CONTINUE: &str = "HTTP/1.1 100 Continue\r\n\r\n";
const DONE: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone";

/// A caller that waits for a 100, and the origin that has its head.
async fn expecting(edge: &Edge, origin: &mut FakeIo) -> TcpStream {
    let mut caller = edge.connect().await;
    let head = format!(
        "POST / HTTP/1.1\r\nhost: {HOST}\r\nexpect: 100-Continue\r\ncontent-length: 4\r\n\r\n"
    );
    caller.write_all(head.as_bytes()).await.unwrap();
    let head = read_head(origin).await;
    assert!(head.contains("expect: 100-Continue\r\n"), "{head}");
    caller
}

/// The origin's end of the connection that the edge opens for a first request.
async fn introduced() -> (Edge, FakeIo) {
    let (edge, mut streams) = Edge::start(AppProtocol::Http1).await;
    let mut caller = edge.caller(Version::HTTP_11).await;
    let first = async {
        let mut origin = streams.recv().await.unwrap();
        read_head(&mut origin).await;
        origin.write_all(DONE).await.unwrap();
        origin
    };
    let (answer, origin) = tokio::join!(caller.get("/"), within(first));
    assert_eq!(answer.status, 200);
    let destination = edge.destination(AppProtocol::Http1);
    until(|| edge.ingress.origins.ready(&destination) == 1).await;
    (edge, origin)
}

async fn silent(caller: &mut TcpStream) {
    let soon = Duration::from_millis(100);
    assert!(timeout(soon, caller.read_u8()).await.is_err());
}

#[tokio::test]
async fn the_caller_goes_on_when_the_origin_says_so() {
    let (edge, mut origin) = introduced().await;
    let mut caller = expecting(&edge, &mut origin).await;
    silent(&mut caller).await;
    // Others of this class say nothing about it.
    origin
        .write_all(b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n")
        .await
        .unwrap();
    silent(&mut caller).await;
    origin.write_all(CONTINUE.as_bytes()).await.unwrap();
    assert_eq!(read_head(&mut caller).await, CONTINUE);
    caller.write_all(b"body").await.unwrap();
    let mut body = [0; 4];
    within(origin.read_exact(&mut body)).await.unwrap();
    assert_eq!(&body, b"body");
    origin.write_all(DONE).await.unwrap();
    assert!(
        read_head(&mut caller)
            .await
            .starts_with("HTTP/1.1 200 OK\r\n")
    );
    // Both connections are as good as before.
    let destination = edge.destination(AppProtocol::Http1);
    until(|| edge.ingress.origins.ready(&destination) == 1).await;
    assert_eq!(edge.session.opened().len(), 1);
}

#[tokio::test]
async fn an_origin_that_answers_at_once_gets_no_body_and_the_caller_no_100() {
    let (edge, mut origin) = introduced().await;
    let mut caller = expecting(&edge, &mut origin).await;
    let answer = b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 2\r\n\r\nno";
    origin.write_all(answer).await.unwrap();
    let head = read_head(&mut caller).await;
    assert!(head.starts_with("HTTP/1.1 401 "), "{head}");
    let mut body = [0; 2];
    within(caller.read_exact(&mut body)).await.unwrap();
    assert_eq!(&body, b"no");
    // The origin could not tell a body from a next request.
    within(origin.was_reset()).await;
    until(|| edge.metric("causeway_http_requests_in_flight") == 0).await;
}

#[tokio::test]
async fn an_origin_that_does_not_know_the_expectation_gets_the_body_in_the_end() {
    let (edge, mut origin) = introduced().await;
    let began = Instant::now();
    let mut caller = expecting(&edge, &mut origin).await;
    assert_eq!(read_head(&mut caller).await, CONTINUE);
    assert!(began.elapsed() >= CONTINUE_WAIT);
    caller.write_all(b"body").await.unwrap();
    let mut body = [0; 4];
    within(origin.read_exact(&mut body)).await.unwrap();
    origin.write_all(DONE).await.unwrap();
    assert!(
        read_head(&mut caller)
            .await
            .starts_with("HTTP/1.1 200 OK\r\n")
    );
}

#[tokio::test]
async fn the_body_of_an_http2_caller_waits_as_well() {
    let (edge, mut origin) = introduced().await;
    let mut caller = edge.caller(Version::HTTP_2).await;
    let (sender, body) = channel();
    let mut call = request("POST", "/", body);
    let expect = "100-continue".parse().unwrap();
    call.headers_mut().insert("expect", expect);
    call.headers_mut()
        .insert("content-length", "4".parse().unwrap());
    sender.send(data("body")).await.unwrap();
    drop(sender);
    let call = tokio::spawn(async move { Answer::read(caller.send(call).await.unwrap()).await });
    read_head(&mut origin).await;
    let soon = Duration::from_millis(100);
    assert!(timeout(soon, origin.read_u8()).await.is_err());
    origin.write_all(CONTINUE.as_bytes()).await.unwrap();
    let mut body = [0; 4];
    within(origin.read_exact(&mut body)).await.unwrap();
    origin.write_all(DONE).await.unwrap();
    assert_eq!(within(call).await.unwrap().text, "done");
}

#[tokio::test]
async fn an_origin_that_answers_while_it_reads_gets_the_body_without_a_100() {
    let edge = Edge::with_origin(AppProtocol::Http1, echo).await;
    let mut socket = edge.connect().await;
    let head = format!(
        "POST / HTTP/1.1\r\nhost: {HOST}\r\nexpect: 100-continue\r\n\
         content-length: 4\r\nconnection: close\r\n\r\n"
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    let head = read_head(&mut socket).await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    socket.write_all(b"body").await.unwrap();
    let rest = read_to_end(&mut socket).await.unwrap();
    assert!(rest.contains("body"), "{rest}");
}
