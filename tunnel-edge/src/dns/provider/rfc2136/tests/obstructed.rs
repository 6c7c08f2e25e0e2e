//! Where a zone cannot be transferred, somebody's records are in the way that are not asked for.

use std::{sync::Arc, time::Duration};

use super::support::{
    Access, name,
    nameserver::{Fate, NameServer, Software, Way, Zone},
    with_bind_and_knot,
};
use crate::{
    config::DnsTarget,
    dns::{
        report::{NameState, Report},
        tests::running::{Running, Scripted, in_sync},
    },
};

with_bind_and_knot!(
    what_is_in_the_way_is_found_and_told_and_its_name_is_taken_when_it_goes,
    an_alias_beside_somebodys_records_is_not_believed_to_be_there,
    a_question_that_is_never_answered_keeps_nobody_from_the_rest,
);

/// The edge, the wildcard and the service.
const ALWAYS: usize = 3;

async fn what_is_in_the_way_is_found_and_told_and_its_name_is_taken_when_it_goes(
    software: Software,
) {
    let zone = Zone::new(super::support::ZONE)
        .without_transfer()
        .record("c0--tenant-0 60 MX 10 mx.example.org.")
        .record("c1--tenant-1 60 CAA 0 issue \"ca.example.org\"")
        .record("c2--tenant-2 60 NS ns.example.org.")
        .record("c3--tenant-3 60 TXT \"somebody's\"");
    let Some(server) = NameServer::start(software, &zone) else {
        return;
    };
    let relay = server.relay();
    let scripted = Scripted::new(0);
    scripted.set_with_targets(5, [lb()]);
    let provider = Access::to(&server, relay.address()).provider();
    let running = Running::over(name("@"), "rfc2136", Arc::new(provider), &scripted);

    let found = [
        ("c0--tenant-0", "MX"),
        ("c1--tenant-1", "CAA"),
        ("c2--tenant-2", "NS"),
        ("c3--tenant-3", "TXT"),
    ];
    let all_told = |report: &Report| {
        let told = |(relative, kind): &(&str, &str)| says_foreign(report, relative, kind);
        found.iter().all(told) && in_sync(report) == 1 + ALWAYS
    };
    running.until("all that is in the way", all_told).await;
    let updates = relay.updates();
    running.rounds(10).await;
    assert_eq!(
        relay.updates(),
        updates,
        "nothing is tried while it is there"
    );

    server.update(
        "delete c0--tenant-0 MX\n\
         delete c1--tenant-1 CAA\n\
         delete c2--tenant-2 NS\n\
         delete c3--tenant-3 TXT",
    );
    let all = |report: &Report| in_sync(report) == 5 + ALWAYS;
    running.until("all names to be taken", all).await;
    for (relative, _) in found {
        assert_eq!(server.query(relative, "CNAME"), ["lb.example.net."]);
    }
    running.stop().await;
}

async fn an_alias_beside_somebodys_records_is_not_believed_to_be_there(software: Software) {
    let zone = Zone::new(super::support::ZONE).without_transfer();
    let Some(server) = NameServer::start(software, &zone) else {
        return;
    };
    let scripted = Scripted::new(1);
    let access = Access::to(&server, server.address());
    let provider = Arc::new(access.provider());
    let running = Running::over(name("@"), "rfc2136", provider, &scripted);
    let all = |report: &Report| in_sync(report) == 1 + ALWAYS;
    running.until("the name to be ours", all).await;

    server.update("add c0--tenant-0 60 MX 10 mx.example.org.");
    scripted.set_with_targets(1, [lb()]);
    let told = |report: &Report| says_foreign(report, "c0--tenant-0", "MX");
    running.until("what is beside ours to be told", told).await;
    assert_eq!(server.query("c0--tenant-0", "CNAME"), [""; 0]);

    server.update("delete c0--tenant-0 MX");
    running.until("the alias to be made", all).await;
    assert_eq!(server.query("c0--tenant-0", "CNAME"), ["lb.example.net."]);
    running.stop().await;
}

/// Some servers, and more that stand in front of them, are silent when they are asked for any type.
async fn a_question_that_is_never_answered_keeps_nobody_from_the_rest(software: Software) {
    let zone = Zone::new(super::support::ZONE)
        .without_transfer()
        .record("c0--tenant-0 60 MX 10 mx.example.org.");
    let Some(server) = NameServer::start(software, &zone) else {
        return;
    };
    let relay = server.relay();
    relay.judge(|way, message| match way {
        Way::ToServer if asks_for_any(message) => Fate::Swallow,
        Way::ToServer | Way::ToClient => Fate::Pass,
    });
    let scripted = Scripted::new(0);
    scripted.set_with_targets(2, [lb()]);
    let mut access = Access::to(&server, relay.address());
    access.settings.timeout = Duration::from_secs(2);
    let provider = Arc::new(access.provider());
    let running = Running::over(name("@"), "rfc2136", provider, &scripted);
    let told = |report: &Report| {
        says_foreign(report, "c0--tenant-0", "MX") && in_sync(report) == 1 + ALWAYS
    };
    running.until("what is in the way to be told", told).await;
    running.rounds(2).await;
    assert!(told(&running.dns.report()));
    running.stop().await;
}

fn asks_for_any(message: &[u8]) -> bool {
    const ANY: [u8; 2] = 255_u16.to_be_bytes();
    let mut question = &message[12..];
    while question[0] != 0 {
        question = &question[1 + usize::from(question[0])..];
    }
    question[1..3] == ANY
}

fn lb() -> DnsTarget {
    DnsTarget::Name("lb.example.net.".parse().unwrap())
}

fn says_foreign(report: &Report, relative: &str, kind: &str) -> bool {
    let state = report.names.get(&name(relative).to_string());
    let state = state.map(|name| &name.state);
    matches!(state, Some(NameState::Foreign(why)) if why.contains(&format!("{kind} records")))
}
