//! What the reconciler counts.

use std::collections::HashMap;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::plan::{Act, Because};
use super::provider::{Applied, ProviderError, Reason};
use super::report::{Outcome, Report};

/// From an answer on the same machine to a zone of many thousand names.
const DURATION_BUCKETS: [f64; 10] = [0.001, 0.005, 0.02, 0.1, 0.25, 0.5, 1.0, 5.0, 20.0, 60.0];

/// The metrics of the DNS reconciler, each named `causeway_dns_…`. All labels are closed sets.
#[derive(Clone, Debug)]
pub(crate) struct DnsMetrics {
    rounds: Family<Ended, Counter>,
    duration: Histogram,
    changes: Family<Made, Counter>,
    errors: Family<Error, Counter>,
    names: Family<Standing, Gauge>,
    held: Family<HeldBack, Gauge>,
    finished: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Made {
    act: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Error {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Standing {
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HeldBack {
    because: &'static str,
}

impl DnsMetrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            rounds: Family::default(),
            duration: Histogram::new(DURATION_BUCKETS),
            changes: Family::default(),
            errors: Family::default(),
            names: Family::default(),
            held: Family::default(),
            finished: Gauge::default(),
        };
        let registry = registry.sub_registry_with_prefix("causeway_dns");
        registry.register(
            "rounds",
            "Looks at the zone, by how they ended",
            metrics.rounds.clone(),
        );
        registry.register_with_unit(
            "round_duration",
            "How long a round took that could read the zone, its changes included",
            Unit::Seconds,
            metrics.duration.clone(),
        );
        registry.register(
            "changes",
            "Changes of names, by what they do and what became of them",
            metrics.changes.clone(),
        );
        registry.register(
            "errors",
            "Why readings and changes have failed",
            metrics.errors.clone(),
        );
        registry.register(
            "names",
            "Names that there should be, by how they stand",
            metrics.names.clone(),
        );
        registry.register(
            "held",
            "Names and records that are not wanted and stay for now, by why",
            metrics.held.clone(),
        );
        registry.register_with_unit(
            "last_finished_timestamp",
            "When a round last left nothing to do, since 1970; 0 if none has",
            Unit::Seconds,
            metrics.finished.clone(),
        );
        metrics
    }

    pub(super) fn applied(&self, act: Act, applied: &Result<Applied, ProviderError>) {
        let outcome = match applied {
            Ok(Applied::Done) => "done",
            Ok(Applied::Overtaken) => "overtaken",
            Err(error) => {
                self.failed(error.reason);
                "failed"
            }
        };
        let act = act.label();
        self.changes.get_or_create(&Made { act, outcome }).inc();
    }

    pub(super) fn failed(&self, reason: Reason) {
        let reason = reason.label();
        self.errors.get_or_create(&Error { reason }).inc();
    }

    /// A round has ended, at `unix` seconds since 1970.
    pub(super) fn ended(&self, report: &Report, unix: i64) {
        let Some(outcome) = &report.outcome else {
            return;
        };
        let label = outcome.label();
        self.rounds.get_or_create(&Ended { outcome: label }).inc();
        match outcome {
            Outcome::Unread(..) | Outcome::NoRegistry(_) => return,
            Outcome::Unfinished => {}
            Outcome::Finished => {
                self.finished.set(unix);
            }
        }
        self.duration.observe(report.took.as_secs_f64());
        let mut states = HashMap::from(NAME_STATES.map(|state| (state, 0)));
        for name in report.names.values() {
            *states.entry(name.state.label()).or_default() += 1;
        }
        for (state, count) in states {
            self.names.get_or_create(&Standing { state }).set(count);
        }
        let mut held = HashMap::from(Because::ALL.map(|because| (because.label(), 0)));
        for one in &report.held {
            *held.entry(one.because.label()).or_default() += 1;
        }
        for (because, count) in held {
            self.held.get_or_create(&HeldBack { because }).set(count);
        }
    }
}

const NAME_STATES: [&str; 4] = ["in_sync", "pending", "foreign", "failed"];

impl Because {
    const ALL: [Self; 5] = [
        Self::Recent,
        Self::Flapping,
        Self::Settling,
        Self::NoClusters,
        Self::Capped,
    ];

    /// The closed set of words for it.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Recent => "recent",
            Self::Flapping => "flapping",
            Self::Settling => "settling",
            Self::NoClusters => "no_clusters",
            Self::Capped => "capped",
        }
    }
}

impl Outcome {
    /// The closed set of words for it.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Unfinished => "unfinished",
            Self::Unread(..) => "unread",
            Self::NoRegistry(_) => "no_registry",
        }
    }
}

impl Reason {
    /// The closed set of words for it.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::BadKey => "bad_key",
            Self::BadSignature => "bad_signature",
            Self::BadTime => "bad_time",
            Self::Refused => "refused",
            Self::NotAuthoritative => "not_authoritative",
            Self::ServerFailure => "server_failure",
            Self::Truncated => "truncated",
            Self::Malformed => "malformed",
            Self::Unwritable => "unwritable",
            Self::File => "file",
        }
    }
}
