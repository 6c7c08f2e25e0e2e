use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::{Body as HttpBody, Frame, Incoming};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::task::JoinHandle;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_util::sync::CancellationToken;

use super::{Arrival, BoxError, serve, serve_arrived};

/// Far longer than anything here takes; a test that reaches it has failed.
const DEADLINE: Duration = Duration::from_secs(20);

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, what)
        .await
        .expect("the deadline of a test")
}

struct Service {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

fn start() -> (DuplexStream, Service) {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let stop = CancellationToken::new();
    let task = tokio::spawn(serve(far, stop.clone()));
    (near, Service { stop, task })
}

async fn http1_to<B>(io: DuplexStream) -> http1::SendRequest<B>
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let (send, connection) = http1::handshake(TokioIo::new(io)).await.unwrap();
    tokio::spawn(connection.with_upgrades());
    send
}

async fn ask(request: Request<Full<Bytes>>) -> Response<Incoming> {
    let (io, _) = start();
    soon(http1_to(io).await.send_request(request))
        .await
        .unwrap()
}

async fn get(path: &str) -> Response<Incoming> {
    ask(Request::get(path)
        .header("host", "h")
        .body(Full::default())
        .unwrap())
    .await
}

async fn text_of(response: Response<Incoming>) -> String {
    let body = soon(response.into_body().collect())
        .await
        .unwrap()
        .to_bytes();
    String::from_utf8(body.to_vec()).unwrap()
}

#[tokio::test]
async fn the_page_may_run_nothing_but_its_own() {
    let response = get("/?a='b'&c").await;
    assert_eq!(response.status(), StatusCode::OK);
    let policy = response.headers()["content-security-policy"]
        .to_str()
        .unwrap()
        .to_owned();
    assert!(policy.starts_with("default-src 'none'; "), "{policy}");
    let nonce = policy
        .split("'nonce-")
        .nth(1)
        .unwrap()
        .split('\'')
        .next()
        .unwrap()
        .to_owned();
    assert_eq!(nonce.len(), 32);
    let page = text_of(response).await;
    assert!(page.contains(&format!("<script nonce=\"{nonce}\">")));
    assert!(page.contains(&format!("<style nonce=\"{nonce}\">")));
    assert!(!page.contains("{{"), "every field of the page is filled");
    assert!(page.contains("/?a=&#39;b&#39;&amp;c"));
    let other = get("/").await.headers()["content-security-policy"]
        .to_str()
        .unwrap()
        .to_owned();
    assert!(!other.contains(&nonce), "a nonce is used once");
}

#[tokio::test]
async fn json_when_it_is_asked_for() {
    let (near, far) = tokio::io::duplex(1 << 16);
    let arrival = Arrival {
        caller: Some("ingress/web".to_owned()),
        cluster: Some("acme/demo".to_owned()),
        ..Arrival::default()
    };
    tokio::spawn(serve_arrived(far, arrival, CancellationToken::new()));
    let request = Request::put("/?x=1")
        .header("host", "hello.localhost:8080")
        .header("accept", "application/json")
        .header("authorization", "Bearer topsecret")
        .header("x-forwarded-for", "192.0.2.7")
        .body(Full::<Bytes>::default())
        .unwrap();
    let response = soon(http1_to(near).await.send_request(request))
        .await
        .unwrap();
    assert_eq!(response.headers()["content-type"], "application/json");
    let view: serde_json::Value = serde_json::from_str(&text_of(response).await).unwrap();
    assert_eq!(view["method"], "PUT");
    assert_eq!(view["target"], "/?x=1");
    assert_eq!(view["version"], "HTTP/1.1");
    assert_eq!(view["host"], "hello.localhost:8080");
    assert_eq!(view["forwarded_for"], "192.0.2.7");
    assert_eq!(view["arrival"]["cluster"], "acme/demo");
    assert_eq!(view["arrival"]["caller"], "ingress/web");
    let headers = view["headers"].as_array().unwrap();
    let authorization = headers
        .iter()
        .find(|header| header["name"] == "authorization")
        .unwrap();
    assert_eq!(authorization["value"], "hidden, 16 bytes");
}

