//! One direction of what a UDP caller exchanges with the server, as a state machine without sockets
//! or a clock of its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::proxy::dice::Dice;
use crate::proxy::lane::Lane;
use crate::proxy::throttle::{Throttle, bytes_within};
use crate::wire::Share;

/// What each datagram is counted for besides its bytes, so that tiny ones are bounded as well.
const OVERHEAD: usize = 64;

/// The least that may wait, so that a slow link still carries whole datagrams.
const LEAST_QUEUE: usize = 16 * 1024;

/// One direction. Call [`Datagrams::next`] after every other call, until it has nothing to send.
#[derive(Debug)]
pub(super) struct Datagrams {
    lane: Lane,
    dice: Dice,
    throttle: Arc<Throttle>,
    buffer: usize,
    /// By when they are due, then in the order in which they came.
    queue: BTreeMap<(Instant, u64), Bytes>,
    queued: usize,
    came: u64,
    /// When the last one is due that is not held back; no later one is due before.
    last_due: Instant,
    dropped: u64,
}

/// What is to be done now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Send this; it is not kept.
    Send(Bytes),
    /// Nothing before this time, unless something comes in.
    Wait(Instant),
    /// Nothing unless something comes in.
    Idle,
}

impl Datagrams {
    /// `buffer` bounds what may wait here.
    pub(super) fn new(
        dice: Dice,
        throttle: Arc<Throttle>,
        buffer: usize,
        lane: Lane,
        now: Instant,
    ) -> Self {
        Self {
            lane,
            dice,
            throttle,
            buffer,
            queue: BTreeMap::new(),
            queued: 0,
            came: 0,
            last_due: now,
            dropped: 0,
        }
    }

    /// Other faults are in force. What is on its way keeps its time.
    pub(super) fn set(&mut self, lane: Lane) {
        self.lane = lane;
    }

    /// This came in.
    pub(super) fn handle_datagram(&mut self, now: Instant, datagram: Bytes) {
        let of = |rate: Option<Share>| rate.unwrap_or_default();
        // Each is asked of every datagram, so that what is decided about one does not depend on
        // which faults were in force before.
        let lost = self.dice.loses(of(self.lane.loss));
        let twice = self.dice.duplicates(of(self.lane.duplicate));
        let (rate, held) = self.lane.reorder.unwrap_or_default();
        let held_back = self.dice.holds_back(rate);
        if lost || self.lane.cut {
            self.dropped += 1;
            return;
        }
        let bytes = match self.lane.corrupt {
            Some(rate) => {
                let mut bytes = datagram.to_vec();
                self.dice.corrupt(rate, &mut bytes);
                bytes.into()
            }
            None => datagram,
        };
        let delay = match self.lane.latency {
            Some((delay, jitter)) => self.dice.delay(delay, jitter),
            None => Duration::ZERO,
        };
        let in_order = (now + delay).max(self.last_due);
        let due = if held_back {
            in_order + held
        } else {
            self.last_due = in_order;
            in_order
        };
        if twice {
            self.push(due, bytes.clone());
        }
        self.push(due, bytes);
    }

    /// What is to be done now.
    pub(super) fn next(&mut self, now: Instant) -> Next {
        loop {
            let Some(first) = self.queue.first_entry() else {
                return Next::Idle;
            };
            let (due, _) = *first.key();
            if now < due {
                return Next::Wait(due);
            }
            if let Some(bandwidth) = self.lane.bandwidth {
                if let Some(free_at) = self.throttle.busy_until(now) {
                    return Next::Wait(free_at);
                }
                self.throttle.take(now, first.get().len(), bandwidth.rate);
            }
            let bytes = first.remove();
            self.queued -= bytes.len() + OVERHEAD;
            if !self.lane.cut {
                return Next::Send(bytes);
            }
            // It was on its way when the line was cut.
            self.dropped += 1;
        }
    }

