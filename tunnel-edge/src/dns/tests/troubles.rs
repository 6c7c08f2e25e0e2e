//! Servers that fail, people who edit meanwhile, processes that die, and two that do the same.

use hickory_proto::rr::RecordType;

use super::server::{Fault, Server};
use super::world::*;
use crate::dns::ownership;
use crate::dns::plan::Act;
use crate::dns::provider::Reason;
use crate::dns::reconciler::{Reconciler, Step};
use crate::dns::report::{NameState, Outcome};

const OF_THE_NAME: [Reason; 4] = [
    Reason::Refused,
    Reason::ServerFailure,
    Reason::Malformed,
    Reason::Unwritable,
];
const OF_THE_SERVER: [Reason; 8] = [
    Reason::Unreachable,
    Reason::Timeout,
    Reason::BadKey,
    Reason::BadSignature,
    Reason::BadTime,
    Reason::NotAuthoritative,
    Reason::Truncated,
    Reason::File,
];

/// Every name has its record of ownership, and every such record its name.
pub(super) fn nothing_is_orphaned(server: &Server) {
    let zone = lower(ZONE);
    let subtree = |name: &hickory_proto::rr::LowerName| ownership::served(name, &zone);
    for key in server.records.keys() {
        match subtree(&key.name) {
            Some(served) => assert!(
                server.records.keys().any(|key| key.name == served),
                "{} says whose {served} is, and there is none",
                key.name
            ),
            None => {
                let owner = ownership::key(&key.name, &zone).unwrap();
                assert!(
                    server.records.contains_key(&owner),
                    "nobody says whose {} is",
                    key.name
                );
            }
        }
    }
}

#[test]
fn a_zone_that_cannot_be_read_is_asked_again_after_a_while_that_grows() {
    for reason in OF_THE_NAME.into_iter().chain(OF_THE_SERVER) {
        let mut world = World::new(&["acme/prod-1"]);
        world.server.reading = [reason; 8].into();
        let mut delays = Vec::new();
        for _ in 0..8 {
            let due = world.drive();
            let report = world.reconciler.report();
            assert!(matches!(&report.outcome, Some(Outcome::Unread(said, _)) if *said == reason));
            delays.push(due - world.now);
            world.now = due;
        }
        for (nth, delay) in delays.iter().enumerate() {
            let bound = (SECOND * 2 * (1 << nth)).min(MINUTE);
            assert!((bound / 2..=bound).contains(delay), "{nth}: {delay:?}");
        }
        assert_eq!(world.server.updates, 0);
        world.pass(MINUTE);
        assert_eq!(world.state("prod-1--acme"), &NameState::InSync);
    }
}

#[test]
fn events_do_not_hurry_a_server_that_fails_and_people_do() {
    let mut world = World::new(&["acme/prod-1"]);
    world.server.reading = [Reason::Timeout; 5].into();
    world.pass(SECOND * 20);
    let due = world.drive();
    world.reconciler.handle_changed(world.now);
    assert_eq!(world.reconciler.poll(world.now), Step::Wait(due));
    world.reconciler.handle_asked(world.now);
    assert_eq!(world.reconciler.poll(world.now), Step::Look);
}

#[test]
fn one_name_that_is_refused_does_not_keep_the_others() {
    for reason in OF_THE_NAME {
        let mut world = World::new(&["acme/prod-1", "acme/prod-2", "beta/x"]);
        world.server.changing = [Fault::Fails(reason)].into();
        let report = world.round();
        assert_eq!((report.tally.added, report.tally.failed), (4, 1));
        assert_eq!(report.outcome, Some(Outcome::Unfinished));
        let failed: Vec<_> = report
            .names
            .values()
            .filter(|name| name.state.label() == "failed")
            .collect();
        let NameState::Failed {
            reason: said,
            message,
        } = &failed[0].state
        else {
            panic!("one has failed");
        };
        assert_eq!((failed.len(), *said), (1, Some(reason)));
        assert!(message.starts_with("addition failed 1 times: the server says"));
        let first = world.server.asked[0].clone();
        reach(world.view(), "zeta/new", &["edge-1"]);
        world.server.asked.clear();
        world.round();
        let last = world.server.asked.last();
        assert_eq!(last, Some(&first), "what failed comes last");
        let names = &world.reconciler.report().names;
        assert!(names.values().all(|name| name.state == NameState::InSync));
    }
}

