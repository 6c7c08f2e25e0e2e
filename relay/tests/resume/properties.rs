//! Whatever happens, in any order: what is delivered is what was sent, and everything ends.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use relay::proto::StreamId;

use crate::sizes::{Plan, Sizes};
use crate::stream::Place;
use crate::world::World;

#[derive(Clone, Debug)]
enum Step {
    Open(usize, bool),
    Begin(usize, usize),
    Attach(usize, usize),
    SendAgain(usize, usize, usize),
    Send(usize, usize, u64),
    Consume(usize, usize, u64),
    Finish(usize, usize),
    Connected(usize, usize),
    Reset(usize, usize),
    Abandon(usize, usize),
    StopReceiving(usize, usize),
    Say(usize, usize),
    HearControl(usize, usize, usize),
    HearData(usize, usize, usize),
    Dial,
    Accept(usize),
    Welcome(usize),
    Cut(usize, u64),
    Disconnect(usize),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let side = || 0..2usize;
    let pick = any::<usize>;
    let few = 1..40u64;
    let some = || prop_oneof![1..40usize, Just(usize::MAX)];
    prop_oneof![
        2 => (side(), prop::bool::weighted(0.85)).prop_map(|(s, r)| Step::Open(s, r)),
        4 => (side(), pick()).prop_map(|(s, p)| Step::Begin(s, p)),
        4 => (side(), pick()).prop_map(|(s, p)| Step::Attach(s, p)),
        5 => (side(), pick(), some()).prop_map(|(s, p, n)| Step::SendAgain(s, p, n)),
        6 => (side(), pick(), few.clone()).prop_map(|(s, p, n)| Step::Send(s, p, n)),
        6 => (side(), pick(), few).prop_map(|(s, p, n)| Step::Consume(s, p, n)),
        2 => (side(), pick()).prop_map(|(s, p)| Step::Finish(s, p)),
        1 => (side(), pick()).prop_map(|(s, p)| Step::Connected(s, p)),
        1 => (side(), pick()).prop_map(|(s, p)| Step::Reset(s, p)),
        1 => (side(), pick()).prop_map(|(s, p)| Step::Abandon(s, p)),
        1 => (side(), pick()).prop_map(|(s, p)| Step::StopReceiving(s, p)),
        6 => (side(), 1..5usize).prop_map(|(s, n)| Step::Say(s, n)),
        8 => (side(), pick(), some()).prop_map(|(s, p, n)| Step::HearControl(s, p, n)),
        8 => (side(), pick(), some()).prop_map(|(s, p, n)| Step::HearData(s, p, n)),
        2 => Just(Step::Dial),
        3 => pick().prop_map(Step::Accept),
        3 => pick().prop_map(Step::Welcome),
        1 => (pick(), any::<u64>()).prop_map(|(p, seed)| Step::Cut(p, seed)),
        1 => side().prop_map(Step::Disconnect),
        2 => (1..2000u64).prop_map(Step::Wait),
    ]
}

