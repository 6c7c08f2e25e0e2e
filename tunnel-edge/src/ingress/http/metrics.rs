//! What the http ingresses count.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use http::StatusCode;
use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// From 1 ms to a bit more than a minute; streams that last longer are in `+Inf`.
const DURATION_BUCKETS: [f64; 13] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 75.0,
];

/// The metrics of all http ingresses of an edge. Cheap to clone.
///
/// The label `ingress` is the name that the configuration gives; callers choose no label.
#[derive(Debug, Clone)]
pub struct HttpMetrics {
    requests: Family<Answered, Counter>,
    duration: Family<Ingress, Histogram>,
    in_flight: Family<Ingress, Gauge>,
    callers: Family<Ingress, Gauge>,
    failures: Family<Failed, Counter>,
    opened: Family<Origin, Counter>,
    reused: Family<Origin, Counter>,
    retries: Family<Ingress, Counter>,
    /// The gauges of the ingresses that there are, by name.
    gauges: Arc<Mutex<HashMap<Arc<str>, Weak<Gauges>>>>,
}

impl HttpMetrics {
    /// Registers the metrics, each named `causeway_http_…`.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            requests: Family::default(),
            duration: Family::new_with_constructor(|| Histogram::new(DURATION_BUCKETS)),
            in_flight: Family::default(),
            callers: Family::default(),
            failures: Family::default(),
            opened: Family::default(),
            reused: Family::default(),
            retries: Family::default(),
            gauges: Arc::default(),
        };
        let registry = registry.sub_registry_with_prefix("causeway_http");
        registry.register(
            "requests",
            "Requests that were answered, by the class of the answer's status",
            metrics.requests.clone(),
        );
        registry.register_with_unit(
            "request_duration",
            "From a request's head to the last byte of its answer",
            Unit::Seconds,
            metrics.duration.clone(),
        );
        registry.register(
            "requests_in_flight",
            "Requests whose answer is not complete, upgraded ones included",
            metrics.in_flight.clone(),
        );
        registry.register(
            "caller_connections",
            "Connections of callers that are open",
            metrics.callers.clone(),
        );
        registry.register(
            "failures",
            "Requests that the edge answered instead of the origin, by the code in causeway-error",
            metrics.failures.clone(),
        );
        registry.register(
            "origin_connections_opened",
            "Connections that were opened to origins",
            metrics.opened.clone(),
        );
        registry.register(
            "origin_connections_reused",
            "Requests that found an open connection to their origin",
            metrics.reused.clone(),
        );
        registry.register(
            "retries",
            "Requests that were sent again: nothing of them was consumed, or they are idempotent",
            metrics.retries.clone(),
        );
        metrics
    }

    /// The metrics of one ingress.
    pub(super) fn ingress(&self, name: &str) -> Arc<IngressMetrics> {
        let ingress: Arc<str> = name.into();
        let label = Ingress {
            ingress: ingress.clone(),
        };
        let origin = |protocol| Origin {
            ingress: ingress.clone(),
            protocol: Protocol::label(protocol),
        };
        Arc::new(IngressMetrics {
            duration: self.duration.get_or_create_owned(&label),
            gauges: self.gauges(&ingress),
            opened: Protocol::ALL.map(|p| self.opened.get_or_create_owned(&origin(p))),
            reused: Protocol::ALL.map(|p| self.reused.get_or_create_owned(&origin(p))),
            retries: self.retries.get_or_create_owned(&label),
            requests: Class::ALL.map(|class| {
                self.requests.get_or_create_owned(&Answered {
                    ingress: ingress.clone(),
                    class: class.label(),
                })
            }),
            failures: self.failures.clone(),
            ingress,
        })
    }

    /// Shared with an ingress of the same name that was changed, whose last callers still count.
    fn gauges(&self, ingress: &Arc<str>) -> Arc<Gauges> {
        let mut all = self.gauges.lock();
        if let Some(shared) = all.get(ingress).and_then(Weak::upgrade) {
            return shared;
        }
        let label = Ingress {
            ingress: ingress.clone(),
        };
        let gauges = Arc::new(Gauges {
            in_flight: self.in_flight.get_or_create_owned(&label),
            callers: self.callers.get_or_create_owned(&label),
            of: label,
            all: self.clone(),
        });
        all.insert(ingress.clone(), Arc::downgrade(&gauges));
        gauges
    }
}

