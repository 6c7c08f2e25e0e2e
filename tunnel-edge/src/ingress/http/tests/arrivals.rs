//! Whose request it is: behind proxies that announce their callers, in front of the connection or
//! within the request.

use relay::AppProtocol;
use relay::proxy_protocol::announce;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::harness::{Edge, HOST, Setup, mirror, read_to_end, until, within};
use crate::config::{Callers, TrustedProxies};

const LOOPBACK: &str = "127.0.0.0/8";

fn call(headers: &str, connection: &str) -> String {
    format!("GET / HTTP/1.1\r\nhost: {HOST}\r\n{headers}connection: {connection}\r\n\r\n")
}

fn announcing() -> Setup {
    let mut setup = Setup::default();
    setup.connections.proxy_protocol_from = vec![LOOPBACK.parse().unwrap()];
    setup
}

fn trusting() -> Setup {
    let mut setup = Setup::default();
    setup.settings.trusted = TrustedProxies {
        networks: vec![LOOPBACK.parse().unwrap()],
        ..TrustedProxies::default()
    };
    setup
}

async fn send(edge: &Edge, parts: &[&[u8]]) -> std::io::Result<String> {
    let mut socket = edge.connect().await;
    // Each by itself, so that no read gets all of them.
    for part in parts {
        socket.write_all(part).await?;
        socket.flush().await?;
        tokio::task::yield_now().await;
    }
    read_to_end(&mut socket).await
}

#[tokio::test]
async fn a_connection_is_whose_the_proxy_says() {
    let edge = Edge::set_up(AppProtocol::Http1, announcing(), mirror).await;
    let request = call("", "close");
    let v2 = announce(Some("192.0.2.1:4000".parse().unwrap()), None);
    let (begin, end) = v2.split_at(9);
    let v1 = b"PROXY TCP6 2001:db8::1 ::1 4000 80\r\n";
    for (header, caller) in [
        (&[begin, end][..], "192.0.2.1"),
        (&[v1], "2001:db8::1"),
        (&[&announce(None, None)], "127.0.0.1"),
    ] {
        let parts = [header, &[request.as_bytes()]].concat();
        let answer = send(&edge, &parts).await.unwrap();
        let expected = format!("\"x-forwarded-for\": \"{caller}\"");
        assert!(answer.contains(&expected), "{answer}");
    }
}

#[tokio::test]
async fn a_proxy_that_says_nothing_is_reset_and_counted() {
    let edge = Edge::set_up(AppProtocol::Http1, announcing(), mirror).await;
    for (count, bytes) in [
        &b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"[..],
        b"PROXY nonsense\r\n",
    ]
    .into_iter()
    .enumerate()
    {
        let error = send(&edge, &[bytes]).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        until(|| edge.metric("causeway_http_failures_total") == count as u64 + 1).await;
    }
    let silent = edge.connect().await;
    until(|| edge.metric("causeway_http_caller_connections") == 1).await;
    tokio::time::pause();
    let mut silent = silent;
    let ended = read_to_end(&mut silent).await;
    assert_eq!(
        ended.unwrap_err().kind(),
        std::io::ErrorKind::ConnectionReset
    );
    assert!(edge.session.opened().is_empty());
}

