//! HTTP/2 by prior knowledge: answers that last, among probes that must not wait for them.

use std::convert::Infallible;

use axum::body::{Body, Bytes};
use axum::extract::Request as Asked;
use axum::http::{Request, StatusCode};
use axum::routing::post;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::*;

/// Answers with as much as it was sent, then with nothing, for good.
fn admin_with_calls() -> Admin {
    let call = async |asked: Asked| {
        let sent = axum::body::to_bytes(asked.into_body(), 100).await.unwrap();
        let frames = futures_util::stream::unfold(Some(sent), async |sent| match sent {
            Some(sent) => Some((Ok::<Bytes, Infallible>(sent), None)),
            None => std::future::pending().await,
        });
        Body::from_stream(frames)
    };
    admin().with_api(Router::new().route("/call", post(call)), "/call\n")
}

async fn connected(server: &Server) -> SendRequest<Body> {
    let io = TokioIo::new(server.connect().await);
    let (sender, connection) = handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    sender
}

fn call(server: &Server, authority: &str) -> Request<Body> {
    assert!(matches!(server.address, ListenAddr::Ip(_)));
    Request::post(format!("http://{authority}/call"))
        .header("content-type", "application/grpc")
        .header("content-length", "5")
        .body(Body::from("bytes"))
        .unwrap()
}

#[tokio::test]
async fn an_answer_over_http2_may_last() {
    let limits = Limits {
        whole: Duration::from_millis(50),
        ..LIMITS
    };
    let server = serve("127.0.0.1:0", Surface::Admin, limits, admin_with_calls());
    let mut client = connected(&server).await;
    let answer = soon(client.send_request(call(&server, "127.0.0.1"))).await;
    let answer = answer.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let mut body = answer.into_body();
    let frame = soon(http_body_util::BodyExt::frame(&mut body)).await;
    assert_eq!(frame.unwrap().unwrap().into_data().unwrap(), "bytes");
    // Over HTTP/1.1 an answer as long ends meanwhile, so this one has outlasted it.
    let slow = exchange(
        server.connect().await,
        "POST /call HTTP/1.1\r\nhost: localhost\r\n\r\n",
    );
    assert!(slow.await.starts_with("HTTP/1.1 200 OK\r\n"));
    let again = soon(client.send_request(call(&server, "127.0.0.1"))).await;
    assert_eq!(again.unwrap().status(), StatusCode::OK);
    let other = soon(client.send_request(call(&server, "evil.example"))).await;
    assert_eq!(other.unwrap().status(), StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn connections_of_http2_are_bounded_and_leave_room_for_probes() {
    let limits = Limits {
        connections: 17,
        ..LIMITS
    };
    let server = serve("127.0.0.1:0", Surface::Admin, limits, admin_with_calls());
    let mut clients = Vec::new();
    for _ in 0..16 {
        let mut client = connected(&server).await;
        let answer = soon(client.send_request(call(&server, "localhost"))).await;
        clients.push((client, answer.unwrap()));
    }
    let mut late = connected(&server).await;
    let refused = soon(late.send_request(call(&server, "localhost"))).await;
    assert_eq!(refused.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
    for _ in 0..3 {
        assert!(server.get("/readyz").await.ends_with("ok\n"));
    }
    let (first, _) = &mut clients[0];
    let answer = soon(first.send_request(call(&server, "localhost"))).await;
    assert_eq!(answer.unwrap().status(), StatusCode::OK, "it may stay");
    clients.pop();
    drop(late);
    let admitted = async {
        loop {
            let mut client = connected(&server).await;
            let answer = client.send_request(call(&server, "localhost")).await;
            if answer.unwrap().status() == StatusCode::OK {
                return;
            }
        }
    };
    soon(admitted).await;
}

#[tokio::test]
async fn what_is_added_is_described_and_is_for_the_admin_listener_only() {
    let server = serve_tcp(Surface::Admin, admin_with_calls());
    assert!(server.get("/").await.ends_with("reasons\n/call\n"));
    let server = serve_tcp(Surface::Telemetry, admin_with_calls());
    assert!(server.get("/call").await.starts_with("HTTP/1.1 404 "));
}