    /// How many were lost since this was asked last.
    pub(super) fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }

    /// How many are on their way.
    pub(super) fn waiting(&self) -> usize {
        self.queue.len()
    }

    fn push(&mut self, due: Instant, bytes: Bytes) {
        let size = bytes.len() + OVERHEAD;
        // One may always wait, however long it is: else it could never pass at all.
        if !self.queue.is_empty() && self.queued + size > self.limit() {
            self.dropped += 1;
            return;
        }
        self.queued += size;
        self.came += 1;
        self.queue.insert((due, self.came), bytes);
    }

    /// How much may wait here.
    fn limit(&self) -> usize {
        let Some(bandwidth) = self.lane.bandwidth else {
            return self.buffer;
        };
        let (delay, jitter) = self.lane.latency.unwrap_or_default();
        let on_the_way = bytes_within(bandwidth.rate, delay + jitter + bandwidth.queue);
        on_the_way.max(LEAST_QUEUE).min(self.buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::faults::{Faults, Protocols};
    use crate::proxy::{Direction, Placed};

    struct Run {
        datagrams: Datagrams,
        faults: Faults,
        now: Instant,
        out: Vec<u16>,
    }

    impl Run {
        fn with(texts: &[&str]) -> Self {
            let faults = Faults::none(Protocols::Udp);
            for text in texts {
                let placed: Placed = text.parse().unwrap();
                faults.set(placed).unwrap();
            }
            let now = Instant::now();
            let lane = faults.now().lane(Direction::Down);
            let dice = Dice::new(1, 1, Direction::Down);
            let throttle = faults.throttle(Direction::Down);
            Self {
                datagrams: Datagrams::new(dice, throttle, 1 << 20, lane, now),
                faults,
                now,
                out: Vec::new(),
            }
        }

        /// So many come, each with its number in it, and each at once.
        fn come(&mut self, count: u16) -> &mut Self {
            for n in 0..count {
                let datagram = Bytes::copy_from_slice(&n.to_be_bytes());
                self.datagrams.handle_datagram(self.now, datagram);
                self.now += Duration::from_millis(1);
            }
            self
        }

        /// Everything is sent when it is time.
        fn drain(&mut self) -> &mut Self {
            loop {
                match self.datagrams.next(self.now) {
                    Next::Send(bytes) => {
                        let bytes = <[u8; 2]>::try_from(&bytes[..]).unwrap();
                        self.out.push(u16::from_be_bytes(bytes));
                    }
                    Next::Wait(until) => self.now = until,
                    Next::Idle => return self,
                }
            }
        }

        /// How many have been sent so often.
        fn sent(&self, times: usize) -> usize {
            let mut numbers = self.out.clone();
            numbers.sort_unstable();
            let groups = numbers.chunk_by(|one, other| one == other);
            groups.filter(|group| group.len() == times).count()
        }
    }

    #[test]
    fn without_faults_all_pass_in_order() {
        let mut run = Run::with(&[]);
        run.come(100).drain();
        assert_eq!(run.out, (0..100).collect::<Vec<_>>());
        assert_eq!(run.datagrams.take_dropped(), 0);
    }

    #[test]
    fn latency_with_jitter_keeps_the_order() {
        let mut run = Run::with(&["latency delay=100ms jitter=100ms"]);
        let begin = run.now;
        run.come(100).drain();
        assert_eq!(run.out, (0..100).collect::<Vec<_>>());
        assert!(run.now > begin + Duration::from_millis(100));
    }

    #[test]
    fn some_are_lost_twice_there_or_overtaken() {
        // Each number is binomial, n = 2000, p = 0.1: 200 ± 10 σ with σ < 14.
        let expected = 60..340;
        let mut run = Run::with(&["loss rate=10%"]);
        run.come(2_000).drain();
        let lost = run.datagrams.take_dropped();
        assert!(expected.contains(&lost), "{lost}");
        assert_eq!(run.sent(1) as u64, 2_000 - lost);

        let mut run = Run::with(&["duplicate rate=10%"]);
        run.come(2_000).drain();
        assert!(expected.contains(&(run.sent(2) as u64)));
        assert_eq!(run.sent(1) + run.sent(2), 2_000);

        let mut run = Run::with(&["reorder rate=10% delay=5ms"]);
        run.come(2_000).drain();
        let overtaken = run.out.windows(2).filter(|pair| pair[1] < pair[0]).count();
        assert!(expected.contains(&(overtaken as u64)), "{overtaken}");
        assert_eq!(run.sent(1), 2_000);
    }

    #[test]
    fn what_one_fault_decides_does_not_depend_on_others() {
        let survivors = |texts: &[&str]| {
            let mut run = Run::with(texts);
            run.come(500).drain();
            run.out.sort_unstable();
            run.out.dedup();
            run.out
        };
        let alone = survivors(&["loss rate=30%"]);
        let others = [
            "loss rate=30%",
            "duplicate rate=50%",
            "reorder rate=50%",
            "latency jitter=50ms",
        ];
        assert_eq!(alone, survivors(&others));
    }

    #[test]
    fn a_cut_loses_also_what_was_on_its_way() {
        let mut run = Run::with(&["latency delay=1s"]);
        run.come(3);
        run.faults.set("cut".parse().unwrap()).unwrap();
        run.datagrams.set(run.faults.now().lane(Direction::Down));
        run.come(2).drain();
        assert_eq!(run.out, [] as [u16; 0]);
        assert_eq!(run.datagrams.take_dropped(), 5);
    }

    #[test]
    fn beyond_the_bandwidth_datagrams_are_lost() {
        let mut run = Run::with(&["bandwidth rate=1KiB queue=1s"]);
        // Without a byte sent meanwhile, what may wait is the least queue.
        for n in 0..1_000_u16 {
            let datagram = Bytes::copy_from_slice(&n.to_be_bytes());
            run.datagrams.handle_datagram(run.now, datagram);
        }
        let begin = run.now;
        run.drain();
        let kept = LEAST_QUEUE / (2 + OVERHEAD);
        assert_eq!(run.out.len(), kept);
        assert_eq!(run.datagrams.take_dropped() as usize, 1_000 - kept);
        // 2 bytes at 1 KiB/s take 1.95 ms each; the first goes at once.
        let took = (run.now - begin).as_millis();
        let all = (kept as u128 - 1) * 2_000 / 1_024;
        assert!((all - 2..=all + 2).contains(&took), "{took} {all}");
    }

    #[test]
    fn the_longest_datagram_passes_a_slow_line() {
        let mut run = Run::with(&["bandwidth rate=1KiB"]);
        let long = Bytes::from(vec![7; 60_000]);
        run.datagrams.handle_datagram(run.now, long.clone());
        run.datagrams.handle_datagram(run.now, long.clone());
        assert_eq!(run.datagrams.next(run.now), Next::Send(long));
        assert_eq!(run.datagrams.next(run.now), Next::Idle);
        assert_eq!(run.datagrams.take_dropped(), 1);
    }
}
