//! What an edge tells of itself at `/api/status` and `/readyz`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use certs::validity::rfc3339;
use certs::{ClusterId, Material};
use relay::admin::{Readiness, Told};
use relay::settings::{ListenAddr, Reloads};
use serde_json::{Value, json};

use crate::dns::Dns;
use crate::ingress::Ingresses;
use crate::registry::{Entry, Registry};
use crate::revocation::Revocation;
use crate::upstream::Upstreams;

/// Everything that is told, and where it comes from.
#[derive(Debug)]
pub(crate) struct Status {
    pub(crate) material: Material,
    pub(crate) revocation: Arc<Revocation>,
    pub(crate) started: SystemTime,
    pub(crate) reloads: Arc<Reloads>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) ingresses: Arc<Ingresses>,
    pub(crate) upstreams: Arc<Upstreams>,
    pub(crate) tunnel: Vec<std::net::SocketAddr>,
    pub(crate) admin: Option<ListenAddr>,
    pub(crate) telemetry: Option<ListenAddr>,
    pub(crate) dns: Option<Dns>,
    pub(crate) draining: AtomicBool,
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
            "role": "edge",
            "version": env!("CARGO_PKG_VERSION"),
            "identity": self.material.identity().to_string(),
            "certificate_expires": rfc3339(self.material.not_after()),
            "started": time(self.started),
            "ready": readiness == Readiness::Ready,
            "reasons": reasons,
            "config": self.reloads.status(time),
            "revocation_list": self.revocation.status(time),
            "listen": {
                "tunnel": self.tunnel.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "admin": self.admin.as_ref().map(ToString::to_string),
                "telemetry": self.telemetry.as_ref().map(ToString::to_string),
            },
            "dns": self.dns.as_ref().map(Dns::summary),
            "sessions": self.registry.all().iter().map(session).collect::<Vec<_>>(),
            "ingresses": self.ingresses.all().into_iter().map(|(ingress, addresses)| json!({
                "name": ingress.name.as_str(),
                "kind": ingress.kind.as_str(),
                "listen": addresses.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "to": ingress.kind.leads_to(),
            })).collect::<Vec<_>>(),
            "upstreams": self.upstreams.all().into_iter().map(|upstream| json!({
                "service": upstream.service.as_str(),
                "target": upstream.origin.target.to_string(),
                "allow": upstream.allow.iter().map(ToString::to_string).collect::<Vec<_>>(),
            })).collect::<Vec<_>>(),
        })
    }

    /// Ready is an edge whose identity is valid and that is not stopping; its listeners are bound
    /// before anybody can ask.
    fn readiness(&self) -> Readiness {
        let mut reasons = Vec::new();
        if self.draining.load(Ordering::Relaxed) {
            reasons.push("draining: new sessions and callers go elsewhere".to_owned());
        }
        if self.material.not_after() <= SystemTime::now() {
            reasons.push(format!(
                "the certificate expired at {}",
                rfc3339(self.material.not_after())
            ));
        }
        if reasons.is_empty() {
            Readiness::Ready
        } else {
            Readiness::NotReady { reasons }
        }
    }
}

fn session((cluster, entry): &(ClusterId, Entry)) -> Value {
    let snapshot = entry.session.snapshot();
    let services: Vec<_> = snapshot
        .services
        .iter()
        .map(|service| service.name.as_str())
        .collect();
    let health: serde_json::Map<String, Value> = snapshot
        .services
        .iter()
        .filter_map(|service| {
            let state = service.health.as_ref()?.state.label();
            Some((service.name.to_string(), state.into()))
        })
        .collect();
    json!({
        "id": entry.session.id().to_string(),
        "peer": cluster.to_string(),
        "transport": snapshot.transport.label(),
        "remote": snapshot.remote.to_string(),
        "since": time(entry.since),
        "rtt_ms": snapshot.rtt.as_secs_f64() * 1000.0,
        "connected": snapshot.connected,
        "suspect": snapshot.suspect,
        "streams": snapshot.streams,
        "window_growth": snapshot.window_growth,
        "bytes_sent": snapshot.bytes_sent,
        "bytes_received": snapshot.bytes_received,
        "key_exchange": snapshot.key_exchange,
        "version": entry.software,
        "replica": entry.replica.to_string(),
        "certificate_serial": entry.shown.lock().serial().map(ToString::to_string),
        "services": services,
        "health": health,
    })
}

fn time(time: SystemTime) -> String {
    rfc3339(time.into())
}
