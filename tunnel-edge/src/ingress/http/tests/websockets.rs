//! WebSocket where at least one side speaks it over HTTP/2 (RFC 8441).

use http::{Request, Response, Version};
use hyper::body::Incoming;
use hyper::ext::Protocol;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use relay::{AppProtocol, ResetCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use super::super::limits::{GOODBYE, WATCH_INTERVAL};
use super::super::websocket::Key;
use super::breaks::read_head;
use super::fake::FakeIo;
use super::harness::{Answer, CallerConn, Edge, TestBody, empty, full, get, mirror, until, within};
use crate::config::HttpLimits;

type Io = TokioIo<Upgraded>;

/// An extended CONNECT.
fn connect(protocol: &'static str) -> Request<TestBody> {
    let mut request = super::harness::request("CONNECT", "/ws?a=b", empty());
    let protocol = Protocol::from_static(protocol);
    request.extensions_mut().insert(protocol);
    let version = "13".parse().unwrap();
    request
        .headers_mut()
        .insert("sec-websocket-version", version);
    request
}

/// A handshake of HTTP/1.1, and the key that its proof must fit.
fn upgrade() -> (Request<TestBody>, Key) {
    let mut request = get("/ws?a=b");
    let headers = request.headers_mut();
    headers.insert("connection", "keep-alive, Upgrade".parse().unwrap());
    headers.insert("upgrade", "WebSocket".parse().unwrap());
    let key = Key::offer(headers);
    (request, key)
}

async fn read(from: &mut (impl AsyncReadExt + Unpin), bytes: usize) -> String {
    let mut text = vec![0; bytes];
    within(from.read_exact(&mut text)).await.unwrap();
    String::from_utf8(text).unwrap()
}

/// The value of a header in a head as it was read.
fn header(head: &str, name: &str) -> String {
    let line = head.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_else(|| panic!("{name} in {head}"))
        .trim_start_matches(": ")
        .to_owned()
}

/// The answer of an HTTP/1.1 origin that agrees to a request with this head.
fn agreement(head: &str) -> String {
    let key = header(head, "sec-websocket-key").parse().unwrap();
    let mut headers = http::HeaderMap::new();
    headers.insert("sec-websocket-key", key);
    Key::take(&mut headers).unwrap().accept(&mut headers);
    let proof = headers["sec-websocket-accept"].to_str().unwrap();
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: WebSocket\r\nconnection: Upgrade\r\n\
         sec-websocket-accept: {proof}\r\nsec-websocket-protocol: chat\r\n\r\n"
    )
}

/// A caller of HTTP/2 and an HTTP/1.1 origin that have agreed.
async fn agreed() -> (Edge, CallerConn, Io, FakeIo) {
    let (edge, mut streams) = Edge::start(AppProtocol::Http1).await;
    let mut caller = edge.caller(Version::HTTP_2).await;
    let answering = tokio::spawn(async move {
        let mut origin = within(streams.recv()).await.unwrap();
        let head = read_head(&mut origin).await;
        assert!(head.starts_with("GET /ws?a=b HTTP/1.1\r\n"), "{head}");
        assert_eq!(header(&head, "upgrade"), "websocket");
        assert_eq!(header(&head, "connection"), "upgrade");
        assert_eq!(header(&head, "sec-websocket-version"), "13");
        assert!(!head.contains("content-length") && !head.contains("transfer-encoding"));
        origin.write_all(agreement(&head).as_bytes()).await.unwrap();
        origin
    });
    let answer = caller.send(connect("websocket")).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["sec-websocket-protocol"], "chat");
    for name in [
        "upgrade",
        "connection",
        "sec-websocket-accept",
        "content-length",
    ] {
        assert!(!answer.headers().contains_key(name), "{name}");
    }
    let io = TokioIo::new(within(hyper::upgrade::on(answer)).await.unwrap());
    let origin = within(answering).await.unwrap();
    (edge, caller, io, origin)
}

#[tokio::test]
async fn an_http2_caller_and_an_http1_origin_speak_and_end_each_for_itself() {
    let (edge, mut caller, mut io, mut origin) = agreed().await;
    for turn in 0..100 {
        let text = format!("{turn:04}");
        io.write_all(text.as_bytes()).await.unwrap();
        assert_eq!(read(&mut origin, 4).await, text);
        origin.write_all(text.as_bytes()).await.unwrap();
        assert_eq!(read(&mut io, 4).await, text);
    }
    io.shutdown().await.unwrap();
    assert_eq!(within(origin.read(&mut [0])).await.unwrap(), 0);
    // The other direction goes on.
    origin.write_all(b"after").await.unwrap();
    assert_eq!(read(&mut io, 5).await, "after");
    assert_eq!(edge.metric("causeway_http_requests_in_flight"), 1);
    origin.shutdown().await.unwrap();
    assert_eq!(within(io.read(&mut [0])).await.unwrap(), 0);
    until(|| edge.metric("causeway_http_requests_in_flight") == 0).await;
    // The caller's connection is as good as before.
    assert!(!matches!(&mut caller, CallerConn::H2(sender, _) if sender.is_closed()));
}

