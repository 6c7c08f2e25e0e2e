//! The receiving direction of a stream.

use std::time::{Duration, Instant};

use super::budget::GrowthBudget;
use super::violation::Violation;
use crate::proto::{Ack, StreamId};

/// Counts what was received and consumed, and grants credit.
///
/// `consumed ≤ received ≤ granted − released`. The window (what the sender may have under way) is
/// at least the base. Beyond it, it doubles each time that it was used up within two round trips,
/// up to half of all that the reader has taken so far, a sixteenth of what the budget has left, and
/// the cap. So a reader that takes little and then nothing holds little, and many of them leave
/// something for the next.
#[derive(Debug)]
pub struct StreamRx {
    stream: StreamId,
    base: u64,
    window: u64,
    received: u64,
    consumed: u64,
    acknowledged: u64,
    granted: u64,
    released: u64,
    last: Option<u64>,
    end_told: bool,
    granted_at: Instant,
}

/// A window takes at most this part of what the budget has left.
const BUDGET_SHARES: u64 = 16;

/// How soon the peer should hear of what was consumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AckUrgency {
    /// There is nothing new.
    None,
    /// Within 20 ms, together with others.
    Soon,
    /// At once: a quarter of the window is free again, or the direction is over.
    Now,
}

impl StreamRx {
    /// A new direction with a grant of `base` bytes.
    pub fn new(stream: StreamId, base: u32, now: Instant) -> Self {
        Self {
            stream,
            base: base.into(),
            window: base.into(),
            received: 0,
            consumed: 0,
            acknowledged: 0,
            granted: base.into(),
            released: 0,
            last: None,
            end_told: false,
            granted_at: now,
        }
    }

    /// How many bytes were received in all.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// How many bytes the local reader took.
    pub fn consumed(&self) -> u64 {
        self.consumed
    }

    /// Counts `count` bytes that arrived.
    pub fn receive(&mut self, count: u64) -> Result<(), Violation> {
        let received = self.received.saturating_add(count);
        let granted = self.granted - self.released;
        if received > granted {
            return Err(Violation::CreditExceeded {
                stream: self.stream,
                received,
                granted,
            });
        }
        if let Some(last) = self.last.filter(|last| received > *last) {
            return Err(Violation::BeyondFin {
                stream: self.stream,
                last,
            });
        }
        self.received = received;
        Ok(())
    }

    /// Takes the peer's word of where the direction ends. The same word again changes nothing.
    pub fn finish(&mut self, last: u64) -> Result<(), Violation> {
        if last < self.received || self.last.is_some_and(|said| said != last) {
            return Err(Violation::ContradictoryFin {
                stream: self.stream,
                last,
            });
        }
        self.last = Some(last);
        Ok(())
    }

    /// Whether every byte up to the end has arrived.
    pub fn is_all_received(&self) -> bool {
        self.last == Some(self.received)
    }

    /// Whether every byte up to the end was consumed.
    pub fn is_complete(&self) -> bool {
        self.last == Some(self.consumed)
    }

    /// Whether the peer was told so.
    pub fn is_end_told(&self) -> bool {
        self.end_told
    }

    /// Counts `count` bytes that the local reader took.
    pub fn consume(&mut self, count: u64) {
        assert!(
            count <= self.received - self.consumed,
            "only what arrived can be consumed"
        );
        self.consumed += count;
    }

    /// How soon [`Self::acknowledge`] wants to be called.
    pub fn urgency(&self) -> AckUrgency {
        let unacknowledged = self.consumed - self.acknowledged;
        if self.is_complete() {
            if self.end_told {
                AckUrgency::None
            } else {
                AckUrgency::Now
            }
        } else if unacknowledged == 0 {
            AckUrgency::None
        } else if unacknowledged >= self.window / 4 {
            AckUrgency::Now
        } else {
            AckUrgency::Soon
        }
    }

    /// What to tell the peer now. Grows the window if it was used up fast.
    pub fn acknowledge(
        &mut self,
        now: Instant,
        rtt: Duration,
        cap: u64,
        budget: &mut GrowthBudget,
    ) -> Ack {
        let ended = self.is_complete();
        if ended {
            self.give_back(budget);
            self.end_told = true;
        } else {
            let moved = self.consumed - self.acknowledged;
            self.grow_if_fast(moved, now, rtt, cap, budget);
            let granted = self.consumed + self.window + self.released;
            self.granted = self.granted.max(granted);
        }
        self.acknowledged = self.consumed;
        self.granted_at = now;
        Ack {
            stream: self.stream,
            consumed: self.consumed,
            limit: self.granted,
            ended,
            stopped: false,
        }
    }

    /// The reader takes `moved` bytes in the time since the last grant. If at that pace the window
    /// lasts for less than two round trips, it is what holds the sender back.
    fn grow_if_fast(
        &mut self,
        moved: u64,
        now: Instant,
        rtt: Duration,
        cap: u64,
        budget: &mut GrowthBudget,
    ) {
        let elapsed = now.saturating_duration_since(self.granted_at);
        let window_lasts = elapsed.as_nanos() * u128::from(self.window / moved.max(1));
        if moved == 0 || self.window >= cap || window_lasts > 2 * rtt.as_nanos() {
            return;
        }
        let grown = self.window - self.base;
        let share = (budget.remaining() + grown) / BUDGET_SHARES;
        let earned = (self.consumed / 2).saturating_sub(self.window);
        let wanted = self
            .window
            .min(cap - self.window)
            .min(share.saturating_sub(grown))
            .min(earned);
        self.window += budget.take(wanted);
    }

