//! Two pure sessions, joined by channels that keep or break order as a transport would, driven by
//! random steps, and held against a small model of what must be true of them.
#![allow(
    clippy::unwrap_used,
    reason = "a test states its expectation by unwrapping"
)]

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use proptest::prelude::*;
use relay::proto::{
    Attempt, Caller, Control, Generation, Limits, Open, Opener, ResetCode, StreamId,
};
use relay::session::{
    Event, HeaderOutcome, LivenessConfig, Over, SessionConfig, SessionState, SharedBudget,
};

const MAX_STREAMS: u32 = 4;

#[derive(Clone, Debug)]
enum Step {
    Open(usize),
    Send(usize, usize, u64),
    Finish(usize, usize),
    Reset(usize, usize),
    Consume(usize, usize, u64),
    DeliverControl(usize),
    DeliverData(usize, usize),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let side = 0..2usize;
    let pick = any::<usize>();
    prop_oneof![
        2 => side.clone().prop_map(Step::Open),
        6 => (side.clone(), pick, 1..40u64).prop_map(|(s, p, n)| Step::Send(s, p, n)),
        2 => (side.clone(), pick).prop_map(|(s, p)| Step::Finish(s, p)),
        1 => (side.clone(), pick).prop_map(|(s, p)| Step::Reset(s, p)),
        6 => (side.clone(), pick, 1..40u64).prop_map(|(s, p, n)| Step::Consume(s, p, n)),
        8 => side.clone().prop_map(Step::DeliverControl),
        8 => (side, pick).prop_map(|(s, p)| Step::DeliverData(s, p)),
        2 => (1..2000u64).prop_map(Step::Wait),
    ]
}

/// What is under way on one direction of one transport stream: its header first, then byte counts.
#[derive(Debug)]
enum Packet {
    Header,
    Bytes(u64),
}

#[derive(Default)]
struct Direction {
    sent: u64,
    received: u64,
    consumed: u64,
    finished: bool,
}

struct End {
    state: SessionState,
    process: Arc<SharedBudget>,
    /// Streams that this end knows, and how each ended.
    streams: BTreeMap<StreamId, Option<Over>>,
    /// By stream: what this end sends.
    out: BTreeMap<StreamId, Direction>,
    control: VecDeque<Control>,
    wire: BTreeMap<StreamId, VecDeque<Packet>>,
}

/// The header of a stream that ends with its connection.
fn header(stream: StreamId) -> Open {
    Open {
        stream,
        service: "test".parse().unwrap(),
        caller: Caller {
            principal: "ingress/test".into(),
            address: None,
        },
        traceparent: None,
        resumable: false,
        generation: Generation(0),
    }
}

struct Pair {
    ends: [End; 2],
    now: Instant,
}

impl Pair {
    fn new(base: u32) -> Self {
        let now = Instant::now();
        let limits = Limits {
            stream_base: base,
            max_streams: MAX_STREAMS,
            grace: Duration::from_secs(1),
        };
        let end = |side| {
            let process = Arc::new(SharedBudget::new(300));
            let config = SessionConfig {
                side,
                local: limits,
                peer: limits,
                stream_window: 200,
                growth_budget: 250,
                shared_budget: process.clone(),
                liveness: LivenessConfig {
                    dead: Duration::from_secs(1_000_000),
                    idle_dead: Duration::from_secs(1_000_000),
                    ..LivenessConfig::default()
                },
                seed: 1,
                attempt: Attempt(1),
                resume: false,
            };
            End {
                state: SessionState::new(config, now),
                process,
                streams: BTreeMap::new(),
                out: BTreeMap::new(),
                control: VecDeque::new(),
                wire: BTreeMap::new(),
            }
        };
        Self {
            ends: [end(Opener::Initiator), end(Opener::Responder)],
            now,
        }
    }

    fn pick(&self, side: usize, pick: usize) -> Option<StreamId> {
        let live: Vec<_> = self.ends[side]
            .streams
            .iter()
            .filter(|(_, o)| o.is_none())
            .collect();
        live.get(pick.checked_rem(live.len())?).map(|(id, _)| **id)
    }

    fn take(&mut self, step: Step) {
        let now = self.now;
        match step {
            Step::Open(side) => {
                let end = &mut self.ends[side];
                if let Ok(id) = end.state.open(now) {
                    end.streams.insert(id, None);
                    end.wire.entry(id).or_default().push_back(Packet::Header);
                }
            }
            Step::Send(side, pick, count) => {
                let Some(id) = self.pick(side, pick) else {
                    return;
                };
                let end = &mut self.ends[side];
                let mut bytes = Bytes::from(vec![0; count as usize]).into();
                let sent = end.state.send(id, Generation(0), &mut bytes, now);
                let count = sent.len() as u64;
                if count > 0 {
                    end.out.entry(id).or_default().sent += count;
                    end.wire
                        .entry(id)
                        .or_default()
                        .push_back(Packet::Bytes(count));
                }
            }
            Step::Finish(side, pick) => {
                let Some(id) = self.pick(side, pick) else {
                    return;
                };
                self.ends[side].state.finish(id);
                self.ends[side].out.entry(id).or_default().finished = true;
            }
            Step::Reset(side, pick) => {
                let Some(id) = self.pick(side, pick) else {
                    return;
                };
                self.ends[side]
                    .state
                    .reset(id, ResetCode::Cancelled, "test".into());
            }
            Step::Consume(side, pick, count) => {
                let Some(id) = self.pick(side, pick) else {
                    return;
                };
                self.consume(side, id, count);
            }
            Step::DeliverControl(from) => {
                if let Some(message) = self.ends[from].control.pop_front() {
                    self.ends[1 - from]
                        .state
                        .handle_control(message, now)
                        .unwrap();
                }
            }
            Step::DeliverData(from, pick) => {
                let full: Vec<_> = self.ends[from]
                    .wire
                    .iter()
                    .filter(|(_, q)| !q.is_empty())
                    .collect();
                let Some(nth) = pick.checked_rem(full.len()) else {
                    return;
                };
                let id = *full[nth].0;
                self.deliver_data(from, id);
            }
            Step::Wait(ms) => {
                self.now += Duration::from_millis(ms);
                for end in &mut self.ends {
                    if end.state.deadline() <= self.now {
                        end.state.handle_timeout(self.now);
                    }
                }
            }
        }
        self.settle();
    }

