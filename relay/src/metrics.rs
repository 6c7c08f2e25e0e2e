//! What both ends count of their sessions and streams.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::proto::{CloseCode, Control};
use crate::session::{Over, ResetBy, SharedBudget};

/// The counters of a process. Labels are closed sets; nothing a peer says becomes one.
#[derive(Debug)]
pub struct RelayMetrics {
    sessions: Gauge,
    sessions_over: Family<ClosedHow, Counter>,
    streams: Family<OpenedBy, Counter>,
    streams_over: Family<EndedHow, Counter>,
    streams_moved: Counter,
    resumed: Counter,
    detached: Gauge,
    control_messages: Family<ControlKind, Counter>,
    violations: Family<Code, Counter>,
    /// Payload handed to the transport.
    pub bytes_sent: Counter,
    /// Payload taken from the transport.
    pub bytes_received: Counter,
    /// Round trips as Pings measured them.
    pub round_trip: Histogram,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OpenedBy {
    by: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EndedHow {
    how: &'static str,
    by: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ClosedHow {
    code: &'static str,
    by: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ControlKind {
    direction: &'static str,
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Code {
    code: &'static str,
}

impl RelayMetrics {
    /// Registers them all, and how much of `budget` is granted.
    pub fn register(registry: &mut Registry, budget: Arc<SharedBudget>) -> Self {
        let metrics = Self {
            sessions: Gauge::default(),
            sessions_over: Family::default(),
            streams: Family::default(),
            streams_over: Family::default(),
            streams_moved: Counter::default(),
            resumed: Counter::default(),
            detached: Gauge::default(),
            control_messages: Family::default(),
            violations: Family::default(),
            bytes_sent: Counter::default(),
            bytes_received: Counter::default(),
            round_trip: Histogram::new([
                0.0001, 0.0005, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0,
            ]),
        };
        registry.register(
            "causeway_sessions",
            "Live sessions",
            metrics.sessions.clone(),
        );
        registry.register(
            "causeway_sessions_ended",
            "Sessions that are over, by the code that they were closed with, and by whom",
            metrics.sessions_over.clone(),
        );
        registry.register(
            "causeway_streams_opened",
            "Streams opened, by which end",
            metrics.streams.clone(),
        );
        registry.register(
            "causeway_streams_ended",
            "Streams that are over: complete, or the code they were reset with, and by which end",
            metrics.streams_over.clone(),
        );
        registry.register(
            "causeway_streams_moved",
            "Times that a live stream went on on another connection",
            metrics.streams_moved.clone(),
        );
        registry.register(
            "causeway_sessions_resumed",
            "Times that a session went on on another connection",
            metrics.resumed.clone(),
        );
        registry.register(
            "causeway_sessions_detached",
            "Live sessions that have lost their connection and wait for the next",
            metrics.detached.clone(),
        );
        registry.register(
            "causeway_control_messages",
            "Control messages, by direction and kind",
            metrics.control_messages.clone(),
        );
        registry.register(
            "causeway_protocol_violations",
            "Connections closed because the peer broke the protocol",
            metrics.violations.clone(),
        );
        registry.register_collector(Box::new(Held(budget)));
        registry.register_with_unit(
            "causeway_payload_sent",
            "Payload of streams handed to transports",
            Unit::Bytes,
            metrics.bytes_sent.clone(),
        );
        registry.register_with_unit(
            "causeway_payload_received",
            "Payload of streams taken from transports",
            Unit::Bytes,
            metrics.bytes_received.clone(),
        );
        registry.register_with_unit(
            "causeway_ping_round_trip",
            "Time from a Ping to its Pong",
            Unit::Seconds,
            metrics.round_trip.clone(),
        );
        metrics
    }

    pub(crate) fn session_live(&self) -> SessionCounted {
        self.sessions.inc();
        SessionCounted(self.sessions.clone())
    }

    pub(crate) fn session_over(&self, code: CloseCode, by: &'static str) {
        let code = code.label();
        let label = ClosedHow { code, by };
        self.sessions_over.get_or_create(&label).inc();
    }

    pub(crate) fn stream_opened(&self) {
        self.streams.get_or_create(&OpenedBy { by: "local" }).inc();
    }

    pub(crate) fn stream_accepted(&self) {
        self.streams.get_or_create(&OpenedBy { by: "peer" }).inc();
    }

    pub(crate) fn session_resumed(&self) {
        self.resumed.inc();
    }

    /// Counts a session without a connection for as long as that is held.
    pub(crate) fn session_detached(&self) -> SessionCounted {
        self.detached.inc();
        SessionCounted(self.detached.clone())
    }

    pub(crate) fn stream_moved(&self) {
        self.streams_moved.inc();
    }

    pub(crate) fn stream_over(&self, over: &Over) {
        let label = match over {
            Over::Complete => EndedHow {
                how: "complete",
                by: "both",
            },
            Over::Reset { code, by, .. } => EndedHow {
                how: code.label(),
                by: match by {
                    ResetBy::Local => "local",
                    ResetBy::Peer => "peer",
                },
            },
        };
        self.streams_over.get_or_create(&label).inc();
    }

    pub(crate) fn control_sent(&self, message: &Control) {
        self.control("sent", message);
    }

    pub(crate) fn control_received(&self, message: &Control) {
        self.control("received", message);
    }

    fn control(&self, direction: &'static str, message: &Control) {
        let kind = message.label();
        self.control_messages
            .get_or_create(&ControlKind { direction, kind })
            .inc();
    }

    pub(crate) fn violation(&self, code: CloseCode) {
        let code = code.label();
        self.violations.get_or_create(&Code { code }).inc();
    }
}

/// Counts a session, or one without a connection, for as long as it is held.
#[derive(Debug)]
pub(crate) struct SessionCounted(Gauge);

impl Drop for SessionCounted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Read at each scrape, because what a session gives back when it ends passes nobody who counts.
#[derive(Debug)]
struct Held(Arc<SharedBudget>);

impl Collector for Held {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let gauges = [
            (
                "causeway_window_growth",
                "What windows of all sessions are granted, and what is kept, beyond the base of each stream",
                self.0.used(),
            ),
            (
                "causeway_kept",
                "Memory that keeps what streams have sent until the other end has consumed it",
                self.0.kept(),
            ),
        ];
        for (name, help, bytes) in gauges {
            let metric =
                encoder.encode_descriptor(name, help, Some(&Unit::Bytes), MetricType::Gauge)?;
            ConstGauge::new(i64::try_from(bytes).unwrap_or(i64::MAX)).encode(metric)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::GrowthBudget;

    #[test]
    fn what_is_held_is_what_is_held_at_the_time_of_asking() {
        let process = Arc::new(SharedBudget::new(1000));
        let mut registry = Registry::default();
        RelayMetrics::register(&mut registry, process.clone());
        let said = |growth: u64, kept: u64| {
            let mut text = String::new();
            prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
            text.contains(&format!("\ncauseway_window_growth_bytes {growth}\n"))
                && text.contains(&format!("\ncauseway_kept_bytes {kept}\n"))
        };
        assert!(said(0, 0));
        let mut session = GrowthBudget::new(500, process);
        session.take(300);
        session.count_kept(0, 700);
        assert!(said(300, 700));
        drop(session);
        assert!(said(0, 0));
    }
}
