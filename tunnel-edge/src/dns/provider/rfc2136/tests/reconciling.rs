//! The whole reconciler against real servers, with a registry that says what a test wants: many
//! clusters, several reconcilers, one that dies.

use std::{
    collections::BTreeSet,
    fs,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use super::support::{
    Access, name,
    nameserver::{Fate, NameServer, Relay, Software, Way, Zone, is_update},
    with_bind_and_knot,
};
use crate::{
    config::DnsTarget,
    dns::{
        desired::Naming,
        metrics::DnsMetrics,
        plan::Limits,
        reconciler::Policy,
        report::{NameState, Report},
        run::Dns,
        view::{Clusters, EdgeView, Standing, Unreachable, View},
    },
};

with_bind_and_knot!(
    thousands_of_clusters_converge_from_empty,
    two_at_once_converge_and_then_leave_each_other_alone,
    what_one_that_was_killed_left_another_finishes,
);

/// How long all of it may take, with every core busy.
const PATIENCE: Duration = Duration::from_secs(300);

/// Soon enough to be waited for.
const MOMENT: Duration = Duration::from_millis(100);

async fn thousands_of_clusters_converge_from_empty(software: Software) {
    let full = std::env::var_os("CAUSEWAY_TEST_FULL").is_some();
    let count = if full { 10_000 } else { 1_000 };
    let Some((server, relay)) = server_and_relay(software) else {
        return;
    };
    let scripted = Scripted::new(count);
    let began = Instant::now();
    let running = Running::start(&server, &relay, &scripted);
    running
        .until("all names in sync", |report| in_sync(report) == count + 3)
        .await;
    let took = began.elapsed();
    let messages = relay.messages();
    println!(
        "{software:?}: {count} clusters from empty in {took:.1?}: {messages} messages, {} of them updates; \
         resident at most: reconciler and test {} MiB, name server {} MiB",
        relay.updates(),
        peak_mib("self"),
        peak_mib(&server.process().pid().to_string()),
    );
    // One message for each name, no more.
    assert_eq!(relay.updates(), count + 3);
    let owned = server.records().len();
    // An address and an owner for each cluster, the edge, the wildcard and the service; and the
    // zone's own two.
    assert_eq!(owned, 2 * (count + 3) + 2);

    running.rounds(10).await;
    assert_eq!(relay.updates(), count + 3, "steady rounds change nothing");
    running.stop().await;
}

async fn two_at_once_converge_and_then_leave_each_other_alone(software: Software) {
    let Some((server, relay)) = server_and_relay(software) else {
        return;
    };
    let scripted = Scripted::new(200);
    let both = [
        Running::start(&server, &relay, &scripted),
        Running::start(&server, &relay, &scripted),
    ];
    for count in [200, 150, 250] {
        scripted.set(count);
        for running in &both {
            let done = |report: &Report| in_sync(report) == count + 3 && report.held.is_empty();
            running.until("both to have converged", done).await;
        }
        assert_eq!(server.records().len(), 2 * (count + 3) + 2);
    }
    let updates = relay.updates();
    for running in &both {
        running.rounds(10).await;
    }
    assert_eq!(relay.updates(), updates, "they agree");
    for running in both {
        running.stop().await;
    }
}

async fn what_one_that_was_killed_left_another_finishes(software: Software) {
    let Some((server, relay)) = server_and_relay(software) else {
        return;
    };
    // Once while names are made, once while they are removed.
    for (before, after) in [(0, 100), (100, 60)] {
        let scripted = Scripted::new(before);
        if before > 0 {
            let running = Running::start(&server, &relay, &scripted);
            let all = |report: &Report| in_sync(report) == before + 3;
            running.until("the names to remove", all).await;
            running.stop().await;
        }
        scripted.set(after);
        let made = Arc::new(AtomicUsize::new(0));
        let dies = Running::start(&server, &relay, &scripted);
        relay.judge({
            let made = Arc::clone(&made);
            move |way, message| {
                let update = way == Way::ToServer && is_update(message);
                match update && made.fetch_add(1, Ordering::SeqCst) >= 10 {
                    true => Fate::Cut,
                    false => Fate::Pass,
                }
            }
        });
        let cut = || made.load(Ordering::SeqCst) > 10;
        wait_until("the eleventh update", cut).await;
        dies.kill();
        relay.pass();
        let half = server.records().len();
        assert_ne!(half, 2 * (after + 3) + 2, "it was not killed in between");

        let finishes = Running::start(&server, &relay, &scripted);
        let all = |report: &Report| in_sync(report) == after + 3 && report.held.is_empty();
        finishes.until("another to finish", all).await;
        finishes.stop().await;
        // Neither a name without its owner nor an owner without its name.
        let records = server.records();
        assert_eq!(records.len(), 2 * (after + 3) + 2, "{records:?}");
        let owners = records.iter().filter(|record| record.contains(" IN TXT "));
        assert_eq!(owners.count(), after + 3);
    }
}

fn server_and_relay(software: Software) -> Option<(NameServer, Relay)> {
    let server = NameServer::start(software, &Zone::new(super::support::ZONE))?;
    let relay = server.relay();
    Some((server, relay))
}

/// A registry with one edge and so many clusters.
#[derive(Debug)]
struct Scripted {
    view: Mutex<View>,
    changes: watch::Sender<()>,
}

impl Scripted {
    fn new(count: usize) -> Arc<Self> {
        let scripted = Self {
            view: Mutex::default(),
            changes: watch::Sender::new(()),
        };
        scripted.set(count);
        Arc::new(scripted)
    }

    fn set(&self, count: usize) {
        let edge: certs::Label = "edge-1".parse().unwrap();
        let mut view = View::default();
        let serving = EdgeView {
            target: DnsTarget::Addresses(BTreeSet::from(["203.0.113.7".parse().unwrap()])),
            port: 7443,
            standing: Standing::Serving,
        };
        view.edges.insert(edge.clone(), serving);
        for number in 0..count {
            let cluster = format!("tenant-{}/c{number}", number % 100);
            let edges = BTreeSet::from([edge.clone()]);
            view.clusters.insert(cluster.parse().unwrap(), edges);
        }
        *self.view.lock() = view;
        self.changes.send_replace(());
    }
}

impl Clusters for Scripted {
    fn view(&self) -> Result<View, Unreachable> {
        Ok(self.view.lock().clone())
    }

    fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }
}