    fn deliver_data(&mut self, from: usize, id: StreamId) {
        let now = self.now;
        let [a, b] = &mut self.ends;
        let (sender, receiver) = if from == 0 { (a, b) } else { (b, a) };
        match sender
            .wire
            .get_mut(&id)
            .and_then(VecDeque::pop_front)
            .unwrap()
        {
            Packet::Header => match receiver.state.handle_open(&header(id), now).unwrap() {
                HeaderOutcome::New { .. } => {
                    receiver.streams.entry(id).or_insert(None);
                }
                HeaderOutcome::TooLate => {}
                HeaderOutcome::Moved { .. } => panic!("nothing moves"),
                HeaderOutcome::Overload => panic!("an honest opener stays within the limit"),
            },
            Packet::Bytes(count) => {
                receiver
                    .state
                    .received(id, Generation(0), count, now)
                    .unwrap();
                sender.out.get_mut(&id).unwrap().received += count;
            }
        }
    }

    fn consume(&mut self, side: usize, id: StreamId, count: u64) {
        let now = self.now;
        let [a, b] = &mut self.ends;
        let (reader, sender) = if side == 0 { (a, b) } else { (b, a) };
        let Some(direction) = sender.out.get_mut(&id) else {
            return;
        };
        let count = count.min(direction.received - direction.consumed);
        if count > 0 {
            direction.consumed += count;
            reader.state.consumed(id, count, now);
        }
    }

    /// Drains what the ends want to say, and checks what must always be true.
    fn settle(&mut self) {
        let now = self.now;
        for side in 0..2 {
            let end = &mut self.ends[side];
            loop {
                while let Some(event) = end.state.poll_event() {
                    match event {
                        Event::Over(id, over) => {
                            let known = end.streams.insert(id, Some(over.clone()));
                            assert_ne!(known, Some(Some(over)), "a stream ends once");
                        }
                        Event::Writable(_)
                        | Event::Finished(_)
                        | Event::Connected(_)
                        | Event::Room
                        | Event::Idle
                        | Event::Suspect
                        | Event::RoundTrip(_) => {}
                        Event::Services(_)
                        | Event::Edges(_)
                        | Event::Draining
                        | Event::Closed(_)
                        | Event::Dead
                        | Event::Attach
                        | Event::Expired => {
                            panic!("{event:?}")
                        }
                    }
                }
                match end.state.poll_control(now) {
                    Some(message) => end.control.push_back(message),
                    None => break,
                }
            }
            assert!(end.state.growth_used() <= 250);
            assert_eq!(end.process.used(), end.state.growth_used());
        }
        for side in 0..2 {
            for (id, over) in &self.ends[side].streams {
                if over != &Some(Over::Complete) {
                    continue;
                }
                for end in &self.ends {
                    if let Some(direction) = end.out.get(id) {
                        assert!(direction.finished, "{id} complete without an end");
                        assert_eq!(
                            direction.consumed, direction.sent,
                            "{id} complete but short"
                        );
                    }
                }
            }
        }
    }

    /// Delivers everything, reads everything, ends everything.
    fn run_to_the_end(&mut self) {
        for _ in 0..10_000 {
            let mut moved = false;
            for side in 0..2 {
                while !self.ends[side].control.is_empty() {
                    self.take(Step::DeliverControl(side));
                    moved = true;
                }
                while self.ends[side].wire.values().any(|q| !q.is_empty()) {
                    self.take(Step::DeliverData(side, 0));
                    moved = true;
                }
                let live: Vec<_> = self.ends[side]
                    .streams
                    .iter()
                    .filter(|(_, o)| o.is_none())
                    .map(|(id, _)| *id)
                    .collect();
                for id in live {
                    self.consume(side, id, u64::MAX);
                    self.ends[side].state.finish(id);
                    self.ends[side].out.entry(id).or_default().finished = true;
                }
            }
            self.take(Step::Wait(30));
            let quiet = self
                .ends
                .iter()
                .all(|e| e.control.is_empty() && e.state.live_streams() == 0);
            if quiet && !moved {
                return;
            }
        }
        panic!("streams that never retire: {:?}", self.ends[0].state);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]
    #[test]
    fn whatever_happens_credit_holds_and_everything_retires(
        base in 1..30u32,
        steps in proptest::collection::vec(step(), 0..150),
    ) {
        let mut pair = Pair::new(base);
        for step in steps {
            pair.take(step);
        }
        pair.run_to_the_end();
        for side in 0..2 {
            let end = &pair.ends[side];
            prop_assert_eq!(end.process.used(), 0);
            for (id, over) in &end.streams {
                prop_assert!(over.is_some(), "{} never ended", id);
                // Reset on one end is never complete on the other, unless that end knew of the
                // end before the reset was made.
                if let Some(Some(Over::Reset { .. })) = pair.ends[1 - side].streams.get(id)
                    && over == &Some(Over::Complete)
                {
                    for e in &pair.ends {
                        if let Some(d) = e.out.get(id) {
                            prop_assert_eq!(d.consumed, d.sent);
                        }
                    }
                }
            }
        }
    }
}