impl World {
    fn take(&mut self, step: Step) {
        match step {
            Step::Open(side, resumable) => {
                self.open(side, resumable);
            }
            Step::Begin(side, pick) => self.with_stream(side, pick, |world, id| {
                world.with(side, |end, links, _| end.begin(id, links));
            }),
            Step::Attach(side, pick) => {
                let waiting = self.ends[side].attaching.len();
                if let Some(nth) = pick.checked_rem(waiting) {
                    self.attach(side, nth);
                }
            }
            Step::SendAgain(side, pick, most) => self.with_stream(side, pick, |world, id| {
                world.with(side, |end, links, _| end.send_again(id, most, links));
            }),
            Step::Send(side, pick, count) => self.with_stream(side, pick, |world, id| {
                world.with(side, |end, links, now| end.send(id, count, links, now));
            }),
            Step::Consume(side, pick, count) => self.with_stream(side, pick, |world, id| {
                world.with(side, |end, _, now| end.consume(id, count, now));
            }),
            Step::Finish(side, pick) => self.with_stream(side, pick, |world, id| {
                world.with(side, |end, _, _| end.finish(id));
            }),
            Step::Connected(side, pick) => self.with_stream(side, pick, |world, id| {
                if world.ends[side].streams[&id].begun && id.number() & 1 != side as u64 {
                    world.with(side, |end, _, _| end.state.connected(id));
                }
            }),
            Step::Reset(side, pick) => self.with_stream(side, pick, |world, id| {
                world.with(side, |end, _, _| end.reset(id));
            }),
            Step::Abandon(side, pick) => self.with_stream(side, pick, |world, id| {
                world.with(side, |end, _, _| end.give_up(id, |state| state.abandon(id)));
            }),
            Step::StopReceiving(side, pick) => self.with_stream(side, pick, |world, id| {
                world.with(side, |end, _, _| {
                    end.give_up(id, |state| state.stop_receiving(id))
                });
            }),
            Step::Say(side, most) => {
                self.say(side, most);
            }
            Step::HearControl(from, pick, most) => {
                let full = |number: &usize| self.links[*number].control[from].under_way() > 0;
                if let Some(number) = nth(pick, (0..self.links.len()).filter(full).collect()) {
                    self.hear_control(number, from, most);
                }
            }
            Step::HearData(from, pick, most) => {
                if let Some(place) = nth(pick, self.places_under_way(from)) {
                    self.hear_data(place, from, most);
                }
            }
            Step::Dial => {
                if self.links.iter().filter(|link| !link.welcomed).count() < 3 {
                    self.dial();
                }
            }
            Step::Accept(pick) => {
                self.accept(pick % self.links.len());
            }
            Step::Welcome(pick) => {
                self.welcome(pick % self.links.len());
            }
            Step::Cut(pick, mut seed) => self.cut(pick % self.links.len(), |under_way| {
                seed = seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
                (seed >> 33) as usize % (under_way + 1)
            }),
            Step::Disconnect(side) => self.disconnect(side),
            Step::Wait(ms) => self.wait(Duration::from_millis(ms)),
        }
    }

    fn with_stream(&mut self, side: usize, pick: usize, call: impl FnOnce(&mut Self, StreamId)) {
        let live = self.ends[side]
            .streams
            .iter()
            .filter(|(_, it)| it.over.is_none());
        if let Some(id) = nth(pick, live.map(|(id, _)| *id).collect()) {
            call(self, id);
        }
    }

    fn places_under_way(&self, from: usize) -> Vec<Place> {
        let mut places = Vec::new();
        for (connection, link) in self.links.iter().enumerate() {
            for (transport, it) in link.transports.iter().enumerate() {
                if it.pipes[from].under_way() > 0 {
                    places.push(Place {
                        connection,
                        transport,
                    });
                }
            }
        }
        places
    }
}

fn nth<T: Copy>(pick: usize, all: Vec<T>) -> Option<T> {
    all.get(pick.checked_rem(all.len())?).copied()
}

fn config() -> ProptestConfig {
    let full = std::env::var_os("CAUSEWAY_TEST_FULL").is_some();
    ProptestConfig {
        cases: if full { 200_000 } else { 4000 },
        // Also run on copies with mistakes, whose failures are nobody's to keep.
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]
    #[test]
    fn whatever_happens_what_was_sent_is_delivered_once_and_everything_ends(
        base in prop_oneof![Just(1), 1..30u32],
        steps in proptest::collection::vec(step(), 0..250),
        more in 0..300u64,
        budgets in [prop_oneof![Just(250), 0..250u64], prop_oneof![Just(250), 0..250u64]],
    ) {
        let mut world = World::new(Sizes { budgets, ..Sizes::small(base) }, Instant::now());
        for step in steps {
            world.take(step);
        }
        world.finish_everything(Plan::each(more));
    }
}
