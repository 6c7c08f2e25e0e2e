//! What the admin listener tells of names, and does on request.
//!
//! | path | answer |
//! | --- | --- |
//! | `GET /api/dns` | how every name stands, as of the last round |
//! | `GET /api/dns/plan` | what a round would do now; 502 with `error` if it cannot be known |
//! | `POST /api/dns/apply` | makes a round now, then as `/api/dns` |

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use axum::Router;
use axum::extract::{Json, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use certs::ClusterId;
use certs::validity::rfc3339;
use hickory_proto::rr::RData;
use serde_json::{Value, json};

use super::desired::name_of_cluster;
use super::plan::{Held, Planned};
use super::records::{RecordSet, Records};
use super::report::{NameReport, NameState, Outcome, Report};
use super::run::{Dns, NoAnswer, Preview};

/// A line for each path, as `/` shows it.
pub(crate) const INDEX: &str = "\
/api/dns          how every DNS name stands, JSON; `causeway dns` shows it
/api/dns/plan     what a round would change now
/api/dns/apply    POST: makes a round now
";

/// Longer than a round over a large zone takes, shorter than whoever asks is let wait.
const PATIENCE: Duration = Duration::from_secs(25);

/// The paths.
pub(crate) fn routes(dns: Dns) -> Router {
    Router::new()
        .route("/api/dns", get(state))
        .route("/api/dns/plan", get(plan))
        .route("/api/dns/apply", post(apply))
        .with_state(dns)
}

async fn state(State(dns): State<Dns>) -> Json<Value> {
    Json(full(&dns, &dns.report()))
}

async fn plan(State(dns): State<Dns>) -> Response {
    answer(dns.plan(), |preview| planned(&dns, &preview)).await
}

async fn apply(State(dns): State<Dns>) -> Response {
    answer(dns.apply(), |report| full(&dns, &report)).await
}

async fn answer<T>(
    asked: impl Future<Output = Result<T, NoAnswer>>,
    show: impl FnOnce(T) -> Value,
) -> Response {
    let refuse = |status: StatusCode, message: &str| {
        (status, Json(json!({ "error": message }))).into_response()
    };
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Ok(answer)) => Json(show(answer)).into_response(),
        Ok(Err(error @ (NoAnswer::Busy | NoAnswer::Stopped))) => {
            refuse(StatusCode::SERVICE_UNAVAILABLE, &error.to_string())
        }
        Ok(Err(NoAnswer::Failed(message))) => refuse(StatusCode::BAD_GATEWAY, &message),
        Err(_) => refuse(
            StatusCode::GATEWAY_TIMEOUT,
            "the round still goes on; its outcome will be at /api/dns",
        ),
    }
}

impl Dns {
    /// The part of `/api/status`: how many names stand how.
    pub(crate) fn summary(&self) -> Value {
        head(self, &self.report())
    }

    /// How a cluster's name stands; `None` if no round has seen the cluster yet.
    pub(crate) fn of_cluster(&self, cluster: &ClusterId) -> Option<Standing> {
        let name = name_of_cluster(cluster, &self.policy.naming.zone);
        let state = self.report().names.get(&name)?.state.clone();
        Some(Standing { name, state })
    }
}

/// A name, and how it stands.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    pub(crate) name: String,
    pub(crate) state: NameState,
}

fn full(dns: &Dns, report: &Report) -> Value {
    let mut all = head(dns, report);
    all["names"] = report.names.iter().map(named).collect();
    all["held"] = report.held.iter().map(held).collect();
    all
}