#[tokio::test]
async fn statuses_methods_and_wrong_paths() {
    for (path, status, body) in [
        ("/status/418", 418, "418 I'm a teapot\n"),
        ("/status/599", 599, "599 <unknown status code>\n"),
        ("/status/204", 204, ""),
        ("/status/304", 304, ""),
        (
            "/status/101",
            400,
            "a final status is a number from 200 to 599\n",
        ),
        (
            "/status/600",
            400,
            "a final status is a number from 200 to 599\n",
        ),
        (
            "/status/",
            400,
            "a final status is a number from 200 to 599\n",
        ),
        ("/bytes?n=9GiB", 400, "too much: n is at most 8GiB\n"),
        ("/echo", 405, "use POST, PUT, PATCH here\n"),
        ("/hash", 405, "use POST, PUT, PATCH here\n"),
        (
            "/ws",
            426,
            "this is a WebSocket (RFC 6455, version 13): open it as one\n",
        ),
    ] {
        let response = get(path).await;
        assert_eq!(response.status().as_u16(), status, "{path}");
        assert_eq!(response.headers()["x-content-type-options"], "nosniff");
        assert_eq!(text_of(response).await, body, "{path}");
    }
    let lost = get("/'script'").await;
    assert_eq!(lost.status(), StatusCode::NOT_FOUND);
    assert_eq!(lost.headers()["content-type"], "text/plain; charset=utf-8");
    assert!(
        !text_of(lost).await.contains("script"),
        "what was asked for is not repeated"
    );
}

#[tokio::test]
async fn bytes_are_counted_and_each_eight_say_where_they_are() {
    let response = get("/bytes?n=1000003").await;
    assert_eq!(response.headers()["content-length"], "1000003");
    let body = soon(response.into_body().collect())
        .await
        .unwrap()
        .to_bytes();
    assert_eq!(body.len(), 1_000_003);
    for (index, word) in body.chunks_exact(8).enumerate() {
        assert_eq!(u64::from_be_bytes(word.try_into().unwrap()), index as u64);
    }
    let (io, _) = start();
    let head = Request::head("/bytes?n=8GiB")
        .body(Empty::<Bytes>::new())
        .unwrap();
    let response = soon(http1_to(io).await.send_request(head)).await.unwrap();
    assert_eq!(
        response.headers()["content-length"],
        (8_u64 << 30).to_string()
    );
}

#[tokio::test]
async fn a_body_is_hashed() {
    let request = Request::post("/hash").body(Full::from("abc")).unwrap();
    assert_eq!(
        text_of(ask(request).await).await,
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  -\n"
    );
}

#[tokio::test]
async fn an_echo_streams_both_ways_at_once() {
    let (io, _) = start();
    let (feed, source) = tokio::sync::mpsc::channel::<Bytes>(1);
    let body = StreamBody::new(futures_util::stream::unfold(source, |mut source| async {
        let chunk = source.recv().await?;
        Some((Ok::<_, BoxError>(Frame::data(chunk)), source))
    }));
    let request = Request::post("/echo")
        .header("content-type", "text/html")
        .body(body)
        .unwrap();
    let mut sender = http1_to(io).await;
    let answer = tokio::spawn(async move { sender.send_request(request).await.unwrap() });
    feed.send(Bytes::from_static(b"first")).await.unwrap();
    let mut response = soon(answer).await.unwrap();
    assert_eq!(
        response.headers()["content-type"],
        "application/octet-stream"
    );
    let frame = soon(response.frame())
        .await
        .unwrap()
        .unwrap()
        .into_data()
        .unwrap();
    assert_eq!(
        frame, "first",
        "the first part is back while the request is still being sent"
    );

    let total = 64_u64 << 20;
    let chunk = Bytes::from(vec![7_u8; 1 << 20]);
    let writer = tokio::spawn(async move {
        for _ in 0..total >> 20 {
            feed.send(chunk.clone()).await.unwrap();
        }
    });
    let mut received = 0;
    while let Some(frame) = soon(response.frame()).await {
        let data = frame.unwrap().into_data().unwrap();
        assert!(data.iter().all(|byte| *byte == 7));
        received += data.len() as u64;
    }
    assert_eq!(received, total);
    writer.await.unwrap();
}

#[tokio::test]
async fn a_caller_that_does_not_read_stops_the_sending() {
    let (mut io, _) = start();
    io.write_all(b"POST /echo HTTP/1.1\r\nhost: h\r\ncontent-length: 1073741824\r\n\r\n")
        .await
        .unwrap();
    let chunk = [0_u8; 64 * 1024];
    let mut taken = 0_usize;
    // Nothing reads the answer, so the service must stop taking the body.
    while let Ok(written) = tokio::time::timeout(Duration::from_millis(500), io.write(&chunk)).await
    {
        taken += written.unwrap();
        assert!(taken < 8 << 20, "took {taken} bytes without giving any");
    }
    assert!(taken > 0);
}

