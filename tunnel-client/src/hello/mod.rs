//! The built-in service `hello`: a page, and a handful of endpoints, to see a tunnel work.
//!
//! It is an ordinary origin: HTTP/1.1 and HTTP/2 (prior knowledge) over whatever byte
//! stream it is given, so what works here works for a real service.
//!
//! | path | answer |
//! | --- | --- |
//! | `/` | the request as it arrived: a page, or JSON for `Accept: application/json` |
//! | `/events` | a clock, one server-sent event per second |
//! | `/ws` | the same clock over WebSocket, which also echoes what it is sent |
//! | `/echo` | the body of a `POST`, `PUT` or `PATCH`, streamed back |
//! | `/bytes?n=SIZE` | SIZE bytes, at most 8 GiB: the n-th eight bytes are n, big-endian |
//! | `/hash` | the SHA-256 of the body, written as `sha256sum` writes it |
//! | `/status/CODE` | an answer with that status, 200 to 599 |
//!
//! Nothing is buffered whole: a caller that stops reading stops the service's writing, and
//! one that stops sending costs no memory. Credentials in a request (`Authorization`,
//! cookies, API keys) are hidden in what is shown of it, because pages like this one end up
//! in tickets and chats.

mod arrival;
mod bodies;
mod clock;
mod page;
mod request;
mod websocket;

use std::convert::Infallible;
use std::error::Error;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

pub use arrival::Arrival;
use request::RequestView;

/// A connection that brings no next request for this long is closed. Longer than any pool
/// in front keeps an idle connection, so that the pool and not the origin closes it.
const IDLE: Duration = Duration::from_secs(300);

/// What hyper may hold of one HTTP/1.1 connection, each way.
const HTTP1_BUFFER: usize = 128 * 1024;

/// HTTP/2: a stream may have this much under way to us; the connection, enough for all.
const H2_STREAM_WINDOW: u32 = 256 * 1024;
const H2_STREAMS: u32 = 64;

const ROUTES: &str = "/ /events /ws /echo /bytes?n=SIZE /hash /status/CODE";

type BoxError = Box<dyn Error + Send + Sync>;
type Body = UnsyncBoxBody<Bytes, BoxError>;

/// Serves one connection of which nothing is known but its bytes.
///
/// Same as [`serve_arrived`] with an empty [`Arrival`].
pub async fn serve<IO>(io: IO, stop: CancellationToken)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    serve_arrived(io, Arrival::default(), stop).await;
}

/// Serves one connection until the caller ends it, or until `stop` and all that was asked
/// by then is answered. After `stop` the clocks end (the WebSocket one with code 1001);
/// a download under way is finished, so bound the wait from outside.
///
/// `arrival` is what the tunnel knows of the way this connection came; the page shows it.
///
/// An error of the connection ends it and is no error of the service: it is logged at
/// DEBUG. Dropping the future drops the connection and ends its WebSockets.
pub async fn serve_arrived<IO>(io: IO, arrival: Arrival, stop: CancellationToken)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let scope = Scope::new(arrival, &stop);
    let service = service_fn({
        let scope = Arc::clone(&scope);
        move |request| {
            let scope = Arc::clone(&scope);
            async move { Ok::<_, Infallible>(answer(request, &scope).await) }
        }
    });
    // Ends the WebSockets, which outlive the HTTP connection that they came from, when
    // this future is dropped.
    let _ends_with_us = scope.stop.clone().drop_guard();

    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .half_close(true)
        .max_buf_size(HTTP1_BUFFER);
    builder
        .http2()
        .timer(TokioTimer::new())
        .enable_connect_protocol()
        .initial_stream_window_size(H2_STREAM_WINDOW)
        .initial_connection_window_size(H2_STREAM_WINDOW * H2_STREAMS)
        .max_concurrent_streams(H2_STREAMS)
        .max_send_buf_size(HTTP1_BUFFER);

    let mut connection = pin!(builder.serve_connection_with_upgrades(TokioIo::new(io), service));
    let outcome = tokio::select! {
        outcome = connection.as_mut() => outcome,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.as_mut().await
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(%error, "hello: the connection broke");
    }
    scope.websockets.close();
    scope.websockets.wait().await;
}

/// What the requests of one connection share.
#[derive(Debug)]
struct Scope {
    arrival: Arrival,
    /// Ends the clocks: the process stops, or the connection is gone.
    stop: CancellationToken,
    websockets: tokio_util::task::TaskTracker,
}

impl Scope {
    fn new(arrival: Arrival, stop: &CancellationToken) -> Arc<Self> {
        Arc::new(Self {
            arrival,
            stop: stop.child_token(),
            websockets: tokio_util::task::TaskTracker::new(),
        })
    }
}

async fn answer(request: Request<Incoming>, scope: &Scope) -> Response<Body> {
    let path = request.uri().path();
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    let mut response = match path {
        "/" => front(&request, scope),
        "/events" if is_read => clock::events(scope.stop.clone()),
        "/ws" => websocket::upgrade(request, scope),
        "/echo" if has_body(&request) => bodies::echo(request),
        "/hash" if has_body(&request) => bodies::hash(request).await,
        "/bytes" if is_read => bodies::pattern(request.uri().query()),
        "/events" | "/bytes" => not_allowed("GET, HEAD"),
        "/echo" | "/hash" => not_allowed("POST, PUT, PATCH"),
        other => match other.strip_prefix("/status/") {
            Some(code) => bodies::status(code),
            None => text(
                StatusCode::NOT_FOUND,
                &format!("not here; there are: {ROUTES}"),
            ),
        },
    };
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        "x-content-type-options",
        HeaderValue::from_static("nosniff"),
    );
    response
}

fn front(request: &Request<Incoming>, scope: &Scope) -> Response<Body> {
    let view = RequestView::of(request, &scope.arrival);
    if request::wants_json(request.headers()) {
        let mut json = serde_json::to_string_pretty(&view)
            .expect("a view is strings and numbers, which always encode");
        json.push('\n');
        let mut response = Response::new(full(json));
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    } else {
        page::respond(&view)
    }
}

fn has_body(request: &Request<Incoming>) -> bool {
    matches!(
        *request.method(),
        Method::POST | Method::PUT | Method::PATCH
    )
}

fn not_allowed(allow: &'static str) -> Response<Body> {
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, &format!("use {allow} here"));
    response
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static(allow));
    response
}

/// One line of text.
fn text(status: StatusCode, line: &str) -> Response<Body> {
    let mut response = Response::new(full(format!("{line}\n")));
    *response.status_mut() = status;
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}

fn full(content: impl Into<Bytes>) -> Body {
    Full::new(content.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

#[cfg(test)]
mod tests;
