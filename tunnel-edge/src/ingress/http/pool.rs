//! The books of connections to one origin. Pure: it is told the time and the state of what it
//! keeps, and does no I/O.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// How a kept connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Health {
    /// Takes a request now.
    Ready,
    /// Its last answer has just ended; it will be ready or gone in a moment.
    Settling,
    /// Takes no request any more.
    Gone,
}

/// Idle connections that carry one request at a time, used last in, first out, so that those
/// beyond the need of the moment grow old and are swept.
#[derive(Debug)]
pub(super) struct IdleStack<T> {
    entries: Vec<(T, Instant)>,
    capacity: usize,
}

impl<T> IdleStack<T> {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            entries: Vec::new(),
            capacity,
        }
    }

    /// Keeps a connection; gives back the oldest if there is one too many.
    #[must_use = "what is given back is to be closed, not under the lock of the stack"]
    pub(super) fn put(&mut self, connection: T, now: Instant) -> Option<T> {
        self.entries.push((connection, now));
        (self.entries.len() > self.capacity).then(|| self.entries.remove(0).0)
    }

    /// Takes the ready connection that was used last; failing that, the settling one.
    pub(super) fn take(&mut self, health: impl Fn(&T) -> Health) -> Option<T> {
        let mut settling = None;
        for index in (0..self.entries.len()).rev() {
            match health(&self.entries[index].0) {
                Health::Ready => return Some(self.entries.remove(index).0),
                Health::Settling => settling = settling.or(Some(index)),
                Health::Gone => {
                    self.entries.remove(index);
                    // Whatever was found lies above, and has moved down.
                    settling = settling.map(|found| found - 1);
                }
            }
        }
        settling.map(|index| self.entries.remove(index).0)
    }

    /// Takes out what is gone or has been idle for `limit`.
    #[must_use = "what is given back is to be closed, not under the lock of the stack"]
    pub(super) fn sweep(
        &mut self,
        now: Instant,
        limit: Duration,
        health: impl Fn(&T) -> Health,
    ) -> Vec<T> {
        let old = |(connection, since): &mut (T, Instant)| {
            health(connection) == Health::Gone || now.duration_since(*since) >= limit
        };
        let swept = self.entries.extract_if(.., old);
        swept.map(|(connection, _)| connection).collect()
    }

    #[cfg(test)]
    pub(super) fn ready(&self, health: impl Fn(&T) -> Health) -> usize {
        let ready = |entry: &&(T, Instant)| health(&entry.0) == Health::Ready;
        self.entries.iter().filter(ready).count()
    }
}

/// A connection that several requests share.
#[derive(Debug)]
pub(super) struct Shared<T> {
    connection: T,
    load: AtomicUsize,
    idle_since: Mutex<Instant>,
}

/// A place on a shared connection. Free again when the last clone is dropped.
#[derive(Debug)]
pub(super) struct Slot<T>(Arc<Shared<T>>);

impl<T> Slot<T> {
    /// Only under the exclusive borrow of a set, so that two callers cannot both take the last.
    fn take(shared: &Arc<Shared<T>>) -> Self {
        shared.load.fetch_add(1, Ordering::AcqRel);
        Self(shared.clone())
    }

    pub(super) fn connection(&self) -> &T {
        &self.0.connection
    }
}

