//! The network of a simulation: what is written arrives later, in order within its pipe, unless its
//! connection is lost before; and the initiator dials again and again.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::{Duration, Instant};

use crate::random::Random;
use crate::stream::Place;
use crate::world::World;

/// How soon a connection that was dialled in vain is given up.
const DIAL_TIMEOUT: Duration = Duration::from_secs(10);

/// What happens at some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Happening {
    /// Bytes of a control stream, or of a transport stream of that number, arrive.
    Arrival {
        connection: usize,
        transport: Option<usize>,
        from: usize,
        count: usize,
    },
    /// The responder hears that it was dialled, and the initiator that it was accepted.
    Dialled {
        connection: usize,
        answer: Duration,
    },
    Answered {
        connection: usize,
        accepted: bool,
    },
    /// A connection is lost, and an end is told so by the network.
    Loss {
        connection: usize,
    },
    Notice {
        connection: usize,
        side: usize,
    },
    /// The initiator looks whether it should dial.
    Look,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Network {
    random: Random,
    happenings: BinaryHeap<Reverse<(Instant, u64, Happening)>>,
    count: u64,
    /// By pipe: how much of what is under way has its time of arrival, and the latest of these.
    pipes: BTreeMap<(usize, Option<usize>, usize), (usize, Instant)>,
    delays: Vec<Duration>,
    /// Nobody is reached until then.
    outage_until: Instant,
    longest_outage: u64,
    healed: bool,
    last_dialled: Option<Instant>,
    /// An end learned that its session is over, and is reached no more.
    pub(crate) closed: [bool; 2],
}

impl Network {
    /// `longest_outage` is in milliseconds.
    pub(crate) fn new(seed: u64, longest_outage: u64, now: Instant) -> Self {
        let mut network = Self {
            random: Random(seed),
            happenings: BinaryHeap::new(),
            count: 0,
            pipes: BTreeMap::new(),
            delays: Vec::new(),
            outage_until: now,
            longest_outage,
            healed: false,
            last_dialled: None,
            closed: [false; 2],
        };
        network.begin_connection(0, now);
        network.at(now, Happening::Look);
        network
    }

    /// From now on nothing is lost any more, but for what is under way already.
    pub(crate) fn heal(&mut self, world: &mut World) {
        self.healed = true;
        self.outage_until = world.now;
        for connection in 0..world.links.len() {
            if !world.links[connection].is_cut && Some(connection) != world.ends[0].line {
                self.lose(world, connection);
            }
        }
    }

    fn at(&mut self, when: Instant, happening: Happening) {
        self.count += 1;
        self.happenings.push(Reverse((when, self.count, happening)));
    }

    fn begin_connection(&mut self, connection: usize, now: Instant) {
        let delay = match self.random.within(0..4) {
            0 => self.random.millis(0..3),
            1 | 2 => self.random.millis(5..80),
            _ => self.random.millis(100..800),
        };
        assert_eq!(self.delays.len(), connection);
        self.delays.push(delay);
        if !self.healed && self.random.percent(85) {
            let lives = match self.random.within(0..3) {
                0 => self.random.millis(0..300),
                1 => self.random.millis(0..5_000),
                _ => self.random.millis(0..60_000),
            };
            self.at(now + lives, Happening::Loss { connection });
        }
    }

    /// When something happens next, whoever waits for it.
    pub(crate) fn next_at(&self, world: &World) -> Instant {
        let Reverse((arrival, ..)) = self.happenings.peek().expect("the initiator always looks");
        let ends = world.ends.iter().filter(|end| !self.closed[end.side]);
        ends.fold(*arrival, |at, end| at.min(end.state.deadline()))
    }

    /// Does what happens now.
    pub(crate) fn happen(&mut self, world: &mut World) {
        while let Some(Reverse((when, _, happening))) = self.happenings.peek().copied() {
            if when > world.now {
                break;
            }
            self.happenings.pop();
            self.take(world, happening);
        }
        for side in 0..2 {
            if world.ends[side].found_dead {
                world.disconnect(side);
            }
            if world.ends[side].expired && !self.closed[side] {
                self.close(world, side);
            }
        }
    }

