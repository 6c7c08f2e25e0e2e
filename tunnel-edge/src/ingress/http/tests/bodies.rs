//! What goes through: bodies both ways, trailers, heads in the form that each side speaks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Version};
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming};
use relay::AppProtocol;

use super::harness::{
    Answer, CallerConn, Edge, HOST, channel, data, echo, empty, full, get, mirror, next, request,
    until, within,
};

/// Every pair of what the caller and the origin speak.
const PAIRS: [(Version, AppProtocol); 4] = [
    (Version::HTTP_11, AppProtocol::Http1),
    (Version::HTTP_11, AppProtocol::H2),
    (Version::HTTP_2, AppProtocol::Http1),
    (Version::HTTP_2, AppProtocol::H2),
];

#[tokio::test]
async fn a_request_reaches_the_origin_in_its_own_form() {
    for (caller, origin) in PAIRS {
        let edge = Edge::with_origin(origin, mirror).await;
        let answer = edge.caller(caller).await.get("/a/b?c=d").await;
        assert_eq!(answer.status, 200, "{caller:?} {origin:?}");
        let expected = match origin {
            AppProtocol::Tcp | AppProtocol::Http1 => "HTTP/1.1 GET /a/b?c=d\n".to_owned(),
            AppProtocol::H2 => format!("HTTP/2.0 GET http://{HOST}/a/b?c=d\n"),
        };
        assert!(answer.text.starts_with(&expected), "{}", answer.text);
        let has_host = answer.text.contains(&format!("\"host\": \"{HOST}\""));
        assert_eq!(has_host, origin != AppProtocol::H2, "{}", answer.text);
        let opened = edge.session.opened();
        assert_eq!(opened[0].caller.principal, "ingress/main");
        assert_eq!(opened[0].service.as_str(), "web");
    }
}

#[tokio::test]
async fn callers_cannot_say_who_they_are() {
    for (caller, origin) in PAIRS {
        let edge = Edge::with_origin(origin, mirror).await;
        let mut request = get("/");
        for name in [
            "x-forwarded-for",
            "x_forwarded_for",
            "forwarded",
            "x-real-ip",
        ] {
            let evil = HeaderValue::from_static("6.6.6.6");
            request.headers_mut().insert(name, evil);
        }
        let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        request
            .headers_mut()
            .insert("traceparent", trace.parse().unwrap());
        let mut caller = edge.caller(caller).await;
        let answer = caller.send(request).await.unwrap();
        let answer = Answer::read(answer).await;
        assert!(!answer.text.contains("6.6.6.6"), "{}", answer.text);
        for expected in [
            "\"x-forwarded-for\": \"127.0.0.1\"",
            "\"x-forwarded-proto\": \"http\"",
            &format!("\"x-forwarded-host\": \"{HOST}\""),
            trace,
        ] {
            assert!(
                answer.text.contains(expected),
                "{expected} in {}",
                answer.text
            );
        }
        assert_eq!(edge.session.opened()[0].traceparent.as_deref(), Some(trace));
    }
}

#[tokio::test]
async fn bodies_stream_both_ways_at_once() {
    for (caller, origin) in PAIRS {
        let edge = Edge::with_origin(origin, echo).await;
        let mut caller = edge.caller(caller).await;
        let (sender, body) = channel();
        // HTTP/1.1 servers answer once the body has begun.
        sender.send(data("0")).await.unwrap();
        let answer = caller.send(request("POST", "/", body)).await.unwrap();
        let mut answer = answer.into_body();
        assert_eq!(next(&mut answer).await.unwrap().unwrap(), "0");
        for piece in 1..100 {
            let piece = piece.to_string();
            within(sender.send(data(piece.clone()))).await.unwrap();
            assert_eq!(next(&mut answer).await.unwrap().unwrap(), piece);
        }
        drop(sender);
        assert!(next(&mut answer).await.is_none());
    }
}

#[tokio::test]
async fn long_bodies_come_back_whole() {
    const PIECE: usize = 64 * 1024;
    const PIECES: usize = 1024;
    for (caller, origin) in PAIRS {
        let edge = Edge::with_origin(origin, echo).await;
        let mut caller = edge.caller(caller).await;
        let (sender, body) = channel();
        tokio::spawn(async move {
            for piece in 0..PIECES {
                let bytes = Bytes::from(vec![piece as u8; PIECE]);
                if sender.send(data(bytes)).await.is_err() {
                    return;
                }
            }
        });
        let answer = caller.send(request("POST", "/", body)).await.unwrap();
        let mut answer = answer.into_body();
        let mut received = 0;
        while let Some(bytes) = next(&mut answer).await {
            for byte in bytes.unwrap() {
                assert_eq!(byte, (received / PIECE) as u8);
                received += 1;
            }
        }
        assert_eq!(received, PIECE * PIECES, "{origin:?}");
    }
}

