//! Two ends, the connections between them, and a clock that only moves when told to. Every step of
//! what can happen is a method here that does nothing where it cannot happen, and after each the
//! invariants of the session are checked.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use relay::proto::{Attempt, Limits, Opener, StreamId};
use relay::session::{SessionConfig, SharedBudget};

use crate::checks::{check_always, check_said};
use crate::end::End;
use crate::link::Connection;
use crate::sizes::{Plan, Sizes};
use crate::stream::Place;

/// See the module.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) now: Instant,
    pub(crate) ends: [End; 2],
    pub(crate) links: Vec<Connection>,
    pub(crate) sizes: Sizes,
    /// Some end was without a connection, or on another than before.
    pub(crate) lost: bool,
    trace: DefaultHasher,
    began: Instant,
}

impl World {
    pub(crate) fn new(sizes: Sizes, now: Instant) -> Self {
        let attempt = Attempt(1);
        let end = |side, budget| {
            let limits = Limits {
                stream_base: sizes.base,
                max_streams: sizes.max_streams,
                grace: sizes.grace,
            };
            let config = SessionConfig {
                side,
                local: limits,
                peer: limits,
                stream_window: sizes.window,
                growth_budget: budget,
                shared_budget: Arc::new(SharedBudget::new(budget)),
                liveness: sizes.liveness,
                seed: 1,
                attempt,
                resume: sizes.resume,
            };
            End::new(config, now)
        };
        let mut first = Connection::new(attempt);
        (first.accepted, first.welcomed) = (true, true);
        Self {
            now,
            ends: [
                end(Opener::Initiator, sizes.budgets[0]),
                end(Opener::Responder, sizes.budgets[1]),
            ],
            links: vec![first],
            sizes,
            lost: false,
            trace: DefaultHasher::new(),
            began: now,
        }
    }

    /// A number that two runs share if and only if the same was delivered at the same times.
    pub(crate) fn trace(&self) -> u64 {
        self.trace.finish()
    }

    fn check(&mut self) {
        check_always(&mut self.ends, &self.sizes, self.lost);
    }

    // ---- connections ----

    /// The initiator dials; the responder hears of it by [`Self::accept`]. Says which it is.
    pub(crate) fn dial(&mut self) -> usize {
        let attempt = Attempt(self.links.len() as u64 + 1);
        self.links.push(Connection::new(attempt));
        self.links.len() - 1
    }

    /// The responder goes on with a connection; `false` if it refuses.
    pub(crate) fn accept(&mut self, number: usize) -> bool {
        let link = &self.links[number];
        if link.is_cut || link.accepted {
            return false;
        }
        let accepted = self.connect(1, number);
        self.links[number].accepted = accepted;
        accepted
    }

    /// The initiator hears that the responder has accepted, and goes on; `false` if it does not.
    pub(crate) fn welcome(&mut self, number: usize) -> bool {
        let link = &self.links[number];
        if !link.accepted || link.is_cut || link.welcomed {
            return false;
        }
        let welcomed = self.connect(0, number);
        self.links[number].welcomed = welcomed;
        welcomed
    }

    fn connect(&mut self, side: usize, number: usize) -> bool {
        let connected = self.ends[side].connect(number, &self.links, self.now);
        self.lost |= connected;
        self.check();
        connected
    }

    /// Cuts a connection; see [`Connection::cut`].
    pub(crate) fn cut(&mut self, number: usize, kept: impl FnMut(usize) -> usize) {
        self.links[number].cut(kept);
    }

    /// An end notices that its connection is lost, or believes so.
    pub(crate) fn disconnect(&mut self, side: usize) {
        self.lost |= self.ends[side].line.is_some();
        self.ends[side].disconnect(self.now);
        self.check();
    }

    /// The session is over at an end: it resets what it has.
    pub(crate) fn close(&mut self, side: usize) {
        self.with(side, |end, _, now| {
            end.expired = true;
            end.disconnect(now);
            let ids: Vec<_> = end.state.stream_ids().collect();
            for id in ids {
                end.reset(id);
            }
        });
        assert_eq!(
            self.ends[side].process.used(),
            0,
            "what was granted has come back"
        );
    }

    /// Both ends go on with a new connection.
    pub(crate) fn reconnect(&mut self) -> usize {
        let number = self.dial();
        assert!(self.accept(number) && self.welcome(number));
        number
    }

    // ---- streams ----

    pub(crate) fn open(&mut self, side: usize, resumable: bool) -> Option<StreamId> {
        let id = self.ends[side].open(resumable, self.sizes.base, self.now);
        self.check();
        id
    }

    /// Does with one end what needs its connections, and checks.
    pub(crate) fn with<R>(
        &mut self,
        side: usize,
        call: impl FnOnce(&mut End, &mut [Connection], Instant) -> R,
    ) -> R {
        let result = call(&mut self.ends[side], &mut self.links, self.now);
        self.check();
        result
    }

    /// The first stream that waits to be attached, or the `nth`, is.
    pub(crate) fn attach(&mut self, side: usize, nth: usize) -> bool {
        let waiting = &mut self.ends[side].attaching;
        if nth >= waiting.len() {
            return false;
        }
        let (number, id) = waiting.remove(nth);
        self.with(side, |end, links, _| end.attach(number, id, links));
        true
    }

    // ---- what is said and heard ----

