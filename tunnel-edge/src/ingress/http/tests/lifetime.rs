//! How long callers' connections last, and how serving ends.

use std::io::ErrorKind;
use std::time::Duration;

use http::{Request, Response, Version};
use hyper::body::Incoming;
use relay::AppProtocol;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;

use super::super::limits::{CALLER_PING, GOODBYE, WATCH_INTERVAL};
use super::breaks::read_head;
use super::harness::{
    Answer, Edge, HOST, MAX_CONNECTIONS, channel, data, get, long_silence, mirror, next,
    read_to_end, until, within,
};
use crate::config::HttpLimits;

#[tokio::test]
async fn stopping_finishes_what_has_begun() {
    for origin in [AppProtocol::Http1, AppProtocol::H2] {
        for version in [Version::HTTP_11, Version::HTTP_2] {
            let (sender, body) = channel();
            let body = std::sync::Arc::new(tokio::sync::Mutex::new(Some(body)));
            let handler = move |_: Request<Incoming>| {
                let body = body.clone();
                async move { Response::new(body.lock().await.take().unwrap()) }
            };
            let edge = Edge::with_origin(origin, handler).await;
            let mut caller = edge.caller(version).await;
            let _idle = edge.connect().await;
            sender.send(data("first")).await.unwrap();
            let mut answer = caller.send(get("/")).await.unwrap();
            assert_eq!(next(answer.body_mut()).await.unwrap().unwrap(), "first");
            edge.stop.cancel();
            until_refused(&edge).await;
            assert!(!edge.serving.is_finished());
            sender.send(data("last")).await.unwrap();
            assert_eq!(next(answer.body_mut()).await.unwrap().unwrap(), "last");
            drop(sender);
            assert!(next(answer.body_mut()).await.is_none());
            within(edge.serving).await.unwrap();
        }
    }
}