    fn take(&mut self, world: &mut World, happening: Happening) {
        match happening {
            Happening::Arrival {
                connection,
                transport,
                from,
                count,
            } => {
                if !world.is_heard(connection, from) {
                    if !world.links[connection].is_cut {
                        let later = world.now + Duration::from_millis(50);
                        self.at(later, happening);
                    }
                    return;
                }
                let (scheduled, _) = self.pipes.get_mut(&(connection, transport, from)).unwrap();
                *scheduled -= count;
                if self.closed[1 - from] {
                    return;
                }
                match transport {
                    None => world.hear_control(connection, from, count),
                    Some(transport) => world.hear_data(
                        Place {
                            connection,
                            transport,
                        },
                        from,
                        count,
                    ),
                };
            }
            Happening::Dialled { connection, answer } => {
                if !world.links[connection].is_cut && !self.closed[0] {
                    let accepted = !self.closed[1] && world.accept(connection);
                    let answered = Happening::Answered {
                        connection,
                        accepted,
                    };
                    self.at(world.now + answer, answered);
                }
            }
            Happening::Answered {
                connection,
                accepted,
            } => {
                if self.closed[0] || world.links[connection].is_cut {
                } else if accepted {
                    if !world.welcome(connection) {
                        world.cut(connection, |_| 0);
                    }
                } else if self.closed[1] {
                    self.close(world, 0);
                }
            }
            Happening::Loss { connection } => self.lose(world, connection),
            Happening::Notice { connection, side } => {
                if world.ends[side].line == Some(connection) {
                    world.disconnect(side);
                }
            }
            Happening::Look => {
                self.look(world);
                let soon = self.random.millis(20..500);
                self.at(world.now + soon, Happening::Look);
            }
        }
    }

    /// Cuts a connection; either end is told, or finds out by the silence.
    fn lose(&mut self, world: &mut World, connection: usize) {
        let random = &mut self.random;
        let nothing_else_arrives = random.percent(50);
        world.cut(connection, |under_way| {
            let some = random.within(0..under_way as u64 + 1) as usize;
            if nothing_else_arrives { 0 } else { some }
        });
        for side in 0..2 {
            if self.random.percent(70) {
                let late = self.random.millis(0..3_000);
                self.at(world.now + late, Happening::Notice { connection, side });
            }
        }
        if !self.healed && self.random.percent(30) {
            let outage = self.random.millis(0..self.longest_outage);
            self.outage_until = self.outage_until.max(world.now + outage);
        }
    }

    /// Dials if there is no connection, or a better one might be found.
    fn look(&mut self, world: &mut World) {
        let client = &world.ends[0];
        if self.closed[0] {
            return;
        }
        let wanted = client.line.is_none() || client.is_suspect || self.random.percent(1);
        let dialled = self
            .last_dialled
            .is_some_and(|at| world.now < at + Duration::from_secs(1));
        if !wanted || dialled {
            return;
        }
        self.last_dialled = Some(world.now);
        let connection = world.dial();
        self.begin_connection(connection, world.now);
        if world.now < self.outage_until {
            world.cut(connection, |_| 0);
            return;
        }
        let (there, answer) = (self.delay(connection), self.delay(connection));
        self.at(world.now + there, Happening::Dialled { connection, answer });
        let given_up = world.now + DIAL_TIMEOUT;
        if world.now + there + answer > given_up {
            self.at(given_up, Happening::Loss { connection });
        }
    }

    fn delay(&mut self, connection: usize) -> Duration {
        let base = self.delays[connection];
        let jitter = base.mul_f64(self.random.within(0..50) as f64 / 100.0);
        // A stall in which a ping is overdue, and a connection may be taken for dead.
        let stall = match self.random.within(0..500) {
            0 if !self.healed => self.random.millis(0..20_000),
            _ => Duration::ZERO,
        };
        base + jitter + stall
    }

    /// Gives all that was written since the last time its time of arrival.
    pub(crate) fn ship(&mut self, world: &World) {
        for (connection, link) in world.links.iter().enumerate() {
            if link.is_cut && self.is_drained(connection) {
                continue;
            }
            for from in 0..2 {
                let control = [(None, &link.control[from])].into_iter();
                let data = link.transports.iter().enumerate();
                let data = data.map(|(nth, it)| (Some(nth), &it.pipes[from]));
                for (transport, pipe) in control.chain(data) {
                    let key = (connection, transport, from);
                    let (scheduled, latest) =
                        self.pipes.get(&key).copied().unwrap_or((0, world.now));
                    let count = pipe.under_way().saturating_sub(scheduled);
                    if count == 0 {
                        continue;
                    }
                    let when = latest.max(world.now + self.delay(connection));
                    self.pipes.insert(key, (scheduled + count, when));
                    let arrival = Happening::Arrival {
                        connection,
                        transport,
                        from,
                        count,
                    };
                    self.at(when, arrival);
                }
            }
        }
    }

    fn is_drained(&self, connection: usize) -> bool {
        let pipes = (connection, None, 0)..(connection + 1, None, 0);
        self.pipes
            .range(pipes)
            .all(|(_, (scheduled, _))| *scheduled == 0)
    }

    /// The session is over at this end.
    fn close(&mut self, world: &mut World, side: usize) {
        self.closed[side] = true;
        world.close(side);
    }
}
