//! What is remembered from one attempt to the next, and how long to wait in between.

use std::net::SocketAddr;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use rand::RngExt;
use relay::proto::WorkerHint;

use super::preference::Preference;
use crate::config::BackoffSettings;
use crate::dial::Way;

/// What is remembered from one attempt to the next.
pub(super) struct Attempts {
    pub(super) last_address: Option<SocketAddr>,
    pub(super) hint: Option<WorkerHint>,
    /// Whether the edge has said that it answers Pings ahead of Hello.
    pub(super) may_probe: bool,
    pub(super) preference: Preference,
    /// By which way the session was connected when that was looked at last.
    pub(super) way: Option<Way>,
    patience: Patience,
}

/// How long to wait from one attempt to the next.
pub(super) struct Patience {
    policy: ExponentialBuilder,
    bounds: ExponentialBackoff,
}

impl Attempts {
    pub(super) fn new(settings: &BackoffSettings) -> Self {
        Self {
            last_address: None,
            hint: None,
            may_probe: false,
            preference: Preference::default(),
            way: None,
            patience: Patience::new(settings),
        }
    }

    pub(super) fn next_delay(&mut self) -> Duration {
        self.patience.next_delay()
    }

    pub(super) fn forget_failures(&mut self) {
        self.patience.forget_failures();
    }
}

impl Patience {
    pub(super) fn new(settings: &BackoffSettings) -> Self {
        let policy = ExponentialBuilder::new()
            .with_min_delay(settings.initial)
            .with_max_delay(settings.max)
            .with_factor(2.0)
            .without_max_times();
        Self {
            policy,
            bounds: policy.build(),
        }
    }

    /// A random time up to a bound that doubles ("full jitter"), so that the clients of an edge
    /// that comes back do not all come at once.
    pub(super) fn next_delay(&mut self) -> Duration {
        let bound = self
            .bounds
            .next()
            .expect("the number of attempts has no bound");
        bound.mul_f64(rand::rng().random_range(0.0..=1.0))
    }

    fn forget_failures(&mut self) {
        self.bounds = self.policy.build();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempts() -> Attempts {
        Attempts::new(&BackoffSettings {
            initial: Duration::from_millis(500),
            max: Duration::from_secs(30),
            stable_after: Duration::from_secs(10),
        })
    }

    #[test]
    fn delays_are_random_below_a_bound_that_doubles_to_its_maximum() {
        let mut longest = [Duration::ZERO; 10];
        for _ in 0..200 {
            let mut attempts = attempts();
            for (nth, longest) in longest.iter_mut().enumerate() {
                let bound = Duration::from_millis(500 << nth).min(Duration::from_secs(30));
                let delay = attempts.next_delay();
                assert!(delay <= bound, "{nth}: {delay:?}");
                *longest = delay.max(*longest);
            }
        }
        assert!(
            longest[9] > Duration::from_secs(20),
            "jitter is full: {longest:?}"
        );
    }

    #[test]
    fn a_stable_session_begins_again_at_the_first_bound() {
        let mut attempts = attempts();
        for _ in 0..10 {
            attempts.next_delay();
        }
        attempts.forget_failures();
        assert!(attempts.next_delay() <= Duration::from_millis(500));
    }
}