#[tokio::test]
async fn what_is_large_arrives_whole_and_before_the_end() {
    let (_edge, _caller, mut io, mut origin) = agreed().await;
    io.shutdown().await.unwrap();
    let tail: Vec<u8> = (0..=250).cycle().take(3 << 20).collect();
    let sent = tail.clone();
    let sending = tokio::spawn(async move {
        origin.write_all(&sent).await.unwrap();
        origin.shutdown().await.unwrap();
    });
    let mut received = Vec::new();
    within(io.read_to_end(&mut received)).await.unwrap();
    assert!(received == tail, "{} bytes", received.len());
    sending.await.unwrap();
}

#[tokio::test]
async fn a_stream_that_the_caller_gives_up_is_reset_at_the_origin_alone() {
    let (edge, mut caller, io, mut origin) = agreed().await;
    drop(io);
    assert_eq!(within(origin.was_reset()).await, ResetCode::Cancelled);
    until(|| edge.metric("causeway_http_requests_in_flight") == 0).await;
    let declined = get("/");
    edge.session.close();
    assert_eq!(caller.send(declined).await.unwrap().status(), 503);
}

#[tokio::test]
async fn a_reset_of_the_origin_is_no_end_for_the_caller() {
    let (_edge, mut caller, mut io, origin) = agreed().await;
    origin.reset(ResetCode::OriginReset);
    // hyper's client takes RST_STREAM with CANCEL for an end, but cannot write any more.
    let failed = within(async {
        loop {
            if io.write_all(b"x").await.is_err() {
                break;
            }
            tokio::task::yield_now().await;
        }
    });
    failed.await;
    assert!(matches!(&mut caller, CallerConn::H2(sender, _) if !sender.is_closed()));
}

#[tokio::test]
async fn a_quiet_websocket_keeps_its_connection_from_being_idle() {
    let (_edge, _caller, mut io, mut origin) = agreed().await;
    tokio::time::pause();
    tokio::time::sleep(HttpLimits::IDLE_TIMEOUT + GOODBYE + WATCH_INTERVAL * 3).await;
    tokio::time::resume();
    io.write_all(b"still here").await.unwrap();
    assert_eq!(read(&mut origin, 10).await, "still here");
}

#[tokio::test]
async fn an_origin_that_does_not_prove_that_it_understood_is_not_trusted() {
    for (answer, status, code) in [
        (
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
             sec-websocket-accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n",
            502,
            "origin_protocol",
        ),
        (
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: other\r\nconnection: upgrade\r\n\r\n",
            502,
            "origin_protocol",
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi",
            502,
            "upgrade_declined",
        ),
        (
            "HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno",
            403,
            "",
        ),
    ] {
        let (edge, mut streams) = Edge::start(AppProtocol::Http1).await;
        let mut caller = edge.caller(Version::HTTP_2).await;
        let call = tokio::spawn(async move { caller.send(connect("websocket")).await });
        let mut origin = within(streams.recv()).await.unwrap();
        read_head(&mut origin).await;
        origin.write_all(answer.as_bytes()).await.unwrap();
        let answer = Answer::read(within(call).await.unwrap().unwrap()).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (status, code));
    }
}

#[tokio::test]
async fn any_other_protocol_goes_by_extended_connect_as_well() {
    let (edge, mut streams) = Edge::start(AppProtocol::Http1).await;
    let mut caller = edge.caller(Version::HTTP_2).await;
    let call = tokio::spawn(async move { (caller.send(connect("upper")).await, caller) });
    let mut origin = within(streams.recv()).await.unwrap();
    let head = read_head(&mut origin).await;
    assert_eq!(header(&head, "upgrade"), "upper");
    assert!(!head.contains("sec-websocket-key"), "{head}");
    let answer =
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: upper\r\nconnection: upgrade\r\n\r\nHI";
    origin.write_all(answer).await.unwrap();
    let (answer, _caller) = within(call).await.unwrap();
    let mut io = TokioIo::new(within(hyper::upgrade::on(answer.unwrap())).await.unwrap());
    assert_eq!(read(&mut io, 2).await, "HI");
}

