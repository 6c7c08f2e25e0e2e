//! One connection: which HTTP it speaks, and how long it may.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;

use axum::Router;
use axum::http::{StatusCode, Version};
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use super::serve::Limits;

/// The most that a request's head may be.
const HEAD_BYTES: u32 = 16 * 1024;

/// Requests at a time over one connection of HTTP/2.
const STREAMS: u32 = 64;

/// What a peer has turned out to speak.
#[derive(Debug)]
pub(super) struct Spoken {
    version: watch::Sender<Http>,
    /// For connections of HTTP/2.
    places: Arc<Semaphore>,
}

#[derive(Debug)]
enum Http {
    /// No request has come yet.
    Unknown,
    /// One request, then it is over.
    One,
    /// Many, for as long as they last.
    Two(#[allow(dead_code, reason = "held, not looked at")] OwnedSemaphorePermit),
}

impl Spoken {
    pub(super) fn nothing_yet(places: Arc<Semaphore>) -> Self {
        Self {
            version: watch::Sender::new(Http::Unknown),
            places,
        }
    }

    /// Whether the connection may stay for long.
    pub(super) fn is_http2(&self) -> bool {
        matches!(*self.version.borrow(), Http::Two(_))
    }

    /// A request has come; whether there is a place for it.
    fn request(&self, version: Version) -> bool {
        let mut admitted = true;
        self.version.send_modify(|known| match known {
            Http::Unknown if version == Version::HTTP_2 => {
                match self.places.clone().try_acquire_owned() {
                    Ok(place) => *known = Http::Two(place),
                    Err(_) => {
                        admitted = false;
                        *known = Http::One;
                    }
                }
            }
            Http::Unknown => *known = Http::One,
            // Over HTTP/2, a further request of a connection that found no place.
            Http::One => admitted = version != Version::HTTP_2,
            Http::Two(_) => {}
        });
        admitted
    }

    /// Until the peer has taken longer than it may.
    async fn too_long(&self, limits: Limits, begun: Instant) {
        let mut version = self.version.subscribe();
        let spoken = version.wait_for(|http| !matches!(http, Http::Unknown));
        if timeout_at(begun + limits.head, spoken).await.is_err() {
            return;
        }
        if self.is_http2() {
            return std::future::pending().await;
        }
        sleep_until(begun + limits.whole).await;
    }
}

/// Serves one peer until it is done, has taken too long, or `stop` and no request is under way.
pub(super) async fn converse<IO>(
    io: IO,
    router: Router,
    limits: Limits,
    spoken: Arc<Spoken>,
    stop: CancellationToken,
) where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let begun = Instant::now();
    let routes = TowerToHyperService::new(router);
    let service = service_fn(|request: hyper::Request<Incoming>| {
        let admitted = spoken.request(request.version());
        let answer = admitted.then(|| routes.call(request));
        async move {
            match answer {
                Some(answer) => answer.await,
                None => Ok::<_, Infallible>(no_place()),
            }
        }
    });
    let over = CancellationToken::new();
    let _over = over.clone().drop_guard();
    let server = server(limits, over);
    let connection = server.serve_connection(TokioIo::new(io), service);
    let conversation = async {
        let mut connection = pin!(connection);
        tokio::select! {
            outcome = connection.as_mut() => outcome,
            () = stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        }
    };
    tokio::select! {
        outcome = conversation => {
            if let Err(error) = outcome {
                tracing::debug!(%error, "a peer of the admin or telemetry listener broke off");
            }
        }
        () = spoken.too_long(limits, begun) => {
            tracing::debug!("a peer of the admin or telemetry listener took too long");
        }
    }
}

fn server(limits: Limits, over: CancellationToken) -> auto::Builder<WhileConnected> {
    let mut server = auto::Builder::new(WhileConnected(over));
    server
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(HEAD_BYTES as usize)
        .keep_alive(false)
        .half_close(true);
    server
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(HEAD_BYTES)
        .max_concurrent_streams(STREAMS)
        .keep_alive_interval(Some(limits.ping))
        .keep_alive_timeout(limits.ping);
    server
}

fn no_place() -> Response {
    let text = "too many connections of HTTP/2 are open\n";
    (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
}

/// Runs the streams of a connection of HTTP/2; they end with it.
#[derive(Clone, Debug)]
struct WhileConnected(CancellationToken);

impl<F> Executor<F> for WhileConnected
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let over = self.0.clone();
        tokio::spawn(async move { over.run_until_cancelled(stream).await.map(drop) });
    }
}
