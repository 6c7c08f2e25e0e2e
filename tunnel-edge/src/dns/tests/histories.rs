//! Any history of registries, edits, failures and deaths: others' records are never touched, and
//! once it is quiet everything is as it should be.

use std::collections::BTreeMap;

use hickory_proto::rr::rdata::TXT;
use hickory_proto::rr::{RData, RecordType};
use proptest::prelude::*;

use super::server::{Fault, set};
use super::world::*;
use crate::dns::provider::Reason;
use crate::dns::records::{Key, RecordSet};
use crate::dns::report::{NameState, Outcome};
use crate::dns::view::{Standing, Unreachable, View};

#[derive(Clone, Debug)]
enum Event {
    /// A cluster is seen, at these edges.
    Seen(u8, Vec<u8>),
    Gone(u8),
    Edge(u8, bool),
    EdgeGone(u8),
    RegistryAway(bool),
    /// Somebody writes a name that is, or may become, a cluster's.
    Plant(u8, u8),
    /// Somebody writes a text beside a name of ours.
    Note(u8),
    /// Somebody changes a set of ours, or takes it away.
    Drift(u8, Option<u8>),
    /// The same, in the middle of the next round.
    Meanwhile(u8, u8),
    ReadFails,
    ChangeFails(u8, bool),
    Dies,
    Round,
    Time(u16),
}

fn event() -> impl Strategy<Value = Event> {
    let cluster = 0..6_u8;
    let edge = 1..4_u8;
    prop_oneof![
        4 => (cluster.clone(), prop::collection::vec(edge.clone(), 0..3)).prop_map(|(c, e)| Event::Seen(c, e)),
        3 => cluster.clone().prop_map(Event::Gone),
        2 => (edge.clone(), any::<bool>()).prop_map(|(e, leaving)| Event::Edge(e, leaving)),
        1 => edge.prop_map(Event::EdgeGone),
        1 => any::<bool>().prop_map(Event::RegistryAway),
        1 => (cluster.clone(), any::<u8>()).prop_map(|(c, a)| Event::Plant(c, a)),
        1 => cluster.clone().prop_map(Event::Note),
        2 => (cluster.clone(), any::<Option<u8>>()).prop_map(|(c, a)| Event::Drift(c, a)),
        2 => (cluster, any::<u8>()).prop_map(|(c, a)| Event::Meanwhile(c, a)),
        1 => Just(Event::ReadFails),
        2 => (0..4_u8, any::<bool>()).prop_map(|(after, lost)| Event::ChangeFails(after, lost)),
        1 => Just(Event::Dies),
        4 => Just(Event::Round),
        4 => (1..2000_u16).prop_map(Event::Time),
    ]
}

/// What somebody makes of a set of ours. Not to live longer than ours: removal waits for it.
fn drifted(last: u8) -> RecordSet {
    set(30, [address(last)])
}

/// A world, and what others have written in its zone.
struct History {
    world: World,
    view: View,
    others: BTreeMap<Key, RecordSet>,
}

impl History {
    fn new() -> Self {
        let mut world = World::new(&["acme/c0"]);
        let view = world.view().clone();
        Self {
            world,
            view,
            others: BTreeMap::new(),
        }
    }