/// A reconciler that runs.
struct Running {
    dns: Dns,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    fn start(server: &NameServer, relay: &Relay, clusters: &Arc<Scripted>) -> Self {
        let policy = Policy {
            naming: Naming {
                zone: name("@"),
                wildcard: true,
                ttl: 0,
                edge_ttl: 0,
            },
            owner: "apps.test".to_owned(),
            limits: Limits {
                remove_after: MOMENT,
                max_removals: 1_000,
            },
            debounce: MOMENT,
            resync: MOMENT,
            settle: MOMENT,
        };
        let provider = Access::to(server, relay.address()).provider();
        let metrics = DnsMetrics::register(&mut Registry::default());
        let (dns, reconciling) = Dns::new(
            policy,
            ("rfc2136", Arc::new(provider)),
            clusters.clone(),
            metrics,
        );
        let stop = CancellationToken::new();
        let task = tokio::spawn(reconciling.run(stop.clone()));
        Self { dns, stop, task }
    }

    async fn until(&self, what: &str, holds: impl Fn(&Report) -> bool) {
        let is_so = || holds(&self.dns.report());
        wait_until(what, is_so).await;
    }

    /// Lets so many rounds go by, each of which begins and ends from now on.
    async fn rounds(&self, count: u64) {
        let last = self.dns.report().rounds + 1 + count;
        self.until("rounds", |report| report.rounds >= last).await;
    }

    async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }

    /// As a crash: whatever is under way is dropped where it is.
    fn kill(self) {
        self.task.abort();
    }
}

fn in_sync(report: &Report) -> usize {
    let states = report.names.values().map(|name| &name.state);
    states.filter(|state| **state == NameState::InSync).count()
}

async fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let looking = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let found = tokio::time::timeout(PATIENCE, looking).await;
    assert!(found.is_ok(), "{what}: not within {PATIENCE:?}");
}

/// The most memory that a process ever had resident.
fn peak_mib(process: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let mut lines = status.lines();
    let peak = lines.find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let kib: u64 = peak.split_whitespace().next().unwrap().parse().unwrap();
    kib / 1024
}
