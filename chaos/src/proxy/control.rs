//! Faults over HTTP/1.1, by [`Control`](crate::control::Control).
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

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, put};
use parking_lot::Mutex;
use relay::settings::parse_duration;
use serde_json::{Map, Value, json};
use tokio::task::JoinSet;

use super::direction::{Direction, Directions};
use super::fault::{Fault, Placed};
use super::faults::Faults;
use super::kind::Kind;
use super::{Observer, Proxy};
use crate::control::{Refusal, Told, surface};

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

/// What control answers about: a proxy.
#[derive(Clone, Debug)]
pub struct Handle(Facts);

#[derive(Clone, Debug)]
struct Facts {
    faults: Faults,
    observer: Observer,
    about: Value,
    /// What ends faults that are in force for a time.
    ending: Arc<Mutex<JoinSet<()>>>,
}

impl Handle {
    /// A proxy.
    pub fn of(proxy: &Proxy) -> Self {
        let passing = &proxy.passing;
        let about = json!({
            "listen": proxy.address().to_string(),
            "to": passing.to.to_string(),
            "seed": passing.options.seed,
        });
        Self(Facts {
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

impl From<Handle> for Told {
    fn from(Handle(facts): Handle) -> Self {
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
            .with_state(facts);
        Self(router)
    }
}

async fn faults(State(facts): State<Facts>) -> Json<Value> {
    Json(facts.faults.now().to_json())
}

async fn status(State(facts): State<Facts>) -> Json<Value> {
    let mut status = facts.about.clone();
    status["faults"] = facts.faults.now().to_json();
    status["totals"] = facts.observer.totals().to_json();
    Json(status)
}

async fn connections(State(facts): State<Facts>) -> Json<Value> {
    Json(facts.observer.connections())
}

async fn clear_all(State(facts): State<Facts>) -> Json<Value> {
    facts.faults.clear_all();
    faults(State(facts)).await
}

/// `KIND` or `KIND/DIRECTION` of a path.
type Which = Path<Vec<(String, String)>>;

async fn set(
    State(facts): State<Facts>,
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
                facts.faults.set(placed).map_err(Refusal::bad)?;
                Ok(None)
            }
            Some(lasts) => {
                let hold = facts.faults.hold(placed, lasts).map_err(Refusal::bad)?;
                Ok(Some((hold, lasts)))
            }
        }
    });
    match done {
        Ok(None) => {}
        Ok(Some((hold, lasts))) => {
            let faults = facts.faults.clone();
            let mut ending = facts.ending.lock();
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
    faults(State(facts)).await.into_response()
}

async fn clear(State(facts): State<Facts>, which: Which) -> Response {
    let (kind, directions) = match read(&which) {
        Ok(read) => read,
        Err(refusal) => return refusal.into_response(),
    };
    if facts.faults.clear(kind, directions) {
        faults(State(facts)).await.into_response()
    } else {
        let why = format!("there is no {kind} in force there");
        Refusal::unknown(why).into_response()
    }
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

#[cfg(test)]
mod tests;
