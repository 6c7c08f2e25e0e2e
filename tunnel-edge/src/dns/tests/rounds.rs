//! Rounds: what they publish, repair and leave alone, and when they are.

use hickory_proto::rr::rdata::{CNAME, TXT};
use hickory_proto::rr::{Name, RData, RecordType};

use super::server::set;
use super::world::*;
use crate::config::DnsTarget;
use crate::dns::plan::Act;
use crate::dns::reconciler::{Policy, Step};
use crate::dns::report::{NameState, Outcome, Tally};
use crate::dns::view::Standing;

#[test]
fn an_empty_zone_gets_every_name_and_ten_steady_rounds_change_nothing() {
    let mut world = World::new(&["acme/prod-1"]);
    world.round();
    assert_eq!(
        world.server.lines(),
        [
            "_causeway._tcp._causeway.apps.example.com. 300 TXT v=1 owner=example.com for=discovery types=SRV sum=849deb176701746c",
            "edge-1._causeway.apps.example.com. 300 TXT v=1 owner=example.com for=edge/edge-1 types=A sum=2ec9ff8cb3688702",
            "prod-1--acme._causeway.apps.example.com. 60 TXT v=1 owner=example.com for=cluster/acme/prod-1 types=A sum=2ec9ff8cb3688702",
            "_causeway._tcp.apps.example.com. 300 SRV 0 1 7443 edge-1.apps.example.com.",
            "edge-1.apps.example.com. 300 A 192.0.2.1",
            "prod-1--acme.apps.example.com. 60 A 192.0.2.1",
        ]
    );
    let report = world.reconciler.report();
    assert_eq!(report.outcome, Some(Outcome::Finished));
    assert_eq!((report.tally.added, report.owned), (3, 3));
    world.pass(MINUTE * 2);
    let (transfers, updates) = (world.server.transfers, world.server.updates);
    world.pass(MINUTE * 11);
    assert_eq!(world.server.updates, updates);
    assert_eq!(world.server.transfers, transfers, "the serial says it all");
    assert!(world.reconciler.report().rounds > 10);
    assert_eq!(world.state("prod-1--acme"), &NameState::InSync);
}

/// A round that finds both sides as they were makes no plan: either side alone ends that.
#[test]
fn after_steady_rounds_either_side_is_still_followed() {
    let mut world = World::new(&["acme/prod-1"]);
    world.round();
    world.pass(MINUTE * 11);
    // Nobody tells the reconciler.
    reach(world.view(), "acme/prod-2", &["edge-1"]);
    world.pass(MINUTE * 2);
    assert_eq!(world.addresses("prod-2--acme"), ["192.0.2.1"]);
    assert_eq!(world.state("prod-2--acme"), &NameState::InSync);
    world.pass(MINUTE * 11);
    world.server.edit(key("prod-1--acme", RecordType::A), None);
    world.pass(MINUTE * 2);
    assert_eq!(world.addresses("prod-1--acme"), ["192.0.2.1"]);
    world.pass(MINUTE * 11);
    forget(world.view(), "acme/prod-2");
    world.pass(MINUTE * 11);
    assert_eq!(world.server.lines().len(), 6, "it is gone");
    let report = world.reconciler.report();
    assert_eq!((report.owned, report.names.len()), (3, 3));
}

#[test]
fn events_are_gathered_and_looks_are_regular_but_not_in_step() {
    let mut world = World::new(&["acme/prod-1"]);
    let mut spans = Vec::new();
    for _ in 0..20 {
        let due = world.drive();
        spans.push(due - world.now);
        world.now = due;
    }
    assert!(
        spans
            .iter()
            .all(|span| (SECOND * 54..=SECOND * 66).contains(span))
    );
    assert!(spans.windows(2).any(|pair| pair[0] != pair[1]));

    world.drive();
    world.reconciler.handle_changed(world.now);
    world.reconciler.handle_changed(world.now + SECOND);
    assert_eq!(
        world.reconciler.poll(world.now + SECOND),
        Step::Wait(world.now + SECOND * 2),
        "the first event counts, so that no stream of them puts it off"
    );
    assert_eq!(world.reconciler.poll(world.now + SECOND * 2), Step::Look);
}

