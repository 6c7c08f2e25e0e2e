//! A reconciler that runs, over a registry that says what a test wants.

use std::{collections::BTreeSet, fs, sync::Arc, time::Duration};

use hickory_proto::rr::LowerName;
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::{
    config::DnsTarget,
    dns::{
        desired::Naming,
        metrics::DnsMetrics,
        plan::Limits,
        provider::Provider,
        reconciler::Policy,
        report::{NameState, Report},
        run::Dns,
        view::{Clusters, EdgeView, Standing, Unreachable, View},
    },
};

/// How long all of it may take, with every core busy.
const PATIENCE: Duration = Duration::from_secs(300);

/// Soon enough to be waited for.
const MOMENT: Duration = Duration::from_millis(100);

/// A registry with so many clusters, each of which every edge reaches.
#[derive(Debug)]
pub(crate) struct Scripted {
    view: Mutex<View>,
    changes: watch::Sender<()>,
}

impl Scripted {
    pub(crate) fn new(count: usize) -> Arc<Self> {
        let scripted = Self {
            view: Mutex::default(),
            changes: watch::Sender::new(()),
        };
        scripted.set(count);
        Arc::new(scripted)
    }

    /// One edge, with the address 203.0.113.7, and so many clusters.
    pub(crate) fn set(&self, count: usize) {
        self.set_with_edges(count, 1);
    }

    /// The edges have one address each, from 203.0.113.7 on.
    pub(crate) fn set_with_edges(&self, count: usize, edges: u8) {
        let target = |number| {
            let address = [203, 0, 113, 6 + number].into();
            DnsTarget::Addresses(BTreeSet::from([address]))
        };
        self.set_with_targets(count, (1..=edges).map(target));
    }

    /// One edge for each target.
    pub(crate) fn set_with_targets(
        &self,
        count: usize,
        targets: impl IntoIterator<Item = DnsTarget>,
    ) {
        let mut view = View::default();
        for (number, target) in (1..).zip(targets) {
            let serving = EdgeView {
                target,
                port: 7443,
                standing: Standing::Serving,
            };
            let label = format!("edge-{number}");
            view.edges.insert(label.parse().unwrap(), serving);
        }
        let edges: BTreeSet<_> = view.edges.keys().cloned().collect();
        for number in 0..count {
            let cluster = format!("tenant-{}/c{number}", number % 100);
            view.clusters
                .insert(cluster.parse().unwrap(), edges.clone());
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
pub(crate) struct Running {
    pub(crate) dns: Dns,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    pub(crate) fn over(
        zone: LowerName,
        kind: &'static str,
        provider: Arc<dyn Provider>,
        clusters: &Arc<Scripted>,
    ) -> Self {
        let policy = Policy {
            naming: Naming {
                zone,
                wildcard: true,
                nameservers: BTreeSet::new(),
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
        let metrics = DnsMetrics::register(&mut Registry::default());
        let (dns, reconciling) = Dns::new(policy, (kind, provider), clusters.clone(), metrics);
        let stop = CancellationToken::new();
        let task = tokio::spawn(reconciling.run(stop.clone()));
        Self { dns, stop, task }
    }

    pub(crate) async fn until(&self, what: &str, holds: impl Fn(&Report) -> bool) {
        let is_so = || holds(&self.dns.report());
        wait_until(what, is_so).await;
    }

    /// Lets so many rounds go by, each of which begins and ends from now on.
    pub(crate) async fn rounds(&self, count: u64) {
        let last = self.dns.report().rounds + 1 + count;
        self.until("rounds", |report| report.rounds >= last).await;
    }

    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }

    /// As a crash: whatever is under way is dropped where it is.
    pub(crate) fn kill(self) {
        self.task.abort();
    }
}

pub(crate) fn in_sync(report: &Report) -> usize {
    let states = report.names.values().map(|name| &name.state);
    states.filter(|state| **state == NameState::InSync).count()
}

pub(crate) async fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let looking = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let found = tokio::time::timeout(PATIENCE, looking).await;
    assert!(found.is_ok(), "{what}: not within {PATIENCE:?}");
}

/// The most memory that a process ever had resident.
pub(crate) fn peak_mib(process: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let mut lines = status.lines();
    let peak = lines.find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let kib: u64 = peak.split_whitespace().next().unwrap().parse().unwrap();
    kib / 1024
}
