//! Credit beyond the base of each stream, drawn from what the session and the process may hold.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What all sessions of a process may hold together beyond the base of their streams, in bytes.
#[derive(Debug)]
pub struct ProcessBudget {
    limit: u64,
    used: AtomicU64,
}

impl ProcessBudget {
    /// At most `limit` bytes.
    pub fn new(limit: u64) -> Self {
        Self {
            limit,
            used: AtomicU64::new(0),
        }
    }

    /// How much is granted now, in bytes.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    fn take(&self, wanted: u64) -> u64 {
        let mut taken = 0;
        let room_for = |used: u64| {
            taken = wanted.min(self.limit.saturating_sub(used));
            Some(used + taken)
        };
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, room_for)
            .map_or(0, |_| taken)
    }

    fn give_back(&self, amount: u64) {
        self.used.fetch_sub(amount, Ordering::Relaxed);
    }
}

/// What one session may hold beyond the base of its streams, within the process's.
#[derive(Debug)]
pub struct GrowthBudget {
    limit: u64,
    used: u64,
    process: Arc<ProcessBudget>,
}

impl GrowthBudget {
    /// At most `limit` bytes, all of them also `process`'s.
    pub fn new(limit: u64, process: Arc<ProcessBudget>) -> Self {
        Self {
            limit,
            used: 0,
            process,
        }
    }

    /// How much is granted now, in bytes.
    pub fn used(&self) -> u64 {
        self.used
    }

    /// How much may still be taken, in bytes.
    pub fn remaining(&self) -> u64 {
        let process = self.process.limit.saturating_sub(self.process.used());
        process.min(self.limit - self.used)
    }

    /// Takes `wanted` bytes or as many as there are.
    pub fn take(&mut self, wanted: u64) -> u64 {
        let taken = self.process.take(wanted.min(self.limit - self.used));
        self.used += taken;
        taken
    }

    /// Puts back what was taken.
    pub fn give_back(&mut self, amount: u64) {
        self.used -= amount;
        self.process.give_back(amount);
    }
}

impl Drop for GrowthBudget {
    fn drop(&mut self) {
        self.process.give_back(self.used);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_takes_no_more_than_the_smaller_of_both_and_returns_it() {
        let process = Arc::new(ProcessBudget::new(100));
        let mut a = GrowthBudget::new(80, process.clone());
        let mut b = GrowthBudget::new(80, process.clone());
        assert_eq!((a.take(90), b.take(90)), (80, 20));
        a.give_back(50);
        assert_eq!(b.take(90), 50);
        drop(b);
        assert_eq!(process.used(), 30);
        drop(a);
        assert_eq!(process.used(), 0);
    }
}
