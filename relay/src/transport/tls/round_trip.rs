//! The round trip of the connection, by pings of its own.
//!
//! Pings go out ahead of everything that waits here, together with data, so an idle connection sends
//! none. What they measure is the path and what waits in the two kernels.

use std::time::{Duration, Instant};

use super::violation::Violation;

/// How long after a ping the next may follow. The session's windows grow by this estimate, so it
/// must follow the path while that fills up.
const EVERY: Duration = Duration::from_millis(50);

/// What is assumed before anything was measured (as RFC 9002 §6.2.2 does).
const INITIAL: Duration = Duration::from_millis(333);

#[derive(Debug, Default)]
pub(in crate::transport) struct RoundTrip {
    /// The ping that was not answered yet.
    asked: Option<(u64, Instant)>,
    last: Option<Instant>,
    count: u64,
    smoothed: Option<Duration>,
}

impl RoundTrip {
    pub(in crate::transport) fn estimate(&self) -> Duration {
        self.smoothed.unwrap_or(INITIAL)
    }

    /// The number of the ping that is due, if one is.
    pub(in crate::transport) fn ask(&mut self, now: Instant) -> Option<u64> {
        let early = self
            .last
            .is_some_and(|last| now.saturating_duration_since(last) < EVERY);
        if early || self.asked.is_some() {
            return None;
        }
        self.count += 1;
        self.asked = Some((self.count, now));
        self.last = Some(now);
        Some(self.count)
    }

    pub(in crate::transport) fn answered(
        &mut self,
        nonce: u64,
        now: Instant,
    ) -> Result<(), Violation> {
        let Some((_, at)) = self.asked.take_if(|(asked, _)| *asked == nonce) else {
            return Err(Violation::PongToNothing);
        };
        let sample = now.saturating_duration_since(at);
        // TCP measures with every round trip, and lets each count for an eighth (RFC 6298 §2). These
        // are few.
        self.smoothed = Some(match self.smoothed {
            Some(smoothed) => (smoothed + sample) / 2,
            None => sample,
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_ping_at_a_time_and_not_too_often() {
        let (mut round_trip, start) = (RoundTrip::default(), Instant::now());
        let at = |millis| start + Duration::from_millis(millis);
        assert_eq!(round_trip.ask(at(0)), Some(1));
        assert_eq!(round_trip.ask(at(1000)), None, "the first is not answered");
        assert_eq!(
            round_trip.answered(2, at(1000)),
            Err(Violation::PongToNothing)
        );
        assert_eq!(round_trip.estimate(), INITIAL);
        assert_eq!(round_trip.answered(1, at(1020)), Ok(()));
        assert_eq!(
            round_trip.answered(1, at(1020)),
            Err(Violation::PongToNothing)
        );
        assert_eq!(round_trip.estimate(), Duration::from_millis(1020));
        assert_eq!(round_trip.ask(at(1020)), Some(2));
        assert_eq!(round_trip.answered(2, at(1040)), Ok(()));
        assert_eq!(round_trip.estimate(), Duration::from_millis(520));
        assert_eq!(round_trip.ask(at(1060)), None, "too early");
        assert_eq!(round_trip.ask(at(1070)), Some(3));
    }
}
