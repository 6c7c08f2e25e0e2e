//! What a client counts beyond its sessions and streams.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use relay::ServiceName;
use relay::transport::TransportKind;

/// The client's own counters.
#[derive(Debug)]
pub(crate) struct ClientMetrics {
    attempts: Family<Attempted, Counter>,
    moves: Family<MovedTo, Counter>,
    doubted: Family<Doubted, Counter>,
    connected: Gauge,
    left: Family<Left, Counter>,
    lookups: Family<LookedUp, Counter>,
    candidates: Gauge,
    stale: Gauge,
    dials: Family<Outcome, Counter>,
    checks: Family<Checked, Counter>,
    forwarded: Family<Outcome, Counter>,
    /// Streams for services that are not on the allow-list.
    pub(crate) refused: Counter,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Attempted {
    transport: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MovedTo {
    to: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Doubted {
    because: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Left {
    because: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LookedUp {
    kind: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Checked {
    service: String,
    outcome: &'static str,
}

impl ClientMetrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            attempts: Family::default(),
            moves: Family::default(),
            doubted: Family::default(),
            connected: Gauge::default(),
            left: Family::default(),
            lookups: Family::default(),
            candidates: Gauge::default(),
            stale: Gauge::default(),
            dials: Family::default(),
            checks: Family::default(),
            forwarded: Family::default(),
            refused: Counter::default(),
        };
        registry.register(
            "causeway_edge_attempts",
            "Attempts to reach an edge, by transport and outcome",
            metrics.attempts.clone(),
        );
        registry.register(
            "causeway_transport_moves",
            "Times that a session went on by another transport, or was begun beside one for that",
            metrics.moves.clone(),
        );
        registry.register(
            "causeway_connections_doubted",
            "Connections that were asked at once whether they live, since this machine's address is another",
            metrics.doubted.clone(),
        );
        registry.register(
            "causeway_edges_connected",
            "Different edges that there is a session with, not counting those that are only drained",
            metrics.connected.clone(),
        );
        registry.register(
            "causeway_edges_left",
            "Edges whose session was left for another's, by reason",
            metrics.left.clone(),
        );
        registry.register(
            "causeway_discovery_lookups",
            "Names of edges that DNS was asked for, by kind of record and outcome",
            metrics.lookups.clone(),
        );
        registry.register(
            "causeway_discovery_edges",
            "Edges that are known by name or address",
            metrics.candidates.clone(),
        );
        registry.register(
            "causeway_discovery_stale_names",
            "Names of edges whose last answer is used beyond its time, because nobody answers",
            metrics.stale.clone(),
        );
        registry.register(
            "causeway_target_dials",
            "Targets dialled for streams of the edge, by outcome",
            metrics.dials.clone(),
        );
        registry.register(
            "causeway_health_checks",
            "Checks of the targets of exposed services, by outcome",
            metrics.checks.clone(),
        );
        registry.register(
            "causeway_forward_callers",
            "Local callers of forwards, by what became of them",
            metrics.forwarded.clone(),
        );
        registry.register(
            "causeway_exposes_refused",
            "Streams of the edge for services that are not exposed",
            metrics.refused.clone(),
        );
        metrics
    }

    pub(crate) fn attempted(&self, transport: TransportKind, outcome: &'static str) {
        let transport = transport.label();
        let attempted = Attempted { transport, outcome };
        self.attempts.get_or_create(&attempted).inc();
    }

    pub(crate) fn moved(&self, to: TransportKind) {
        self.moves.get_or_create(&MovedTo { to: to.label() }).inc();
    }

    pub(crate) fn doubted(&self, because: &'static str) {
        self.doubted.get_or_create(&Doubted { because }).inc();
    }

    /// So many edges there is a session with.
    pub(crate) fn connected(&self, edges: usize) {
        self.connected.set(i64::try_from(edges).unwrap_or(i64::MAX));
    }

    pub(crate) fn left(&self, because: &'static str) {
        self.left.get_or_create(&Left { because }).inc();
    }

    pub(crate) fn looked_up(&self, kind: &'static str, outcome: &'static str) {
        self.lookups
            .get_or_create(&LookedUp { kind, outcome })
            .inc();
    }

    /// So many edges are known, and so many names answered for only by what was known before.
    pub(crate) fn discovered(&self, candidates: usize, stale: usize) {
        let gauge = |count| i64::try_from(count).unwrap_or(i64::MAX);
        self.candidates.set(gauge(candidates));
        self.stale.set(gauge(stale));
    }

    pub(crate) fn dialled(&self, outcome: &'static str) {
        self.dials.get_or_create(&Outcome { outcome }).inc();
    }

    pub(crate) fn checked(&self, service: &ServiceName, outcome: &'static str) {
        let service = service.to_string();
        let checked = Checked { service, outcome };
        self.checks.get_or_create(&checked).inc();
    }

    pub(crate) fn forwarded(&self, outcome: &'static str) {
        self.forwarded.get_or_create(&Outcome { outcome }).inc();
    }
}
