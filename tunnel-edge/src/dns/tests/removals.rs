//! What is removed, when, and what never is.

use super::world::*;
use crate::dns::plan::Because;
use crate::dns::report::Outcome;
use crate::dns::view::Unreachable;

/// A world whose first minutes are over.
fn settled(clusters: &[&str]) -> World {
    let mut world = World::new(clusters);
    world.pass(MINUTE * 5);
    world
}

#[test]
fn a_cluster_that_is_gone_keeps_its_name_for_twice_its_time_to_live() {
    let mut world = settled(&["acme/prod-1", "acme/prod-2"]);
    forget(world.view(), "acme/prod-1");
    world.round();
    assert_eq!(world.held("prod-1--acme"), Some(Because::Recent));
    world.pass(SECOND * 119);
    assert_eq!(world.addresses("prod-1--acme"), ["192.0.2.1"]);
    world.pass(SECOND * 3);
    assert!(world.addresses("prod-1--acme").is_empty());
    assert!(
        !world.server.lines().concat().contains("prod-1"),
        "nothing is orphaned"
    );
    assert_eq!(world.addresses("prod-2--acme"), ["192.0.2.1"]);
}

#[test]
fn a_cluster_that_is_back_in_time_is_not_written_at_all() {
    let mut world = settled(&["acme/prod-1", "acme/prod-2"]);
    let updates = world.server.updates;
    forget(world.view(), "acme/prod-1");
    world.round();
    world.pass(SECOND * 100);
    reach(world.view(), "acme/prod-1", &["edge-1"]);
    world.round();
    world.pass(MINUTE * 10);
    assert_eq!(world.server.updates, updates);
}

#[test]
fn an_edge_that_vanishes_stays_for_a_while() {
    let mut world = settled(&["acme/prod-1"]);
    world
        .view()
        .edges
        .insert("edge-2".parse().unwrap(), edge(2));
    reach(world.view(), "acme/prod-1", &["edge-1", "edge-2"]);
    world.round();
    world.view().edges.remove(&"edge-2".parse().unwrap());
    world.round();
    assert_eq!(world.held("prod-1--acme"), Some(Because::Recent));
    world.pass(SECOND * 100);
    assert_eq!(world.addresses("prod-1--acme"), ["192.0.2.1", "192.0.2.2"]);
    world.pass(SECOND * 25);
    assert_eq!(world.addresses("prod-1--acme"), ["192.0.2.1"]);
    assert_eq!(
        world.addresses("edge-2"),
        ["192.0.2.2"],
        "for twice 300 seconds"
    );
    world.pass(MINUTE * 10);
    assert!(world.addresses("edge-2").is_empty());
}

#[test]
fn a_fresh_start_removes_nothing_until_clients_had_time_to_return() {
    let mut world = settled(&["acme/prod-1", "acme/prod-2"]);
    forget(world.view(), "acme/prod-2");
    let policy = crate::dns::reconciler::Policy {
        settle: MINUTE * 10,
        ..policy()
    };
    world.restart_with(policy);
    world.round();
    assert_eq!(world.held("prod-2--acme"), Some(Because::Settling));
    world.pass(SECOND * 599);
    assert_eq!(world.addresses("prod-2--acme"), ["192.0.2.1"]);
    world.pass(SECOND * 3);
    assert!(world.addresses("prod-2--acme").is_empty());
}

#[test]
fn an_empty_registry_removes_nothing_and_then_clients_have_time_to_return() {
    let mut world = settled(&["acme/prod-1", "acme/prod-2"]);
    let lines = world.server.lines();
    forget(world.view(), "acme/prod-1");
    forget(world.view(), "acme/prod-2");
    world.pass(MINUTE * 600);
    assert_eq!(world.held("prod-1--acme"), Some(Because::NoClusters));
    world.view().edges.clear();
    world.pass(MINUTE * 600);
    assert_eq!(world.server.lines(), lines);

    world
        .view()
        .edges
        .insert("edge-1".parse().unwrap(), edge(1));
    reach(world.view(), "acme/prod-2", &["edge-1"]);
    world.round();
    assert_eq!(world.held("prod-1--acme"), Some(Because::Settling));
    world.pass(SECOND * 119);
    assert_eq!(world.server.lines(), lines);
    world.pass(SECOND * 2);
    assert!(world.addresses("prod-1--acme").is_empty());
    assert_eq!(world.addresses("prod-2--acme"), ["192.0.2.1"]);
}

