//! Whole sessions over bad networks, in virtual time: thousands of seeds, each of which decides
//! everything that happens.

use std::time::{Duration, Instant};

use relay::proto::StreamId;
use relay::session::LivenessConfig;

use crate::network::Network;
use crate::random::Random;
use crate::sizes::{Plan, Sizes};
use crate::world::World;

/// How many seeds every run goes through.
const SEEDS: u64 = 10_000;

/// How long the network is bad.
const BAD: u64 = 60_000;

/// How soon after that everything must be over: an end may have to find out by the silence that its
/// connection is lost, and dial, and then send all there is.
const HEALED: Duration = Duration::from_secs(120);

/// Says how to repeat the run of a seed that fails.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "seed {0} fails; repeat: CAUSEWAY_TEST_SEED={0} cargo nextest run --release \
                 --workspace --locked --test resume -E 'test(simulation::)'",
                self.0
            );
        }
    }
}

/// What became of a run.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    trace: u64,
    expired: bool,
    connections: usize,
}

struct Run {
    world: World,
    network: Network,
    users: Random,
    plan: Plan,
    /// Its grace is longer than it lasts.
    patient: bool,
    /// How many streams are still to be opened.
    to_open: u64,
}

impl Run {
    fn new(seed: u64, began: Instant) -> Self {
        let mut users = Random(seed ^ 0x5eed);
        // Half of the sessions outlive any outage; of the others, some do not.
        let patient = users.percent(50);
        let grace = if patient { 3600 } else { users.within(1..20) };
        let base = [1, 3, 64, 1024][users.within(0..4) as usize];
        let window = users.within(1..50) * u64::from(base);
        let sizes = Sizes {
            base,
            window,
            budgets: [2 * window, users.within(0..3) * window],
            max_streams: 4,
            grace: Duration::from_secs(grace),
            resume: true,
            liveness: LivenessConfig::default(),
        };
        let longest = users.within(1..20_000);
        let each = users.within(0..40) * u64::from(base);
        Self {
            world: World::new(sizes, began),
            network: Network::new(seed, longest, began),
            plan: Plan::each(each),
            patient,
            to_open: users.within(1..6),
            users,
        }
    }

    fn finish(mut self, began: Instant) -> Outcome {
        let heals = began + Duration::from_millis(BAD);
        let mut acts = began;
        while self.world.now < heals {
            if acts <= self.world.now {
                self.do_something();
                acts = self.world.now + self.users.millis(1..2_000);
            }
            self.go_on(acts.min(heals));
        }
        self.network.heal(&mut self.world);
        while !self.is_over() {
            assert!(
                self.world.now < heals + HEALED,
                "not over in time: {}",
                self.world.unsettled()
            );
            self.world.act(&mut self.plan);
            self.go_on(heals + HEALED);
        }
        let expired = self.network.closed != [false; 2];
        if !expired {
            self.world.check_settled();
        }
        assert!(!(expired && self.patient), "expired within the grace");
        Outcome {
            trace: self.world.trace(),
            expired,
            connections: self.world.links.len(),
        }
    }

    /// Until the next thing happens, and `until` at the latest.
    fn go_on(&mut self, until: Instant) {
        let Self { world, network, .. } = self;
        world.pump();
        network.ship(world);
        let next = network.next_at(world).min(until);
        world.wait(next.saturating_duration_since(world.now));
        network.happen(world);
    }

    fn is_over(&self) -> bool {
        let [a, b] = self.network.closed;
        (a && b) || (!a && !b && self.world.is_settled())
    }

    /// The users of one end do something.
    fn do_something(&mut self) {
        let side = self.users.side();
        if self.network.closed[side] {
            return;
        }
        if self.to_open > 0 && self.users.percent(60) {
            let resumable = self.users.percent(90);
            self.to_open -= u64::from(self.world.open(side, resumable).is_some());
        }
        for id in self.world.stream_ids(side) {
            self.use_stream(side, id);
        }
    }

    fn use_stream(&mut self, side: usize, id: StreamId) {
        let base = u64::from(self.world.sizes.base);
        let (send, consume) = (
            self.users.within(0..8) * base,
            self.users.within(0..8) * base,
        );
        let fate = self.users.within(0..300);
        let left = self.plan.left(side, id);
        self.world.with(side, |end, links, now| {
            end.begin(id, links);
            end.consume(id, consume, now);
            *left -= end.send(id, send.min(*left), links, now);
            match fate {
                0 => end.reset(id),
                1 => end.give_up(id, |state| state.abandon(id)),
                2 => end.give_up(id, |state| state.stop_receiving(id)),
                _ if *left == 0 => end.finish(id),
                _ => {}
            }
        });
    }
}

fn run(seed: u64, began: Instant) -> Outcome {
    let _announced = Seed(seed);
    Run::new(seed, began).finish(began)
}

fn seeds(count: u64) -> Vec<u64> {
    match std::env::var("CAUSEWAY_TEST_SEED") {
        Ok(seed) => vec![seed.parse().expect("a seed is a number")],
        Err(_) => (0..count).collect(),
    }
}

#[test]
fn sessions_heal_whatever_the_network_does() {
    let (mut expired, mut connections) = (0, 0);
    let seeds = seeds(SEEDS);
    let all = seeds.len();
    for seed in seeds {
        let outcome = run(seed, Instant::now());
        expired += usize::from(outcome.expired);
        connections += outcome.connections;
    }
    println!("{all} sessions over {connections} connections; {expired} were not back in time");
    if all > 1 {
        // Neither case is left out.
        assert!(
            expired * 50 > all && expired * 2 < all,
            "{expired} of {all} expired"
        );
        assert!(connections > 3 * all, "{connections} connections");
    }
}

#[test]
fn the_same_seed_has_the_same_trace() {
    for seed in seeds(300) {
        let began = Instant::now();
        let first = run(seed, began);
        let second = run(seed, began + Duration::from_secs(1));
        assert_eq!(first, second, "seed {seed}");
    }
}
