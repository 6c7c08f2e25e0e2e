//! Every schedule that there is of two small streams, one of each end, over two connections: what is
//! delivered when, when either end loses the first connection or goes on with the second, and when
//! streams are attached and sent again. Schedules that lead to the same state are followed once.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Instant;

use relay::proto::StreamId;
use relay::session::Over;

use crate::link::Pipe;
use crate::sizes::{Plan, Sizes};
use crate::stream::Place;
use crate::world::World;

/// What may happen next.
#[derive(Clone, Copy, Debug)]
enum Choice {
    Control(usize, usize),
    Data(Place, usize),
    Disconnect(usize),
    Accept,
    Welcome,
    Attach(usize),
    SendAgain(usize, StreamId),
    GiveUp(usize, StreamId),
}

/// A user that may give a stream up at any time, and how.
#[derive(Clone, Copy, Debug)]
struct Deserter {
    side: usize,
    resets: bool,
}

struct Explored {
    world: World,
    plan: Plan,
    deserter: Option<Deserter>,
    nothing: Pipe,
}

impl Explored {
    fn new(each: u64, streams: &[usize], deserter: Option<Deserter>, began: Instant) -> Self {
        let mut world = World::new(Sizes::small(1), began);
        for &opener in streams {
            world.open(opener, true);
        }
        world.dial();
        let mut explored = Self {
            world,
            plan: Plan::each(each),
            deserter,
            nothing: Pipe::default(),
        };
        explored.act();
        explored
    }

    /// What users and drivers do at once.
    fn act(&mut self) {
        self.world.act(&mut self.plan);
        for side in 0..2 {
            self.world.say(side, usize::MAX);
        }
    }

    fn take(&mut self, choice: Choice) {
        let world = &mut self.world;
        match choice {
            Choice::Control(number, from) => {
                let frame = world.links[number].control[from].next_frame();
                world.hear_control(number, from, frame);
            }
            Choice::Data(place, from) => {
                world.hear_data(place, from, usize::MAX);
            }
            Choice::Disconnect(side) => world.disconnect(side),
            Choice::Accept => assert!(world.accept(1)),
            Choice::Welcome => assert!(world.welcome(1)),
            Choice::Attach(side) => assert!(world.attach(side, 0)),
            Choice::SendAgain(side, id) => {
                world.with(side, |end, links, _| end.send_again(id, usize::MAX, links));
            }
            Choice::GiveUp(side, id) => {
                let resets = self.deserter.take().is_some_and(|it| it.resets);
                world.with(side, |end, _, _| {
                    if resets {
                        end.reset(id);
                    } else {
                        end.give_up(id, |state| state.abandon(id));
                    }
                });
            }
        }
        self.act();
    }

    fn choices(&mut self) -> Vec<Choice> {
        let mut choices = Vec::new();
        for number in 0..2 {
            for from in 0..2 {
                self.add_deliveries(number, from, &mut choices);
            }
        }
        let [first, second] = &self.world.ends;
        for end in [first, second] {
            if end.line == Some(0) {
                choices.push(Choice::Disconnect(end.side));
            }
            if !end.attaching.is_empty() {
                choices.push(Choice::Attach(end.side));
            }
            for (id, stream) in &end.streams {
                if stream.again.is_some() {
                    choices.push(Choice::SendAgain(end.side, *id));
                }
                let deserts = self.deserter.is_some_and(|it| it.side == end.side);
                if deserts && stream.begun && stream.over.is_none() {
                    choices.push(Choice::GiveUp(end.side, *id));
                }
            }
        }
        if !self.world.links[1].accepted {
            choices.push(Choice::Accept);
        } else if !self.world.links[1].welcomed {
            choices.push(Choice::Welcome);
        }
        choices
    }

    /// Deliveries that somebody takes notice of.
    fn add_deliveries(&self, connection: usize, from: usize, choices: &mut Vec<Choice>) {
        if !self.world.is_heard(connection, from) {
            return;
        }
        if !self.control_under_way(connection, from).is_empty() {
            choices.push(Choice::Control(connection, from));
        }
        for transport in 0..self.world.links[connection].transports.len() {
            let place = Place {
                connection,
                transport,
            };
            if !self.data_under_way(place, from).is_empty() {
                choices.push(Choice::Data(place, from));
            }
        }
    }

    /// What is under way to an end that still reads it, or will.
    fn control_under_way(&self, connection: usize, from: usize) -> &Pipe {
        let is_left = self.has_left(1 - from, connection);
        if is_left {
            &self.nothing
        } else {
            &self.world.links[connection].control[from]
        }
    }