#[test]
fn three_refusals_in_a_row_end_the_round() {
    let names: Vec<String> = (0..100).map(|nth| format!("acme/c{nth}")).collect();
    let all: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut world = World::new(&all);
    world.server.changing = vec![Fault::Fails(Reason::Refused); 200].into();
    world.round();
    let asked = world.server.asked.len();
    assert!((3..=35).contains(&asked), "{asked} were under way at most");
    world.server.changing.clear();
    world.pass(MINUTE * 2);
    assert_eq!(world.reconciler.report().outcome, Some(Outcome::Finished));
    nothing_is_orphaned(&world.server);
}

#[test]
fn a_server_that_is_gone_ends_the_round_and_its_return_completes_it() {
    for reason in OF_THE_SERVER {
        let names: Vec<String> = (0..100).map(|nth| format!("acme/c{nth}")).collect();
        let all: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut world = World::new(&all);
        world.server.changing = vec![Fault::None; 10].into();
        world
            .server
            .changing
            .extend(vec![Fault::Fails(reason); 100]);
        world.round();
        assert!(
            world.server.asked.len() < 80,
            "no more after the first failure"
        );
        let failed = &world.reconciler.report().tally;
        assert!(failed.failed > 0 && failed.added == 10);
        nothing_is_orphaned(&world.server);
        world.server.changing.clear();
        world.pass(MINUTE * 2);
        assert_eq!(world.reconciler.report().outcome, Some(Outcome::Finished));
        assert_eq!(world.server.updates, 102, "each once");
    }
}

#[test]
fn a_change_whose_answer_is_lost_is_seen_at_the_next_look() {
    let mut world = World::new(&["acme/prod-1"]);
    world.server.changing = [Fault::Unanswered].into();
    world.round();
    world.pass(MINUTE);
    assert_eq!(world.server.updates, 3, "each once");
    assert_eq!(world.reconciler.report().outcome, Some(Outcome::Finished));
    let names = &world.reconciler.report().names;
    assert!(names.values().all(|name| name.state == NameState::InSync));
}

#[test]
fn a_removal_that_fails_is_told_and_made_later() {
    let mut world = World::new(&["acme/prod-1", "acme/prod-2"]);
    world.pass(MINUTE * 5);
    forget(world.view(), "acme/prod-1");
    world.round();
    world.now += SECOND * 121;
    world.server.changing = [Fault::Fails(Reason::Refused)].into();
    world.round();
    assert_eq!(world.state("prod-1--acme").label(), "failed");
    world.pass(MINUTE);
    assert!(!world.server.lines().concat().contains("prod-1"));
    let names = &world.reconciler.report().names;
    assert!(!names.contains_key(&under("prod-1--acme").to_string()));
}

#[test]
fn what_somebody_plants_between_reading_and_change_survives_and_is_told() {
    let mut world = World::new(&["acme/prod-1"]);
    world.round();
    let planted = key("prod-2--acme", RecordType::A);
    world.server.meanwhile = [(planted.clone(), Some(by_hand(77)))].into();
    reach(world.view(), "acme/prod-2", &["edge-1"]);
    let tally = world.round().tally;
    assert_eq!((tally.overtaken, tally.added), (1, 0));
    assert_eq!(world.server.records[&planted], by_hand(77));
    assert_eq!(world.state("prod-2--acme").label(), "foreign");
    world.pass(MINUTE * 30);
    assert_eq!(world.server.records[&planted], by_hand(77));
}

