//! What is told and changed over HTTP/1.1 while it runs, for this machine only: a loopback address or a
//! unix socket. [`proxy::control`](crate::proxy::control) and, on Linux, `net::control` say what there is.
//!
//! Answers are JSON; errors are `{"error": …}` and say what would be right. As on the admin listener
//! of an edge, a `Host` that is no IP address and not `localhost` is refused over TCP, so that no web
//! page can come here by a name of its own.

use std::net::IpAddr;
use std::panic::resume_unwind;
use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::header::HOST;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use relay::listen::{BindError, Listener};
use relay::pump::Socket;
use relay::settings::ListenAddr;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::{JoinError, JoinSet};

/// Connections at a time; the next one waits.
const CONNECTIONS: usize = 32;

/// From connecting to the end of a request's head.
const HEAD: Duration = Duration::from_secs(10);

/// More than anything that is set has.
const BODY_BYTES: usize = 64 * 1024;

/// A bound control listener.
#[derive(Debug)]
pub struct Control {
    listener: Listener,
}

/// Why control cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Others than this machine would reach it.
    #[error(
        "{key} {address}: whoever reaches it decides about the traffic, so it must be a loopback address or unix:/path"
    )]
    NotLocal {
        /// Where.
        address: ListenAddr,
        /// What says where.
        key: &'static str,
    },
    /// The system refused.
    #[error(transparent)]
    Bind(#[from] BindError),
}

/// What control answers about: a handle of what runs makes one.
#[derive(Clone, Debug)]
pub struct Told(pub(crate) Router);

impl Control {
    /// Binds without answering yet. Call it within the runtime that will serve. `key` is the
    /// argument that an error tells to change.
    ///
    /// # Errors
    /// If the address is not local, or cannot be bound.
    pub fn bind(address: &ListenAddr, key: &'static str) -> Result<Self, ControlError> {
        if !address.is_local() {
            let address = address.clone();
            return Err(ControlError::NotLocal { address, key });
        }
        let listener = Listener::bind(address, key)?;
        Ok(Self { listener })
    }

    /// Where it listens; the port is the real one.
    pub fn address(&self) -> ListenAddr {
        self.listener.address()
    }

    /// Answers about what runs, until dropped.
    pub async fn serve(self, told: impl Into<Told>) {
        let Told(router) = told.into();
        let over_tcp = match self.listener.address() {
            ListenAddr::Ip(_) => true,
            ListenAddr::Unix(_) => false,
        };
        self.answer(complete(router, over_tcp)).await;
    }

    async fn answer(self, router: Router) {
        let mut peers = JoinSet::new();
        loop {
            if peers.len() >= CONNECTIONS {
                surface(peers.join_next().await);
            }
            tokio::select! {
                (socket, _) = self.listener.accept() => match socket {
                    Socket::Tcp(io) => drop(peers.spawn(converse(io, router.clone()))),
                    Socket::Unix(io) => drop(peers.spawn(converse(io, router.clone()))),
                },
                Some(ended) = peers.join_next() => surface(Some(ended)),
            }
        }
    }
}

/// A panic of a task is one of whoever waits for it.
pub(crate) fn surface(ended: Option<Result<(), JoinError>>) {
    if let Some(Err(error)) = ended {
        match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            Err(cancelled) => drop(cancelled),
        }
    }
}

async fn converse<IO>(io: IO, router: Router)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .serve_connection(TokioIo::new(io), TowerToHyperService::new(router));
    // What a peer does wrong is answered, or ends its connection.
    let _ = connection.await;
}

/// With what every control answers besides its own paths.
fn complete(router: Router, over_tcp: bool) -> Router {
    let router = router
        .fallback(|| async { error(StatusCode::NOT_FOUND, "no such path; GET / lists them") })
        .method_not_allowed_fallback(|| async {
            let why = "not by this method; GET / lists what there is";
            error(StatusCode::METHOD_NOT_ALLOWED, why)
        })
        .layer(DefaultBodyLimit::max(BODY_BYTES));
    if over_tcp {
        router.layer(middleware::from_fn(guard))
    } else {
        router
    }
}

async fn guard(request: Request, next: Next) -> Response {
    if is_local(request.headers()) {
        next.run(request).await
    } else {
        let why = "the Host must be an IP address or localhost";
        error(StatusCode::FORBIDDEN, why)
    }
}

fn is_local(headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return false;
    };
    let Ok(host) = Authority::try_from(host.as_bytes()) else {
        return false;
    };
    let name = host.host().trim_matches(['[', ']']);
    !host.as_str().contains('@')
        && (name.parse::<IpAddr>().is_ok() || name.eq_ignore_ascii_case("localhost"))
}

/// What is wrong with a request.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) why: String,
}

impl Refusal {
    /// It says something that cannot be done.
    pub(crate) fn bad(why: impl ToString) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            why: why.to_string(),
        }
    }

    /// It names something that is not there.
    pub(crate) fn unknown(why: impl ToString) -> Self {
        Self {
            status: StatusCode::NOT_FOUND,
            why: why.to_string(),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        error(self.status, &self.why)
    }
}

fn error(status: StatusCode, why: &str) -> Response {
    (status, Json(json!({ "error": why }))).into_response()
}

#[cfg(test)]
mod tests;