async fn until_refused(edge: &Edge) {
    within(async {
        while TcpStream::connect(edge.address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn an_ingress_that_is_dropped_cuts_what_is_left() {
    let handler = |_: Request<Incoming>| async {
        let (sender, body) = channel();
        tokio::spawn(async move {
            sender.send(data("first")).await.unwrap();
            sender.closed().await;
        });
        Response::new(body)
    };
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let edge = Edge::with_origin(AppProtocol::Http1, handler).await;
        let mut caller = edge.caller(version).await;
        let mut answer = caller.send(get("/")).await.unwrap();
        assert_eq!(next(answer.body_mut()).await.unwrap().unwrap(), "first");
        edge.serving.abort();
        assert!(next(answer.body_mut()).await.unwrap().is_err());
        until(|| edge.metric("causeway_http_requests_in_flight") == 0).await;
        assert_eq!(edge.metric("causeway_http_caller_connections"), 0);
    }
}

#[tokio::test]
async fn whoever_dawdles_is_cut_off() {
    let edge = Edge::with_origin(AppProtocol::Http1, mirror).await;
    let said = ["", "P", "PRI * HTT", "GET / HTTP/1.1\r\nhost:"];
    let mut sockets = Vec::new();
    for text in said {
        let mut socket = edge.connect().await;
        socket.write_all(text.as_bytes()).await.unwrap();
        sockets.push((text, socket));
    }
    until(|| edge.metric("causeway_http_caller_connections") == sockets.len() as u64).await;
    tokio::time::pause();
    tokio::time::sleep(HttpLimits::HEAD_TIMEOUT + WATCH_INTERVAL).await;
    tokio::time::sleep(HttpLimits::IDLE_TIMEOUT).await;
    tokio::time::resume();
    for (text, mut socket) in sockets {
        let end = read_to_end(&mut socket).await;
        // What may yet become HTTP/2 counts as idle.
        let expected = if text.starts_with("PRI") {
            Ok(String::new())
        } else {
            Err(ErrorKind::ConnectionReset)
        };
        assert_eq!(end.map_err(|error| error.kind()), expected, "{text:?}");
    }
    until(|| edge.metric("causeway_http_caller_connections") == 0).await;
}

/// The whole answer has come from the origin, but only a part of it fits into the kernel.
#[tokio::test]
async fn the_untaken_rest_of_an_answer_without_length_is_no_end() {
    for stopped in [true, false] {
        let (edge, mut streams) = Edge::start(AppProtocol::Http1).await;
        let listener = TcpSocket::new_v4().unwrap();
        listener.set_send_buffer_size(4096).unwrap();
        listener.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = listener.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let ingress = edge.ingress.clone();
        let serving = tokio::spawn(ingress.serve(listener, edge.stop.clone()));
        let caller = TcpSocket::new_v4().unwrap();
        caller.set_recv_buffer_size(4096).unwrap();
        let mut caller = caller.connect(address).await.unwrap();
        let head = format!("GET / HTTP/1.0\r\nhost: {HOST}\r\n\r\n");
        caller.write_all(head.as_bytes()).await.unwrap();
        let mut origin = within(streams.recv()).await.unwrap();
        read_head(&mut origin).await;
        let head = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n";
        origin.write_all(head).await.unwrap();
        origin.write_all(&[b'x'; 48 * 1024]).await.unwrap();
        origin.shutdown().await.unwrap();
        until(|| edge.metric("causeway_http_requests_in_flight") == 0).await;
        assert_eq!(edge.metric("causeway_http_caller_connections"), 1);
        if stopped {
            serving.abort();
        } else {
            tokio::time::pause();
            tokio::time::sleep(HttpLimits::IDLE_TIMEOUT + WATCH_INTERVAL * 3 + GOODBYE).await;
            tokio::time::resume();
        }
        until(|| edge.metric("causeway_http_caller_connections") == 0).await;
        let error = read_to_end(&mut caller).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{stopped}");
    }
}

#[tokio::test]
async fn an_idle_connection_is_closed_late_and_in_order() {
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let edge = Edge::with_origin(AppProtocol::Http1, mirror).await;
        let mut caller = edge.caller(version).await;
        assert_eq!(caller.get("/").await.status, 200);
        let open = || edge.metric("causeway_http_caller_connections");
        tokio::time::pause();
        tokio::time::sleep(HttpLimits::IDLE_TIMEOUT - WATCH_INTERVAL).await;
        assert_eq!(open(), 1, "{version:?}");
        tokio::time::sleep(WATCH_INTERVAL * 3 + GOODBYE).await;
        tokio::time::resume();
        until(|| open() == 0).await;
    }
}

/// Reads frames of HTTP/2 until the end and answers pings. Says which kinds there were.
async fn answer_pings(
    mut frames: OwnedReadHalf,
    replies: mpsc::UnboundedSender<Vec<u8>>,
) -> Vec<u8> {
    let mut kinds = Vec::new();
    let mut header = [0; 9];
    while frames.read_exact(&mut header).await.is_ok() {
        let [high, mid, low, kind, flags, ..] = header;
        let mut payload = vec![0; u32::from_be_bytes([0, high, mid, low]) as usize];
        if frames.read_exact(&mut payload).await.is_err() {
            break;
        }
        kinds.push(kind);
        if (kind, flags) == (PING, 0) {
            let _ = replies.send(ping(1, &payload));
        }
    }
    kinds
}

const PING: u8 = 6;
const GOAWAY: u8 = 7;

fn ping(flags: u8, payload: &[u8]) -> Vec<u8> {
    [&[0, 0, 8, PING, flags, 0, 0, 0, 0], payload].concat()
}

#[tokio::test]
async fn pings_do_not_keep_an_idle_connection() {
    for together in [1, 8, 100] {
        let edge = Edge::with_origin(AppProtocol::H2, mirror).await;
        let (frames, mut socket) = edge.connect().await.into_split();
        let (replies, mut said) = mpsc::unbounded_channel();
        let reading = tokio::spawn(answer_pings(frames, replies.clone()));
        tokio::spawn(async move {
            while let Some(bytes) = said.recv().await {
                if socket.write_all(&bytes).await.is_err() {
                    return;
                }
            }
        });
        let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
        let begin = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &settings].concat();
        replies.send(begin).unwrap();
        let mut passed = Duration::ZERO;
        while passed < HttpLimits::IDLE_TIMEOUT - CALLER_PING {
            assert!(!reading.is_finished(), "{together}");
            replies.send(ping(0, b"anything").repeat(together)).unwrap();
            long_silence(CALLER_PING / 2).await;
            passed += CALLER_PING / 2;
        }
        assert_eq!(edge.metric("causeway_http_caller_connections"), 1);
        for _ in 0..6 {
            let _ = replies.send(ping(0, b"anything").repeat(together));
            long_silence(WATCH_INTERVAL).await;
        }
        long_silence(GOODBYE + WATCH_INTERVAL).await;
        let kinds = within(reading).await.unwrap();
        assert!(kinds.contains(&GOAWAY), "{together}: {kinds:?}");
        let answered = kinds.iter().filter(|kind| **kind == PING).count();
        assert!(answered >= together * 5, "{answered} of {together}");
    }
}

#[tokio::test]
async fn beyond_the_limit_callers_wait() {
    let edge = Edge::with_origin(AppProtocol::Http1, mirror).await;
    let others = u32::try_from(MAX_CONNECTIONS).unwrap() - 1;
    until(|| edge.ingress.permits.available_permits() == MAX_CONNECTIONS - 1).await;
    let _others = edge.ingress.permits.try_acquire_many(others).unwrap();
    let first = edge.connect().await;
    until(|| edge.metric("causeway_http_caller_connections") == 1).await;
    let mut second = edge.connect().await;
    let call = format!("GET / HTTP/1.1\r\nhost: {HOST}\r\nconnection: close\r\n\r\n");
    second.write_all(call.as_bytes()).await.unwrap();
    let soon = Duration::from_millis(100);
    assert!(tokio::time::timeout(soon, second.read_u8()).await.is_err());
    drop(first);
    assert!(
        read_to_end(&mut second)
            .await
            .unwrap()
            .starts_with("HTTP/1.1 200 ")
    );
}

#[tokio::test]
async fn several_listeners_share_connections_to_origins() {
    let edge = Edge::with_origin(AppProtocol::Http1, mirror).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(edge.ingress.clone().serve(listener, edge.stop.clone()));
    assert_eq!(
        edge.caller(Version::HTTP_11).await.get("/").await.status,
        200
    );
    let other = TcpStream::connect(address).await.unwrap();
    let io = hyper_util::rt::TokioIo::new(other);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
    tokio::spawn(connection);
    let mut request = get("/");
    request.headers_mut().insert("host", HOST.parse().unwrap());
    *request.uri_mut() = "/".parse().unwrap();
    let answer = within(sender.send_request(request)).await.unwrap();
    assert_eq!(Answer::read(answer).await.status, 200);
    assert_eq!(edge.session.opened().len(), 1);
    edge.stop.cancel();
    within(serving).await.unwrap();
    within(edge.serving).await.unwrap();
}
