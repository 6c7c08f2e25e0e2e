//! `/ws`: the clock, and an echo, over WebSocket (RFC 6455; over HTTP/2 by RFC 8441).

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use http::header::{
    CONNECTION, HeaderName, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::ext::Protocol;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message, Role, WebSocketConfig};
use tokio_util::sync::CancellationToken;

use super::clock::Clock;
use super::{Body, Scope, empty, text};

/// The largest message that is echoed; a larger one closes the socket.
const LARGEST_MESSAGE: usize = 1 << 20;

/// How long a peer has to take the close frame when the service stops.
const FAREWELL: Duration = Duration::from_secs(2);

/// Answers the handshake and leaves a task behind that speaks once the connection is ours.
pub(super) fn upgrade(request: Request<Incoming>, scope: &Scope) -> Response<Body> {
    let response = match handshake(&request) {
        Ok(response) => response,
        Err(Refusal) => return refused(),
    };
    let stop = scope.stop.clone();
    scope.websockets.spawn(async move {
        match stop.run_until_cancelled(hyper::upgrade::on(request)).await {
            Some(Ok(upgraded)) => {
                let config = WebSocketConfig::default()
                    .read_buffer_size(16 * 1024)
                    .write_buffer_size(0)
                    .max_write_buffer_size(LARGEST_MESSAGE * 2)
                    .max_message_size(Some(LARGEST_MESSAGE))
                    .max_frame_size(Some(LARGEST_MESSAGE));
                let io = TokioIo::new(upgraded);
                speak(
                    WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await,
                    stop,
                )
                .await;
            }
            Some(Err(error)) => tracing::debug!(%error, "hello: the upgrade did not come about"),
            None => {}
        }
    });
    response
}

struct Refusal;

fn handshake(request: &Request<Incoming>) -> Result<Response<Body>, Refusal> {
    let headers = request.headers();
    let mut response = Response::new(empty());
    if headers
        .get(SEC_WEBSOCKET_VERSION)
        .is_none_or(|version| version != "13")
    {
        return Err(Refusal);
    }
    if request.version() == Version::HTTP_2 {
        let protocol = request.extensions().get::<Protocol>().map(Protocol::as_str);
        return match protocol {
            Some("websocket") if *request.method() == Method::CONNECT => Ok(response),
            Some(_) | None => Err(Refusal),
        };
    }
    let key = headers.get(SEC_WEBSOCKET_KEY).ok_or(Refusal)?;
    if *request.method() != Method::GET
        || !lists(headers, &UPGRADE, "websocket")
        || !lists(headers, &CONNECTION, "upgrade")
    {
        return Err(Refusal);
    }
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes()))
        .expect("base64 is valid in a header");
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    Ok(response)
}

fn refused() -> Response<Body> {
    let mut response = text(
        StatusCode::UPGRADE_REQUIRED,
        "this is a WebSocket (RFC 6455, version 13): open it as one",
    );
    let headers = response.headers_mut();
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    response
}

/// Whether a comma-separated header contains `token`, in any case.
fn lists(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|item| item.trim().eq_ignore_ascii_case(token))
}

/// Ticks and echoes until the peer ends it or `stop`. While the peer does not read, neither
/// do we, so what is held of it stays at one message.
async fn speak<S>(mut socket: WebSocketStream<S>, stop: CancellationToken)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let mut clock = Clock::new();
    let talk = async {
        loop {
            let reply = tokio::select! {
                tick = clock.next() => Message::text(tick),
                message = socket.next() => match message {
                    Some(Ok(message @ (Message::Text(_) | Message::Binary(_)))) => message,
                    // Pongs and the answer to a close are the library's.
                    Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_))) => continue,
                    Some(Err(_)) | None => return,
                },
            };
            if socket.send(reply).await.is_err() {
                return;
            }
        }
    };
    if stop.run_until_cancelled(talk).await.is_none() {
        let frame = CloseFrame {
            code: CloseCode::Away,
            reason: "the service stops".into(),
        };
        let farewell = async {
            if socket.close(Some(frame)).await.is_ok() {
                while let Some(Ok(_)) = socket.next().await {}
            }
        };
        // A peer that does not take it in time loses the connection without it.
        let _ = tokio::time::timeout(FAREWELL, farewell).await;
    }
    // Dropping the connection would be a reset, and could overtake the close frame.
    let mut io = socket.into_inner();
    let end = async {
        io.shutdown().await?;
        tokio::io::copy(&mut io, &mut tokio::io::sink()).await
    };
    let _ = tokio::time::timeout(FAREWELL, end).await;
}