    /// Takes the sender's word that it gave back credit, `released` bytes in all.
    pub fn release(&mut self, released: u64, budget: &mut GrowthBudget) -> Result<(), Violation> {
        if released <= self.released {
            return Ok(());
        }
        let stream = self.stream;
        let unused = self.granted - self.released - self.received;
        let amount = released - self.released;
        if amount > unused {
            return Err(Violation::ReleaseBeyondGrant { stream });
        }
        self.released = released;
        let shrink = amount.min(self.window - self.base);
        self.window -= shrink;
        budget.give_back(shrink);
        Ok(())
    }

    /// Returns what the window has beyond its base; for a direction that is over.
    pub fn give_back(&mut self, budget: &mut GrowthBudget) {
        budget.give_back(self.window - self.base);
        self.window = self.base;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::proto::Opener;
    use crate::session::SharedBudget;

    const RTT: Duration = Duration::from_millis(10);
    const CAP: u64 = 1000;

    fn direction(base: u32) -> (StreamRx, GrowthBudget, Instant) {
        let now = Instant::now();
        let process = Arc::new(SharedBudget::new(1_000_000));
        let id = StreamId::new(Opener::Initiator, 0);
        (
            StreamRx::new(id, base, now),
            GrowthBudget::new(1_000_000, process),
            now,
        )
    }

    #[test]
    fn one_byte_over_the_grant_is_a_violation() {
        let (mut rx, ..) = direction(100);
        rx.receive(100).unwrap();
        assert!(matches!(
            rx.receive(1),
            Err(Violation::CreditExceeded {
                received: 101,
                granted: 100,
                ..
            })
        ));
    }

    #[test]
    fn a_window_used_up_at_once_doubles_to_its_cap_and_a_slow_one_does_not() {
        let (mut rx, mut budget, now) = direction(100);
        let mut at = now;
        for _ in 0..40 {
            let window = rx.window;
            rx.receive(window).unwrap();
            rx.consume(window);
            at += Duration::from_millis(1);
            rx.acknowledge(at, RTT, CAP, &mut budget);
        }
        assert_eq!((rx.window, budget.used()), (CAP, CAP - 100));

        let (mut rx, mut budget, mut at) = direction(100);
        for _ in 0..10 {
            rx.receive(100).unwrap();
            rx.consume(100);
            at += Duration::from_secs(1);
            rx.acknowledge(at, RTT, CAP, &mut budget);
        }
        assert_eq!((rx.window, budget.used()), (100, 0));
    }

    #[test]
    fn what_the_sender_gives_back_shrinks_the_window_and_no_more() {
        let (mut rx, mut budget, now) = direction(100);
        for _ in 0..4 {
            rx.receive(100).unwrap();
            rx.consume(100);
            rx.acknowledge(now, RTT, CAP, &mut budget);
        }
        assert_eq!((rx.window, rx.granted, budget.used()), (200, 600, 100));
        rx.release(100, &mut budget).unwrap();
        assert_eq!((rx.window, budget.used()), (100, 0));
        rx.release(100, &mut budget).unwrap();
        assert!(rx.release(201, &mut budget).is_err());
        rx.receive(100).unwrap();
        assert!(rx.receive(1).is_err(), "what was given back is gone");
    }

    #[test]
    fn many_that_stand_still_leave_a_share_for_the_next() {
        let (_, mut budget, now) = direction(100);
        let id = StreamId::new(Opener::Initiator, 0);
        let mut windows = Vec::new();
        for _ in 0..100 {
            let mut rx = StreamRx::new(id, 100, now);
            for _ in 0..100 {
                let window = rx.window;
                rx.receive(window).unwrap();
                rx.consume(window);
                rx.acknowledge(now, RTT, 100_000, &mut budget);
            }
            windows.push(rx.window);
        }
        assert!(windows[0] > 60_000, "{}", windows[0]);
        assert!(windows[99] > 200, "{}", windows[99]);
    }

    #[test]
    fn the_end_is_told_when_all_was_consumed() {
        let (mut rx, mut budget, now) = direction(100);
        rx.receive(5).unwrap();
        rx.finish(8).unwrap();
        assert!(rx.finish(9).is_err() && rx.finish(4).is_err());
        rx.receive(3).unwrap();
        assert!(matches!(
            rx.receive(1),
            Err(Violation::BeyondFin { last: 8, .. })
        ));
        rx.consume(7);
        assert!(rx.is_all_received() && !rx.is_complete());
        rx.consume(1);
        assert_eq!(rx.urgency(), AckUrgency::Now);
        assert!(rx.acknowledge(now, RTT, CAP, &mut budget).ended);
        assert_eq!(rx.urgency(), AckUrgency::None);
    }

    #[test]
    fn small_steps_are_told_soon_and_a_quarter_of_the_window_now() {
        let (mut rx, ..) = direction(100);
        rx.receive(50).unwrap();
        rx.consume(24);
        assert_eq!(rx.urgency(), AckUrgency::Soon);
        rx.consume(1);
        assert_eq!(rx.urgency(), AckUrgency::Now);
    }
}
