//! `/api/clusters`, in JSON.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, RawQuery, State as Shared};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use certs::{ClusterId, Label};
use serde_json::{Value, json};

use super::known::{Filter, State};
use super::{Clusters, json};

/// How many clusters a page has, unless another limit is stated.
pub(super) const DEFAULT_LIMIT: usize = 100;

/// How many a page may have.
pub(super) const MAX_LIMIT: usize = 1000;

/// How many names are given to whoever asks for one that is not known.
const NAMES: usize = 20;

pub(super) fn routes(clusters: Arc<Clusters>) -> Router {
    Router::new()
        .route("/api/clusters", get(list))
        .route("/api/clusters/{tenant}/{cluster}", get(one))
        .with_state(clusters)
}

/// What a page is asked for with.
#[derive(Debug)]
pub(super) struct Query {
    pub(super) filter: Filter,
    pub(super) after: Option<ClusterId>,
    pub(super) limit: usize,
}

async fn list(Shared(clusters): Shared<Arc<Clusters>>, RawQuery(query): RawQuery) -> Response {
    let query = match Query::parse(query.as_deref().unwrap_or_default()) {
        Ok(query) => query,
        Err(problem) => return answer(StatusCode::BAD_REQUEST, &json!({ "error": problem })),
    };
    let (page, more, version) = {
        let known = clusters.known.lock();
        let (page, more) = known.page(&query.filter, query.after.as_ref(), query.limit);
        (page, more, known.version())
    };
    let next = page
        .last()
        .filter(|_| more)
        .map(|found| found.id.to_string());
    let listed = page.iter().map(|found| json::cluster(&clusters, found));
    let listed: Vec<_> = listed.collect();
    let document = json!({
        "edge": clusters.edge,
        "instance": clusters.instance,
        "version": version,
        "clusters": listed,
        "next": next,
    });
    answer(StatusCode::OK, &document)
}

async fn one(
    Shared(clusters): Shared<Arc<Clusters>>,
    Path((tenant, cluster)): Path<(String, String)>,
) -> Response {
    match clusters.find(&tenant, &cluster) {
        Ok(found) => answer(
            StatusCode::OK,
            &json::cluster_with_changes(&clusters, &found),
        ),
        Err(unknown) => {
            let names: Vec<_> = unknown.known.iter().map(ToString::to_string).collect();
            let document = json!({ "error": unknown.message, "known": names });
            answer(StatusCode::NOT_FOUND, &document)
        }
    }
}

/// There is no such cluster.
#[derive(Debug)]
pub(super) struct NotKnown {
    pub(super) message: String,
    /// Some that there are.
    pub(super) known: Vec<ClusterId>,
}

impl Clusters {
    pub(super) fn find(
        &self,
        tenant: &str,
        cluster: &str,
    ) -> Result<super::known::Found, NotKnown> {
        let nothing = |message| NotKnown {
            message,
            known: Vec::new(),
        };
        let read = |text: &str| {
            text.parse::<Label>()
                .map_err(|error| nothing(error.to_string()))
        };
        let id = ClusterId {
            tenant: read(tenant)?,
            cluster: read(cluster)?,
        };
        let known = self.known.lock();
        known.get(&id).ok_or_else(|| NotKnown {
            message: format!(
                "{id} has no session with edge {} now, and had none within a day or since the edge was started",
                self.edge
            ),
            known: known.names(&id.tenant, NAMES),
        })
    }
}

impl Query {
    /// Reads `tenant=acme&state=connected&after=acme/prod-1&limit=100`, any of them left out.
    pub(super) fn parse(query: &str) -> Result<Self, String> {
        let mut read = Self {
            filter: Filter::default(),
            after: None,
            limit: DEFAULT_LIMIT,
        };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value =
                decoded(value).ok_or_else(|| format!("{pair}: not percent-encoded text"))?;
            let wrong = |problem: String| format!("{key}: {problem}");
            match key {
                "tenant" => {
                    let tenant = value
                        .parse::<Label>()
                        .map_err(|error| wrong(error.to_string()))?;
                    read.filter.tenant = Some(tenant);
                }
                "state" => read.filter.state = Some(state(&value).map_err(wrong)?),
                "after" => {
                    let after = value.parse::<ClusterId>();
                    read.after = Some(after.map_err(|error| wrong(error.to_string()))?);
                }
                "limit" => {
                    let limit = value
                        .parse()
                        .ok()
                        .filter(|limit| (1..=MAX_LIMIT).contains(limit));
                    let expected =
                        || wrong(format!("{value:?} is not a number from 1 to {MAX_LIMIT}"));
                    read.limit = limit.ok_or_else(expected)?;
                }
                _ => {
                    return Err(format!(
                        "{key}: unknown; expected tenant, state, after or limit"
                    ));
                }
            }
        }
        Ok(read)
    }
}

fn state(word: &str) -> Result<State, String> {
    [State::Connected, State::Disconnected]
        .into_iter()
        .find(|state| state.label() == word)
        .ok_or_else(|| format!("{word:?} is none; expected connected or disconnected"))
}

/// Percent-encoding undone (RFC 3986, section 2.1).
fn decoded(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut out = Vec::new();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            plain => plain,
        });
    }
    String::from_utf8(out).ok()
}

fn answer(status: StatusCode, document: &Value) -> Response {
    let text = format!("{document:#}\n");
    (status, [(CONTENT_TYPE, "application/json")], text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_page_is_asked_for_with() {
        let all = Query::parse("").unwrap();
        assert_eq!((all.limit, all.after), (DEFAULT_LIMIT, None));
        let query = Query::parse("tenant=acme&state=disconnected&after=acme%2Fprod-1&limit=5");
        let query = query.unwrap();
        assert_eq!(query.filter.tenant.unwrap().as_str(), "acme");
        assert_eq!(query.filter.state, Some(State::Disconnected));
        assert_eq!(query.after.unwrap().to_string(), "acme/prod-1");
        assert_eq!(query.limit, 5);
    }

    #[test]
    fn what_is_no_question_is_said() {
        for (query, problem) in [
            ("limit=0", "limit: \"0\" is not a number from 1 to 1000"),
            (
                "limit=1001",
                "limit: \"1001\" is not a number from 1 to 1000",
            ),
            ("limit", "limit: \"\" is not a number from 1 to 1000"),
            (
                "state=up",
                "state: \"up\" is none; expected connected or disconnected",
            ),
            (
                "page=2",
                "page: unknown; expected tenant, state, after or limit",
            ),
            ("after=%zz", "after=%zz: not percent-encoded text"),
            ("after=%f", "after=%f: not percent-encoded text"),
        ] {
            assert_eq!(Query::parse(query).unwrap_err(), problem, "{query}");
        }
        for query in ["tenant=A", "after=acme", "after=acme%00/x"] {
            let key = query.split('=').next().unwrap();
            let problem = Query::parse(query).unwrap_err();
            assert!(problem.starts_with(&format!("{key}: ")), "{problem}");
        }
    }
}