/// What there is of an ingress right now. Dropped, nothing is left to say of it, and the series
/// are gone; what it has counted stays.
#[derive(Debug)]
struct Gauges {
    in_flight: Gauge,
    callers: Gauge,
    of: Ingress,
    all: HttpMetrics,
}

impl Drop for Gauges {
    fn drop(&mut self) {
        let mut all = self.all.gauges.lock();
        // One of the same name may have come since the last user of this one left.
        let has_successor = all
            .get(&self.of.ingress)
            .is_some_and(|gauges| gauges.strong_count() > 0);
        if !has_successor {
            all.remove(&self.of.ingress);
            self.all.in_flight.remove(&self.of);
            self.all.callers.remove(&self.of);
        }
    }
}

/// The metrics of one ingress, with their labels resolved.
#[derive(Debug)]
pub(super) struct IngressMetrics {
    ingress: Arc<str>,
    requests: [Counter; 5],
    duration: Histogram,
    gauges: Arc<Gauges>,
    failures: Family<Failed, Counter>,
    opened: [Counter; 2],
    reused: [Counter; 2],
    pub(super) retries: Counter,
}

impl IngressMetrics {
    /// Counts a request from now until the guard is dropped.
    pub(super) fn request(self: &Arc<Self>) -> RequestGuard {
        self.gauges.in_flight.inc();
        RequestGuard {
            metrics: self.clone(),
            began: Instant::now(),
        }
    }

    /// Counts a caller's connection until the guard is dropped.
    pub(super) fn caller(self: &Arc<Self>) -> CallerGuard {
        self.gauges.callers.inc();
        CallerGuard(self.clone())
    }

    /// Counts an answer.
    pub(super) fn answered(&self, status: StatusCode) {
        self.requests[Class::of(status) as usize].inc();
    }

    /// Counts an answer of the edge itself. `code` is one of the codes of `failure.rs`.
    pub(super) fn failed(&self, code: &'static str) {
        let label = Failed {
            ingress: self.ingress.clone(),
            code,
        };
        self.failures.get_or_create(&label).inc();
    }

    /// Counts a connection to an origin.
    pub(super) fn opened(&self, protocol: Protocol) {
        self.opened[protocol as usize].inc();
    }

    /// Counts a request that needed no new connection.
    pub(super) fn reused(&self, protocol: Protocol) {
        self.reused[protocol as usize].inc();
    }
}

/// A request in flight.
#[derive(Debug)]
pub(super) struct RequestGuard {
    metrics: Arc<IngressMetrics>,
    began: Instant,
}

impl RequestGuard {
    /// How long it has taken so far.
    pub(super) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        self.metrics.gauges.in_flight.dec();
        self.metrics.duration.observe(self.elapsed().as_secs_f64());
    }
}

/// A caller's connection.
#[derive(Debug)]
pub(super) struct CallerGuard(Arc<IngressMetrics>);

impl Drop for CallerGuard {
    fn drop(&mut self) {
        self.0.gauges.callers.dec();
    }
}

/// What is spoken with an origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    H2,
}

impl Protocol {
    const ALL: [Self; 2] = [Self::Http1, Self::H2];

