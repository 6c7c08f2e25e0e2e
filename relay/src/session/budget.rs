//! Credit beyond the base of each stream, and what is kept of what was sent: both are drawn from what
//! the session, its tenant and the process may hold.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What several sessions may hold together beyond the base of their streams, in bytes: those of a
/// process, or those of a tenant within the process's.
#[derive(Debug)]
pub struct SharedBudget {
    limit: u64,
    used: AtomicU64,
    kept: AtomicU64,
    within: Option<Arc<SharedBudget>>,
}

impl SharedBudget {
    /// At most `limit` bytes.
    pub fn new(limit: u64) -> Self {
        Self {
            limit,
            used: AtomicU64::new(0),
            kept: AtomicU64::new(0),
            within: None,
        }
    }

    /// At most `limit` bytes, all of them also `outer`'s.
    pub fn within(outer: Arc<Self>, limit: u64) -> Self {
        Self {
            within: Some(outer),
            ..Self::new(limit)
        }
    }

    /// At most how much is granted, in bytes.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// How much is granted now, in bytes.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// How much memory keeps what was sent and is not known to be consumed, in bytes. The base of
    /// every stream is in it, which is not drawn from any budget.
    pub fn kept(&self) -> u64 {
        self.kept.load(Ordering::Relaxed)
    }

    fn remaining(&self) -> u64 {
        let own = self.limit.saturating_sub(self.used());
        let outer = self.within.as_ref().map_or(u64::MAX, |it| it.remaining());
        own.min(outer)
    }

    fn take(&self, wanted: u64) -> u64 {
        let mut taken = 0;
        let room_for = |used: u64| {
            taken = wanted.min(self.limit.saturating_sub(used));
            Some(used + taken)
        };
        let updated = self
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, room_for);
        let here = updated.map_or(0, |_| taken);
        let both = self.within.as_ref().map_or(here, |outer| outer.take(here));
        self.used.fetch_sub(here - both, Ordering::Relaxed);
        both
    }

    fn give_back(&self, amount: u64) {
        self.used.fetch_sub(amount, Ordering::Relaxed);
        if let Some(outer) = &self.within {
            outer.give_back(amount);
        }
    }

    fn count_kept(&self, before: u64, now: u64) {
        // Wraps around where it shrinks, and back.
        let change = now.wrapping_sub(before);
        self.kept.fetch_add(change, Ordering::Relaxed);
        if let Some(outer) = &self.within {
            outer.count_kept(before, now);
        }
    }
}

/// What one session may hold beyond the base of its streams, within what it shares with others.
#[derive(Debug)]
pub struct GrowthBudget {
    limit: u64,
    used: u64,
    kept: u64,
    shared: Arc<SharedBudget>,
}

impl GrowthBudget {
    /// At most `limit` bytes, all of them also `shared`'s.
    pub fn new(limit: u64, shared: Arc<SharedBudget>) -> Self {
        Self {
            limit,
            used: 0,
            kept: 0,
            shared,
        }
    }

    /// How much is granted now, in bytes.
    pub fn used(&self) -> u64 {
        self.used
    }

    /// How much memory keeps what was sent, in bytes; see [`SharedBudget::kept`].
    pub fn kept(&self) -> u64 {
        self.kept
    }

    /// How much may still be taken, in bytes.
    pub fn remaining(&self) -> u64 {
        self.shared.remaining().min(self.limit - self.used)
    }

    /// Takes `wanted` bytes or as many as there are.
    pub fn take(&mut self, wanted: u64) -> u64 {
        let taken = self.shared.take(wanted.min(self.limit - self.used));
        self.used += taken;
        taken
    }

    /// Puts back what was taken.
    pub fn give_back(&mut self, amount: u64) {
        self.used -= amount;
        self.shared.give_back(amount);
    }

    /// A stream that kept `before` bytes of memory keeps so many now.
    pub fn count_kept(&mut self, before: u64, now: u64) {
        self.kept = self.kept - before + now;
        self.shared.count_kept(before, now);
    }
}

impl Drop for GrowthBudget {
    fn drop(&mut self) {
        self.shared.give_back(self.used);
        self.shared.count_kept(self.kept, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_takes_no_more_than_the_smaller_of_both_and_returns_it() {
        let process = Arc::new(SharedBudget::new(100));
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

    #[test]
    fn a_tenant_leaves_the_rest_of_the_process_to_others() {
        let process = Arc::new(SharedBudget::new(100));
        let tenant = |limit| Arc::new(SharedBudget::within(process.clone(), limit));
        let (ours, theirs) = (tenant(60), tenant(60));
        let mut a = GrowthBudget::new(80, ours.clone());
        let mut b = GrowthBudget::new(80, ours.clone());
        let mut c = GrowthBudget::new(80, theirs.clone());
        assert_eq!((a.take(50), b.take(50)), (50, 10));
        assert_eq!((b.remaining(), c.remaining()), (0, 40));
        assert_eq!(c.take(50), 40);
        // What the process has not is not the tenant's either.
        assert_eq!((ours.used(), theirs.used(), process.used()), (60, 40, 100));
        drop(a);
        assert_eq!((ours.used(), process.used(), c.remaining()), (10, 50, 20));
    }

    #[test]
    fn what_is_kept_is_counted_everywhere_until_the_session_ends() {
        let process = Arc::new(SharedBudget::new(100));
        let tenant = Arc::new(SharedBudget::within(process.clone(), 60));
        let mut session = GrowthBudget::new(80, tenant.clone());
        session.count_kept(0, 500);
        session.count_kept(500, 200);
        session.count_kept(0, 7);
        assert_eq!(
            (session.kept(), tenant.kept(), process.kept()),
            (207, 207, 207)
        );
        drop(session);
        assert_eq!((tenant.kept(), process.kept()), (0, 0));
    }
}
