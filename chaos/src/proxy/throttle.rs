//! A rate that all connections share.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Timers wake late, by a millisecond or so: what is late may be made up for, up to this.
const MADE_UP: Duration = Duration::from_millis(5);

/// The most that goes at once is what takes this long.
const PIECE: Duration = Duration::from_millis(20);

/// One direction of a link, which takes its time for each byte.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    free_at: Mutex<Option<Instant>>,
}

impl Throttle {
    /// When the next bytes may go, if not at once.
    pub(crate) fn busy_until(&self, now: Instant) -> Option<Instant> {
        self.free_at.lock().filter(|free_at| *free_at > now)
    }

    /// So many bytes have gone at this rate.
    pub(crate) fn take(&self, now: Instant, bytes: usize, rate: u64) {
        let takes = Duration::from_secs_f64(bytes as f64 / rate as f64);
        let mut free_at = self.free_at.lock();
        let earliest = now.checked_sub(MADE_UP).unwrap_or(now);
        let begins = free_at.map_or(now, |free_at| free_at.max(earliest));
        *free_at = Some(begins + takes);
    }

    /// The rate has changed: what went at the old one is no debt.
    pub(crate) fn forgive(&self) {
        *self.free_at.lock() = None;
    }
}

/// The most that goes at once at this rate.
pub(crate) fn piece_at(rate: u64) -> usize {
    bytes_within(rate, PIECE).max(1)
}

/// How many bytes go at this rate in this time.
pub(crate) fn bytes_within(rate: u64, time: Duration) -> usize {
    // A float that is too large becomes the largest number.
    (rate as f64 * time.as_secs_f64()) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_take_their_time_also_if_timers_are_late() {
        let throttle = Throttle::default();
        let begin = Instant::now();
        let mut now = begin;
        for _ in 0..100 {
            assert_eq!(throttle.busy_until(now), None);
            throttle.take(now, 1_000, 100_000);
            let free_at = throttle.busy_until(now).unwrap();
            now = free_at + Duration::from_millis(1);
        }
        let took = throttle.busy_until(begin).unwrap() - begin;
        assert_eq!(took.as_millis(), 1_000);
    }

    #[test]
    fn a_pause_is_not_made_up_for() {
        let throttle = Throttle::default();
        let now = Instant::now();
        throttle.take(now, 1_000, 1_000);
        let later = now + Duration::from_secs(60);
        throttle.take(later, 1_000, 1_000);
        let free_at = throttle.busy_until(later).unwrap();
        assert_eq!(free_at - later, Duration::from_secs(1) - MADE_UP);
        throttle.forgive();
        assert_eq!(throttle.busy_until(later), None);
    }

    #[test]
    fn pieces_are_never_empty() {
        assert_eq!(piece_at(1), 1);
        assert_eq!(piece_at(1_000_000), 20_000);
    }
}
