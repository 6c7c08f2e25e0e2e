//! What is known, as documents for `/api/clusters`.

use std::time::SystemTime;

use certs::validity::rfc3339;
use relay::AppProtocol;
use relay::proto::HealthReason;
use serde_json::{Value, json};

use super::Clusters;
use super::history::{Change, What};
use super::known::{Found, Session};
use super::service::{Service, best_of};
use crate::dns::Standing;

/// A cluster; `changes` only where one alone is asked for.
pub(super) fn cluster(clusters: &Clusters, found: &Found) -> Value {
    let now = SystemTime::now();
    let sessions: Vec<_> = found
        .sessions
        .iter()
        .map(|known| session(&clusters.edge, known, now))
        .collect();
    let newest = found.sessions.last();
    let (heard, software, expires, services) = match &found.last {
        Some(last) => (
            Some(last.heard),
            Some(&last.software),
            last.certificate_expires,
            last.services.clone(),
        ),
        None => (
            found.heard(now),
            newest.map(|session| &session.software),
            newest.and_then(|session| session.certificate_expires),
            best_of(found.sessions.iter().flat_map(|session| &session.services)),
        ),
    };
    json!({
        "tenant": found.id.tenant.as_str(),
        "cluster": found.id.cluster.as_str(),
        "state": found.state().label(),
        "since": time(found.since),
        "last_heard": heard.map(time),
        "version": software,
        "certificate_expires": expires.map(time),
        "sessions": sessions,
        "services": services.iter().map(service).collect::<Vec<_>>(),
        "dns": clusters.name_of(&found.id).map(dns_name).into_iter().collect::<Vec<_>>(),
    })
}

/// The same, with what has changed.
pub(super) fn cluster_with_changes(clusters: &Clusters, found: &Found) -> Value {
    let mut document = cluster(clusters, found);
    document["changes"] = found.changes.iter().map(change).collect();
    document
}

fn session(edge: &str, known: &Session, now: SystemTime) -> Value {
    let vitals = known.pulse.feel();
    json!({
        "id": known.id.to_string(),
        "edge": edge,
        "replica": known.replica,
        "version": known.software,
        "since": time(known.since),
        "certificate_expires": known.certificate_expires.map(time),
        "transport": vitals.transport,
        "remote": vitals.remote.to_string(),
        "key_exchange": vitals.key_exchange,
        "rtt_ms": vitals.rtt.as_secs_f64() * 1000.0,
        "last_heard": now.checked_sub(vitals.silence).map(time),
        "suspect": vitals.suspect,
        "streams": vitals.streams,
        "services": known.services.iter().map(service).collect::<Vec<_>>(),
    })
}

fn service(service: &Service) -> Value {
    json!({
        "service": service.name.as_str(),
        "protocol": protocol(service.protocol),
        "state": service.state.label(),
        "since": service.since.map(time),
        "reason": service.reason.map(HealthReason::label),
        "detail": Some(service.detail.as_str()).filter(|detail| !detail.is_empty()),
    })
}

fn dns_name(standing: Standing) -> Value {
    json!({
        "name": standing.name,
        "state": standing.state.label(),
        "why": standing.state.why(),
    })
}

fn change(change: &Change) -> Value {
    let mut document = json!({
        "version": change.version,
        "at": time(change.at.wall),
        "what": change.what.label(),
    });
    let more = match &change.what {
        What::Connected { session } | What::SessionBegan { session } => {
            json!({ "session": session })
        }
        What::Disconnected { session, why } | What::SessionEnded { session, why } => {
            json!({ "session": session, "why": why })
        }
        What::SessionReplaced { session, replaced } => {
            json!({ "session": session, "replaced": replaced })
        }
        What::Exposed { added, removed } => json!({ "added": added, "removed": removed }),
        What::Health {
            service,
            from,
            to,
            reason,
            detail,
        } => json!({
            "service": service.as_str(),
            "from": from.label(),
            "to": to.label(),
            "reason": reason.map(HealthReason::label),
            "detail": Some(detail.as_str()).filter(|detail| !detail.is_empty()),
        }),
        What::HealthOfMore { services } => json!({ "services": services }),
    };
    if let (Value::Object(document), Value::Object(more)) = (&mut document, more) {
        document.extend(more);
    }
    document
}

/// As the scheme of a target that speaks it.
pub(super) fn protocol(protocol: AppProtocol) -> &'static str {
    match protocol {
        AppProtocol::Tcp => "tcp",
        AppProtocol::Http1 => "http",
        AppProtocol::H2 => "h2",
    }
}

fn time(time: SystemTime) -> String {
    rfc3339(time.into())
}
