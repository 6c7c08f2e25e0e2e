//! What breaks off: it is felt at the other end, and never looks complete.

use std::sync::Arc;

use http::{Request, Response, Version};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use relay::{AppProtocol, ResetCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Mutex, mpsc, oneshot};

use super::harness::{
    Edge, HOST, Stop, TestBody, channel, data, empty, get, next, read_to_end, request, until,
    within,
};

const ORIGINS: [AppProtocol; 2] = [AppProtocol::Http1, AppProtocol::H2];
const CALLERS: [Version; 2] = [Version::HTTP_11, Version::HTTP_2];

/// Says when it is dropped.
struct Canary(Option<oneshot::Sender<()>>);

impl Drop for Canary {
    fn drop(&mut self) {
        let _ = self.0.take().unwrap().send(());
    }
}

#[tokio::test]
async fn an_origin_learns_that_the_caller_left_before_the_answer() {
    for origin in ORIGINS {
        for version in CALLERS {
            let (began, mut beginnings) = mpsc::unbounded_channel();
            let silent = move |_: Request<Incoming>| {
                let began = began.clone();
                async move {
                    let (dropped, ended) = oneshot::channel();
                    let _canary = Canary(Some(dropped));
                    began.send(ended).unwrap();
                    std::future::pending::<Response<TestBody>>().await
                }
            };
            let edge = Edge::with_origin(origin, silent).await;
            let mut caller = edge.caller(version).await;
            let request = tokio::spawn(async move { caller.send(get("/")).await.map(drop) });
            let ended = within(beginnings.recv()).await.unwrap();
            request.abort();
            within(ended).await.unwrap();
            until(|| edge.metric("causeway_http_requests_in_flight") == 0).await;
        }
    }
}

#[tokio::test]
async fn an_origin_learns_that_the_caller_left_amid_the_answer() {
    for origin in ORIGINS {
        for version in CALLERS {
            for hang_up in [true, false] {
                let (sender, body) = channel();
                let body = Arc::new(Mutex::new(Some(body)));
                let handler = move |_: Request<Incoming>| {
                    let body = body.clone();
                    async move { Response::new(body.lock().await.take().unwrap()) }
                };
                let edge = Edge::with_origin(origin, handler).await;
                let mut caller = edge.caller(version).await;
                sender.send(data("first")).await.unwrap();
                let mut answer = caller.send(get("/")).await.unwrap();
                assert_eq!(next(answer.body_mut()).await.unwrap().unwrap(), "first");
                // Either the whole connection, or only the rest of the answer.
                let stays = (!hang_up).then_some(caller);
                drop(answer);
                within(sender.closed()).await;
                drop(stays);
            }
        }
    }
}

#[tokio::test]
async fn one_request_given_up_leaves_others_on_the_same_connection_alone() {
    let (first_sender, first) = channel();
    let (second_sender, second) = channel();
    let bodies = Arc::new(Mutex::new(vec![second, first]));
    let handler = move |_: Request<Incoming>| {
        let bodies = bodies.clone();
        async move { Response::new(bodies.lock().await.pop().unwrap()) }
    };
    let edge = Edge::with_origin(AppProtocol::H2, handler).await;
    let mut caller = edge.caller(Version::HTTP_2).await;
    let first = caller.send(get("/1")).await.unwrap();
    let mut second = caller.send(get("/2")).await.unwrap();
    drop(first);
    within(first_sender.closed()).await;
    second_sender.send(data("more")).await.unwrap();
    assert_eq!(next(second.body_mut()).await.unwrap().unwrap(), "more");
    drop(second_sender);
    assert!(next(second.body_mut()).await.is_none());
    assert_eq!(edge.session.opened().len(), 1);
}