#[test]
fn an_unreachable_registry_changes_nothing() {
    let mut world = settled(&["acme/prod-1", "acme/prod-2"]);
    let lines = world.server.lines();
    let view = world.view().clone();
    world.view = Err(Unreachable("no route to it".into()));
    world.pass(MINUTE * 60);
    let outcome = world.reconciler.report().outcome.clone();
    assert_eq!(outcome, Some(Outcome::NoRegistry("no route to it".into())));
    assert_eq!(world.server.lines(), lines);
    world.view = Ok(view);
    forget(world.view(), "acme/prod-1");
    world.round();
    assert_eq!(world.held("prod-1--acme"), Some(Because::Settling));
}

/// A world with so many clusters, all but the first of which have been gone for long enough.
fn all_but_one_may_go(count: usize) -> World {
    let names: Vec<String> = (0..count).map(|nth| format!("acme/c{nth}")).collect();
    let all: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut world = settled(&all);
    for cluster in &all[1..] {
        forget(world.view(), cluster);
    }
    world.round();
    world.now += SECOND * 121;
    world
}

#[test]
fn a_round_removes_only_so_many_and_says_so() {
    let mut world = all_but_one_may_go(200);
    let there = |world: &World| world.server.records.len() / 2 - 2;
    assert_eq!(world.round().tally.removed, 50);
    assert!(world.reconciler.report().is_capped());
    assert_eq!(there(&world), 150);
    assert_eq!(
        world.held("c51--acme").is_some(),
        !world.addresses("c51--acme").is_empty()
    );
    for left in [100, 50] {
        world.now += MINUTE;
        world.round();
        assert_eq!(there(&world), left);
    }
    world.now += MINUTE;
    assert_eq!(world.round().tally.removed, 49);
    assert!(!world.reconciler.report().is_capped());
    assert_eq!(there(&world), 1);
}

#[test]
fn of_very_many_names_a_tenth_may_go_in_a_round() {
    let mut world = all_but_one_may_go(1000);
    assert_eq!(world.round().tally.removed, 100);
}

#[test]
fn a_cluster_that_comes_and_goes_is_written_a_few_times_and_then_keeps_its_name() {
    let mut world = settled(&["acme/prod-1", "acme/prod-2"]);
    let mut written = Vec::new();
    for _ in 0..30 {
        let updates = world.server.updates;
        forget(world.view(), "acme/prod-1");
        world.round();
        world.pass(SECOND * 150);
        reach(world.view(), "acme/prod-1", &["edge-1"]);
        world.round();
        world.pass(SECOND * 30);
        written.push(world.server.updates - updates);
    }
    assert_eq!(written[..2], [2, 2], "removed and added");
    assert!(written[2..].iter().all(|times| *times == 0), "{written:?}");
    forget(world.view(), "acme/prod-1");
    world.round();
    world.pass(SECOND * 130);
    assert_eq!(world.held("prod-1--acme"), Some(Because::Flapping));
    world.pass(MINUTE * 61);
    assert!(
        world.addresses("prod-1--acme").is_empty(),
        "but not for ever"
    );
}

#[test]
fn a_record_of_ownership_whose_name_somebody_emptied_goes_too() {
    let mut world = settled(&["acme/prod-1", "acme/prod-2"]);
    forget(world.view(), "acme/prod-1");
    let emptied = key("prod-1--acme", hickory_proto::rr::RecordType::A);
    world.server.edit(emptied, None);
    world.restart();
    world.pass(MINUTE * 5);
    assert!(!world.server.lines().concat().contains("prod-1"));
}
