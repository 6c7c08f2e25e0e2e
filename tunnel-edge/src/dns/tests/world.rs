//! A registry that says what a test wants, a reconciler, a server, and time that passes at will.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{LowerName, Name, RData, RecordType};

use super::server::{Server, set};
use crate::config::DnsTarget;
use crate::dns::desired::Naming;
use crate::dns::plan::{Because, Limits};
use crate::dns::reconciler::{Policy, Reconciler, Step};
use crate::dns::records::{Key, RecordSet};
use crate::dns::report::{NameState, Report};
use crate::dns::view::{EdgeView, Standing, Unreachable, View};

pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const MINUTE: Duration = Duration::from_secs(60);
pub(super) const ZONE: &str = "apps.example.com.";

pub(super) struct World {
    pub(super) server: Server,
    pub(super) reconciler: Reconciler,
    pub(super) view: Result<View, Unreachable>,
    pub(super) now: Instant,
}

pub(super) fn policy() -> Policy {
    Policy {
        naming: Naming {
            zone: lower(ZONE),
            wildcard: false,
            nameservers: BTreeSet::new(),
            ttl: 60,
            edge_ttl: 300,
        },
        owner: "example.com".to_owned(),
        limits: Limits {
            remove_after: MINUTE,
            max_removals: 50,
        },
        debounce: SECOND * 2,
        resync: MINUTE,
        settle: SECOND * 120,
    }
}

impl World {
    /// With one edge at 192.0.2.1 and these clusters.
    pub(super) fn new(clusters: &[&str]) -> Self {
        let now = Instant::now();
        let mut view = View::default();
        view.edges.insert("edge-1".parse().unwrap(), edge(1));
        for cluster in clusters {
            reach(&mut view, cluster, &["edge-1"]);
        }
        Self {
            server: Server::new(),
            reconciler: Reconciler::new(policy(), now, 7),
            view: Ok(view),
            now,
        }
    }

    pub(super) fn view(&mut self) -> &mut View {
        self.view.as_mut().unwrap()
    }

    /// Another process takes over, that knows nothing.
    pub(super) fn restart(&mut self) {
        self.restart_with(policy());
    }

    pub(super) fn restart_with(&mut self, policy: Policy) {
        self.reconciler = Reconciler::new(policy, self.now, 8);
    }

    /// A round now, and what it came to.
    pub(super) fn round(&mut self) -> &Report {
        self.reconciler.handle_asked(self.now);
        self.drive();
        self.reconciler.report()
    }

    /// What is to be done at this moment, and until when it rests then.
    pub(super) fn drive(&mut self) -> Instant {
        drive(&mut self.reconciler, &mut self.server, &self.view, self.now)
    }

    /// All rounds that are due until `after` has passed.
    pub(super) fn pass(&mut self, after: Duration) {
        let end = self.now + after;
        loop {
            let due = self.drive();
            assert!(due > self.now, "it does not spin");
            if due > end {
                break;
            }
            self.now = due;
        }
        self.now = end;
    }

    /// The addresses of a name in front of the zone.
    pub(super) fn addresses(&self, name: &str) -> Vec<String> {
        self.server.texts(&key(name, RecordType::A))
    }

    pub(super) fn state(&self, name: &str) -> &NameState {
        let name = under(name).to_string();
        &self.reconciler.report().names[&name].state
    }

    /// Why a name, or something of it, stays.
    pub(super) fn held(&self, name: &str) -> Option<Because> {
        let held = &self.reconciler.report().held;
        let found = held.iter().find(|held| held.name == under(name));
        found.map(|held| held.because)
    }
}

/// Does what the reconciler asks for until it rests; until when.
pub(super) fn drive(
    reconciler: &mut Reconciler,
    server: &mut Server,
    view: &Result<View, Unreachable>,
    now: Instant,
) -> Instant {
    let mut under_way = Vec::new();
    loop {
        match reconciler.poll(now) {
            Step::Look => reconciler.handle_view(now, view.clone()),
            Step::Read { known, .. } => reconciler.handle_reading(now, server.read(known)),
            Step::Apply(change, _) => under_way.push(change),
            Step::Await => {
                let change = under_way.remove(0);
                let applied = server.apply(&change);
                reconciler.handle_applied(now, &change.name, applied);
            }
            Step::Wait(due) => return due,
        }
    }
}

pub(super) fn edge(last: u8) -> EdgeView {
    EdgeView {
        target: DnsTarget::Addresses(BTreeSet::from([Ipv4Addr::new(192, 0, 2, last).into()])),
        port: 7443,
        standing: Standing::Serving,
    }
}

pub(super) fn reach(view: &mut View, cluster: &str, edges: &[&str]) {
    let edges = edges.iter().map(|edge| edge.parse().unwrap()).collect();
    view.clusters.insert(cluster.parse().unwrap(), edges);
}

pub(super) fn forget(view: &mut View, cluster: &str) {
    let gone = view.clusters.remove(&cluster.parse().unwrap());
    assert!(gone.is_some(), "{cluster} was there");
}

pub(super) fn lower(text: &str) -> LowerName {
    LowerName::from(Name::from_ascii(text).unwrap())
}

pub(super) fn under(name: &str) -> LowerName {
    lower(&format!("{name}.{ZONE}"))
}

pub(super) fn key(name: &str, kind: RecordType) -> Key {
    Key {
        name: under(name),
        kind,
    }
}

pub(super) fn address(last: u8) -> RData {
    RData::A(A(Ipv4Addr::new(192, 0, 2, last)))
}

/// What a human writes: one address with an hour to live.
pub(super) fn by_hand(last: u8) -> RecordSet {
    set(3600, [address(last)])
}