#[test]
fn clusters_and_edges_that_come_are_published_at_once() {
    let mut world = World::new(&["acme/prod-1"]);
    world.round();
    world
        .view()
        .edges
        .insert("edge-2".parse().unwrap(), edge(2));
    reach(world.view(), "acme/prod-1", &["edge-1", "edge-2"]);
    reach(world.view(), "beta/x", &["edge-2"]);
    let tally = world.round().tally;
    assert_eq!((tally.added, tally.updated), (2, 2));
    assert_eq!(world.addresses("prod-1--acme"), ["192.0.2.1", "192.0.2.2"]);
    assert_eq!(world.addresses("x--beta"), ["192.0.2.2"]);
    let service = key("_causeway._tcp", RecordType::SRV);
    assert_eq!(world.server.texts(&service).len(), 2);
}

#[test]
fn what_is_changed_by_hand_is_repaired() {
    let a = || key("prod-1--acme", RecordType::A);
    let owner = || key("prod-1--acme._causeway", RecordType::TXT);
    for (what, edits) in [
        ("another address", vec![(a(), Some(by_hand(99)))]),
        (
            "one more",
            vec![(a(), Some(set(60, [address(1), address(9)])))],
        ),
        ("none", vec![(a(), None)]),
        (
            "another time to live",
            vec![(a(), Some(set(5, [address(1)])))],
        ),
    ] {
        let mut world = World::new(&["acme/prod-1"]);
        world.round();
        let right = world.server.lines();
        for (key, set) in edits {
            world.server.edit(key, set);
        }
        assert_ne!(world.server.lines(), right, "{what}");
        let tally = world.round().tally;
        assert_eq!(tally.repaired + tally.updated, 1, "{what}");
        assert_eq!(world.server.lines(), right, "{what}");
        world.server.edit(owner(), None);
        let state = world.round().names[&under("prod-1--acme").to_string()]
            .state
            .clone();
        assert_eq!(
            state.label(),
            "foreign",
            "{what}: nobody says that it is ours"
        );
    }
}

#[test]
fn names_of_others_are_left_alone_and_told() {
    let name = "prod-1--acme";
    let text = |text: &str| set(60, [RData::TXT(TXT::new(vec![text.to_owned()]))]);
    let alias = RData::CNAME(CNAME(Name::from_ascii("other.example.net.").unwrap()));
    let owner = || key(&format!("{name}._causeway"), RecordType::TXT);
    for (planted, why) in [
        (
            vec![(key(name, RecordType::A), by_hand(9))],
            "it has A records",
        ),
        (
            vec![(key(name, RecordType::CNAME), set(60, [alias]))],
            "it has CNAME records",
        ),
        (
            vec![(owner(), text("v=1 owner=staging for=x types=A sum="))],
            "its owner is staging",
        ),
        (vec![(owner(), text("hello"))], "it is no ownership record"),
        (
            vec![(owner(), text("v=7 owner=example.com types=A"))],
            "version 7",
        ),
    ] {
        let mut world = World::new(&["acme/prod-1"]);
        for (key, set) in &planted {
            world.server.edit(key.clone(), Some(set.clone()));
        }
        let before = world.server.lines();
        for _ in 0..3 {
            world.round();
            let NameState::Foreign(said) = world.state(name) else {
                panic!("{why}: {:?}", world.state(name));
            };
            assert!(said.contains(why), "{said}");
            world.pass(MINUTE * 3);
        }
        for line in before {
            assert!(world.server.lines().contains(&line), "{line}");
        }
        for (key, _) in planted {
            world.server.edit(key, None);
        }
        world.pass(MINUTE * 2);
        assert_eq!(world.state(name), &NameState::InSync);
        assert_eq!(world.addresses(name), ["192.0.2.1"]);
    }
}

#[test]
fn what_stands_beside_ours_stays_when_ours_goes() {
    let mut world = World::new(&["acme/prod-1", "acme/prod-2"]);
    world.round();
    let note = key("prod-1--acme", RecordType::TXT);
    let text = RData::TXT(TXT::new(vec!["by hand".to_owned()]));
    world.server.edit(note.clone(), Some(set(7, [text])));
    forget(world.view(), "acme/prod-1");
    world.pass(MINUTE * 10);
    assert!(world.addresses("prod-1--acme").is_empty());
    let owner = key("prod-1--acme._causeway", RecordType::TXT);
    assert!(world.server.texts(&owner).is_empty());
    assert_eq!(world.server.texts(&note), ["by hand"]);
}

