//! Faults over HTTP/1.1, for this machine only: a loopback address or a unix socket.
//!
//! | method and path | |
//! | --- | --- |
//! | `GET /` | these paths, text |
//! | `GET /faults` | what is in force, by direction; `for`: how long still |
//! | `PUT /faults/KIND`, `PUT /faults/KIND/up`, `…/down` | puts a fault in force; the body is a JSON object of its parameters. `?for=5s`: for so long |
//! | `DELETE /faults/KIND`, `…/up`, `…/down` | takes it away |
//! | `DELETE /faults` | takes all away |
//! | `GET /connections` | who is connected, and the bytes each way |
//! | `GET /status` | where the proxy listens, its faults and totals |
//!
//! Answers are JSON; errors are `{"error": …}` and say what would be right. As on the admin listener
//! of an edge, a `Host` that is no IP address and not `localhost` is refused over TCP, so that no web
//! page can come here by a name of its own.

use std::net::IpAddr;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::header::HOST;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, put};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use parking_lot::Mutex;
use relay::listen::{BindError, Listener};
use relay::pump::Socket;
use relay::settings::{ListenAddr, parse_duration};
use serde_json::{Map, Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::{JoinError, JoinSet};

use super::direction::{Direction, Directions};
use super::fault::{Fault, Placed};
use super::faults::Faults;
use super::kind::Kind;
use super::{Observer, Proxy};

/// Connections at a time; the next one waits.
const CONNECTIONS: usize = 32;

/// From connecting to the end of a request's head.
const HEAD: Duration = Duration::from_secs(10);

/// More than any fault is.
const BODY_BYTES: usize = 64 * 1024;

const INDEX: &str = "\
causeway chaos proxy

GET    /faults            what is in force, by direction
PUT    /faults/KIND       puts a fault in force both ways; body: {\"delay\": \"100ms\"}
PUT    /faults/KIND/up    only towards the server; /down: only towards callers
                          ?for=5s: for so long, then as before
DELETE /faults/KIND       takes it away; with /up or /down only there
DELETE /faults            takes all away
GET    /connections       who is connected, and the bytes each way
GET    /status            where the proxy listens, its faults and totals

Kinds of faults and their parameters: causeway chaos list
";

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

#[derive(Clone, Debug)]
struct Told {
    faults: Faults,
    observer: Observer,
    about: Value,
    /// What ends faults that are in force for a time.
    ending: Arc<Mutex<JoinSet<()>>>,
}

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

    /// Answers about a proxy, until dropped.
    pub async fn serve(self, told: Handle) {
        let over_tcp = match self.listener.address() {
            ListenAddr::Ip(_) => true,
            ListenAddr::Unix(_) => false,
        };
        self.answer(router(told.0, over_tcp)).await;
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

/// What control answers about.
#[derive(Clone, Debug)]
pub struct Handle(Told);

impl Handle {
    /// A proxy.
    pub fn of(proxy: &Proxy) -> Self {
        let passing = &proxy.passing;
        let about = json!({
            "listen": proxy.address().to_string(),
            "to": passing.to.to_string(),
            "seed": passing.options.seed,
        });
        Self(Told {
            faults: proxy.faults(),
            observer: proxy.observer(),
            about,
            ending: Arc::default(),
        })
    }

    /// With more keys of `/status`.
    pub fn with(mut self, more: Map<String, Value>) -> Self {
        if let Value::Object(about) = &mut self.0.about {
            about.extend(more);
        }
        self
    }
}

/// A panic of a task is one of whoever waits for it.
fn surface(ended: Option<Result<(), JoinError>>) {
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

fn router(told: Told, over_tcp: bool) -> Router {
    let router = Router::new()
        .route("/", get(|| async { INDEX }))
        .route("/faults", get(faults))
        .route("/faults", delete(clear_all))
        .route("/faults/{kind}", put(set))
        .route("/faults/{kind}", delete(clear))
        .route("/faults/{kind}/{direction}", put(set))
        .route("/faults/{kind}/{direction}", delete(clear))
        .route("/connections", get(connections))
        .route("/status", get(status))
        .fallback(|| async { error(StatusCode::NOT_FOUND, "no such path; GET / lists them") })
        .method_not_allowed_fallback(|| async {
            let why = "not by this method; GET / lists what there is";
            error(StatusCode::METHOD_NOT_ALLOWED, why)
        })
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .with_state(told);
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

async fn faults(State(told): State<Told>) -> Json<Value> {
    Json(told.faults.now().to_json())
}

async fn status(State(told): State<Told>) -> Json<Value> {
    let mut status = told.about.clone();
    status["faults"] = told.faults.now().to_json();
    status["totals"] = told.observer.totals().to_json();
    Json(status)
}

async fn connections(State(told): State<Told>) -> Json<Value> {
    Json(told.observer.connections())
}

async fn clear_all(State(told): State<Told>) -> Json<Value> {
    told.faults.clear_all();
    faults(State(told)).await
}

/// `KIND` or `KIND/DIRECTION` of a path.
type Which = Path<Vec<(String, String)>>;

async fn set(
    State(told): State<Told>,
    which: Which,
    request: axum::http::Uri,
    body: Bytes,
) -> Response {
    let done = read(&which).and_then(|(kind, directions)| {
        let fault = Fault::from_json(kind, &body).map_err(Refusal::bad)?;
        let lasts = lasts(request.query().unwrap_or_default(), kind)?;
        let placed = Placed::new(directions, fault).map_err(Refusal::bad)?;
        match lasts {
            None => {
                told.faults.set(placed).map_err(Refusal::bad)?;
                Ok(None)
            }
            Some(lasts) => {
                let hold = told.faults.hold(placed, lasts).map_err(Refusal::bad)?;
                Ok(Some((hold, lasts)))
            }
        }
    });
    match done {
        Ok(None) => {}
        Ok(Some((hold, lasts))) => {
            let faults = told.faults.clone();
            let mut ending = told.ending.lock();
            while let Some(ended) = ending.try_join_next() {
                surface(Some(ended));
            }
            // Not within this request: whoever asked may be gone by then, and it shall end all the same.
            ending.spawn(async move {
                tokio::time::sleep(lasts).await;
                faults.release(hold);
            });
        }
        Err(refusal) => return refusal.into_response(),
    }
    faults(State(told)).await.into_response()
}

async fn clear(State(told): State<Told>, which: Which) -> Response {
    let (kind, directions) = match read(&which) {
        Ok(read) => read,
        Err(refusal) => return refusal.into_response(),
    };
    if told.faults.clear(kind, directions) {
        faults(State(told)).await.into_response()
    } else {
        let why = format!("there is no {kind} in force there");
        error(StatusCode::NOT_FOUND, &why)
    }
}

/// What is wrong with a request.
#[derive(Debug)]
struct Refusal {
    status: StatusCode,
    why: String,
}

fn read(which: &Which) -> Result<(Kind, Directions), Refusal> {
    let named = |name: &str| which.iter().find(|(it, _)| it == name).map(|(_, it)| it);
    let kind: Kind = named("kind")
        .map_or("", String::as_str)
        .parse()
        .map_err(|why: super::UnknownKind| Refusal::unknown(why))?;
    let directions = match named("direction") {
        None => Directions::Both,
        Some(direction) => {
            let direction: Direction = direction
                .parse()
                .map_err(|why: super::FaultError| Refusal::unknown(why))?;
            Directions::One(direction)
        }
    };
    Ok((kind, directions))
}

/// `?for=5s`.
fn lasts(query: &str, kind: Kind) -> Result<Option<Duration>, Refusal> {
    match query.split_once('=') {
        None if query.is_empty() => Ok(None),
        Some(("for", _)) if kind == Kind::Rebind => {
            Err(Refusal::bad("rebind happens once; leave out \"for\""))
        }
        Some(("for", text)) => match parse_duration(text) {
            Ok(Duration::ZERO) => Err(Refusal::bad(
                "for: 0s is over before it begins; write how long, such as ?for=5s, or leave it out for good",
            )),
            Ok(lasts) => Ok(Some(lasts)),
            Err(why) => Err(Refusal::bad(format!("for: {why}"))),
        },
        None | Some(_) => Err(Refusal::bad(format!(
            "\"?{query}\" means nothing here; there is ?for=5s, and parameters are in the body"
        ))),
    }
}

impl Refusal {
    fn bad(why: impl ToString) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            why: why.to_string(),
        }
    }

    fn unknown(why: impl ToString) -> Self {
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
