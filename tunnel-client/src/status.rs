//! What a client tells of itself at `/api/status` and `/readyz`.

use std::sync::Arc;
use std::time::SystemTime;

use certs::Material;
use certs::validity::rfc3339;
use relay::ServiceName;
use relay::admin::{Readiness, Told};
use relay::origin::Target;
use relay::proto::HealthReason;
use relay::settings::{ListenAddr, Reloads};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::discover::{Discovery, ToldName};
use crate::expose::Exposes;
use crate::forward::Forwards;
use crate::health::Found;
use crate::keep::{Leaving, Retired};
use crate::link::{DialState, Dialing, Link, Live};
use crate::revocation::Revocation;

/// Everything that is told, and where it comes from.
#[derive(Debug)]
pub(crate) struct Status {
    pub(crate) material: Material,
    pub(crate) revocation: Arc<Revocation>,
    pub(crate) started: SystemTime,
    pub(crate) reloads: Arc<Reloads>,
    pub(crate) link: Arc<Link>,
    pub(crate) discovery: Discovery,
    pub(crate) retired: Arc<Retired>,
    pub(crate) exposes: Arc<Exposes>,
    pub(crate) forwards: Arc<Forwards>,
    pub(crate) admin: Option<ListenAddr>,
    pub(crate) telemetry: Option<ListenAddr>,
}

impl Told for Status {
    /// The document of `/api/status`.
    fn document(&self) -> Value {
        let readiness = self.readiness();
        let reasons = match &readiness {
            Readiness::Ready => Vec::new(),
            Readiness::NotReady { reasons } => reasons.clone(),
        };
        json!({
            "role": "client",
            "version": env!("CARGO_PKG_VERSION"),
            "identity": self.material.identity().to_string(),
            "certificate_expires": rfc3339(self.material.not_after()),
            "started": time(self.started),
            "ready": readiness == Readiness::Ready,
            "reasons": reasons,
            "config": self.reloads.status(time),
            "revocation_list": self.revocation.status(time),
            "listen": {
                "admin": self.admin.as_ref().map(ToString::to_string),
                "telemetry": self.telemetry.as_ref().map(ToString::to_string),
            },
            "sessions": self.link.live().iter().map(session).collect::<Vec<_>>(),
            "retired_sessions": self.retired.sessions().iter().map(retired).collect::<Vec<_>>(),
            "exposes": self.exposes.all().iter().map(exposed).collect::<Vec<_>>(),
            "forwards": self.forwards(),
            "discovery": self.discovery(),
            "dialing": self.dialing(),
        })
    }

    /// Ready is a client through one of whose sessions a round trip has worked.
    fn readiness(&self) -> Readiness {
        let live = self.link.live();
        if live.iter().any(|live| live.session.is_answered()) {
            return Readiness::Ready;
        }
        let reason = match live.first() {
            Some(live) if !live.session.is_connected() => {
                format!("the connection to the edge {} is lost", live.edge)
            }
            Some(live) => format!("the edge {} has not answered a ping yet", live.edge),
            None => match self.foremost().last_error {
                Some(error) => format!("no session with an edge: {error}"),
                None => "no session with an edge yet".to_owned(),
            },
        };
        Readiness::NotReady {
            reasons: vec![reason],
        }
    }
}

impl Status {
    fn forwards(&self) -> Vec<Value> {
        let mut services: Vec<(String, Vec<String>)> = Vec::new();
        for (service, address) in self.forwards.addresses() {
            let (service, address) = (service.to_string(), address.to_string());
            match services.last_mut().filter(|(last, _)| *last == service) {
                Some((_, addresses)) => addresses.push(address),
                None => services.push((service, vec![address])),
            }
        }
        services
            .into_iter()
            .map(|(service, listen)| json!({"service": service, "listen": listen}))
            .collect()
    }

    /// What names were asked for, and which edges are known.
    fn discovery(&self) -> Value {
        let discovered = self.discovery.now();
        let now = Instant::now();
        let names = discovered.names.iter();
        json!({
            "names": names.map(|name: &ToldName| name.document(now)).collect::<Vec<_>>(),
            "edges": discovered.candidates.iter().map(|candidate| json!({
                "name": candidate.at.to_string(),
                "addresses": candidate.addresses.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "priority": candidate.priority,
                "weight": candidate.weight,
            })).collect::<Vec<_>>(),
        })
    }

    /// Where the keeper stands that has got farthest, and each of them.
    fn dialing(&self) -> Value {
        let mut told = dialing(&self.foremost());
        let all = self.link.dialing();
        told["slots"] = all.iter().map(dialing).collect();
        told
    }

    fn foremost(&self) -> Dialing {
        let far = |it: &Dialing| match it.state {
            DialState::Connected => 0,
            DialState::Dialing | DialState::Waiting => 1,
            DialState::Idle => 2,
        };
        let all = self.link.dialing().into_iter();
        all.min_by_key(far).expect("there is at least one slot")
    }
}

fn dialing(dialing: &Dialing) -> Value {
    let remaining = dialing
        .next_attempt
        .filter(|_| dialing.state == DialState::Waiting)
        .map(|at| at.saturating_duration_since(Instant::now()).as_millis() as u64);
    json!({
        "state": match dialing.state {
            DialState::Dialing => "dialing",
            DialState::Connected => "connected",
            DialState::Waiting => "waiting",
            DialState::Idle => "idle",
        },
        "attempt": dialing.attempt,
        "last_error": dialing.last_error,
        "next_attempt_in_ms": remaining,
    })
}

fn exposed((service, target, found): &(ServiceName, Target, Found)) -> Value {
    let Found {
        health,
        since,
        error,
        kind,
    } = found;
    json!({
        "service": service.as_str(),
        "target": target.to_string(),
        "health": {
            "state": health.state.label(),
            "since": time(*since),
            "check": kind,
            "reason": health.reason.map(HealthReason::label),
            "error": error,
        },
    })
}

fn session(live: &Live) -> Value {
    let snapshot = live.session.snapshot();
    json!({
        "id": live.session.id().to_string(),
        "peer": live.edge,
        "transport": snapshot.transport.label(),
        "remote": snapshot.remote.to_string(),
        "since": time(live.since),
        "rtt_ms": snapshot.rtt.as_secs_f64() * 1000.0,
        "connected": snapshot.connected,
        "suspect": snapshot.suspect,
        "streams": snapshot.streams,
        "window_growth": snapshot.window_growth,
        "bytes_sent": snapshot.bytes_sent,
        "bytes_received": snapshot.bytes_received,
        "key_exchange": snapshot.key_exchange,
        "version": live.edge_software,
    })
}

/// A session that takes no new streams.
fn retired(leaving: &Leaving) -> Value {
    let snapshot = leaving.session().snapshot();
    json!({
        "id": leaving.session().id().to_string(),
        "peer": leaving.edge(),
        "transport": snapshot.transport.label(),
        "remote": snapshot.remote.to_string(),
        "connected": snapshot.connected,
        "suspect": snapshot.suspect,
        "streams": snapshot.streams,
    })
}

fn time(time: SystemTime) -> String {
    rfc3339(time.into())
}
