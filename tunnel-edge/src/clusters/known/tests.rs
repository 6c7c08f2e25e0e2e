//! Scripted registries: clusters that come, report, leave and return.

use std::time::Duration;

use relay::AppProtocol;
use relay::proto::HealthReason;
use relay::proto::HealthState::{Failing, Healthy, Off, Unknown};

use super::super::history::MAX_OF_CLUSTER;
use super::super::vitals::Vitals;
use super::*;

#[derive(Debug)]
struct Still;

impl Pulse for Still {
    fn feel(&self) -> Vitals {
        Vitals {
            transport: "quic",
            remote: "192.0.2.1:1".parse().unwrap(),
            key_exchange: "X25519MLKEM768".to_owned(),
            rtt: Duration::from_millis(1),
            silence: Duration::ZERO,
            suspect: false,
            streams: 0,
        }
    }
}

/// A session without services.
pub(in super::super) fn session(number: u128, now: Moment) -> Session {
    Session {
        id: SessionId::from_bytes(number.to_be_bytes()),
        replica: "r".to_owned(),
        software: "test/1".to_owned(),
        since: now.wall,
        certificate_expires: None,
        services: Vec::new(),
        pulse: Arc::new(Still),
    }
}

/// What happens, one second after the other.
struct Script {
    known: Known,
    now: Moment,
    sessions: u128,
}

impl Script {
    fn begin() -> Self {
        let now = Moment::now();
        Self {
            known: Known::default(),
            now,
            sessions: 0,
        }
    }

    fn wait(&mut self, time: Duration) {
        self.now.wall += time;
        self.now.monotonic += time;
    }

    fn enter(&mut self, cluster: &str) -> SessionId {
        self.replace(cluster, &[])
    }

    fn replace(&mut self, cluster: &str, replaces: &[SessionId]) -> SessionId {
        self.wait(Duration::from_secs(1));
        self.sessions += 1;
        let session = session(self.sessions, self.now);
        let id = session.id;
        self.known
            .entered(&of(cluster), session, replaces, self.now);
        id
    }

    fn leave(&mut self, cluster: &str, session: SessionId) {
        self.wait(Duration::from_secs(1));
        let (heard, now) = (self.now.wall, self.now);
        self.known
            .left(&of(cluster), session, "gone".to_owned(), heard, now);
    }

    fn report(&mut self, cluster: &str, session: SessionId, states: &[(&str, HealthState)]) {
        self.wait(Duration::from_secs(1));
        let services = states.iter().map(|(name, state)| Service {
            name: name.parse().unwrap(),
            protocol: AppProtocol::Tcp,
            state: *state,
            since: None,
            reason: (*state == Failing).then_some(HealthReason::Refused),
            detail: String::new(),
        });
        self.known
            .reported(&of(cluster), session, services.collect(), self.now);
    }

    /// The kinds of a cluster's changes, the oldest first.
    fn story(&self, cluster: &str) -> Vec<&'static str> {
        let found = self.known.get(&of(cluster)).unwrap();
        found
            .changes
            .iter()
            .map(|change| change.what.label())
            .collect()
    }

    /// Everything that a watcher is told that begins, or that goes on, and where it has come to.
    fn watch(&self, seen: u64, filter: &Filter) -> (Vec<String>, u64) {
        let mut position = match seen {
            0 => self.known.beginning(),
            seen => Position { seen, begun: 0 },
        };
        let mut told = Vec::new();
        loop {
            match self.known.next_after(position, filter) {
                Next::Cluster(found) => {
                    position.seen = found.version;
                    told.push(format!("{} {}", found.id, found.state().label()));
                }
                Next::Forgotten { cluster, version } => {
                    position.seen = version;
                    told.push(format!("{cluster} forgotten"));
                }
                Next::Nothing { version } => return (told, version),
                Next::Lost => return (vec!["lost".to_owned()], 0),
            }
        }
    }
}

fn of(cluster: &str) -> ClusterId {
    cluster.parse().unwrap()
}