fn head(dns: &Dns, report: &Report) -> Value {
    let message = match &report.outcome {
        None | Some(Outcome::Finished) => None,
        Some(Outcome::Unfinished) => Some("changes have failed; the names say which".to_owned()),
        Some(Outcome::Unread(_, message) | Outcome::NoRegistry(message)) => Some(message.clone()),
    };
    let last_round = report.outcome.as_ref().map(|outcome| {
        let reason = match outcome {
            Outcome::Unread(reason, _) => Some(reason.label()),
            Outcome::Finished | Outcome::Unfinished | Outcome::NoRegistry(_) => None,
        };
        json!({
            "ended": time(report.at),
            "outcome": outcome.label(),
            "reason": reason,
            "message": message,
            "took_ms": report.took.as_secs_f64() * 1000.0,
            "added": report.tally.added,
            "updated": report.tally.updated,
            "repaired": report.tally.repaired,
            "removed": report.tally.removed,
            "overtaken": report.tally.overtaken,
            "failed": report.tally.failed,
        })
    });
    let mut counts = BTreeMap::from(["in_sync", "pending", "foreign", "failed"].map(|at| (at, 0)));
    for name in report.names.values() {
        *counts.entry(name.state.label()).or_default() += 1;
    }
    json!({
        "zone": dns.policy.naming.zone.to_string(),
        "provider": dns.provider,
        "owner": dns.policy.owner,
        "serial": report.serial,
        "last_read": report.read.map(time),
        "rounds": report.rounds,
        "last_round": last_round,
        "last_finished": report.finished.map(time),
        "counts": counts,
        "owned": report.owned,
        "held_count": report.held.len(),
    })
}

fn named((name, report): (&String, &NameReport)) -> Value {
    json!({
        "name": name,
        "for": report.purpose,
        "state": report.state.label(),
        "why": report.state.why(),
    })
}

fn held(held: &Held) -> Value {
    json!({
        "name": held.name.to_string(),
        "for": held.purpose,
        "records": texts(held.records.iter()),
        "because": held.because.label(),
        "until": held.until.map(time),
    })
}

fn planned(dns: &Dns, preview: &Preview) -> Value {
    let changes = preview.plan.changes.iter();
    let states = preview.plan.states.iter().filter_map(|(name, state)| {
        use super::plan::State;
        match state {
            State::Foreign(why) => Some(json!({ "name": name.to_string(), "why": why })),
            State::InSync | State::Pending(_) => None,
        }
    });
    // As of the last round: a plan tries nothing.
    let report = dns.report();
    let failed = report.names.iter().filter_map(|(name, report)| {
        let failed = matches!(report.state, NameState::Failed { .. });
        failed.then(|| json!({ "name": name, "why": report.state.why() }))
    });
    json!({
        "zone": dns.policy.naming.zone.to_string(),
        "provider": dns.provider,
        "at": time(preview.at),
        "changes": changes.map(|planned| change(planned, &preview.records)).collect::<Vec<_>>(),
        "held": preview.plan.held.iter().map(held).collect::<Vec<_>>(),
        "foreign": states.collect::<Vec<_>>(),
        "failed": failed.collect::<Vec<_>>(),
        "owned": preview.plan.owned,
    })
}

/// Each set as it is and as it is to be; `null` is none.
fn change(planned: &Planned, records: &Records) -> Value {
    let set = |set: Option<&RecordSet>| {
        set.map(|set| json!({ "ttl": set.ttl, "data": texts(set.data.iter()) }))
    };
    let sets = planned.change.sets.iter().map(|(key, to)| {
        json!({
            "name": key.name.to_string(),
            "type": key.kind.to_string(),
            "from": set(records.get(key)),
            "to": set(to.as_ref()),
        })
    });
    json!({
        "act": planned.act.label(),
        "name": planned.change.name.to_string(),
        "sets": sets.collect::<Vec<_>>(),
    })
}

fn texts<'r>(records: impl Iterator<Item = &'r RData>) -> Vec<String> {
    records.map(ToString::to_string).collect()
}

/// The moment on people's clocks.
fn time(at: Instant) -> String {
    let (now, clock) = (Instant::now(), SystemTime::now());
    let on_the_clock = match at.checked_duration_since(now) {
        Some(ahead) => clock + ahead,
        None => clock - now.duration_since(at),
    };
    rfc3339(on_the_clock.into())
}