#[tokio::test]
async fn events_tick_until_the_service_stops() {
    let (io, service) = start();
    let request = Request::get("/events").body(Empty::<Bytes>::new()).unwrap();
    let mut response = soon(http1_to(io).await.send_request(request))
        .await
        .unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    for tick in 0..2 {
        let frame = soon(response.frame())
            .await
            .unwrap()
            .unwrap()
            .into_data()
            .unwrap();
        let event = std::str::from_utf8(&frame).unwrap();
        let json = event
            .strip_prefix("data: ")
            .unwrap()
            .strip_suffix("\n\n")
            .unwrap();
        let json: serde_json::Value = serde_json::from_str(json).unwrap();
        assert_eq!(json["tick"], tick);
        assert!(json["clock"].as_str().unwrap().ends_with('Z'));
    }
    service.stop.cancel();
    assert!(soon(response.frame()).await.is_none(), "a clean end");
    soon(service.task).await.unwrap();
}

async fn websocket(io: DuplexStream) -> WebSocketStream<TokioIo<hyper::upgrade::Upgraded>> {
    let request = Request::get("/ws")
        .header("host", "h")
        .header("connection", "keep-alive, Upgrade")
        .header("upgrade", "WebSocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .body(Empty::<Bytes>::new())
        .unwrap();
    let response = soon(http1_to(io).await.send_request(request))
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    // The example of RFC 6455, section 1.3.
    assert_eq!(
        response.headers()["sec-websocket-accept"],
        "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    );
    let upgraded = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
    WebSocketStream::from_raw_socket(upgraded, Role::Client, None).await
}

async fn is_echoed<S>(socket: &mut WebSocketStream<S>, message: Message)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    socket.send(message.clone()).await.unwrap();
    let echoed = async { while socket.next().await.unwrap().unwrap() != message {} };
    soon(echoed).await;
}

#[tokio::test]
async fn a_websocket_ticks_echoes_and_says_goodbye() {
    let (io, service) = start();
    let mut socket = websocket(io).await;
    let first = soon(socket.next()).await.unwrap().unwrap();
    assert!(first.to_text().unwrap().starts_with("{\"tick\":0,"));
    is_echoed(&mut socket, Message::text("salut é")).await;
    is_echoed(&mut socket, Message::binary(vec![9; 300_000])).await;
    service.stop.cancel();
    let goodbye = async {
        loop {
            match socket.next().await {
                Some(Ok(Message::Close(frame))) => return frame.unwrap().code,
                Some(Ok(_)) => {}
                other => panic!("no close frame but {other:?}"),
            }
        }
    };
    assert_eq!(u16::from(soon(goodbye).await), 1001);
    drop(socket);
    soon(service.task).await.unwrap();
}

#[tokio::test]
async fn a_message_over_a_mebibyte_closes_only_its_socket() {
    let (io, service) = start();
    let mut socket = websocket(io).await;
    let send = socket.send(Message::binary(vec![0; (1 << 20) + 1]));
    let _ = soon(send).await;
    while let Some(Ok(_)) = soon(socket.next()).await {}
    soon(service.task).await.unwrap();
}

#[tokio::test]
async fn http2_speaks_the_same_and_websockets_too() {
    let (io, _) = start();
    let (mut send, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(io))
        .await
        .unwrap();
    tokio::spawn(connection);
    let request = Request::get("http://h.localhost:8080/")
        .version(Version::HTTP_2)
        .header("accept", "application/json")
        .body(Empty::<Bytes>::new())
        .unwrap();
    let response = soon(send.send_request(request)).await.unwrap();
    let view: serde_json::Value = serde_json::from_str(&text_of(response).await).unwrap();
    assert_eq!(view["version"], "HTTP/2");
    assert_eq!(view["host"], "h.localhost:8080");

    let mut request = Request::connect("http://h.localhost:8080/ws")
        .version(Version::HTTP_2)
        .header("sec-websocket-version", "13")
        .body(Empty::<Bytes>::new())
        .unwrap();
    request
        .extensions_mut()
        .insert(hyper::ext::Protocol::from_static("websocket"));
    let response = soon(send.send_request(request)).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let upgraded = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
    let mut socket = WebSocketStream::from_raw_socket(upgraded, Role::Client, None).await;
    is_echoed(&mut socket, Message::text("over http/2")).await;
}

#[tokio::test]
async fn dropping_the_service_ends_its_websockets() {
    let (io, service) = start();
    let mut socket = websocket(io).await;
    service.task.abort();
    let end = async { while let Some(Ok(_)) = socket.next().await {} };
    soon(end).await;
}

#[tokio::test]
async fn garbage_ends_the_connection_and_nothing_else() {
    let (mut io, service) = start();
    io.write_all(b"\x16\x03\x01 this is no HTTP\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    let _ = soon(io.read_to_end(&mut answer)).await;
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 400 "));
    soon(service.task).await.unwrap();
}