#[test]
fn a_thousand_clusters_are_listed_page_by_page() {
    let mut script = Script::begin();
    for number in 0..1000 {
        let tenant = if number % 2 == 0 { "acme" } else { "globex" };
        let name = format!("{tenant}/c{:03}", (number * 7919) % 1000);
        let session = script.enter(&name);
        if number % 10 == 0 {
            script.leave(&name, session);
        }
    }
    let all = |filter: &Filter| {
        let mut names = Vec::new();
        let mut pages = 0;
        loop {
            let after = names.last().cloned();
            let (page, more) = script.known.page(filter, after.as_ref(), 64);
            assert!(page.len() == 64 || !more, "pages are full");
            names.extend(page.into_iter().map(|found| found.id));
            pages += 1;
            if !more {
                return (names, pages);
            }
        }
    };
    let (names, pages) = all(&Filter::default());
    assert_eq!((names.len(), pages), (1000, 16));
    assert!(names.is_sorted_by(|a, b| a < b), "each once, in order");
    let tenant = Filter {
        tenant: Some("acme".parse().unwrap()),
        state: None,
    };
    assert_eq!(all(&tenant).0.len(), 500);
    let gone = Filter {
        tenant: None,
        state: Some(State::Disconnected),
    };
    assert_eq!(all(&gone).0.len(), 100);
    assert_eq!(script.known.counts().0, [900, 100]);
    let (told, version) = script.watch(0, &Filter::default());
    assert_eq!(
        (told.len(), version),
        (1000, 1100),
        "a watcher hears of each"
    );
}

#[test]
fn a_session_that_is_replaced_is_no_cluster_that_was_gone() {
    let mut script = Script::begin();
    let first = script.enter("acme/a");
    let connected = script.now.wall;
    let second = script.replace("acme/a", &[first]);
    script.leave("acme/a", first);
    let found = script.known.get(&of("acme/a")).unwrap();
    assert_eq!(found.state(), State::Connected);
    assert_eq!(found.since, connected);
    let sessions: Vec<_> = found.sessions.iter().map(|session| session.id).collect();
    assert_eq!(sessions, [second]);
    let replaced = What::SessionReplaced {
        session: second.to_string(),
        replaced: first.to_string(),
    };
    assert_eq!(found.changes.last().unwrap().what, replaced);
    script.leave("acme/a", second);
    // What is over already is not in anybody's place.
    script.replace("acme/a", &[second]);
    assert_eq!(
        script.story("acme/a"),
        ["connected", "session_replaced", "disconnected", "connected"]
    );
}

#[test]
fn a_cluster_that_comes_and_goes_shows_it() {
    let mut script = Script::begin();
    let first = script.enter("acme/a");
    script.report("acme/a", first, &[("db", Unknown), ("web", Off)]);
    script.report("acme/a", first, &[("db", Healthy), ("web", Off)]);
    let second = script.enter("acme/a");
    script.leave("acme/a", first);
    script.report("acme/a", second, &[("db", Failing)]);
    let connected = script.known.get(&of("acme/a")).unwrap();
    assert_eq!(connected.state(), State::Connected);
    script.leave("acme/a", second);
    let left = script.known.get(&of("acme/a")).unwrap();
    assert_eq!(left.state(), State::Disconnected);
    assert_eq!(left.since, script.now.wall);
    assert_eq!(left.last.unwrap().services[0].state, Failing);
    script.leave("acme/a", second);
    script.enter("acme/a");
    assert_eq!(
        script.story("acme/a"),
        [
            "connected",
            "exposed",
            "health",
            "session_began",
            "session_ended",
            "exposed",
            "disconnected",
            "connected"
        ]
    );
    script.wait(DAY);
    script.known.expire(script.now.monotonic);
    assert_eq!(script.story("acme/a"), ["connected"], "within a day");
}