    fn data_under_way(&self, place: Place, from: usize) -> &Pipe {
        let transport = &self.world.links[place.connection].transports[place.transport];
        let stream = self.world.ends[1 - from].streams.get(&transport.stream);
        let begins = transport.opener == from && transport.header.is_some();
        let is_read = if begins {
            !self.has_left(1 - from, place.connection)
        } else {
            let reader = stream
                .filter(|it| it.may_read())
                .and_then(|it| it.reader.as_ref());
            reader.is_some_and(|reader| reader.place == place)
        };
        if is_read {
            &transport.pipes[from]
        } else {
            &self.nothing
        }
    }

    fn has_left(&self, side: usize, connection: usize) -> bool {
        connection == 0 && self.world.ends[side].line != Some(0)
    }

    /// The same for states from which the same can follow.
    fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.deserter.is_some().hash(&mut hasher);
        for (connection, link) in self.world.links.iter().enumerate() {
            (link.accepted, link.welcomed).hash(&mut hasher);
            for from in 0..2 {
                self.control_under_way(connection, from).hash(&mut hasher);
                for transport in 0..link.transports.len() {
                    let place = Place {
                        connection,
                        transport,
                    };
                    self.data_under_way(place, from).hash(&mut hasher);
                }
            }
        }
        for end in &self.world.ends {
            (end.line, &end.attaching).hash(&mut hasher);
            for (id, stream) in &end.streams {
                let live = stream.over.is_none().then_some(stream);
                let place = live.map(|it| (it.writer, it.again, it.begun, it.given_up));
                let counts = live.map(|it| (it.written, it.finished, it.received, it.consumed));
                let reader = live.map(|it| format!("{:?}", it.reader));
                (id, place, counts, reader).hash(&mut hasher);
            }
            // The streams of a state are printed in no order.
            let text = format!("{:?}", end.state);
            let (before, rest) = text.split_once("streams: {").expect("a state has streams");
            let (streams, after) = rest.split_once("}, next_index").expect("they end");
            (before, entries(streams), after).hash(&mut hasher);
        }
        hasher.finish()
    }

    /// Nothing more can happen: then everything has.
    fn check_end(&self, deserted: bool) {
        assert!(self.world.is_settled(), "stuck: {}", self.world.unsettled());
        self.world.check_settled();
        for end in &self.world.ends {
            let complete = end
                .streams
                .values()
                .all(|it| it.over == Some(Over::Complete));
            assert!(complete || deserted, "{:?}", end.streams);
        }
    }
}

fn entries(streams: &str) -> Vec<&str> {
    let begin = |(at, _): (usize, _)| at - "i0".len();
    let mut begins: Vec<_> = streams.match_indices(": LiveStream {").map(begin).collect();
    begins.push(streams.len());
    let entry = |pair: &[usize]| streams[pair[0]..pair[1]].trim_end_matches(", ");
    let mut entries: Vec<_> = begins.windows(2).map(entry).collect();
    entries.sort_unstable();
    entries
}

/// Follows every schedule to its end; says how many states there are.
fn explore(each: u64, streams: &[usize], deserter: Option<Deserter>) -> usize {
    let began = Instant::now();
    let fresh = || Explored::new(each, streams, deserter, began);
    let (mut seen, mut ends) = (HashSet::new(), 0);
    // What was chosen, and what else there was to choose.
    let mut path: Vec<(Choice, Vec<Choice>)> = Vec::new();
    let mut explored = fresh();
    loop {
        let is_new = seen.insert(explored.fingerprint());
        let mut choices = if is_new {
            explored.choices()
        } else {
            Vec::new()
        };
        if is_new && choices.is_empty() {
            explored.check_end(deserter.is_some());
            ends += 1;
        }
        if let Some(next) = choices.pop() {
            explored.take(next);
            path.push((next, choices));
            continue;
        }
        while path.last().is_some_and(|(_, others)| others.is_empty()) {
            path.pop();
        }
        let Some((chosen, others)) = path.last_mut() else {
            break;
        };
        *chosen = others.pop().expect("there are others");
        explored = fresh();
        for (choice, _) in &path {
            explored.take(*choice);
        }
    }
    println!("{} states, {ends} ends", seen.len());
    seen.len()
}

/// How many bytes each direction has at most; more of them in the long suite.
fn most_bytes(usual: u64) -> u64 {
    let full = std::env::var_os("CAUSEWAY_TEST_FULL").is_some();
    usual + u64::from(full)
}

#[test]
fn every_schedule_of_one_stream_ends() {
    for opener in [0, 1] {
        for each in 0..=most_bytes(1) {
            explore(each, &[opener], None);
        }
    }
}

#[test]
fn every_schedule_of_a_stream_that_is_given_up_ends() {
    for (opener, side) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        for resets in [true, false] {
            let deserter = Deserter { side, resets };
            explore(most_bytes(1), &[opener], Some(deserter));
        }
    }
}

#[test]
fn every_schedule_of_two_streams_ends() {
    // With a byte each way there would be too many.
    explore(0, &[0, 1], None);
}
