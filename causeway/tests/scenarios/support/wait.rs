//! Waiting for a state, with a deadline.

use std::{
    thread,
    time::{Duration, Instant},
};

/// How long a state may take to come about before a test fails.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// How often a state is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// Looks until `state` is there; `None` when it is not within `deadline`.
pub(crate) fn eventually<T>(deadline: Duration, mut state: impl FnMut() -> Option<T>) -> Option<T> {
    let until = Instant::now() + deadline;
    loop {
        if let Some(value) = state() {
            return Some(value);
        }
        if Instant::now() >= until {
            return None;
        }
        thread::sleep(LOOK);
    }
}

/// Looks until `state` is there, and fails the test, naming `what`, when it is not within
/// [`DEADLINE`].
#[track_caller]
pub(crate) fn wait_for<T>(what: &str, state: impl FnMut() -> Option<T>) -> T {
    match eventually(DEADLINE, state) {
        Some(value) => value,
        None => panic!("{what}: not within {DEADLINE:?}"),
    }
}