#[test]
fn a_report_that_says_nothing_new_is_no_change() {
    let mut script = Script::begin();
    let session = script.enter("acme/a");
    script.report("acme/a", session, &[("db", Healthy)]);
    let version = script.known.version();
    script.report("acme/a", session, &[("db", Healthy)]);
    assert_eq!(script.known.version(), version);
    let stranger = SessionId::from_bytes([9; 16]);
    script.report("acme/a", stranger, &[("db", Failing)]);
    script.report("acme/none", stranger, &[("db", Failing)]);
    assert_eq!(script.known.version(), version);
}

#[test]
fn many_changes_at_once_do_not_drive_out_all_others() {
    let mut script = Script::begin();
    let session = script.enter("acme/a");
    let names: Vec<String> = (0..300).map(|number| format!("s{number}")).collect();
    let all = |state| {
        names
            .iter()
            .map(|name| (name.as_str(), state))
            .collect::<Vec<_>>()
    };
    script.report("acme/a", session, &all(Healthy));
    script.report("acme/a", session, &all(Failing));
    let story = script.story("acme/a");
    assert_eq!(story.len(), 2 + MAX_TOGETHER + 1);
    assert_eq!(story.last(), Some(&"health_of_more"));
    assert_eq!(script.known.counts().1, [0, 0, 300, 0]);
    for _ in 0..MAX_OF_CLUSTER {
        let other = script.enter("acme/a");
        script.leave("acme/a", other);
    }
    assert_eq!(script.story("acme/a").len(), MAX_OF_CLUSTER);
}

#[test]
fn a_watcher_goes_on_where_it_was() {
    let mut script = Script::begin();
    let everything = Filter::default();
    let a = script.enter("acme/a");
    script.enter("acme/b");
    let (told, seen) = script.watch(0, &everything);
    assert_eq!(told, ["acme/a connected", "acme/b connected"]);
    assert_eq!(script.watch(seen, &everything), (vec![], seen));
    script.report("acme/a", a, &[("db", Healthy)]);
    script.report("acme/a", a, &[("db", Failing)]);
    script.leave("acme/a", a);
    let (told, later) = script.watch(seen, &everything);
    assert_eq!(told, ["acme/a disconnected"], "once, as it is now");
    let position = Position { seen, begun: 0 };
    let Next::Cluster(found) = script.known.next_after(position, &everything) else {
        panic!("something has changed");
    };
    let whats: Vec<_> = found
        .changes
        .iter()
        .map(|change| change.what.label())
        .collect();
    assert_eq!(whats, ["exposed", "health", "disconnected"]);
    let others = Filter {
        tenant: Some("globex".parse().unwrap()),
        state: None,
    };
    assert_eq!(script.watch(seen, &others), (vec![], later));
    assert_eq!(
        script.watch(later + 1, &everything).0,
        ["lost"],
        "a version that was never given"
    );
}

#[test]
fn a_watcher_hears_who_is_forgotten_and_is_told_when_it_has_missed_it() {
    let mut script = Script::begin();
    let everything = Filter::default();
    let a = script.enter("acme/a");
    script.enter("acme/b");
    script.leave("acme/a", a);
    let (_, seen) = script.watch(0, &everything);
    script.wait(DAY + Duration::from_secs(1));
    assert!(script.known.expire(script.now.monotonic));
    assert!(!script.known.expire(script.now.monotonic));
    let (told, later) = script.watch(seen, &everything);
    assert_eq!(told, ["acme/a forgotten"]);
    assert_eq!(script.watch(0, &everything).0, ["acme/b connected"]);
    script.enter("acme/a");
    assert_eq!(script.watch(seen, &everything).0, ["acme/a connected"]);
    assert_eq!(script.watch(later, &everything).0, ["acme/a connected"]);

    for number in 0..MAX_GONE + MAX_FORGOTTEN + 1 {
        let name = format!("globex/c{number}");
        let session = script.enter(&name);
        script.leave(&name, session);
    }
    assert_eq!(script.known.counts().0, [2, MAX_GONE]);
    assert_eq!(script.known.by_version.len(), 2 + MAX_GONE + MAX_FORGOTTEN);
    assert_eq!(script.watch(later, &everything).0, ["lost"]);
    assert_eq!(script.watch(0, &everything).0.len(), 2 + MAX_GONE);
}
