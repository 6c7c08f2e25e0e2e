//! A small exchange, cut after any number of messages and at any byte of any of its pipes: it is
//! finished on the next connection, with every byte.

use std::time::Instant;

use relay::proto::StreamId;
use relay::session::Over;

use crate::sizes::{Plan, Sizes};
use crate::stream::Place;
use crate::world::World;

/// How many bytes each direction has.
const BYTES: u64 = 4;

/// In which order the pipes are looked at for the next message to deliver.
const ORDERS: [[usize; 4]; 4] = [[0, 1, 2, 3], [2, 3, 0, 1], [3, 1, 2, 0], [1, 2, 0, 3]];

/// How the ends come to know that the connection is lost, and when what still arrives does.
#[derive(Clone, Copy, Debug)]
enum Noticed {
    AfterAll,
    InitiatorFirst,
    ResponderFirst,
    NextConnection,
}

const WAYS: [Noticed; 4] = [
    Noticed::AfterAll,
    Noticed::InitiatorFirst,
    Noticed::ResponderFirst,
    Noticed::NextConnection,
];

/// One stream, on which both ends send something and end.
struct Exchange {
    world: World,
    plan: Plan,
    id: StreamId,
    order: [usize; 4],
}

impl Exchange {
    fn new(opener: usize, order: [usize; 4]) -> Self {
        // Not all of the bytes fit at once.
        let mut world = World::new(Sizes::small(3), Instant::now());
        let id = world.open(opener, true).unwrap();
        let mut exchange = Self {
            world,
            plan: Plan::each(BYTES),
            id,
            order,
        };
        exchange.act();
        exchange
    }

    fn act(&mut self) {
        self.world.act(&mut self.plan);
        self.world.pump();
    }

    /// Delivers the next message, or byte of payload; `false` if nothing is under way.
    fn deliver(&mut self, number: usize) -> bool {
        let next = |pipe: &usize| self.under_way(number, *pipe) > 0;
        let Some(pipe) = self.order.into_iter().find(next) else {
            return false;
        };
        let from = pipe % 2;
        let link = &self.world.links[number];
        if pipe < 2 {
            let frame = link.control[from].next_frame();
            self.world.hear_control(number, from, frame);
        } else {
            let unit = link.transports[0].pipes[from].next_frame_or_byte();
            self.hear_data(number, from, unit);
        }
        self.act();
        // Every pipe has its turn.
        self.order.rotate_left(1);
        true
    }

    fn under_way(&self, number: usize, pipe: usize) -> usize {
        let link = &self.world.links[number];
        let pipes = match (pipe, link.transports.first()) {
            (0 | 1, _) => &link.control,
            (_, Some(transport)) => &transport.pipes,
            (_, None) => return 0,
        };
        pipes[pipe % 2].under_way()
    }

    fn hear_data(&mut self, connection: usize, from: usize, most: usize) {
        let transport = 0;
        if connection < self.world.links.len()
            && !self.world.links[connection].transports.is_empty()
        {
            let place = Place {
                connection,
                transport,
            };
            self.world.hear_data(place, from, most);
        }
    }

    /// What a cut connection has left arrives at an end.
    fn arrive(&mut self, at: usize, number: usize) {
        self.world.hear_control(number, 1 - at, usize::MAX);
        self.hear_data(number, 1 - at, usize::MAX);
        self.act();
    }

    fn lose(&mut self, number: usize, noticed: Noticed) {
        match noticed {
            Noticed::AfterAll => {
                self.arrive(0, number);
                self.arrive(1, number);
                self.world.disconnect(0);
                self.world.disconnect(1);
            }
            Noticed::InitiatorFirst => {
                self.world.disconnect(0);
                self.arrive(1, number);
                self.arrive(0, number);
            }
            Noticed::ResponderFirst => {
                self.world.disconnect(1);
                self.arrive(0, number);
                self.arrive(1, number);
            }
            Noticed::NextConnection => {
                let next = self.world.dial();
                assert!(self.world.accept(next));
                self.act();
                self.arrive(1, number);
                self.arrive(0, number);
                assert!(self.world.welcome(next));
            }
        }
    }