#[tokio::test]
async fn a_caller_that_does_not_read_makes_the_origin_stop() {
    const PIECE: usize = 64 * 1024;
    for (caller, origin) in PAIRS {
        let written = Arc::new(AtomicU64::new(0));
        let count = written.clone();
        let endless = move |_: Request<Incoming>| {
            let count = count.clone();
            async move {
                let (sender, body) = channel();
                tokio::spawn(async move {
                    while sender.send(data(vec![0; PIECE])).await.is_ok() {
                        count.fetch_add(PIECE as u64, Ordering::Relaxed);
                    }
                });
                Response::new(body)
            }
        };
        let edge = Edge::with_origin(origin, endless).await;
        let mut caller = edge.caller(caller).await;
        let answer = caller.send(get("/")).await.unwrap();
        let stalled = within(async {
            loop {
                let before = written.load(Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(300)).await;
                if before > 0 && written.load(Ordering::Relaxed) == before {
                    return before;
                }
            }
        });
        // The kernel's buffers on loopback take the most of it.
        assert!(stalled.await < 24 * 1024 * 1024, "{origin:?}");
        drop(answer);
        drop(caller);
    }
}

#[tokio::test]
async fn trailers_pass_over_http2_like_those_of_grpc() {
    let handler = |mut request: Request<Incoming>| async move {
        let mut trailers = HeaderMap::new();
        let te = request.headers().get("te").cloned();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        trailers.insert("te-was", te.unwrap_or(HeaderValue::from_static("none")));
        while let Some(frame) = request.body_mut().frame().await {
            if let Ok(received) = frame.unwrap().into_trailers() {
                let names: Vec<&str> = received.keys().map(|name| name.as_str()).collect();
                trailers.insert("received", names.join(",").parse().unwrap());
            }
        }
        let (sender, body) = channel();
        tokio::spawn(async move {
            sender.send(data("message")).await.unwrap();
            sender.send(Ok(Frame::trailers(trailers))).await.unwrap();
        });
        Response::new(body)
    };
    let edge = Edge::with_origin(AppProtocol::H2, handler).await;
    let mut caller = edge.caller(Version::HTTP_2).await;
    let (sender, body) = channel();
    let mut call = request("POST", "/pkg.Service/Method", body);
    call.headers_mut()
        .insert("te", HeaderValue::from_static("trailers"));
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", HeaderValue::from_static("1"));
    trailers.insert("x-forwarded-for", HeaderValue::from_static("6.6.6.6"));
    tokio::spawn(async move {
        sender.send(data("question")).await.unwrap();
        sender.send(Ok(Frame::trailers(trailers))).await.unwrap();
    });
    let answer = caller.send(call).await.unwrap();
    let collected = within(answer.into_body().collect()).await.unwrap();
    let trailers = collected.trailers().unwrap();
    assert_eq!(trailers["grpc-status"], "0");
    assert_eq!(trailers["te-was"], "trailers");
    assert_eq!(trailers["received"], "x-sum");
    assert_eq!(collected.to_bytes(), "message");
}

#[tokio::test]
async fn the_body_of_a_get_is_not_lost() {
    for (caller, origin) in PAIRS {
        let edge = Edge::with_origin(origin, echo).await;
        let mut caller = edge.caller(caller).await;
        let (sender, body) = channel();
        let mut query = request("GET", "/", body);
        // hyper's client, too, must be told.
        if matches!(caller, CallerConn::H1(..)) {
            let chunked = HeaderValue::from_static("chunked");
            query.headers_mut().insert("transfer-encoding", chunked);
        }
        tokio::spawn(async move { drop(sender.send(data("query")).await) });
        let answer = caller.send(query).await.unwrap();
        assert_eq!(Answer::read(answer).await.text, "query");
    }
}

#[tokio::test]
async fn head_and_empty_answers_have_no_body_but_their_length() {
    for (caller, origin) in PAIRS {
        let handler = |request: Request<Incoming>| async move {
            if request.method() == Method::HEAD {
                Response::builder()
                    .header("content-length", "5")
                    .body(empty())
                    .unwrap()
            } else {
                Response::builder().status(204).body(empty()).unwrap()
            }
        };
        let edge = Edge::with_origin(origin, handler).await;
        let mut caller = edge.caller(caller).await;
        let answer = caller.send(request("HEAD", "/", empty())).await.unwrap();
        assert_eq!(answer.headers()["content-length"], "5");
        assert_eq!(Answer::read(answer).await.text, "");
        assert_eq!(caller.get("/").await.status, 204);
        until(|| edge.ingress.origins.ready(&edge.destination(origin)) == 1).await;
        assert_eq!(edge.session.opened().len(), 1);
    }
}

#[tokio::test]
async fn what_only_the_edge_may_say_is_taken_out_of_answers() {
    for (caller, origin) in PAIRS {
        let handler = |_| async {
            Response::builder()
                .header("causeway-error", "overload")
                .header("x-kept", "1")
                .body(full("hello"))
                .unwrap()
        };
        let edge = Edge::with_origin(origin, handler).await;
        let answer = edge.caller(caller).await.get("/").await;
        assert_eq!((answer.code(), answer.text.as_str()), ("", "hello"));
        assert_eq!(answer.headers["x-kept"], "1");
    }
}
