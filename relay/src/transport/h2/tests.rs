//! Peers that speak HTTP/2 by themselves, and numbers that run out.

use bytes::Bytes;
use h2::client::SendRequest;
use http::{Method, Request, Response, StatusCode};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

use super::edge::Edge;
use super::{FIELD, URI, start};
use crate::proto::CloseCode;
use crate::transport::muxed::MuxedConnection;
use crate::transport::muxed::tests::BOUNDS;
use crate::transport::tls::frame::{Kind, close, small};
use crate::transport::tls::tests::{tls_pair, within};
use crate::transport::{Connection, ConnectionLost, TransportKind};

/// A client of ours, and the requests of an edge that is none.
async fn facing_requests() -> (MuxedConnection, SendRequest<Bytes>) {
    let (dialled, accepted) = tls_pair().await;
    let connection = start(dialled, BOUNDS).unwrap();
    let requests = requests(accepted).await;
    (connection, requests)
}

async fn requests(stream: TlsStream<TcpStream>) -> SendRequest<Bytes> {
    let shaking = h2::client::Builder::new().handshake(stream);
    let (requests, driver) = within("a handshake", shaking).await.unwrap();
    tokio::spawn(driver);
    requests
}

fn request(method: Method, purpose: &str) -> Request<()> {
    let request = Request::builder().method(method).uri(URI);
    request.header(FIELD, purpose).body(()).unwrap()
}

async fn broke_the_protocol(connection: &MuxedConnection, says: &str) {
    let lost = within(says, connection.lost()).await;
    let ConnectionLost::Other(why) = lost else {
        panic!("{lost}");
    };
    let broke = why.contains("broke the protocol");
    assert!(broke && why.contains(says), "{why} instead of {says}");
}

#[tokio::test]
async fn what_is_not_http_2_closes_the_connection() {
    for (says, bytes) in [
        ("HTTP/2", b"GET / HTTP/1.1\r\nhost: edge\r\n\r\n".to_vec()),
        // After a proper beginning, a frame of 16 MiB.
        (
            "HTTP/2",
            [
                &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"[..],
                &[0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1],
            ]
            .concat(),
        ),
    ] {
        let (dialled, mut accepted) = tls_pair().await;
        let connection = start(dialled, BOUNDS).unwrap();
        accepted.write_all(&bytes).await.unwrap();
        accepted.flush().await.unwrap();
        broke_the_protocol(&connection, says).await;
    }
}

#[tokio::test]
async fn an_edge_is_told_what_is_wrong_with_its_requests() {
    let breaches: [(&str, &[(Method, &str)]); 4] = [
        ("something else", &[(Method::POST, "elsewhere")]),
        ("something else", &[(Method::PUT, "open")]),
        (
            "second stream of the connection",
            &[(Method::POST, "connection"), (Method::POST, "connection")],
        ),
        ("too many", &[(Method::POST, "ahead"); 0]),
    ];
    for (says, asked) in breaches {
        let (connection, mut requests) = facing_requests().await;
        let mut held = Vec::new();
        let ahead = (asked.is_empty()).then_some((Method::POST, "ahead"));
        let ahead = std::iter::repeat_n(ahead, 1025).flatten();
        for (method, purpose) in asked.iter().cloned().chain(ahead) {
            requests = within("room", requests.ready()).await.unwrap();
            held.push(requests.send_request(request(method, purpose), false));
        }
        broke_the_protocol(&connection, says).await;
    }
}

#[tokio::test]
async fn frames_of_the_connection_that_break_their_rules_close_it() {
    for (says, bytes) in [
        ("unknown kind 9", vec![0, 0, 0, 0, 9, 0, 0, 0]),
        ("pong to no ping", small(0, Kind::Pong, &[7; 8])),
        (
            "which the multiplexer carries",
            small(1, Kind::Reset, &[0; 4]),
        ),
    ] {
        let (connection, mut requests) = facing_requests().await;
        let asked = requests.send_request(request(Method::POST, "connection"), false);
        let (_answer, mut body) = asked.unwrap();
        body.send_data(bytes.into(), false).unwrap();
        broke_the_protocol(&connection, says).await;
    }
}

#[tokio::test]
async fn a_close_is_on_the_stream_of_the_connection() {
    let (connection, mut requests) = facing_requests().await;
    let asked = requests.send_request(request(Method::POST, "connection"), false);
    let (answer, _body) = asked.unwrap();
    let mut answer = within("an answer", answer).await.unwrap().into_body();
    connection.close(CloseCode::Overload, "full");
    let close_here = close(CloseCode::Overload.number(), "full");
    let said = within("a close", answer.data()).await.unwrap().unwrap();
    assert_eq!(said, close_here);
    drop(connection);

    let (connection, mut requests) = facing_requests().await;
    let asked = requests.send_request(request(Method::POST, "connection"), false);
    let (_answer, mut body) = asked.unwrap();
    let close_there = close(CloseCode::Version.number(), "old");
    body.send_data(close_there.into(), false).unwrap();
    let by_peer = ConnectionLost::ByPeer {
        code: CloseCode::Version,
        message: "old".into(),
    };
    assert_eq!(within("the end", connection.lost()).await, by_peer);
}

#[tokio::test]
async fn a_client_that_refuses_what_is_there_for_it_is_none() {
    let (dialled, accepted) = tls_pair().await;
    let connection = start(accepted, BOUNDS).unwrap();
    let shaking = h2::server::handshake(dialled);
    let mut peer = within("a handshake", shaking).await.unwrap();
    let refuse = async {
        while let Some(Ok((request, mut respond))) = peer.accept().await {
            assert_eq!(request.uri(), URI);
            let ahead = request.headers()[FIELD] == "ahead";
            let mut response: Response<()> = Response::new(());
            if ahead {
                *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            }
            let _ = respond.send_response(response, ahead);
        }
    };
    tokio::select! {
        () = broke_the_protocol(&connection, "refuses a stream") => {}
        () = refuse => panic!("the connection ended first"),
    }
}

/// Who goes on with a thousand streams need not wait a round trip for every doubling.
#[tokio::test]
async fn as_many_requests_wait_as_streams_are_expected() {
    const EXPECTED: usize = 300;
    let (dialled, accepted) = tls_pair().await;
    let connection = start(accepted, BOUNDS).unwrap();
    connection.expect(EXPECTED);
    let shaking = h2::server::handshake(dialled);
    let mut peer = within("a handshake", shaking).await.unwrap();
    let mut waiting = Vec::new();
    while waiting.len() < EXPECTED {
        let request = within("a request", peer.accept()).await.unwrap().unwrap();
        if request.0.headers()[FIELD] == "ahead" {
            waiting.push(request);
        }
    }
}

#[tokio::test]
async fn an_edge_whose_numbers_are_used_up_closes_and_says_so() {
    let (dialled, accepted) = tls_pair().await;
    let make = |pipe, _, limits| {
        let mut edge = Edge::new(pipe, limits);
        edge.made = super::edge::NUMBERS - 20;
        edge
    };
    let old = MuxedConnection::start(TransportKind::H2, accepted, BOUNDS, make).unwrap();
    let other = start(dialled, BOUNDS).unwrap();
    let mut held = Vec::new();
    while let Ok(stream) = within("an answer", old.open()).await {
        held.push(stream);
    }
    assert!(
        held.len() < 20,
        "some are ahead, and one is the connection's"
    );
    let lost = within("the word", other.lost()).await;
    let ConnectionLost::ByPeer { code, message } = lost else {
        panic!("{lost}");
    };
    assert_eq!(code, CloseCode::Shutdown);
    assert!(message.contains("numbers"), "{message}");
}