#[tokio::test]
async fn who_may_call_is_asked_of_the_caller_and_not_of_its_proxy() {
    let mut setup = announcing();
    setup.callers = Callers::Networks(vec!["192.0.2.0/24".parse().unwrap()]);
    let edge = Edge::set_up(AppProtocol::Http1, setup, mirror).await;
    for (caller, status) in [("192.0.2.1:1", "200"), ("198.51.100.1:1", "403")] {
        let header = announce(Some(caller.parse().unwrap()), None);
        let answer = send(&edge, &[&header, call("", "close").as_bytes()]).await;
        let answer = answer.unwrap();
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn a_trusted_proxy_may_ask_for_one_caller_after_the_other() {
    let mut setup = trusting();
    setup.callers = Callers::Networks(vec!["192.0.2.0/24".parse().unwrap()]);
    let edge = Edge::set_up(AppProtocol::Http1, setup, mirror).await;
    let refused = call("x-forwarded-for: 192.0.2.1, 198.51.100.1\r\n", "keep-alive");
    let allowed = call("x-forwarded-for: 198.51.100.1, 192.0.2.1\r\n", "close");
    let answers = send(&edge, &[refused.as_bytes(), allowed.as_bytes()]).await;
    let answers = answers.unwrap();
    assert!(answers.starts_with("HTTP/1.1 403 "), "{answers}");
    let answer = &answers[answers.find("HTTP/1.1 200 ").expect(&answers)..];
    assert!(
        answer.contains("\"x-forwarded-for\": \"192.0.2.1, 127.0.0.1\""),
        "{answer}"
    );
}

#[tokio::test]
async fn a_proxy_that_says_what_cannot_be_read_speaks_for_nobody() {
    let mut setup = trusting();
    // The proxy itself may call.
    setup.callers = Callers::Networks(vec![LOOPBACK.parse().unwrap()]);
    let edge = Edge::set_up(AppProtocol::Http1, setup, mirror).await;
    let begin = format!("GET / HTTP/1.1\r\nhost: {HOST}\r\nx-forwarded-for: ");
    for (said, outcomes) in [
        (&b"\xe9"[..], ["HTTP/1.1 400 ", "bad_forwarding_header"]),
        (b"unknown", ["HTTP/1.1 403 ", "caller_not_allowed"]),
        (b"127.0.0.2", ["HTTP/1.1 200 ", "127.0.0.2, 127.0.0.1"]),
    ] {
        let end = b"\r\n\r\n";
        // The connection stays: a proxy's next request may be another caller's.
        let next = call("", "close");
        let answers = send(&edge, &[begin.as_bytes(), said, end, next.as_bytes()]).await;
        let answers = answers.unwrap();
        let (first, _) = answers.rsplit_once("HTTP/1.1 200 OK\r\n").expect(&answers);
        assert!(
            outcomes.iter().all(|part| first.contains(part)),
            "{answers}"
        );
    }
}

#[tokio::test]
async fn an_address_has_only_so_many_connections() {
    let mut setup = Setup::default();
    setup.connections.max_per_address = Some(2);
    let edge = Edge::set_up(AppProtocol::Http1, setup, mirror).await;
    let mut held: Vec<TcpStream> = Vec::new();
    for _ in 0..2 {
        let mut socket = edge.connect().await;
        socket
            .write_all(call("", "keep-alive").as_bytes())
            .await
            .unwrap();
        socket.readable().await.unwrap();
        held.push(socket);
    }
    let answer = send(&edge, &[call("", "keep-alive").as_bytes()])
        .await
        .unwrap();
    assert!(answer.starts_with("HTTP/1.1 429 "), "{answer}");
    assert!(
        answer.contains("causeway-error: too_many_connections\r\n"),
        "{answer}"
    );
    assert!(answer.contains("retry-after: 1\r\n"), "{answer}");
    drop(held.pop());
    until(|| edge.metric("causeway_http_caller_connections") == 1).await;
    let answer = send(&edge, &[call("", "close").as_bytes()]).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn callers_with_too_many_connections_take_nobodys_place() {
    let mut setup = Setup::default();
    setup.connections.max = 3;
    setup.connections.max_per_address = Some(1);
    setup.connections.proxy_protocol_from = vec!["127.0.0.1/32".parse().unwrap()];
    let edge = Edge::set_up(AppProtocol::Http1, setup, mirror).await;
    let from = |address: &str| {
        let request = call("", "keep-alive");
        format!("PROXY TCP4 {address} 127.0.0.1 1 2\r\n{request}")
    };
    // They say nothing after their first answer, over and over again.
    let mut held = Vec::new();
    for nth in 0..8 {
        let mut socket = edge.connect().await;
        socket
            .write_all(from("192.0.2.1").as_bytes())
            .await
            .unwrap();
        let mut answer = [0; 13];
        within(socket.read_exact(&mut answer)).await.unwrap();
        let expected: &[u8] = if nth == 0 {
            b"HTTP/1.1 200 "
        } else {
            b"HTTP/1.1 429 "
        };
        assert_eq!(answer, expected, "{nth}");
        held.push(socket);
    }
    let another = from("192.0.2.2").replace("keep-alive", "close");
    let answer = within(send(&edge, &[another.as_bytes()])).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}