#[test]
fn an_edge_that_leaves_is_taken_out_at_once() {
    let mut world = World::new(&[]);
    world
        .view()
        .edges
        .insert("edge-2".parse().unwrap(), edge(2));
    reach(world.view(), "acme/prod-1", &["edge-1", "edge-2"]);
    world.round();
    let leaving = world.view().edges.get_mut(&"edge-1".parse().unwrap());
    leaving.unwrap().standing = Standing::Leaving;
    world.round();
    assert_eq!(world.addresses("prod-1--acme"), ["192.0.2.2"]);
    let service = key("_causeway._tcp", RecordType::SRV);
    assert_eq!(
        world.server.texts(&service),
        ["0 1 7443 edge-2.apps.example.com."]
    );
    assert_eq!(world.addresses("edge-1"), ["192.0.2.1"], "it still answers");
    let last = world.view().edges.get_mut(&"edge-2".parse().unwrap());
    last.unwrap().standing = Standing::Leaving;
    world.pass(MINUTE * 10);
    assert_eq!(
        world.addresses("prod-1--acme"),
        ["192.0.2.1", "192.0.2.2"],
        "no name is emptied because the last edges stop"
    );
}

#[test]
fn addresses_become_an_alias_and_addresses_again() {
    let mut world = World::new(&["acme/prod-1"]);
    world.round();
    let addresses = world.server.lines();
    let target = |world: &mut World, target: DnsTarget| {
        let edge = world.view().edges.get_mut(&"edge-1".parse().unwrap());
        edge.unwrap().target = target;
        world.restart();
        world.round();
    };
    target(&mut world, DnsTarget::Name(lower("lb.example.net.")));
    let alias = key("prod-1--acme", RecordType::CNAME);
    assert_eq!(world.server.texts(&alias), ["lb.example.net."]);
    assert!(world.addresses("prod-1--acme").is_empty());
    target(&mut world, edge(1).target);
    assert!(world.server.texts(&alias).is_empty());
    world.pass(MINUTE * 20);
    assert_eq!(world.server.lines(), addresses);
}

#[test]
fn a_name_that_does_not_fit_fails_alone() {
    let long = format!("{}/{}", "t".repeat(40), "c".repeat(40));
    let mut world = World::new(&[&long, "acme/prod-1"]);
    world.round();
    assert_eq!(world.state("prod-1--acme"), &NameState::InSync);
    let name = format!("{}--{}", "c".repeat(40), "t".repeat(40));
    let report = world.reconciler.report();
    let NameState::Failed { reason, message } = &report.names[&format!("{name}.{ZONE}")].state
    else {
        panic!("82 characters fit into no label");
    };
    assert_eq!(*reason, None);
    assert!(message.contains("82 characters"), "{message}");
    assert_eq!(report.outcome, Some(Outcome::Finished));
}

#[test]
fn a_preview_is_what_the_round_then_does_and_nothing_is_remembered_of_it() {
    let mut world = World::new(&["acme/prod-1", "acme/prod-2"]);
    world.round();
    forget(world.view(), "acme/prod-2");
    reach(world.view(), "acme/prod-3", &["edge-1"]);
    let view = world.view().clone();
    let preview = world
        .reconciler
        .preview(world.now, &view, &world.server.records);
    let acts: Vec<_> = preview.changes.iter().map(|planned| planned.act).collect();
    assert_eq!(acts, [Act::Add]);
    assert_eq!(preview.held.len(), 1);
    let asked = world.server.asked.len();
    let tally = world.round().tally;
    assert_eq!(
        tally,
        Tally {
            added: 1,
            ..Tally::default()
        }
    );
    let name = preview.changes[0].change.name.clone();
    assert_eq!(world.server.asked[asked..], [name]);
}

#[test]
fn another_owner_shares_the_zone() {
    let mut world = World::new(&["acme/prod-1"]);
    world.round();
    let ours = world.server.lines();
    let other = Policy {
        owner: "staging".to_owned(),
        ..policy()
    };
    world.restart_with(other);
    *world.view() = Default::default();
    world
        .view()
        .edges
        .insert("edge-9".parse().unwrap(), edge(9));
    reach(world.view(), "beta/x", &["edge-9"]);
    world.pass(MINUTE * 60);
    for line in ours {
        assert!(world.server.lines().contains(&line), "{line}");
    }
    assert_eq!(world.addresses("x--beta"), ["192.0.2.9"]);
    assert_eq!(world.state("_causeway._tcp").label(), "foreign");
}