impl<T> Drop for Slot<T> {
    fn drop(&mut self) {
        *self.0.idle_since.lock() = Instant::now();
        self.0.load.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Shared connections. The fullest that has room is filled first, so that those beyond the need
/// of the moment run empty and are swept.
#[derive(Debug)]
pub(super) struct SharedSet<T>(Vec<Arc<Shared<T>>>);

impl<T> SharedSet<T> {
    pub(super) fn new() -> Self {
        Self(Vec::new())
    }

    /// A place on an eligible connection that has room. `limit` says how many requests a
    /// connection takes; those that take none are forgotten (their requests go on).
    pub(super) fn join(
        &mut self,
        limit: impl Fn(&T) -> usize,
        eligible: impl Fn(&T) -> bool,
    ) -> Option<Slot<T>> {
        self.0.retain(|shared| limit(&shared.connection) > 0);
        let load = |shared: &Arc<Shared<T>>| shared.load.load(Ordering::Acquire);
        self.0
            .iter()
            .filter(|shared| load(shared) < limit(&shared.connection))
            .filter(|shared| eligible(&shared.connection))
            .max_by_key(|shared| load(shared))
            .map(Slot::take)
    }

    /// Adds a connection and takes a place on it.
    pub(super) fn add(&mut self, connection: T, now: Instant) -> Slot<T> {
        let shared = Arc::new(Shared {
            connection,
            load: AtomicUsize::new(0),
            idle_since: Mutex::new(now),
        });
        let slot = Slot::take(&shared);
        self.0.push(shared);
        slot
    }

    /// Forgets what takes no requests any more or has had none for `idle`.
    #[must_use = "what is given back is to be closed, not under the lock of the set"]
    pub(super) fn sweep(
        &mut self,
        now: Instant,
        idle: Duration,
        limit: impl Fn(&T) -> usize,
    ) -> Vec<Arc<Shared<T>>> {
        let unused = |shared: &mut Arc<Shared<T>>| {
            let old = now.saturating_duration_since(*shared.idle_since.lock()) >= idle;
            limit(&shared.connection) == 0 || (shared.load.load(Ordering::Acquire) == 0 && old)
        };
        self.0.extract_if(.., unused).collect()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    fn ready(_: &u32) -> Health {
        Health::Ready
    }

    #[test]
    fn the_connection_used_last_is_used_first() {
        let now = Instant::now();
        let mut stack = IdleStack::new(3);
        for connection in 1..=3 {
            assert_eq!(stack.put(connection, now), None);
        }
        assert_eq!(stack.put(4, now), Some(1));
        let taken: Vec<u32> = std::iter::from_fn(|| stack.take(ready)).collect();
        assert_eq!(taken, [4, 3, 2]);
    }

    #[test]
    fn what_is_gone_is_never_taken_and_what_settles_only_last() {
        let now = Instant::now();
        let mut stack = IdleStack::new(8);
        for connection in 1..=6 {
            assert_eq!(stack.put(connection, now), None);
        }
        let health = |connection: &u32| match connection {
            2 | 4 => Health::Gone,
            5 | 3 => Health::Settling,
            _ => Health::Ready,
        };
        let taken: Vec<u32> = std::iter::from_fn(|| stack.take(health)).collect();
        assert_eq!(taken, [6, 1, 5, 3]);
    }

    #[test]
    fn idle_connections_grow_old() {
        let now = Instant::now();
        let mut stack = IdleStack::new(8);
        assert_eq!(stack.put(1, now), None);
        assert_eq!(stack.put(2, now + LIMIT / 2), None);
        assert_eq!(stack.put(3, now + LIMIT / 2), None);
        let health = |connection: &u32| match connection {
            3 => Health::Gone,
            _ => Health::Ready,
        };
        assert_eq!(stack.sweep(now + LIMIT, LIMIT, health), [1, 3]);
        assert_eq!(stack.take(ready), Some(2));
    }

    #[test]
    fn a_shared_connection_is_filled_before_another_is_opened() {
        let now = Instant::now();
        let mut set = SharedSet::new();
        let two = |_: &u32| 2;
        assert!(set.join(two, |_| true).is_none());
        let first = set.add(1, now);
        let second = set.join(two, |_| true).unwrap();
        assert_eq!(*second.connection(), 1);
        assert!(set.join(two, |_| true).is_none());

        let third = set.add(2, now);
        drop(first);
        drop(second);
        // Connection 2 is the fuller one now.
        assert_eq!(*set.join(two, |_| true).unwrap().connection(), 2);
        assert_eq!(*set.join(two, |c| *c == 1).unwrap().connection(), 1);
        drop(third);
    }

    #[test]
    fn a_connection_that_takes_nothing_is_forgotten_but_its_requests_go_on() {
        let mut set = SharedSet::new();
        let slot = set.add(1, Instant::now());
        assert!(set.join(|_| 0, |_| true).is_none());
        assert_eq!(set.len(), 0);
        assert_eq!(*slot.connection(), 1);
    }

    #[test]
    fn an_unused_shared_connection_grows_old() {
        let now = Instant::now();
        let mut set = SharedSet::new();
        let slot = set.add(1, now);
        let later = now + LIMIT * 2;
        assert!(set.sweep(later, LIMIT, |_| 2).is_empty());
        drop(slot);
        assert!(set.sweep(now, LIMIT, |_| 2).is_empty());
        assert_eq!(set.sweep(later, LIMIT, |_| 2).len(), 1);
        assert_eq!(set.len(), 0);
    }
}
