//! What is known, as messages of `causeway.cluster.v1`.

use std::time::{Duration, SystemTime};

use relay::proto::{HealthReason, HealthState as State};

use super::Clusters;
use super::history::{Change as Changed, What};
use super::json::protocol;
use super::known::{self, Found};
use super::service::{Service as Known, best_of};
use crate::dns::{NameState, Standing};

#[allow(
    missing_docs,
    clippy::all,
    unreachable_pub,
    unused_qualifications,
    reason = "generated code"
)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/causeway.cluster.v1.rs"));
}

use generated::change::What as Kind;
pub(super) use generated::*;
use prost_types::Timestamp;

pub(super) fn cluster(clusters: &Clusters, found: &Found) -> Cluster {
    let now = SystemTime::now();
    let newest = found.sessions.last();
    let (heard, version, expires, services) = match &found.last {
        Some(last) => (
            Some(last.heard),
            last.software.clone(),
            last.certificate_expires,
            last.services.clone(),
        ),
        None => (
            found.heard(now),
            newest.map_or_else(String::new, |session| session.software.clone()),
            newest.and_then(|session| session.certificate_expires),
            best_of(found.sessions.iter().flat_map(|session| &session.services)),
        ),
    };
    Cluster {
        tenant: found.id.tenant.to_string(),
        cluster: found.id.cluster.to_string(),
        state: ClusterState::from(found.state()).into(),
        since: Some(found.since.into()),
        last_heard: heard.map(Timestamp::from),
        version,
        certificate_expires: expires.map(Timestamp::from),
        sessions: found
            .sessions
            .iter()
            .map(|known| session(&clusters.edge, known, now))
            .collect(),
        services: services.iter().map(service).collect(),
        changes: found.changes.iter().map(change).collect(),
        dns: clusters
            .name_of(&found.id)
            .map(dns_name)
            .into_iter()
            .collect(),
    }
}

fn session(edge: &str, known: &known::Session, now: SystemTime) -> Session {
    let vitals = known.pulse.feel();
    Session {
        id: known.id.to_string(),
        edge: edge.to_owned(),
        replica: known.replica.clone(),
        version: known.software.clone(),
        since: Some(known.since.into()),
        certificate_expires: known.certificate_expires.map(Timestamp::from),
        transport: vitals.transport.to_owned(),
        remote: vitals.remote.to_string(),
        key_exchange: vitals.key_exchange,
        rtt_us: micros(vitals.rtt),
        last_heard: now.checked_sub(vitals.silence).map(Timestamp::from),
        suspect: vitals.suspect,
        streams: count(vitals.streams),
        services: known.services.iter().map(service).collect(),
    }
}

fn service(known: &Known) -> Service {
    Service {
        name: known.name.to_string(),
        protocol: protocol(known.protocol).to_owned(),
        state: HealthState::from(known.state).into(),
        since: known.since.map(Timestamp::from),
        reason: reason(known.reason),
        detail: known.detail.clone(),
    }
}

fn dns_name(standing: Standing) -> DnsName {
    let state = match standing.state {
        NameState::InSync => DnsState::InSync,
        NameState::Pending(_) => DnsState::Pending,
        NameState::Foreign(_) => DnsState::Foreign,
        NameState::Failed { .. } => DnsState::Failed,
    };
    DnsName {
        why: standing.state.why().unwrap_or_default(),
        name: standing.name,
        state: state.into(),
    }
}

fn change(changed: &Changed) -> Change {
    let of_session = |session: &str, why: &str| SessionChange {
        session: session.to_owned(),
        why: why.to_owned(),
    };
    let what = match &changed.what {
        What::Connected { session } => Kind::Connected(of_session(session, "")),
        What::Disconnected { session, why } => Kind::Disconnected(of_session(session, why)),
        What::SessionBegan { session } => Kind::SessionBegan(of_session(session, "")),
        What::SessionEnded { session, why } => Kind::SessionEnded(of_session(session, why)),
        What::SessionReplaced { session, replaced } => Kind::SessionReplaced(SessionReplaced {
            session: session.clone(),
            replaced: replaced.clone(),
        }),
        What::Exposed { added, removed } => Kind::Exposed(Exposed {
            added: count(*added),
            removed: count(*removed),
        }),
        What::Health {
            service,
            from,
            to,
            reason: why,
            detail,
        } => Kind::Health(HealthChange {
            service: service.to_string(),
            from: HealthState::from(*from).into(),
            to: HealthState::from(*to).into(),
            reason: reason(*why),
            detail: detail.clone(),
        }),
        What::HealthOfMore { services } => Kind::HealthOfMore(count(*services)),
    };
    Change {
        version: changed.version,
        at: Some(changed.at.wall.into()),
        what: Some(what),
    }
}

impl From<known::State> for ClusterState {
    fn from(state: known::State) -> Self {
        match state {
            known::State::Connected => Self::Connected,
            known::State::Disconnected => Self::Disconnected,
        }
    }
}

impl From<State> for HealthState {
    fn from(state: State) -> Self {
        match state {
            State::Unknown => Self::Unknown,
            State::Healthy => Self::Healthy,
            State::Failing => Self::Failing,
            State::Off => Self::Off,
        }
    }
}

fn reason(reason: Option<HealthReason>) -> String {
    reason.map_or_else(String::new, |reason| reason.label().to_owned())
}

fn micros(time: Duration) -> u64 {
    time.as_micros().try_into().unwrap_or(u64::MAX)
}

fn count(count: usize) -> u64 {
    count.try_into().unwrap_or(u64::MAX)
}