#[test]
fn an_edit_of_ours_between_reading_and_change_is_seen_before_it_is_repaired() {
    let mut world = World::new(&["acme/prod-1"]);
    world.round();
    world
        .view()
        .edges
        .insert("edge-2".parse().unwrap(), edge(2));
    reach(world.view(), "acme/prod-1", &["edge-1", "edge-2"]);
    // It comes before the change of this name: the discovery record and the new edge's are the others.
    let ours = key("prod-1--acme", RecordType::A);
    world.server.meanwhile = [(ours, Some(by_hand(77)))].into();
    let tally = world.round().tally;
    assert_eq!((tally.overtaken, tally.repaired), (1, 1));
    assert_eq!(world.addresses("prod-1--acme"), ["192.0.2.1", "192.0.2.2"]);
}

#[test]
fn whoever_overtakes_twice_is_given_time() {
    let mut world = World::new(&["acme/prod-1"]);
    world.round();
    let ours = || key("prod-1--acme", RecordType::A);
    world.server.edit(ours(), Some(by_hand(70)));
    world.server.meanwhile = (71..73).map(|last| (ours(), Some(by_hand(last)))).collect();
    let asked = world.server.asked.len();
    world.round();
    assert_eq!(world.server.asked.len(), asked + 2);
    assert_eq!(world.reconciler.report().tally.overtaken, 2);
    assert_eq!(
        world.state("prod-1--acme"),
        &NameState::Pending(Act::Repair)
    );
    world.pass(SECOND * 2);
    assert_eq!(world.addresses("prod-1--acme"), ["192.0.2.1"]);
}

#[test]
fn one_that_dies_between_two_changes_leaves_nothing_that_the_next_does_not_finish() {
    let names: Vec<String> = (0..20).map(|nth| format!("acme/c{nth}")).collect();
    let all: Vec<&str> = names.iter().map(String::as_str).collect();
    for dies_after in 0..22 {
        let mut world = World::new(&all);
        let mut made = 0;
        while made < dies_after {
            match world.reconciler.poll(world.now) {
                Step::Look => {
                    let view = world.view.clone();
                    world.reconciler.handle_view(world.now, view);
                }
                Step::Read { known, .. } => {
                    let read = world.server.read(known);
                    world.reconciler.handle_reading(world.now, read);
                }
                // It never hears of what it has sent.
                Step::Apply(change, _) => {
                    world.server.apply(&change).unwrap();
                    made += 1;
                }
                Step::Await | Step::Wait(_) => panic!("{made} of {dies_after}"),
            }
        }
        nothing_is_orphaned(&world.server);
        // Half of the clusters are gone when the next one starts.
        for cluster in &all[..10] {
            forget(world.view(), cluster);
        }
        world.restart();
        world.pass(MINUTE * 20);
        nothing_is_orphaned(&world.server);
        let there = world.server.records.len();
        assert_eq!(there, (10 + 2) * 2, "after {dies_after}");
    }
}

#[test]
fn two_that_work_at_once_agree() {
    let mut world = World::new(&["acme/prod-1", "acme/prod-2", "beta/x"]);
    world
        .server
        .edit(key("x--beta", RecordType::A), Some(by_hand(9)));
    let view = world.view().clone();
    let mut both = [1, 2].map(|seed| Reconciler::new(policy(), world.now, seed));
    // Each step of one is followed by a step of the other, so that each sees the other's half-done work.
    for round in 0..30 {
        let mut under_way = [Vec::new(), Vec::new()];
        let mut resting = [false; 2];
        while resting != [true; 2] {
            for (nth, reconciler) in both.iter_mut().enumerate() {
                match reconciler.poll(world.now) {
                    Step::Look => reconciler.handle_view(world.now, Ok(view.clone())),
                    Step::Read { known, .. } => {
                        reconciler.handle_reading(world.now, world.server.read(known));
                    }
                    Step::Apply(change, _) => under_way[nth].push(change),
                    Step::Await => {
                        let change = under_way[nth].remove(0);
                        let applied = world.server.apply(&change);
                        reconciler.handle_applied(world.now, &change.name, applied);
                    }
                    Step::Wait(_) => resting[nth] = true,
                }
            }
        }
        if round == 0 {
            assert_eq!(world.server.updates, 4, "each name once");
        }
        world.now += SECOND * 10;
    }
    assert_eq!(world.server.updates, 4, "and never again");
    nothing_is_orphaned_but(&world.server, "x--beta");
    assert_eq!(world.addresses("x--beta"), ["192.0.2.9"]);
    let states = both.map(|reconciler| {
        let names = reconciler.report().names.values();
        names.filter(|name| name.state == NameState::InSync).count()
    });
    assert_eq!(states, [4, 4]);
}

