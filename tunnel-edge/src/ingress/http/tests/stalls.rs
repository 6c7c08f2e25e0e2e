//! Requests whose callers withhold the rest of the body.

use http::{Request, Response, StatusCode, Version};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use relay::AppProtocol;
use tokio::sync::mpsc;

use super::super::limits::WATCH_INTERVAL;
use super::harness::{
    Answer, Edge, TestBody, channel, data, echo, full, long_silence, next, request, until, within,
};
use crate::config::HttpLimits;

const ORIGINS: [AppProtocol; 2] = [AppProtocol::Http1, AppProtocol::H2];
const CALLERS: [Version; 2] = [Version::HTTP_11, Version::HTTP_2];

/// Lets time pass in which nobody says anything.
async fn silence(time: std::time::Duration) {
    tokio::time::pause();
    tokio::time::sleep(time).await;
    tokio::time::resume();
}

#[tokio::test]
async fn a_body_that_moves_has_time_and_one_that_stalls_is_answered_408() {
    for origin in ORIGINS {
        for version in CALLERS {
            let (taken, mut takes) = mpsc::unbounded_channel();
            let collect = move |request: Request<Incoming>| {
                let taken = taken.clone();
                async move {
                    let mut body = request.into_body();
                    while let Some(Ok(_)) = body.frame().await {
                        taken.send(()).unwrap();
                    }
                    Response::<TestBody>::new(full("never seen"))
                }
            };
            let edge = Edge::with_origin(origin, collect).await;
            let mut caller = edge.caller(version).await;
            let (sender, body) = channel();
            let call = tokio::spawn(async move {
                let answer = caller.send_however_long(request("POST", "/", body)).await;
                Answer::read(answer.unwrap()).await
            });
            for _ in 0..4 {
                sender.send(data("a bit")).await.unwrap();
                within(takes.recv()).await.unwrap();
                silence(HttpLimits::BODY_TIMEOUT / 2).await;
                assert!(!call.is_finished(), "{origin:?} {version:?}");
            }
            silence(HttpLimits::BODY_TIMEOUT).await;
            let answer = within(call).await.unwrap();
            assert_eq!(answer.status, StatusCode::REQUEST_TIMEOUT);
            assert_eq!(answer.code(), "request_timeout", "{origin:?} {version:?}");
            until(|| edge.metric("causeway_http_requests_in_flight") == 0).await;
            drop(sender);
            until(|| edge.metric("causeway_http_caller_connections") == 0).await;
        }
    }
}

#[tokio::test]
async fn an_answer_under_way_is_broken_off() {
    for origin in ORIGINS {
        for version in CALLERS {
            let edge = Edge::with_origin(origin, echo).await;
            let mut caller = edge.caller(version).await;
            let (sender, body) = channel();
            sender.send(data("part")).await.unwrap();
            let mut answer = caller.send(request("POST", "/", body)).await.unwrap();
            assert_eq!(next(answer.body_mut()).await.unwrap().unwrap(), "part");
            silence(HttpLimits::BODY_TIMEOUT + WATCH_INTERVAL).await;
            let end = next(answer.body_mut()).await;
            assert!(
                end.is_some_and(|end| end.is_err()),
                "{origin:?} {version:?}"
            );
        }
    }
}

#[tokio::test]
async fn grpc_may_rest_between_two_messages() {
    let edge = Edge::with_origin(AppProtocol::H2, echo).await;
    let mut caller = edge.caller(Version::HTTP_2).await;
    let (sender, body) = channel();
    sender.send(data("first")).await.unwrap();
    let mut call = request("POST", "/", body);
    let grpc = "application/grpc+proto".parse().unwrap();
    call.headers_mut().insert("content-type", grpc);
    let mut answer = caller.send(call).await.unwrap();
    assert_eq!(next(answer.body_mut()).await.unwrap().unwrap(), "first");
    silence(HttpLimits::BODY_TIMEOUT * 3).await;
    sender.send(data("second")).await.unwrap();
    assert_eq!(next(answer.body_mut()).await.unwrap().unwrap(), "second");
}

#[tokio::test]
async fn a_call_that_streams_may_rest_before_it_is_answered() {
    for kind in ["application/grpc", "application/connect+proto"] {
        let (taken, mut takes) = mpsc::unbounded_channel();
        let collect = move |request: Request<Incoming>| {
            let taken = taken.clone();
            async move {
                let mut body = request.into_body();
                let mut text = Vec::new();
                while let Some(frame) = body.frame().await {
                    text.extend(frame.unwrap().into_data().unwrap());
                    taken.send(()).unwrap();
                }
                Response::<TestBody>::new(full(text))
            }
        };
        let edge = Edge::with_origin(AppProtocol::H2, collect).await;
        let mut caller = edge.caller(Version::HTTP_2).await;
        let (sender, body) = channel();
        let mut call = request("POST", "/", body);
        let headers = call.headers_mut();
        headers.insert("content-type", kind.parse().unwrap());
        let call = tokio::spawn(async move {
            let answer = caller.send_however_long(call).await.unwrap();
            Answer::read(answer).await.text
        });
        sender.send(data("one")).await.unwrap();
        within(takes.recv()).await.unwrap();
        long_silence(HttpLimits::BODY_TIMEOUT * 2).await;
        assert!(!call.is_finished(), "{kind}");
        within(sender.send(data("two"))).await.unwrap();
        drop(sender);
        assert_eq!(within(call).await.unwrap(), "onetwo", "{kind}");
    }
}

#[tokio::test]
async fn answers_may_rest_for_as_long_as_they_like() {
    for origin in ORIGINS {
        for version in CALLERS {
            let (events, mut bodies) = mpsc::unbounded_channel();
            let stream = move |_: Request<Incoming>| {
                let (sender, body) = channel();
                events.send(sender).unwrap();
                let answer = Response::builder().header("content-type", "text/event-stream");
                std::future::ready(answer.body(body).unwrap())
            };
            let edge = Edge::with_origin(origin, stream).await;
            let mut caller = edge.caller(version).await;
            let mut answer = caller.send(super::harness::get("/")).await.unwrap();
            let events = within(bodies.recv()).await.unwrap();
            for event in ["data: one\n\n", "data: two\n\n"] {
                within(events.send(data(event))).await.unwrap();
                assert_eq!(next(answer.body_mut()).await.unwrap().unwrap(), event);
                long_silence(HttpLimits::BODY_TIMEOUT * 2).await;
            }
        }
    }
}
