//! Trailers (RFC 9110 §6.5), both ways, whatever each side speaks.

use http::{HeaderMap, HeaderValue, Request, Response, Version};
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming};
use relay::AppProtocol;

use tokio::io::AsyncWriteExt;

use super::breaks::read_head;
use super::harness::{
    Answer, CallerConn, Edge, HOST, TestBody, channel, data, get, request, within,
};

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

/// What no trailer may be (RFC 9110 §6.5.1), and what may.
const MIXED: &str = "Connection: x-named\r\nX-Named: 1\r\nKeep-Alive: timeout=5\r\n\
    Proxy-Connection: close\r\nTransfer-Encoding: chunked\r\nTE: gzip\r\nUpgrade: h2c\r\n\
    Host: evil.test\r\nContent-Length: 1\r\nTrailer: x-late\r\nAuthorization: Basic eA==\r\n\
    Cookie: a=1\r\nSet-Cookie: a=1\r\nCache-Control: no-store\r\nIf-Match: \"a\"\r\n\
    Content-Encoding: gzip\r\nContent-Type: text/plain\r\nLocation: /\r\nRetry-After: 1\r\n\
    X-Forwarded-For: 6.6.6.6\r\nCauseway-Error: overload\r\nX-Sum: 1\r\nETag: \"b\"\r\n\r\n";

fn parsed(lines: &str) -> HeaderMap {
    let lines = lines.trim_end().split("\r\n");
    let fields = lines.map(|line| line.split_once(':').unwrap());
    let fields = fields.map(|(name, value)| (name.parse().unwrap(), value.trim().parse().unwrap()));
    fields
        .collect::<Vec<(http::HeaderName, HeaderValue)>>()
        .into_iter()
        .collect()
}

/// The trailers that a message over HTTP/1.1 ends with.
fn last_lines(text: &str) -> HeaderMap {
    let (_, trailers) = text.rsplit_once("\r\n0\r\n").expect("chunks");
    match trailers.trim_end() {
        "" => HeaderMap::new(),
        lines => parsed(&lines.to_ascii_lowercase()),
    }
}

#[tokio::test]
async fn a_request_whose_trailers_are_none_is_answered_and_keeps_the_others() {
    for origin in [AppProtocol::Http1, AppProtocol::H2] {
        let edge = Edge::with_origin(origin, answer).await;
        for (trailers, expected) in [(MIXED, "etag,x-sum"), ("Connection: x\r\n\r\n", "")] {
            let head = format!(
                "POST / HTTP/1.1\r\nhost: {HOST}\r\nte: trailers\r\nconnection: te, close\r\n\
                 trailer: x-sum, etag, host, connection, x-named\r\n\
                 transfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n{trailers}"
            );
            let answer = edge.raw(&head).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 200"), "{origin:?} {answer}");
            let received = last_lines(&answer);
            assert_eq!(received["x-received"], expected, "{origin:?}");
        }
    }
}

#[tokio::test]
async fn an_answer_whose_trailers_are_none_is_whole_and_keeps_the_others() {
    for version in [Version::HTTP_11, Version::HTTP_2] {
        for (trailers, expected) in [
            (MIXED, &["etag", "x-sum"][..]),
            ("Keep-Alive: timeout=5\r\n\r\n", &[]),
        ] {
            let (edge, mut streams) = Edge::start(AppProtocol::Http1).await;
            let origin = async {
                let mut stream = streams.recv().await.unwrap();
                read_head(&mut stream).await;
                let head = "HTTP/1.1 200 OK\r\ntrailer: x-sum, etag, host, keep-alive\r\n\
                            transfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n";
                stream.write_all(head.as_bytes()).await.unwrap();
                stream.write_all(trailers.as_bytes()).await.unwrap();
                stream
            };
            let mut caller = edge.caller(version).await;
            let mut call = get("/");
            let headers = call.headers_mut();
            headers.insert("te", HeaderValue::from_static("trailers"));
            if version == Version::HTTP_11 {
                headers.insert("connection", HeaderValue::from_static("te"));
            }
            let (answer, mut origin) = tokio::join!(caller.send(call), within(origin));
            let body = within(answer.unwrap().into_body().collect()).await;
            let body = body.expect("a whole answer");
            let received = body.trailers().cloned().unwrap_or_default();
            let mut names: Vec<_> = received.keys().map(|name| name.as_str()).collect();
            names.sort_unstable();
            assert_eq!(names, expected, "{version:?}");
            assert_eq!(body.to_bytes(), "a");
            // The connection is as good as after any answer.
            let again = async {
                read_head(&mut origin).await;
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
                origin.write_all(answer).await.unwrap();
            };
            let (next, ()) = tokio::join!(caller.send(get("/")), within(again));
            assert_eq!(Answer::read(next.unwrap()).await.status, 200);
            assert_eq!(edge.session.opened().len(), 1);
        }
    }
}

#[tokio::test]
async fn trailers_of_grpc_mean_what_the_service_says() {
    let sent = [
        ("grpc-status", "8"),
        ("grpc-message", "busy"),
        ("retry-after", "1"),
        ("location", "shelf 3"),
        ("host", "evil.test"),
    ];
    let handler = move |_: Request<Incoming>| {
        std::future::ready(Response::new(with_trailers("message", trailers(&sent))))
    };
    let edge = Edge::with_origin(AppProtocol::H2, handler).await;
    let mut caller = edge.caller(Version::HTTP_2).await;
    let answer = caller.send(get("/pkg.Service/Method")).await.unwrap();
    let body = within(answer.into_body().collect()).await.unwrap();
    assert_eq!(body.trailers().unwrap(), &trailers(&sent[..4]));
}