    fn label(self) -> &'static str {
        match self {
            Self::Http1 => "http1",
            Self::H2 => "h2",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Class {
    Informational,
    Success,
    Redirection,
    CallerError,
    OriginError,
}

impl Class {
    const ALL: [Self; 5] = [
        Self::Informational,
        Self::Success,
        Self::Redirection,
        Self::CallerError,
        Self::OriginError,
    ];

    fn label(self) -> &'static str {
        match self {
            Self::Informational => "1xx",
            Self::Success => "2xx",
            Self::Redirection => "3xx",
            Self::CallerError => "4xx",
            Self::OriginError => "5xx",
        }
    }

    /// Codes above 599 count as errors of the origin that made them up.
    fn of(status: StatusCode) -> Self {
        match status.as_u16() {
            ..200 => Self::Informational,
            200..300 => Self::Success,
            300..400 => Self::Redirection,
            400..500 => Self::CallerError,
            500.. => Self::OriginError,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ingress {
    ingress: Arc<str>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    ingress: Arc<str>,
    class: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Failed {
    ingress: Arc<str>,
    code: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Origin {
    ingress: Arc<str>,
    protocol: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_moves() {
        let mut registry = Registry::default();
        let metrics = HttpMetrics::register(&mut registry).ingress("web");
        let caller = metrics.caller();
        let request = metrics.request();
        for status in [101, 200, 302, 404, 503] {
            metrics.answered(StatusCode::from_u16(status).unwrap());
        }
        metrics.failed("overload");
        for protocol in Protocol::ALL {
            metrics.opened(protocol);
            metrics.reused(protocol);
        }
        metrics.retries.inc();

        let text = encode(&registry);
        for class in ["1xx", "2xx", "3xx", "4xx", "5xx"] {
            let label = format!("{{ingress=\"web\",class=\"{class}\"}} 1");
            assert!(
                text.contains(&format!("causeway_http_requests_total{label}")),
                "{text}"
            );
        }
        for line in [
            "causeway_http_requests_in_flight{ingress=\"web\"} 1",
            "causeway_http_caller_connections{ingress=\"web\"} 1",
            "causeway_http_failures_total{ingress=\"web\",code=\"overload\"} 1",
            "causeway_http_origin_connections_opened_total{ingress=\"web\",protocol=\"h2\"} 1",
            "causeway_http_origin_connections_reused_total{ingress=\"web\",protocol=\"http1\"} 1",
            "causeway_http_retries_total{ingress=\"web\"} 1",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }

        drop((caller, request));
        let text = encode(&registry);
        for line in [
            "causeway_http_requests_in_flight{ingress=\"web\"} 0",
            "causeway_http_caller_connections{ingress=\"web\"} 0",
            "causeway_http_request_duration_seconds_count{ingress=\"web\"} 1",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }

    #[test]
    fn gauges_go_with_the_last_ingress_of_their_name() {
        let mut registry = Registry::default();
        let metrics = HttpMetrics::register(&mut registry);
        let gauges = |registry: &Registry| {
            let text = encode(registry);
            ["requests_in_flight", "caller_connections"].map(|gauge| {
                let series = format!("causeway_http_{gauge}{{ingress=\"web\"}} ");
                let line = text.lines().find_map(|line| line.strip_prefix(&series));
                line.map(str::to_owned)
            })
        };
        let old = metrics.ingress("web");
        let request = old.request();
        old.answered(StatusCode::OK);
        let new = metrics.ingress("web");
        let caller = new.caller();
        drop(old);
        assert_eq!(gauges(&registry), [Some("1".into()), Some("1".into())]);
        drop((new, caller));
        assert_eq!(gauges(&registry), [Some("1".into()), Some("0".into())]);
        drop(request);
        assert_eq!(gauges(&registry), [None, None]);
        let counted = "causeway_http_requests_total{ingress=\"web\",class=\"2xx\"} 1";
        assert!(encode(&registry).contains(counted));

        let back = metrics.ingress("web");
        assert_eq!(gauges(&registry), [Some("0".into()), Some("0".into())]);
        drop(back);
    }

    fn encode(registry: &Registry) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, registry).unwrap();
        text
    }
}
