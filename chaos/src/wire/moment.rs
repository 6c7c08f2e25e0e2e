//! The wire's own time.

use std::{ops::Add, time::Duration};

/// A point in time, told as how long it is after a beginning that the caller chose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(Duration);

impl Moment {
    /// The beginning.
    pub const BEGINNING: Self = Self(Duration::ZERO);

    /// The moment so long after the beginning.
    pub const fn after(beginning: Duration) -> Self {
        Self(beginning)
    }

    /// How long this is after `earlier`; nothing, if it is not after it.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    /// Never overflows: what is too far away is as far as can be.
    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }
}
