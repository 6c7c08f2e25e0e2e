//! Trailers (RFC 9110 §6.5), both ways, whatever each side speaks.

use http::{HeaderMap, HeaderValue, Request, Response, Version};
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming};
use relay::AppProtocol;

use super::harness::{CallerConn, Edge, TestBody, channel, data, request, within};

/// Every pair of what the caller and the origin speak.
const PAIRS: [(Version, AppProtocol); 4] = [
    (Version::HTTP_11, AppProtocol::Http1),
    (Version::HTTP_11, AppProtocol::H2),
    (Version::HTTP_2, AppProtocol::Http1),
    (Version::HTTP_2, AppProtocol::H2),
];

fn trailers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in pairs {
        map.insert(*name, HeaderValue::from_static(value));
    }
    map
}

/// A body with trailers.
fn with_trailers(text: &'static str, trailers: HeaderMap) -> TestBody {
    let (sender, body) = channel();
    tokio::spawn(async move {
        sender.send(data(text)).await.unwrap();
        sender.send(Ok(Frame::trailers(trailers))).await.unwrap();
    });
    body
}

/// Answers with trailers, one of which says which it got. Over HTTP/2 with a length, which
/// HTTP/1.1 cannot have beside trailers.
async fn answer(request: Request<Incoming>) -> Response<TestBody> {
    let version = request.version();
    let te = request.headers().get("te").cloned();
    let te = te.unwrap_or(HeaderValue::from_static("none"));
    let received = request.into_body().collect().await.unwrap();
    let mut names: Vec<String> = received
        .trailers()
        .into_iter()
        .flat_map(|trailers| trailers.keys().map(ToString::to_string))
        .collect();
    names.sort();
    let mut trailers = trailers(&[("x-sum", "1"), ("causeway-error", "overload")]);
    trailers.insert("x-received", names.join(",").parse().unwrap());
    let mut answer = Response::builder()
        .header("trailer", "x-sum, x-received, causeway-error")
        .header("te-was", te);
    if version == Version::HTTP_2 {
        answer = answer.header("content-length", "6");
    }
    answer.body(with_trailers("answer", trailers)).unwrap()
}

/// A request with trailers, of which it announces them all.
fn question(caller: &CallerConn, te: bool) -> Request<TestBody> {
    let sent = trailers(&[("x-hash", "2"), ("x-forwarded-for", "6.6.6.6")]);
    let mut question = request("POST", "/", with_trailers("question", sent));
    let headers = question.headers_mut();
    headers.insert("trailer", "x-hash, x-forwarded-for".parse().unwrap());
    match caller {
        CallerConn::H1(..) => {}
        CallerConn::H2(..) => {
            headers.insert("content-length", "8".parse().unwrap());
        }
    }
    if te {
        headers.insert("te", HeaderValue::from_static("trailers"));
        if matches!(caller, CallerConn::H1(..)) {
            headers.insert("connection", HeaderValue::from_static("te"));
        }
    }
    question
}

#[tokio::test]
async fn announced_trailers_pass_both_ways() {
    for (version, origin) in PAIRS {
        let edge = Edge::with_origin(origin, answer).await;
        let mut caller = edge.caller(version).await;
        for _ in 0..2 {
            let call = question(&caller, true);
            let answer = caller.send(call).await.unwrap();
            assert_eq!(answer.headers()["te-was"], "trailers");
            assert_eq!(
                answer.headers()["trailer"],
                "x-sum, x-received, causeway-error"
            );
            let collected = within(answer.into_body().collect()).await.unwrap();
            let trailers = collected.trailers().expect("trailers").clone();
            assert_eq!(collected.to_bytes(), "answer");
            assert_eq!(trailers["x-sum"], "1", "{version:?} {origin:?}");
            assert_eq!(trailers["x-received"], "x-hash", "{version:?} {origin:?}");
            assert!(!trailers.contains_key("causeway-error"));
        }
    }
}

#[tokio::test]
async fn an_http1_caller_that_does_not_take_trailers_gets_the_answer_with_its_length() {
    for origin in [AppProtocol::Http1, AppProtocol::H2] {
        let edge = Edge::with_origin(origin, answer).await;
        let mut caller = edge.caller(Version::HTTP_11).await;
        for _ in 0..2 {
            let call = question(&caller, false);
            let answer = caller.send(call).await.unwrap();
            assert_eq!(answer.headers()["te-was"], "none");
            let length = answer.headers().contains_key("content-length");
            assert_eq!(length, origin == AppProtocol::H2);
            let collected = within(answer.into_body().collect()).await.unwrap();
            assert!(collected.trailers().is_none());
            assert_eq!(collected.to_bytes(), "answer");
        }
    }
}
