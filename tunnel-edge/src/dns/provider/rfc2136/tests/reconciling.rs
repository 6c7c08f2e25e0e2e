//! The whole reconciler against real servers, with a registry that says what a test wants: many
//! clusters, several reconcilers, one that dies.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use super::support::{
    Access, name,
    nameserver::{Fate, NameServer, Relay, Software, Way, Zone, is_update},
    with_bind_and_knot,
};
use crate::dns::{
    report::Report,
    tests::running::{Running, Scripted, in_sync, peak_mib, wait_until},
};

with_bind_and_knot!(
    edges_come_and_go,
    thousands_of_clusters_converge_from_empty,
    two_at_once_converge_and_then_leave_each_other_alone,
    what_one_that_was_killed_left_another_finishes,
    without_transfers_what_left_while_nobody_looked_goes_all_the_same,
);

async fn edges_come_and_go(software: Software) {
    let Some((server, relay)) = server_and_relay(software) else {
        return;
    };
    let scripted = Scripted::new(1);
    let running = start(&server, &relay, &scripted);
    for edges in [1, 3, 2] {
        scripted.set_with_edges(1, edges);
        let addresses: Vec<_> = (1..=edges)
            .map(|number| format!("203.0.113.{}", 6 + number))
            .collect();
        let dig_agrees = || {
            let of_all = ["c0--tenant-0", "api--c0--tenant-0"];
            let of_one = (
                format!("edge-{edges}"),
                &addresses[usize::from(edges) - 1..],
            );
            of_all
                .iter()
                .all(|name| server.query(name, "A") == addresses)
                && server.query(&of_one.0, "A") == of_one.1
                && server.query("_causeway._tcp", "SRV").len() == usize::from(edges)
        };
        wait_until(&format!("{edges} edges"), dig_agrees).await;
    }
    let is_gone = || {
        let records = server.records();
        !records.iter().any(|record| record.starts_with("edge-3."))
    };
    wait_until("the name of the edge that left to go", is_gone).await;
    running.stop().await;
}

async fn thousands_of_clusters_converge_from_empty(software: Software) {
    let full = std::env::var_os("CAUSEWAY_TEST_FULL").is_some();
    let count = if full { 10_000 } else { 1_000 };
    let Some((server, relay)) = server_and_relay(software) else {
        return;
    };
    let scripted = Scripted::new(count);
    let began = Instant::now();
    let running = start(&server, &relay, &scripted);
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
        start(&server, &relay, &scripted),
        start(&server, &relay, &scripted),
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
            let running = start(&server, &relay, &scripted);
            let all = |report: &Report| in_sync(report) == before + 3;
            running.until("the names to remove", all).await;
            running.stop().await;
        }
        scripted.set(after);
        let made = Arc::new(AtomicUsize::new(0));
        let dies = start(&server, &relay, &scripted);
        cut_after(&relay, 10, &made);
        let cut = || made.load(Ordering::SeqCst) > 10;
        wait_until("the eleventh update", cut).await;
        dies.kill();
        relay.pass();
        let half = server.records().len();
        assert_ne!(half, 2 * (after + 3) + 2, "it was not killed in between");

        let finishes = start(&server, &relay, &scripted);
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

async fn without_transfers_what_left_while_nobody_looked_goes_all_the_same(software: Software) {
    let zone = Zone::new(super::support::ZONE).without_transfer();
    let Some(server) = NameServer::start(software, &zone) else {
        return;
    };
    let relay = server.relay();
    let access = Access::to(&server, relay.address());
    let state = tempfile::tempdir().unwrap();
    let scripted = Scripted::new(20);
    let start = |state: &Path| {
        let provider = Arc::new(access.provider_in(state));
        Running::over(name("@"), "rfc2136", provider, &scripted)
    };
    let stays = |count: usize| 2 * (count + 3) + 2;
    // Once it had stopped in good order; once it was killed while it published.
    for killed in [false, true] {
        let made = Arc::new(AtomicUsize::new(0));
        scripted.set(20);
        let first = start(state.path());
        if killed {
            scripted.set(60);
            cut_after(&relay, 30, &made);
            wait_until("the 31st update", || made.load(Ordering::SeqCst) > 30).await;
            first.kill();
            relay.pass();
        } else {
            let all = |report: &Report| in_sync(report) == 20 + 3;
            first.until("the names to leave behind", all).await;
            first.stop().await;
        }
        scripted.set(5);
        // The server may still be at work on what came through.
        let are_left = || server.records().len() > stays(5);
        wait_until("names that are left behind", are_left).await;

        // Who has no memory of them does not see them.
        let elsewhere = tempfile::tempdir().unwrap();
        let knows_nothing = start(elsewhere.path());
        knows_nothing.rounds(10).await;
        knows_nothing.stop().await;
        assert!(are_left());

        let knows = start(state.path());
        let is_clean = || server.records().len() == stays(5);
        wait_until("what was left behind to go", is_clean).await;
        knows.stop().await;
    }
}

fn server_and_relay(software: Software) -> Option<(NameServer, Relay)> {
    let server = NameServer::start(software, &Zone::new(super::support::ZONE))?;
    let relay = server.relay();
    Some((server, relay))
}

/// No update comes through after so many, which are counted.
fn cut_after(relay: &Relay, most: usize, made: &Arc<AtomicUsize>) {
    let made = Arc::clone(made);
    relay.judge(move |way, message| {
        let update = way == Way::ToServer && is_update(message);
        match update && made.fetch_add(1, Ordering::SeqCst) >= most {
            true => Fate::Cut,
            false => Fate::Pass,
        }
    });
}

fn start(server: &NameServer, relay: &Relay, clusters: &Arc<Scripted>) -> Running {
    let provider = Access::to(server, relay.address()).provider();
    Running::over(name("@"), "rfc2136", Arc::new(provider), clusters)
}