    fn finish(mut self) -> World {
        let plan = self.plan.clone();
        self.world.finish_everything(plan);
        self.world
    }

    fn complete(self) {
        let id = self.id;
        let world = self.finish();
        for end in &world.ends {
            let stream = &end.streams[&id];
            assert_eq!(stream.over, Some(Over::Complete));
            assert_eq!((stream.consumed, stream.written), (BYTES, BYTES));
        }
    }
}

fn openers_and_orders() -> impl Iterator<Item = (usize, [usize; 4])> {
    let openers = [0, 1].into_iter();
    openers.flat_map(|opener| ORDERS.map(|order| (opener, order)))
}

/// Every opener, order, number of messages delivered, pipe and byte of it: `cut` is handed a fresh
/// exchange for each, whose connection was cut there.
fn for_every_cut(mut cut: impl FnMut(&dyn Fn() -> Exchange)) -> u64 {
    let mut count = 0;
    for (opener, order) in openers_and_orders() {
        let after = |delivered: usize| {
            let mut exchange = Exchange::new(opener, order);
            let all = (0..delivered).all(|_| exchange.deliver(0));
            all.then_some(exchange)
        };
        let mut delivered = 0;
        while let Some(exchange) = after(delivered) {
            for (pipe, others) in (0..4).flat_map(|pipe| [(pipe, 0), (pipe, usize::MAX)]) {
                for kept in 0..=exchange.under_way(0, pipe) {
                    count += 1;
                    cut(&|| {
                        let mut exchange = after(delivered).expect("as before");
                        let mut nth = 0;
                        exchange.world.cut(0, |under_way| {
                            nth += 1;
                            if nth - 1 == pipe {
                                kept
                            } else {
                                others.min(under_way)
                            }
                        });
                        exchange
                    });
                }
            }
            delivered += 1;
        }
    }
    count
}

#[test]
fn an_exchange_that_is_cut_anywhere_is_finished_on_the_next_connection() {
    let cuts = for_every_cut(|exchange| {
        for noticed in WAYS {
            let mut exchange = exchange();
            exchange.lose(0, noticed);
            exchange.complete();
        }
    });
    println!("{cuts} places to cut, each noticed in {} ways", WAYS.len());
    assert!(cuts > 5000, "{cuts} cuts are not all there are");
}

/// The next connection is cut as well, after any number of messages.
#[test]
fn an_exchange_that_is_cut_twice_is_finished_on_the_third_connection() {
    let mut count = 0;
    for (opener, order) in openers_and_orders() {
        let twice = |first: usize, second: usize, kept: [usize; 2]| {
            let mut exchange = Exchange::new(opener, order);
            let all = (0..first).all(|_| exchange.deliver(0));
            exchange.world.cut(0, |under_way| kept[0].min(under_way));
            exchange.lose(0, WAYS[first % 4]);
            let number = match exchange.world.links.len() {
                1 => exchange.world.reconnect(),
                _ => 1,
            };
            exchange.act();
            let all = all && (0..second).all(|_| exchange.deliver(number));
            exchange
                .world
                .cut(number, |under_way| kept[1].min(under_way));
            exchange.lose(number, WAYS[(first + second) % 4]);
            exchange.complete();
            all
        };
        for kept in [[0, 0], [0, usize::MAX], [usize::MAX, 0], [usize::MAX; 2]] {
            for first in (0..).take_while(|first| twice(*first, 0, kept)) {
                count += (0..)
                    .take_while(|second| twice(first, *second, kept))
                    .count();
            }
        }
    }
    println!("{count} pairs of cuts");
    assert!(count > 5000, "{count} pairs are not all there are");
}