/// An HTTP/2 origin that echoes what comes by extended CONNECT, and says how each stream ended.
fn echoing(
    ended: mpsc::UnboundedSender<bool>,
) -> impl Fn(Request<Incoming>) -> std::future::Ready<Response<TestBody>> + Clone + Send + Sync {
    move |request| {
        assert_eq!(request.method(), "CONNECT");
        assert_eq!(request.uri().path(), "/ws");
        assert!(!request.headers().contains_key("sec-websocket-key"));
        let protocol = request.extensions().get::<Protocol>().unwrap();
        assert_eq!(protocol.as_str(), "websocket");
        let ended = ended.clone();
        tokio::spawn(async move {
            let mut io = TokioIo::new(hyper::upgrade::on(request).await.unwrap());
            let (mut reader, mut writer) = tokio::io::split(&mut io);
            let echoed = tokio::io::copy(&mut reader, &mut writer).await.is_ok();
            ended
                .send(echoed && writer.shutdown().await.is_ok())
                .unwrap();
        });
        let chosen = Response::builder().header("sec-websocket-protocol", "chat");
        std::future::ready(chosen.body(empty()).unwrap())
    }
}

#[tokio::test]
async fn an_http2_origin_is_asked_by_extended_connect() {
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let (ended, mut ends) = mpsc::unbounded_channel();
        let edge = Edge::with_origin(AppProtocol::H2, echoing(ended)).await;
        for given_up in [false, true] {
            let mut caller = edge.caller(version).await;
            let (request, key) = if version == Version::HTTP_2 {
                (connect("websocket"), None)
            } else {
                let (request, key) = upgrade();
                (request, Some(key))
            };
            let mut answer = caller.send(request).await.unwrap();
            assert_eq!(answer.headers()["sec-websocket-protocol"], "chat");
            match key {
                Some(key) => {
                    assert_eq!(answer.status(), 101);
                    assert_eq!(answer.headers()["upgrade"], "websocket");
                    assert!(key.is_accepted(answer.headers_mut()));
                }
                None => assert_eq!(answer.status(), 200),
            }
            let mut io = TokioIo::new(within(hyper::upgrade::on(answer)).await.unwrap());
            for turn in 0..100 {
                let text = format!("{turn:04}");
                io.write_all(text.as_bytes()).await.unwrap();
                assert_eq!(read(&mut io, 4).await, text);
            }
            if given_up {
                let in_flight = || edge.metric("causeway_http_requests_in_flight");
                assert_eq!(in_flight(), 1);
                if version == Version::HTTP_11 {
                    // With a reset: an orderly end would be the echo's own.
                    edge.serving.abort();
                } else {
                    drop(io);
                }
                until(|| in_flight() == 0).await;
                continue;
            }
            io.shutdown().await.unwrap();
            assert_eq!(within(io.read(&mut [0])).await.unwrap(), 0);
            assert!(within(ends.recv()).await.unwrap(), "{version:?}");
        }
        assert_eq!(edge.session.opened().len(), 2);
    }
}

#[tokio::test]
async fn an_http2_origin_may_refuse() {
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let refuse = |_| async {
            let answer = Response::builder().status(403);
            answer.body(full("no")).unwrap()
        };
        let edge = Edge::with_origin(AppProtocol::H2, refuse).await;
        let request = match version {
            Version::HTTP_2 => connect("websocket"),
            _ => upgrade().0,
        };
        let answer = edge.caller(version).await.send(request).await.unwrap();
        assert!(!answer.headers().contains_key("sec-websocket-accept"));
        let answer = Answer::read(answer).await;
        assert_eq!((answer.status.as_u16(), answer.text.as_str()), (403, "no"));
    }
}

#[tokio::test]
async fn an_http2_origin_without_extended_connect_is_not_asked() {
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let (edge, mut streams) = Edge::start(AppProtocol::H2).await;
        tokio::spawn(async move {
            while let Some(stream) = streams.recv().await {
                let service = hyper::service::service_fn(|request| async {
                    Ok::<_, std::convert::Infallible>(mirror(request).await)
                });
                let executor = hyper_util::rt::TokioExecutor::new();
                let server = hyper::server::conn::http2::Builder::new(executor);
                let served = server.serve_connection(TokioIo::new(stream), service);
                tokio::spawn(async move { drop(served.await) });
            }
        });
        let request = match version {
            Version::HTTP_2 => connect("websocket"),
            _ => upgrade().0,
        };
        let mut caller = edge.caller(version).await;
        let answer = Answer::read(caller.send(request).await.unwrap()).await;
        assert_eq!(answer.status, 502, "{version:?}");
        assert_eq!(answer.code(), "upgrade_unsupported");
        assert_eq!(caller.get("/").await.status, 200);
    }
}

#[tokio::test]
async fn an_origin_that_never_speaks_http2_says_so_by_its_reset() {
    let (edge, mut streams) = Edge::start(AppProtocol::H2).await;
    let mut caller = edge.caller(Version::HTTP_2).await;
    let call = tokio::spawn(async move { caller.send(connect("websocket")).await });
    let origin = within(streams.recv()).await.unwrap();
    origin.reset(ResetCode::ConnectRefused);
    let answer = Answer::read(within(call).await.unwrap().unwrap()).await;
    assert_eq!(
        (answer.status.as_u16(), answer.code()),
        (502, "connect_refused")
    );
}
