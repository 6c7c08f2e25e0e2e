//! From the outcomes of checks to a state. Pure.
//!
//! ```text
//!            one good check                `fall` bad ones in a row
//!   unknown ───────────────▶ healthy ────────────────────────────▶ failing
//!      │                        ▲                                   │  ▲
//!      │                        └── `rise` good ones in a row ──────┘  │
//!      └────────────── `fall` bad ones in a row ───────────────────────┘
//! ```

use relay::proto::{HealthReason, HealthState};
use tokio::time::Instant;

/// A check that did not go well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// For the edge.
    pub(crate) reason: HealthReason,
    /// For the edge too: a number or a word, never an address.
    pub(crate) detail: String,
    /// For this side's own people, in full.
    pub(crate) said: String,
}

/// Judges one service.
#[derive(Clone, Debug)]
pub(crate) struct Judge {
    rise: u32,
    fall: u32,
    state: HealthState,
    since: Instant,
    /// Checks in a row that speak against the state.
    against: u32,
    last_failure: Option<Failure>,
}

/// What the last check has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Nothing,
    /// Why it is not healthy.
    Reason,
    /// The state, to this one.
    State(HealthState),
}

impl Judge {
    /// Nothing is known yet.
    pub(crate) fn new(rise: u32, fall: u32, now: Instant) -> Self {
        Self {
            rise,
            fall,
            state: HealthState::Unknown,
            since: now,
            against: 0,
            last_failure: None,
        }
    }

    pub(crate) fn state(&self) -> HealthState {
        self.state
    }

    /// When it became so.
    pub(crate) fn since(&self) -> Instant {
        self.since
    }

    /// Why it is not healthy, if it is not and has been looked at.
    pub(crate) fn failure(&self) -> Option<&Failure> {
        match self.state {
            HealthState::Unknown | HealthState::Failing => self.last_failure.as_ref(),
            HealthState::Healthy | HealthState::Off => None,
        }
    }

    /// Takes the outcome of a check.
    pub(crate) fn handle(&mut self, outcome: Result<(), Failure>, now: Instant) -> Change {
        let told = self
            .failure()
            .map(|failure| (failure.reason, failure.detail.clone()));
        let good = outcome.is_ok();
        if let Err(failure) = outcome {
            self.last_failure = Some(failure);
        }
        let (speaks_against, enough, other) = match self.state {
            HealthState::Unknown if good => (true, 1, HealthState::Healthy),
            HealthState::Unknown | HealthState::Healthy => (!good, self.fall, HealthState::Failing),
            HealthState::Failing => (good, self.rise, HealthState::Healthy),
            HealthState::Off => (false, 1, HealthState::Off),
        };
        self.against = if speaks_against { self.against + 1 } else { 0 };
        if speaks_against && self.against >= enough {
            self.state = other;
            self.since = now;
            self.against = 0;
            return Change::State(other);
        }
        let tells = self
            .failure()
            .map(|failure| (failure.reason, failure.detail.clone()));
        if told == tells {
            Change::Nothing
        } else {
            Change::Reason
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn bad(reason: HealthReason) -> Result<(), Failure> {
        Err(Failure {
            reason,
            detail: String::new(),
            said: "at 127.0.0.1:1".to_owned(),
        })
    }

    /// What becomes of a service that is checked so: `+` good, `-` bad; one letter for each state.
    fn story(rise: u32, fall: u32, checks: &str) -> String {
        let now = Instant::now();
        let mut judge = Judge::new(rise, fall, now);
        let judged = checks.chars().map(|check| {
            let outcome = match check {
                '+' => Ok(()),
                _ => bad(HealthReason::Refused),
            };
            judge.handle(outcome, now);
            match judge.state() {
                HealthState::Unknown => 'u',
                HealthState::Healthy => 'h',
                HealthState::Failing => 'f',
                HealthState::Off => 'o',
            }
        });
        judged.collect()
    }

    #[test]
    fn it_takes_a_row_to_change_a_state() {
        assert_eq!(story(2, 3, "+--+---++"), "hhhhhhffh");
        assert_eq!(story(2, 3, "---+-++"), "uuffffh");
        assert_eq!(story(1, 1, "+-+-"), "hfhf");
    }

    #[test]
    fn the_first_good_check_is_enough_and_one_bad_one_is_not() {
        assert_eq!(story(5, 3, "--+"), "uuh");
        assert_eq!(story(5, 3, "---"), "uuf");
    }

    #[test]
    fn a_bad_check_of_a_healthy_service_is_not_told_and_another_reason_is() {
        let begun = Instant::now();
        let later = begun + Duration::from_secs(1);
        let mut judge = Judge::new(1, 2, begun);
        assert_eq!(
            judge.handle(Ok(()), begun),
            Change::State(HealthState::Healthy)
        );
        assert_eq!(
            judge.handle(bad(HealthReason::Refused), later),
            Change::Nothing
        );
        assert_eq!(judge.failure(), None);
        assert_eq!(judge.since(), begun);
        let failing = judge.handle(bad(HealthReason::Refused), later);
        assert_eq!(failing, Change::State(HealthState::Failing));
        assert_eq!(judge.since(), later);
        assert_eq!(judge.failure().unwrap().reason, HealthReason::Refused);
        assert_eq!(
            judge.handle(bad(HealthReason::Refused), later),
            Change::Nothing
        );
        assert_eq!(
            judge.handle(bad(HealthReason::Timeout), later),
            Change::Reason
        );
        assert_eq!(judge.failure().unwrap().reason, HealthReason::Timeout);
        assert_eq!(
            judge.handle(Ok(()), later),
            Change::State(HealthState::Healthy)
        );
        assert_eq!(judge.failure(), None);
    }
}