fn nothing_is_orphaned_but(server: &Server, foreign: &str) {
    let mut server = server.clone();
    server.edit(key(foreign, RecordType::A), None);
    nothing_is_orphaned(&server);
}

#[test]
fn two_with_registries_of_their_own_do_not_write_for_ever() {
    let mut world = World::new(&["acme/prod-1"]);
    let mut views = [world.view().clone(), world.view().clone()];
    views[1].edges.clear();
    views[1].edges.insert("edge-2".parse().unwrap(), edge(2));
    reach(&mut views[1], "acme/prod-1", &["edge-2"]);
    let mut both = [1, 2].map(|seed| Reconciler::new(policy(), world.now, seed));
    // Of the cluster's own name, which both want and each for itself.
    let mut minutes_with_writes = Vec::new();
    for minute in 0..30 {
        let asked = world.server.asked.len();
        for _ in 0..6 {
            for (reconciler, view) in both.iter_mut().zip(&views) {
                drive(reconciler, &mut world.server, &Ok(view.clone()), world.now);
            }
            world.now += SECOND * 10;
        }
        if world.server.asked[asked..].contains(&under("prod-1--acme")) {
            minutes_with_writes.push(minute);
        }
    }
    assert!(minutes_with_writes.len() > 1, "they do not agree at first");
    assert!(
        minutes_with_writes.iter().all(|minute| *minute < 15),
        "{minutes_with_writes:?}"
    );
    assert_eq!(world.addresses("prod-1--acme"), ["192.0.2.1", "192.0.2.2"]);
}

#[test]
fn what_was_looked_at_again_is_not_taken_for_the_whole_zone() {
    let mut world = World::new(&["acme/prod-1"]);
    let planted = (key("prod-1--acme", RecordType::A), Some(by_hand(99)));
    world.server.meanwhile.push_back(planted);
    world.round();
    assert!(matches!(world.state("prod-1--acme"), NameState::Foreign(_)));
    world.now += MINUTE * 2;
    assert_eq!(world.reconciler.poll(world.now), Step::Look);
    let view = world.view.clone();
    world.reconciler.handle_view(world.now, view);
    // Everything is read, whether it has changed or not.
    assert!(matches!(
        world.reconciler.poll(world.now),
        Step::Read { known: None, .. }
    ));
}

#[test]
fn a_server_that_says_nothing_has_changed_since_nothing_is_not_believed() {
    let mut world = World::new(&["acme/prod-1"]);
    assert_eq!(world.reconciler.poll(world.now), Step::Look);
    let view = world.view.clone();
    world.reconciler.handle_view(world.now, view);
    assert!(matches!(
        world.reconciler.poll(world.now),
        Step::Read { known: None, .. }
    ));
    let unchanged = Ok(crate::dns::provider::Reading::Unchanged);
    world.reconciler.handle_reading(world.now, unchanged);
    let outcome = &world.reconciler.report().outcome;
    assert!(matches!(
        outcome,
        Some(Outcome::Unread(Reason::Malformed, _))
    ));
}