    /// An end writes at most so many control messages; says how many.
    pub(crate) fn say(&mut self, side: usize, most: usize) -> usize {
        let [a, b] = &mut self.ends;
        let (end, peer) = if side == 0 { (a, b) } else { (b, a) };
        let mut said = 0;
        while said < most {
            let Some(message) = end.state.poll_control(self.now) else {
                break;
            };
            said += 1;
            check_said(end, peer, &message, &self.sizes);
            let mut bytes = BytesMut::new();
            message.encode(&mut bytes);
            let line = end.line.expect("nothing is said without a connection");
            self.links[line].control[side].write(&bytes);
            end.drain();
        }
        self.check();
        said
    }

    /// At most so many bytes of a control stream arrive from `from`; says how many.
    pub(crate) fn hear_control(&mut self, number: usize, from: usize, most: usize) -> usize {
        if !self.is_heard(number, from) {
            return 0;
        }
        let bytes = self.links[number].control[from].read(most);
        if !bytes.is_empty() {
            self.note(&(number, from, &bytes));
            let end = &mut self.ends[1 - from];
            end.hear_control(number, &bytes, &mut self.links, self.now)
                .unwrap_or_else(|violation| panic!("honest, and yet: {violation}"));
            self.check();
        }
        bytes.len()
    }

    /// At most so many bytes of a transport stream arrive from `from`; says how many.
    pub(crate) fn hear_data(&mut self, place: Place, from: usize, most: usize) -> usize {
        if !self.is_heard(place.connection, from) {
            return 0;
        }
        let bytes = place.of(&mut self.links).pipes[from].read(most);
        if !bytes.is_empty() {
            self.note(&(place, from, &bytes));
            let end = &mut self.ends[1 - from];
            end.hear_data(place, &bytes, self.sizes.base, &mut self.links, self.now)
                .unwrap_or_else(|violation| panic!("honest, and yet: {violation}"));
            self.check_received(place, 1 - from);
        }
        bytes.len()
    }

    /// An initiator reads nothing of a connection before its answer to Hello.
    pub(crate) fn is_heard(&self, number: usize, from: usize) -> bool {
        from == 0 || self.links[number].welcomed
    }

    fn check_received(&mut self, place: Place, by: usize) {
        let id = place.of(&mut self.links).stream;
        let sent = self.ends[1 - by]
            .streams
            .get(&id)
            .map_or(0, |it| it.written);
        let received = self.ends[by].streams.get(&id).map_or(0, |it| it.received);
        assert!(
            received <= sent,
            "{id}: {received} bytes received of {sent}"
        );
        self.check();
    }

    fn note(&mut self, what: &impl Hash) {
        (self.now - self.began, what).hash(&mut self.trace);
    }

    /// Time passes, and what is due is done.
    pub(crate) fn wait(&mut self, time: Duration) {
        self.now += time;
        for end in self.ends.iter_mut().filter(|end| !end.expired) {
            if end.state.deadline() <= self.now {
                end.state.handle_timeout(self.now);
                end.drain();
            }
        }
        self.check();
    }

    // ---- to the end ----

    /// Each end does what its driver would: attaches, sends again, says what there is to say.
    pub(crate) fn pump(&mut self) -> bool {
        let mut moved = false;
        for side in 0..2 {
            while self.attach(side, 0) {
                moved = true;
            }
            for id in self.stream_ids(side) {
                while self.with(side, |end, links, _| end.send_again(id, usize::MAX, links)) {
                    moved = true;
                }
            }
            moved |= self.say(side, usize::MAX) > 0;
        }
        moved
    }

    /// Everything that can happen without a user, on all connections, until nothing more does.
    pub(crate) fn run_dry(&mut self) {
        while self.run_round() {}
    }

    fn run_round(&mut self) -> bool {
        let mut moved = self.pump();
        for number in 0..self.links.len() {
            for from in 0..2 {
                moved |= self.hear_control(number, from, usize::MAX) > 0;
                for transport in 0..self.links[number].transports.len() {
                    let place = Place {
                        connection: number,
                        transport,
                    };
                    moved |= self.hear_data(place, from, usize::MAX) > 0;
                }
            }
        }
        moved
    }

    pub(crate) fn stream_ids(&self, side: usize) -> Vec<StreamId> {
        self.ends[side].streams.keys().copied().collect()
    }

    /// Both know of every stream how it ended.
    pub(crate) fn is_settled(&self) -> bool {
        self.ends.iter().all(|end| end.state.live_streams() == 0)
    }

    /// On a new connection, every user reads all and ends what it sends; all streams must then be over,
    /// and those that nobody gave up complete.
    pub(crate) fn finish_everything(&mut self, plan: Plan) {
        self.reconnect();
        self.finish_here(plan);
    }

    /// The same on the connection that there is.
    pub(crate) fn finish_here(&mut self, mut plan: Plan) {
        for _ in 0..1000 {
            self.run_dry();
            self.act(&mut plan);
            self.run_dry();
            if self.is_settled() {
                return self.check_settled();
            }
            self.wait(Duration::from_millis(30));
        }
        panic!("streams that never retire: {}", self.unsettled());
    }

    /// All users do what they can: read everything, send what the plan has left, and then end.
    pub(crate) fn act(&mut self, plan: &mut Plan) {
        for side in 0..2 {
            for id in self.stream_ids(side) {
                let left = plan.left(side, id);
                self.with(side, |end, links, now| {
                    end.begin(id, links);
                    end.consume(id, u64::MAX, now);
                    *left -= end.send(id, *left, links, now);
                    if *left == 0 {
                        end.finish(id);
                    }
                });
            }
        }
    }
}
