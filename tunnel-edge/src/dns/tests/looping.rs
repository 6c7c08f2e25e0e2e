//! The loop itself: a registry that changes, a provider that is asked, what is told of it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::rr::{LowerName, RecordType};
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use serde_json::Value;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::server::{Fault, Server};
use super::world::*;
use crate::dns::metrics::DnsMetrics;
use crate::dns::plan::Limits;
use crate::dns::provider::{Applied, BoxFuture, Provider, ProviderError, Reading, Reason};
use crate::dns::reconciler::Policy;
use crate::dns::records::Change;
use crate::dns::report::Report;
use crate::dns::run::{Dns, NoAnswer};
use crate::dns::view::{Clusters, Unreachable, View};

/// A server that is asked like any other.
#[derive(Clone, Debug)]
struct InMemory(Arc<Mutex<Server>>);

impl Provider for InMemory {
    fn read<'a>(
        &'a self,
        _: &'a BTreeSet<LowerName>,
        known: Option<u32>,
    ) -> BoxFuture<'a, Result<Reading, ProviderError>> {
        let read = self.0.lock().read(known);
        Box::pin(std::future::ready(read))
    }

    fn serial(&self) -> BoxFuture<'_, Result<u32, ProviderError>> {
        let serial = self.0.lock().serial;
        Box::pin(std::future::ready(Ok(serial)))
    }

    fn apply<'a>(&'a self, change: &'a Change) -> BoxFuture<'a, Result<Applied, ProviderError>> {
        let applied = self.0.lock().apply(change);
        Box::pin(std::future::ready(applied))
    }
}

/// A registry that says what it is told to.
#[derive(Debug)]
struct Scripted {
    view: Mutex<Result<View, Unreachable>>,
    changes: watch::Sender<()>,
}

impl Clusters for Scripted {
    fn view(&self) -> Result<View, Unreachable> {
        self.view.lock().clone()
    }

    fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }
}

