//! What an edge counts beyond its sessions, streams and HTTP requests.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// The edge's own counters. Labels come from its configuration or from closed sets.
#[derive(Debug)]
pub(crate) struct EdgeMetrics {
    handshakes: Family<Outcome, Counter>,
    callers: Family<CallerOutcome, Counter>,
    upstream_streams: Family<Outcome, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallerOutcome {
    ingress: String,
    outcome: &'static str,
}

impl EdgeMetrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            handshakes: Family::default(),
            callers: Family::default(),
            upstream_streams: Family::default(),
        };
        registry.register(
            "causeway_handshakes",
            "Connections of clients, by what became of their handshake",
            metrics.handshakes.clone(),
        );
        registry.register(
            "causeway_ingress_callers",
            "Callers of tcp ingresses, by what became of them",
            metrics.callers.clone(),
        );
        registry.register(
            "causeway_upstream_streams",
            "Streams of clients to upstreams, by what became of them",
            metrics.upstream_streams.clone(),
        );
        metrics
    }

    pub(crate) fn handshake(&self, outcome: &'static str) {
        self.handshakes.get_or_create(&Outcome { outcome }).inc();
    }

    pub(crate) fn caller(&self, ingress: &str, outcome: &'static str) {
        let label = CallerOutcome {
            ingress: ingress.to_owned(),
            outcome,
        };
        self.callers.get_or_create(&label).inc();
    }

    pub(crate) fn upstream(&self, outcome: &'static str) {
        self.upstream_streams
            .get_or_create(&Outcome { outcome })
            .inc();
    }
}
