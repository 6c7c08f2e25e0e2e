//! Answers that come before the end of their request.

use std::time::Duration;

use http::{Request, Response, Version};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use relay::AppProtocol;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use super::super::limits::{GOODBYE, WATCH_INTERVAL};
use super::breaks::read_head;
use super::harness::{
    Answer, Edge, HOST, TestBody, channel, data, full, long_silence, request, until, within,
};
use crate::config::HttpLimits;

const OPEN: &str = "causeway_http_caller_connections";

/// What an origin says of a body that has come whole.
const END: &str = "the end";

#[tokio::test]
async fn the_rest_of_an_upload_goes_on_for_as_long_as_it_takes() {
    for origin in [AppProtocol::Http1, AppProtocol::H2] {
        for version in [Version::HTTP_11, Version::HTTP_2] {
            let (taken, mut takes) = mpsc::unbounded_channel();
            let answer_and_read_on = move |request: Request<Incoming>| {
                let taken = taken.clone();
                tokio::spawn(async move {
                    let mut body = request.into_body();
                    while let Some(frame) = body.frame().await {
                        let piece = frame.unwrap().into_data().unwrap();
                        // HTTP/2 may end with an empty one.
                        if !piece.is_empty() {
                            taken.send(piece).unwrap();
                        }
                    }
                    taken.send(END.into()).unwrap();
                });
                std::future::ready(Response::<TestBody>::new(full("at once")))
            };
            let edge = Edge::with_origin(origin, answer_and_read_on).await;
            let mut caller = edge.caller(version).await;
            let (sender, body) = channel();
            sender.send(data("more")).await.unwrap();
            let answer = caller.send(request("PUT", "/", body)).await.unwrap();
            assert_eq!(Answer::read(answer).await.text, "at once");
            assert_eq!(within(takes.recv()).await.unwrap(), "more");
            let mut passed = Duration::ZERO;
            while passed < HttpLimits::IDLE_TIMEOUT + GOODBYE + WATCH_INTERVAL {
                let rest = HttpLimits::HEAD_TIMEOUT + WATCH_INTERVAL;
                long_silence(rest).await;
                passed += rest;
                within(sender.send(data("more"))).await.unwrap();
                let taken = within(takes.recv()).await.unwrap();
                assert_eq!(taken, "more", "{origin:?} {version:?}");
            }
            drop(sender);
            assert_eq!(
                within(takes.recv()).await.unwrap(),
                END,
                "{origin:?} {version:?}"
            );
        }
    }
}

/// What is left to come of a request is no head of another.
#[tokio::test]
async fn a_connection_is_idle_once_the_request_has_come_too() {
    for chunked in [false, true] {
        let (edge, mut streams) = Edge::start(AppProtocol::Http1).await;
        let mut caller = edge.connect().await;
        let length = if chunked {
            "transfer-encoding: chunked"
        } else {
            "content-length: 8"
        };
        let head = format!("PUT / HTTP/1.1\r\nhost: {HOST}\r\n{length}\r\n\r\n");
        let (begin, end) = if chunked {
            ("4\r\nsome\r\n", "0\r\n\r\n")
        } else {
            ("some", "more")
        };
        caller.write_all(head.as_bytes()).await.unwrap();
        caller.write_all(begin.as_bytes()).await.unwrap();
        let mut origin = within(streams.recv()).await.unwrap();
        read_head(&mut origin).await;
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
        origin.write_all(answer).await.unwrap();
        let mut got = Vec::new();
        while !got.ends_with(b"ok") {
            assert_ne!(within(caller.read_buf(&mut got)).await.unwrap(), 0);
        }
        until(|| edge.metric("causeway_http_requests_in_flight") == 0).await;
        caller.write_all(end.as_bytes()).await.unwrap();
        let mut taken = Vec::new();
        while !taken.ends_with(end.as_bytes()) {
            assert_ne!(within(origin.read_buf(&mut taken)).await.unwrap(), 0);
        }
        long_silence(HttpLimits::HEAD_TIMEOUT + WATCH_INTERVAL * 2).await;
        assert_eq!(edge.metric(OPEN), 1, "{chunked}");
        long_silence(HttpLimits::IDLE_TIMEOUT).await;
        let end = within(caller.read(&mut [0; 1])).await;
        assert_eq!(end.expect("an orderly end"), 0, "{chunked}");
    }
}

/// The origin has answered and takes no more.
#[tokio::test]
async fn an_upload_that_nobody_takes_holds_its_connection_no_longer_than_an_idle_one() {
    let (edge, mut streams) = Edge::start(AppProtocol::Http1).await;
    let mut caller = edge.connect().await;
    let head = format!("PUT / HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: 100000000\r\n\r\n");
    caller.write_all(head.as_bytes()).await.unwrap();
    let mut origin = within(streams.recv()).await.unwrap();
    read_head(&mut origin).await;
    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    origin.write_all(answer).await.unwrap();
    until(|| edge.metric("causeway_http_requests_in_flight") == 0).await;
    let block = vec![b'x'; 64 * 1024];
    let full = Duration::from_millis(500);
    while tokio::time::timeout(full, caller.write_all(&block))
        .await
        .is_ok()
    {}
    assert_eq!(edge.metric(OPEN), 1);
    long_silence(HttpLimits::IDLE_TIMEOUT + GOODBYE + WATCH_INTERVAL * 2).await;
    until(|| edge.metric(OPEN) == 0).await;
    drop(origin);
}