/// A reconciler that runs.
struct Running {
    dns: Dns,
    server: Arc<Mutex<Server>>,
    clusters: Arc<Scripted>,
    metrics: Registry,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Running {
    fn start(clusters: &[&str]) -> Self {
        let mut world = World::new(clusters);
        let mut metrics = Registry::default();
        let server = Arc::new(Mutex::new(world.server.clone()));
        let clusters = Arc::new(Scripted {
            view: Mutex::new(Ok(world.view().clone())),
            changes: watch::Sender::new(()),
        });
        let moment = Duration::from_millis(100);
        let policy = Policy {
            naming: crate::dns::desired::Naming {
                ttl: 0,
                edge_ttl: 0,
                ..policy().naming
            },
            limits: Limits {
                remove_after: moment,
                max_removals: 1,
            },
            debounce: moment,
            // So that whatever happens sooner was brought about by an event.
            resync: Duration::from_secs(3600),
            settle: moment,
            ..policy()
        };
        let provider = ("memory", Arc::new(InMemory(server.clone())) as _);
        let counted = DnsMetrics::register(&mut metrics);
        let (dns, reconciling) = Dns::new(policy, provider, clusters.clone(), counted);
        let stop = CancellationToken::new();
        let task = tokio::spawn(reconciling.run(stop.clone()));
        Self {
            dns,
            server,
            clusters,
            metrics,
            stop,
            task,
        }
    }

    fn change(&self, change: impl FnOnce(&mut View)) {
        change(self.clusters.view.lock().as_mut().unwrap());
        self.clusters.changes.send_replace(());
    }

    /// Asks for rounds until one satisfies; the time that passes is virtual.
    async fn until(&self, what: &str, holds: impl Fn(&Report, &Server) -> bool) {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
        loop {
            if holds(&self.dns.report(), &self.server.lock()) {
                return;
            }
            assert!(
                tokio::time::Instant::now() < deadline,
                "{what}: {:?}",
                self.dns.report()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn metric(&self, line: &str) -> u64 {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.metrics).unwrap();
        let found = text
            .lines()
            .find_map(|of| of.strip_prefix(&format!("{line} ")));
        let value: f64 = found.map_or(0.0, |value| value.parse().unwrap());
        value as u64
    }
}

fn addresses(server: &Server, name: &str) -> usize {
    server.texts(&key(name, RecordType::A)).len()
}

#[tokio::test]
async fn names_follow_the_registry_without_being_asked() {
    let running = Running::start(&["acme/prod-1"]);
    running
        .until("the first round", |_, server| {
            addresses(server, "prod-1--acme") == 1
        })
        .await;
    running.change(|view| reach(view, "acme/prod-2", &["edge-1"]));
    running
        .until("a new cluster", |_, server| {
            addresses(server, "prod-2--acme") == 1
        })
        .await;
    running.change(|view| forget(view, "acme/prod-1"));
    running
        .until("a cluster that is gone", |_, server| {
            addresses(server, "prod-1--acme") == 0
        })
        .await;
    running.stop.cancel();
    running.task.await.unwrap();
    assert_eq!(running.dns.plan().await.unwrap_err(), NoAnswer::Stopped);
    assert_eq!(running.dns.apply().await.unwrap_err(), NoAnswer::Stopped);
}

#[tokio::test]
async fn a_round_that_was_asked_for_ends_with_the_serial_that_is_true_then() {
    let running = Running::start(&["acme/prod-1"]);
    running
        .until("the first round", |report, _| report.rounds == 1)
        .await;
    let ours = key("prod-1--acme", RecordType::A);
    running.server.lock().edit(ours, Some(by_hand(9)));
    let report = running.dns.apply().await.unwrap();
    assert_eq!(report.tally.repaired, 1);
    assert_eq!(report.serial, Some(running.server.lock().serial));
    assert_eq!(running.dns.report().serial, report.serial);
}

#[tokio::test]
async fn every_metric_moves() {
    let running = Running::start(&["acme/prod-1"]);
    running
        .until("the first round", |report, _| report.rounds == 1)
        .await;
    let reach_more = |view: &mut View| {
        for nth in 2..6 {
            reach(view, &format!("acme/prod-{nth}"), &["edge-1"]);
        }
    };
    let planted = key("prod-2--acme", RecordType::A);
    {
        let mut server = running.server.lock();
        server.edit(planted, Some(by_hand(9)));
        server.changing = [Fault::Fails(Reason::Refused)].into();
    }
    running.change(reach_more);
    running
        .until("a failure", |report, _| report.tally.failed == 1)
        .await;
    running.dns.apply().await.unwrap();
    let ours = key("prod-1--acme", RecordType::A);
    running.server.lock().edit(ours.clone(), Some(by_hand(9)));
    running.server.lock().meanwhile = [(ours, Some(by_hand(8)))].into();
    running.dns.apply().await.unwrap();
    running.server.lock().reading = [Reason::BadTime].into();
    running.dns.apply().await.unwrap();
    let view = running.clusters.view().unwrap();
    *running.clusters.view.lock() = Err(Unreachable("away".into()));
    running.dns.apply().await.unwrap();
    *running.clusters.view.lock() = Ok(view);
    running.change(|view| {
        view.edges.insert("edge-2".parse().unwrap(), edge(2));
        reach(view, "acme/prod-1", &["edge-1", "edge-2"]);
    });
    running
        .until("an update", |_, server| {
            addresses(server, "prod-1--acme") == 2
        })
        .await;
    running.change(|view| {
        for nth in 3..6 {
            forget(view, &format!("acme/prod-{nth}"));
        }
    });
    running
        .until("more to remove than a round may", |_, _| {
            running.metric("causeway_dns_held{because=\"capped\"}") > 0
        })
        .await;
    for line in [
        "rounds_total{outcome=\"finished\"}",
        "rounds_total{outcome=\"unfinished\"}",
        "rounds_total{outcome=\"unread\"}",
        "rounds_total{outcome=\"no_registry\"}",
        "round_duration_seconds_count",
        "changes_total{act=\"add\",outcome=\"done\"}",
        "changes_total{act=\"add\",outcome=\"failed\"}",
        "changes_total{act=\"repair\",outcome=\"overtaken\"}",
        "changes_total{act=\"repair\",outcome=\"done\"}",
        "changes_total{act=\"update\",outcome=\"done\"}",
        "changes_total{act=\"remove\",outcome=\"done\"}",
        "errors_total{reason=\"refused\"}",
        "errors_total{reason=\"bad_time\"}",
        "names{state=\"in_sync\"}",
        "names{state=\"foreign\"}",
        "last_finished_timestamp_seconds",
    ] {
        assert!(
            running.metric(&format!("causeway_dns_{line}")) > 0,
            "{line}"
        );
    }
}

#[tokio::test]
async fn what_is_told_says_what_is_so() {
    let running = Running::start(&["acme/prod-1"]);
    running
        .until("the first round", |report, _| report.rounds == 1)
        .await;
    {
        let mut server = running.server.lock();
        server.edit(key("prod-2--acme", RecordType::A), Some(by_hand(9)));
    }
    let new = |view: &mut View| {
        reach(view, "acme/prod-2", &["edge-1"]);
        reach(view, "acme/prod-3", &["edge-1"]);
    };
    new(running.clusters.view.lock().as_mut().unwrap());
    let ask = async |method: &str, path: &str| -> Value {
        use axum::body::Body;
        use http_body_util::BodyExt;
        use hyper::service::Service;
        let request = http::Request::builder().method(method).uri(path);
        let request = request.body(Body::empty()).unwrap();
        let router = crate::dns::routes(running.dns.clone());
        let service = hyper_util::service::TowerToHyperService::new(router);
        let answer = service.call(request).await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        serde_json::from_slice(&body).unwrap()
    };
    let plan = ask("GET", "/api/dns/plan").await;
    assert_eq!(plan["changes"][0]["act"], "add");
    assert_eq!(plan["changes"][0]["name"], "prod-3--acme.apps.example.com.");
    assert_eq!(plan["changes"][0]["sets"][0]["type"], "A");
    assert_eq!(plan["changes"][0]["sets"][0]["from"], Value::Null);
    assert_eq!(plan["changes"][0]["sets"][0]["to"]["data"][0], "192.0.2.1");
    assert_eq!(plan["foreign"][0]["name"], "prod-2--acme.apps.example.com.");
    assert_eq!(running.dns.report().names.len(), 3, "nothing was done");

    let done = ask("POST", "/api/dns/apply").await;
    assert_eq!(done["last_round"]["outcome"], "finished");
    assert_eq!(done["last_round"]["added"], 1);
    let all = ask("GET", "/api/dns").await;
    assert_eq!(all["zone"], ZONE);
    assert_eq!(all["provider"], "memory");
    assert_eq!(all["counts"]["in_sync"], 4);
    assert_eq!(all["counts"]["foreign"], 1);
    let names = all["names"].as_array().unwrap();
    let foreign = names
        .iter()
        .find(|name| name["state"] == "foreign")
        .unwrap();
    assert_eq!(foreign["for"], "cluster/acme/prod-2");
    assert!(
        foreign["why"]
            .as_str()
            .unwrap()
            .contains("it has A records")
    );
    let of_cluster = running.dns.of_cluster(&"acme/prod-2".parse().unwrap());
    let of_cluster = of_cluster.unwrap();
    assert_eq!(of_cluster.name, foreign["name"].as_str().unwrap());
    assert_eq!(of_cluster.state.why().unwrap(), foreign["why"]);
}