    fn happen(&mut self, event: Event) {
        let cluster = |nth: u8| format!("acme/c{nth}");
        let name = |nth: u8| format!("c{nth}--acme");
        let server = &mut self.world.server;
        match event {
            Event::Seen(nth, edges) => {
                let edges: Vec<_> = edges.iter().map(|edge| format!("edge-{edge}")).collect();
                let edges: Vec<_> = edges.iter().map(String::as_str).collect();
                reach(&mut self.view, &cluster(nth), &edges);
            }
            Event::Gone(nth) => {
                self.view.clusters.remove(&cluster(nth).parse().unwrap());
            }
            Event::Edge(nth, leaving) => {
                let mut edge = edge(nth);
                if leaving {
                    edge.standing = Standing::Leaving;
                }
                let label = format!("edge-{nth}").parse().unwrap();
                self.view.edges.insert(label, edge);
            }
            Event::EdgeGone(nth) => {
                let label = format!("edge-{nth}").parse().unwrap();
                self.view.edges.remove(&label);
            }
            Event::RegistryAway(away) => {
                self.world.view = match away {
                    true => Err(Unreachable("away".into())),
                    false => Ok(self.view.clone()),
                };
                return;
            }
            Event::Plant(nth, last) => {
                let key = key(&name(nth), RecordType::A);
                // Only where nothing is ours: else it is drift.
                let owner = under(&format!("{}._causeway", name(nth)));
                if !server.records.keys().any(|key| key.name == owner) {
                    server.edit(key.clone(), Some(by_hand(last)));
                    server.others.insert(key.clone());
                    self.others.insert(key, by_hand(last));
                }
            }
            Event::Note(nth) => {
                let key = key(&name(nth), RecordType::TXT);
                let text = set(9, [RData::TXT(TXT::new(vec![format!("note {nth}")]))]);
                server.edit(key.clone(), Some(text.clone()));
                self.others.insert(key, text);
            }
            Event::Drift(nth, last) => {
                let key = key(&name(nth), RecordType::A);
                if server.records.contains_key(&key) && !self.others.contains_key(&key) {
                    server.edit(key, last.map(drifted));
                }
            }
            Event::Meanwhile(nth, last) => {
                let key = key(&name(nth), RecordType::A);
                server.drifts.push_back((key, drifted(last)));
            }
            Event::ReadFails => server.reading.push_back(Reason::Timeout),
            Event::ChangeFails(after, lost) => {
                let none = std::iter::repeat_n(Fault::None, after.into());
                server.changing.extend(none);
                server.changing.push_back(match lost {
                    true => Fault::Unanswered,
                    false => Fault::Fails(Reason::ServerFailure),
                });
            }
            Event::Dies => self.world.restart(),
            Event::Round => {
                self.world.round();
            }
            Event::Time(seconds) => self.world.pass(SECOND * seconds.into()),
        }
        if self.world.view.is_ok() {
            self.world.view = Ok(self.view.clone());
        }
    }

    fn others_are_untouched(&self) {
        for (key, set) in &self.others {
            assert_eq!(self.world.server.records.get(key), Some(set), "{key:?}");
        }
    }

    /// Nothing happens any more, for long enough.
    fn be_quiet(&mut self) {
        let server = &mut self.world.server;
        server.reading.clear();
        server.changing.clear();
        server.drifts.clear();
        self.view.edges.insert("edge-1".parse().unwrap(), edge(1));
        reach(&mut self.view, "acme/c0", &["edge-1"]);
        self.world.view = Ok(self.view.clone());
        // The longest that anything is held: four half-lives of the penalty.
        self.world.pass(MINUTE * 75);
    }

    fn everything_is_as_it_should_be(&mut self) {
        let policy = policy();
        let desired = crate::dns::desired::desired(&self.view, &policy.naming);
        let report = self.world.reconciler.report().clone();
        assert_eq!(report.outcome, Some(Outcome::Finished));
        assert_eq!(report.held, []);
        let mut expected = self.others.clone();
        let mut ours = 0;
        for (name, wanted) in &desired.names {
            match &report.names[&name.to_string()].state {
                NameState::InSync => ours += 1,
                NameState::Foreign(_) => {
                    assert!(self.others.keys().any(|key| key.name == *name), "{name}");
                    continue;
                }
                state @ (NameState::Pending(_) | NameState::Failed { .. }) => {
                    panic!("{name} is {state:?}")
                }
            }
            for data in &wanted.records {
                let key = Key {
                    name: name.clone(),
                    kind: data.record_type(),
                };
                let of_type = |other: &&RData| other.record_type() == data.record_type();
                let data = wanted.records.iter().filter(of_type).cloned();
                expected.insert(key, set(wanted.ttl, data));
            }
        }
        let subtree =
            |key: &Key| crate::dns::ownership::served(&key.name, &policy.naming.zone).is_some();
        let mut there = self.world.server.records.clone();
        let all = there.len();
        there.retain(|key, _| !subtree(key));
        assert_eq!(there, expected);
        assert_eq!(all - there.len(), ours, "one record of ownership for each");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn any_history_ends_well(events in prop::collection::vec(event(), 1..60)) {
        let mut history = History::new();
        for event in events {
            history.happen(event);
            history.others_are_untouched();
        }
        history.be_quiet();
        history.others_are_untouched();
        history.everything_is_as_it_should_be();
        let updates = history.world.server.asked.len();
        history.world.pass(MINUTE * 10);
        prop_assert_eq!(history.world.server.asked.len(), updates, "nothing is written in a steady state");
    }
}
