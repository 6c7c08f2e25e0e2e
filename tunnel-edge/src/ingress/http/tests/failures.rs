//! What callers are told when there is no answer of the origin.

use http::{HeaderValue, Version};
use relay::{AppProtocol, OpenError, ResetCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::breaks::read_head;
use super::fake::Refusal;
use super::harness::{
    Answer, Edge, HOST, Setup, TestBody, full, get, mirror, request, until, within,
};
use crate::config::{Callers, Entry, HttpSettings};

fn to_host(host: &str) -> http::Request<TestBody> {
    let mut request = get("/");
    *request.uri_mut() = format!("http://{host}/").parse().unwrap();
    request
}

async fn outcome(edge: &Edge, request: http::Request<TestBody>) -> (u16, String) {
    let answer = edge.caller(Version::HTTP_2).await.send(request).await;
    let answer = Answer::read(answer.unwrap()).await;
    assert!(answer.text.starts_with("causeway: ") && answer.text.lines().count() == 1);
    (answer.status.as_u16(), answer.code().to_owned())
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let edge = Edge::with_origin(AppProtocol::Http1, mirror).await;
    for (host, status, code) in [
        ("example.com", 404, "unknown_host"),
        ("web--demo.apps.test", 404, "unknown_host"),
        ("web--demo--other.apps.test", 503, "cluster_not_connected"),
        ("db--demo--acme.apps.test", 404, "unknown_service"),
    ] {
        let found = outcome(&edge, to_host(host)).await;
        assert_eq!(found, (status, code.to_owned()), "{host}");
    }
    assert_eq!(edge.metric("causeway_http_failures_total"), 4);
    edge.session.close();
    let found = outcome(&edge, get("/")).await;
    assert_eq!(found, (503, "cluster_not_connected".to_owned()));
}

#[tokio::test]
async fn a_request_that_cannot_be_meant_is_refused() {
    let edge = Edge::with_origin(AppProtocol::Http1, mirror).await;
    for (head, status, code) in [
        ("GET / HTTP/1.1\r\n", "400", "bad_host"),
        ("GET / HTTP/1.0\r\n", "400", "bad_host"),
        (
            "GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n",
            "400",
            "bad_host",
        ),
        (
            "GET web--demo--acme.apps.test HTTP/1.1\r\nhost: a\r\n",
            "400",
            "bad_host",
        ),
        (
            "CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\n",
            "501",
            "method_not_supported",
        ),
    ] {
        let answer = edge.raw(&format!("{head}connection: close\r\n\r\n")).await;
        let answer = answer.unwrap();
        assert!(answer.contains(&format!(" {status} ")), "{answer}");
        assert!(
            answer.contains(&format!("causeway-error: {code}\r\n")),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn nothing_more_is_heard_behind_a_body_in_several_codings() {
    let edge = Edge::with_origin(AppProtocol::Http1, mirror).await;
    for coding in ["gzip, chunked", "chunked, chunked"] {
        let next = format!("GET / HTTP/1.1\r\nhost: {HOST}\r\n\r\n");
        let call = format!("POST / HTTP/1.1\r\nhost: {HOST}\r\ntransfer-encoding: {coding}\r\n");
        let answer = edge.raw(&format!("{call}\r\n0\r\n\r\n{next}")).await;
        let answer = answer.unwrap();
        assert!(answer.starts_with("HTTP/1.1 501 "), "{answer}");
        let code = "causeway-error: transfer_coding_unsupported\r\n";
        assert_eq!(answer.matches(code).count(), 1, "{answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    }
    assert!(edge.session.opened().is_empty());
}

#[tokio::test]
async fn a_target_without_a_path_has_a_slash() {
    for protocol in [AppProtocol::Http1, AppProtocol::H2] {
        let edge = Edge::with_origin(protocol, mirror).await;
        let call = format!("GET http://{HOST}?x HTTP/1.1\r\nhost: {HOST}\r\nconnection: close\r\n");
        let answer = edge.raw(&format!("{call}\r\n")).await.unwrap();
        assert!(answer.contains("/?x\n"), "{answer}");
    }
}

#[tokio::test]
async fn options_may_ask_the_origin_as_a_whole() {
    for (protocol, target) in [
        (AppProtocol::Http1, "*".to_owned()),
        (AppProtocol::H2, format!("http://{HOST}*")),
    ] {
        let edge = Edge::with_origin(protocol, mirror).await;
        let call = format!("OPTIONS * HTTP/1.1\r\nhost: {HOST}\r\nconnection: close");
        let answer = edge.raw(&format!("{call}\r\n\r\n")).await.unwrap();
        assert!(answer.contains(&format!("OPTIONS {target}\n")), "{answer}");
    }
}

#[tokio::test]
async fn a_fixed_route_takes_any_host() {
    for (protocol, seen) in [
        (AppProtocol::Http1, "\"host\": \"web\""),
        (AppProtocol::H2, "//web/"),
    ] {
        let entry = Entry::Fixed {
            to: "acme/demo/web".parse().unwrap(),
            set_host: None,
        };
        let setup = Setup {
            settings: HttpSettings::leading_to(entry),
            ..Setup::default()
        };
        let edge = Edge::set_up(protocol, setup, mirror).await;
        let answer = edge
            .caller(Version::HTTP_11)
            .await
            .send(to_host("any"))
            .await;
        assert_eq!(answer.unwrap().status(), 200);
        let answer = edge.raw("GET / HTTP/1.0\r\n\r\n").await.unwrap();
        assert!(answer.contains(seen), "{answer}");
    }
}

#[tokio::test]
async fn a_stream_that_is_not_opened_or_reset_says_why() {
    for protocol in [AppProtocol::Http1, AppProtocol::H2] {
        let edge = Edge::with_origin(protocol, mirror).await;
        let resets = ResetCode::ALL.iter().copied();
        for code in resets {
            edge.session.refuse(Refusal::Reset(code));
            let (_, found) = outcome(&edge, get("/")).await;
            assert_eq!(found, code.label(), "{protocol:?}");
        }
        for (error, code) in [
            (OpenError::SessionClosed, "session_closed"),
            (OpenError::Draining, "draining"),
            (OpenError::TooManyStreams, "overload"),
            (OpenError::Timeout, "open_timeout"),
        ] {
            edge.session.refuse(Refusal::Open(error));
            assert_eq!(outcome(&edge, get("/")).await.1, code);
        }
        assert_eq!(
            edge.caller(Version::HTTP_11).await.get("/").await.status,
            200
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_takes_forever_to_open_is_given_up() {
    for protocol in [AppProtocol::Http1, AppProtocol::H2] {
        let edge = Edge::with_origin(protocol, mirror).await;
        edge.session.refuse(Refusal::Hang);
        assert_eq!(
            outcome(&edge, get("/")).await,
            (504, "open_timeout".to_owned())
        );
    }
}

#[tokio::test]
async fn an_origin_that_does_not_answer_in_http_is_told_apart() {
    let (edge, mut streams) = Edge::start(AppProtocol::Http1).await;
    for (said, status, code) in [
        ("", 502, "origin_closed"),
        ("SSH-2.0-OpenSSH_9.9\r\n", 502, "origin_protocol"),
        ("HTTP/1.1 200 OK\r\ncontent-", 502, "origin_closed"),
        (
            "HTTP/1.1 101 Switching Protocols\r\n\r\n",
            502,
            "origin_protocol",
        ),
    ] {
        let origin = async {
            let mut stream = streams.recv().await.unwrap();
            read_head(&mut stream).await;
            stream.write_all(said.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
            stream
        };
        let (found, _stream) = tokio::join!(outcome(&edge, get("/")), within(origin));
        assert_eq!(found, (status, code.to_owned()), "{said}");
    }
}

/// Nothing of such an answer is passed on, and its connection is not used again.
#[tokio::test]
async fn an_answer_in_other_codings_than_chunks_is_no_http() {
    let (edge, mut streams) = Edge::start(AppProtocol::Http1).await;
    for coding in [
        "gzip, chunked",
        "chunked, chunked",
        "identity",
        "gzip",
        "chunked\r\ntransfer-encoding: chunked",
    ] {
        let said = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: {coding}\r\n\r\n0\r\n\r\n");
        let origin = async {
            let mut stream = streams.recv().await.unwrap();
            read_head(&mut stream).await;
            stream.write_all(said.as_bytes()).await.unwrap();
            stream
        };
        let (found, mut stream) = tokio::join!(outcome(&edge, get("/")), within(origin));
        assert_eq!(found, (502, "origin_protocol".to_owned()), "{coding}");
        let after = within(stream.read(&mut [0])).await;
        assert!(after.is_err(), "{coding}: {after:?}");
    }
}

#[tokio::test]
async fn a_grpc_caller_is_answered_in_its_own_way() {
    let edge = Edge::with_origin(AppProtocol::H2, mirror).await;
    let mut caller = edge.caller(Version::HTTP_2).await;
    for (refusal, status) in [
        (ResetCode::ConnectRefused, "14"),
        (ResetCode::NotAllowed, "7"),
        (ResetCode::ConnectTimeout, "4"),
    ] {
        edge.session.refuse(Refusal::Reset(refusal));
        let mut call = request("POST", "/pkg.Service/Method", full("question"));
        let grpc = HeaderValue::from_static("application/grpc+proto");
        call.headers_mut().insert("content-type", grpc);
        let answer = Answer::read(caller.send(call).await.unwrap()).await;
        assert_eq!((answer.status.as_u16(), answer.text.as_str()), (200, ""));
        assert_eq!(answer.headers["grpc-status"], status);
        assert_eq!(answer.headers["content-type"], "application/grpc");
        assert!(!answer.headers["grpc-message"].is_empty());
        assert_eq!(answer.code(), refusal.label());
    }
}

#[tokio::test]
async fn an_address_that_is_not_allowed_is_told_so_and_sees_nothing() {
    let setup = Setup {
        callers: Callers::Networks(Vec::new()),
        ..Setup::default()
    };
    let edge = Edge::set_up(AppProtocol::Http1, setup, mirror).await;
    let answer = edge
        .raw(&format!("GET / HTTP/1.1\r\nhost: {HOST}\r\n\r\n"))
        .await;
    let answer = answer.unwrap();
    assert!(
        answer.contains(" 403 ") && answer.contains("caller_not_allowed"),
        "{answer}"
    );
    assert!(edge.session.opened().is_empty());
}

#[tokio::test]
async fn heads_that_are_too_large_are_refused() {
    let edge = Edge::with_origin(AppProtocol::Http1, mirror).await;
    let large = format!("x: {}\r\n", "x".repeat(70_000));
    let many = "x: y\r\n".repeat(120);
    for headers in [&large, &many] {
        let answer = edge
            .raw(&format!("GET / HTTP/1.1\r\nhost: {HOST}\r\n{headers}\r\n"))
            .await;
        // Whoever still sends may see a reset behind the answer.
        if let Ok(answer) = answer {
            assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
        }
    }
    let count = |code| {
        let label = format!("{{ingress=\"main\",code=\"{code}\"}}");
        edge.metric(&format!("causeway_http_failures_total{label}"))
    };
    until(|| count("head_too_large") == 2).await;
    let answer = edge
        .raw("GET / HTTP/1.1\r\nno colon\r\n\r\n")
        .await
        .unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    until(|| count("head_malformed") == 1).await;
    let mut request = get("/");
    request
        .headers_mut()
        .insert("x", "x".repeat(70_000).parse().unwrap());
    let answer = edge.caller(Version::HTTP_2).await.send(request).await;
    assert!(!answer.is_ok_and(|answer| answer.status() != 431));
    assert_eq!(
        edge.caller(Version::HTTP_11).await.get("/").await.status,
        200
    );
    assert_eq!(edge.session.opened().len(), 1);
}