#[tokio::test]
async fn an_upload_given_up_is_no_complete_upload() {
    for origin in ORIGINS {
        for version in CALLERS {
            for answered in [true, false] {
                let (seen, mut sights) = mpsc::unbounded_channel();
                let handler = move |request: Request<Incoming>| {
                    let seen = seen.clone();
                    async move {
                        let mut body = request.into_body();
                        let watch = async move {
                            let complete = loop {
                                match body.frame().await {
                                    Some(Ok(_)) => seen.send(None).unwrap(),
                                    Some(Err(_)) => break false,
                                    None => break true,
                                }
                            };
                            seen.send(Some(complete)).unwrap();
                        };
                        if answered {
                            tokio::spawn(watch);
                            let (sender, body) = channel();
                            sender.send(data("taken")).await.unwrap();
                            tokio::spawn(async move { sender.closed().await });
                            Response::new(body)
                        } else {
                            watch.await;
                            Response::new(empty())
                        }
                    }
                };
                let edge = Edge::with_origin(origin, handler).await;
                let mut caller = edge.caller(version).await;
                let (sender, body) = channel();
                sender.send(data("part")).await.unwrap();
                let call = request("POST", "/", body);
                let calling = tokio::spawn(async move {
                    let answer = caller.send(call).await;
                    (caller, answer)
                });
                assert_eq!(within(sights.recv()).await, Some(None));
                sender.send(Err(Stop)).await.unwrap();
                // Where the origin is told nothing more, its handler was dropped: no end either.
                while let Some(sight) = within(sights.recv()).await {
                    assert_ne!(sight, Some(true), "{origin:?} {version:?} {answered}");
                    if sight.is_some() {
                        break;
                    }
                }
                drop(within(calling).await);
            }
        }
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_looks_so() {
    for origin in ORIGINS {
        for version in CALLERS {
            for length in [None, Some("100")] {
                let handler = move |_: Request<Incoming>| async move {
                    let (sender, body) = channel();
                    tokio::spawn(async move {
                        sender.send(data("part")).await.unwrap();
                        sender.send(Err(Stop)).await.unwrap();
                    });
                    let mut response = Response::new(body);
                    if let Some(length) = length {
                        let length = length.parse().unwrap();
                        response.headers_mut().insert("content-length", length);
                    }
                    response
                };
                let edge = Edge::with_origin(origin, handler).await;
                let mut caller = edge.caller(version).await;
                let mut answer = caller.send(get("/")).await.unwrap();
                let mut last = None;
                while let Some(piece) = next(answer.body_mut()).await {
                    let failed = piece.is_err();
                    last = Some(piece);
                    if failed {
                        break;
                    }
                }
                assert!(last.unwrap().is_err(), "{origin:?} {version:?} {length:?}");
            }
        }
    }
}

#[tokio::test]
async fn an_answer_without_length_that_is_reset_does_not_end() {
    let (edge, mut streams) = Edge::start(AppProtocol::Http1).await;
    for version in [Version::HTTP_10, Version::HTTP_11, Version::HTTP_2] {
        let origin = async {
            let mut stream = streams.recv().await.unwrap();
            read_head(&mut stream).await;
            let head = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\npart";
            stream.write_all(head).await.unwrap();
            stream
        };
        if version == Version::HTTP_10 {
            let mut socket = edge.connect().await;
            let head = format!("GET / HTTP/1.0\r\nhost: {HOST}\r\n\r\n");
            socket.write_all(head.as_bytes()).await.unwrap();
            let stream = within(origin).await;
            let mut answer = Vec::new();
            while !answer.ends_with(b"part") {
                assert_ne!(within(socket.read_buf(&mut answer)).await.unwrap(), 0);
            }
            stream.reset(ResetCode::OriginReset);
            let error = read_to_end(&mut socket).await.unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        } else {
            let mut caller = edge.caller(version).await;
            let (answer, stream) = tokio::join!(caller.send(get("/")), within(origin));
            let mut answer = answer.unwrap();
            assert_eq!(next(answer.body_mut()).await.unwrap().unwrap(), "part");
            stream.reset(ResetCode::GraceExpired);
            assert!(next(answer.body_mut()).await.unwrap().is_err());
        }
    }
}

#[tokio::test]
async fn an_answer_without_length_that_ends_is_complete() {
    let (edge, mut streams) = Edge::start(AppProtocol::Http1).await;
    let origin = async {
        let mut stream = streams.recv().await.unwrap();
        read_head(&mut stream).await;
        let answer = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nwhole";
        stream.write_all(answer).await.unwrap();
        stream.shutdown().await.unwrap();
    };
    let call = format!("GET / HTTP/1.0\r\nhost: {HOST}\r\n\r\n");
    let (answer, ()) = tokio::join!(edge.raw(&call), within(origin));
    assert!(answer.unwrap().ends_with("\r\n\r\nwhole"));
}

/// Node's `stream.close()` does this amid an answer; hyper reports it like an end.
#[tokio::test]
async fn a_reset_with_no_error_is_no_end_over_http2() {
    for (ended, version) in [
        (false, Version::HTTP_11),
        (false, Version::HTTP_2),
        (true, Version::HTTP_11),
    ] {
        let (edge, mut streams) = Edge::start(AppProtocol::H2).await;
        let origin = async move {
            let mut stream = streams.recv().await.unwrap();
            let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
            stream.write_all(&settings).await.unwrap();
            until_request(&mut stream).await;
            // HEADERS with END_HEADERS on stream 1: ":status: 200" is entry 8 of the static table.
            stream
                .write_all(&[0, 0, 1, 1, 4, 0, 0, 0, 1, 0x88])
                .await
                .unwrap();
            let end_stream = u8::from(ended);
            stream
                .write_all(&[0, 0, 4, 0, end_stream, 0, 0, 0, 1])
                .await
                .unwrap();
            stream.write_all(b"part").await.unwrap();
            // RST_STREAM with NO_ERROR.
            stream
                .write_all(&[0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, 0])
                .await
                .unwrap();
            stream
        };
        let mut caller = edge.caller(version).await;
        let (answer, _stream) = tokio::join!(caller.send(get("/")), within(origin));
        let Ok(mut answer) = answer else {
            // Cut even before its head was out.
            assert!(!ended, "{version:?}");
            continue;
        };
        let mut whole = true;
        while let Some(piece) = next(answer.body_mut()).await {
            if piece.is_err() {
                whole = false;
                break;
            }
        }
        assert_eq!(whole, ended, "{version:?}");
    }
}

#[tokio::test]
async fn the_stream_of_a_request_given_up_is_reset_not_ended() {
    let (edge, mut streams) = Edge::start(AppProtocol::Http1).await;
    let mut caller = edge.caller(Version::HTTP_11).await;
    let call = tokio::spawn(async move { caller.send(get("/")).await.map(drop) });
    let mut stream = within(streams.recv()).await.unwrap();
    read_head(&mut stream).await;
    call.abort();
    assert_eq!(within(stream.was_reset()).await, ResetCode::Cancelled);
    let error = stream.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

/// Reads the head of a request at the origin.
pub(super) async fn read_head(stream: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(within(stream.read_u8()).await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

/// Reads frames of HTTP/2 until the first request's HEADERS.
pub(super) async fn until_request(stream: &mut (impl AsyncReadExt + Unpin)) {
    let mut preface = [0; 24];
    stream.read_exact(&mut preface).await.unwrap();
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        stream.read_exact(&mut vec![0; length]).await.unwrap();
        if head[3] == 1 {
            return;
        }
    }
}
