//! The changes of the last day: of each cluster so many, of all together so many. Pure.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, SystemTime};

use certs::ClusterId;
use relay::ServiceName;
use relay::proto::{HealthReason, HealthState};
use tokio::time::Instant;

/// How long a change is remembered, and a cluster that left is listed.
pub(super) const DAY: Duration = Duration::from_secs(24 * 3600);

/// How many changes of one cluster are remembered.
pub(super) const MAX_OF_CLUSTER: usize = 200;

/// How many changes of all clusters are remembered: 10 to 25 MB.
const MAX_OF_ALL: usize = 50_000;

/// When something happened, by both clocks: one to be shown, one that is never set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    pub(super) wall: SystemTime,
    pub(super) monotonic: Instant,
}

impl Moment {
    pub(super) fn now() -> Self {
        Self {
            wall: SystemTime::now(),
            monotonic: Instant::now(),
        }
    }
}

/// Something that has become different about a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) version: u64,
    pub(super) at: Moment,
    pub(super) what: What,
}

/// See [`Change`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// Its first session has begun.
    Connected { session: String },
    /// Its last session is over.
    Disconnected { session: String, why: String },
    /// A further session has begun.
    SessionBegan { session: String },
    /// A session is over, and there are others.
    SessionEnded { session: String, why: String },
    /// A client that was restarted, or lost its session without knowing, has begun another in its
    /// place.
    SessionReplaced { session: String, replaced: String },
    /// Services came and went.
    Exposed { added: usize, removed: usize },
    /// A service's target is in another state.
    Health {
        service: ServiceName,
        from: HealthState,
        to: HealthState,
        reason: Option<HealthReason>,
        detail: String,
    },
    /// More states changed at the same moment than are told one by one.
    HealthOfMore { services: usize },
}

impl What {
    /// One word.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Connected { .. } => "connected",
            Self::Disconnected { .. } => "disconnected",
            Self::SessionBegan { .. } => "session_began",
            Self::SessionEnded { .. } => "session_ended",
            Self::SessionReplaced { .. } => "session_replaced",
            Self::Exposed { .. } => "exposed",
            Self::Health { .. } => "health",
            Self::HealthOfMore { .. } => "health_of_more",
        }
    }
}

/// The changes of all clusters.
#[derive(Debug, Default)]
pub(super) struct History {
    of_cluster: BTreeMap<ClusterId, VecDeque<Change>>,
    /// Whose each change is, the oldest first.
    whose: BTreeMap<u64, ClusterId>,
}

impl History {
    /// Remembers a change; the oldest ones beyond a bound are forgotten.
    pub(super) fn add(&mut self, cluster: &ClusterId, change: Change) {
        self.whose.insert(change.version, cluster.clone());
        let changes = self.of_cluster.entry(cluster.clone()).or_default();
        changes.push_back(change);
        if changes.len() > MAX_OF_CLUSTER
            && let Some(oldest) = changes.pop_front()
        {
            self.whose.remove(&oldest.version);
        }
        if self.whose.len() > MAX_OF_ALL {
            self.forget_oldest();
        }
    }

    /// Forgets what is older than a day.
    pub(super) fn expire(&mut self, now: Instant) {
        while let Some((version, cluster)) = self.whose.first_key_value() {
            let oldest = self.of_cluster.get(cluster).and_then(VecDeque::front);
            let is_old = oldest.is_none_or(|change| {
                change.version != *version
                    || now.saturating_duration_since(change.at.monotonic) > DAY
            });
            if !is_old {
                return;
            }
            self.forget_oldest();
        }
    }

    /// The changes of a cluster after a version, the oldest first.
    pub(super) fn after(&self, cluster: &ClusterId, version: u64) -> Vec<Change> {
        let changes = self.of_cluster.get(cluster).into_iter().flatten();
        changes
            .filter(|change| change.version > version)
            .cloned()
            .collect()
    }

    fn forget_oldest(&mut self) {
        let Some((version, cluster)) = self.whose.pop_first() else {
            return;
        };
        if let Some(changes) = self.of_cluster.get_mut(&cluster) {
            if changes
                .front()
                .is_some_and(|change| change.version == version)
            {
                changes.pop_front();
            }
            if changes.is_empty() {
                self.of_cluster.remove(&cluster);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(number: usize) -> ClusterId {
        format!("acme/c{number}").parse().unwrap()
    }

    fn change(version: u64, monotonic: Instant) -> Change {
        Change {
            version,
            at: Moment {
                wall: SystemTime::UNIX_EPOCH,
                monotonic,
            },
            what: What::HealthOfMore { services: 1 },
        }
    }

    fn versions(history: &History, number: usize) -> Vec<u64> {
        let changes = history.after(&cluster(number), 0);
        changes.iter().map(|change| change.version).collect()
    }

    #[test]
    fn a_cluster_that_changes_all_the_time_drives_out_its_own_changes_only() {
        let now = Instant::now();
        let mut history = History::default();
        history.add(&cluster(1), change(1, now));
        for version in 2..=1000 {
            history.add(&cluster(2), change(version, now));
        }
        assert_eq!(versions(&history, 1), [1]);
        assert_eq!(versions(&history, 2), (801..=1000).collect::<Vec<_>>());
        assert_eq!(history.whose.len(), 201);
        assert_eq!(history.after(&cluster(2), 999).len(), 1);
    }

    #[test]
    fn all_together_are_bounded_the_oldest_going_first() {
        let now = Instant::now();
        let mut history = History::default();
        let more = 1000;
        for version in 1..=MAX_OF_ALL + more {
            history.add(&cluster(version % 1000), change(version as u64, now));
        }
        assert_eq!(history.whose.len(), MAX_OF_ALL);
        assert_eq!(*history.whose.first_key_value().unwrap().0, more as u64 + 1);
        let kept: usize = history.of_cluster.values().map(VecDeque::len).sum();
        assert_eq!(kept, MAX_OF_ALL);
    }

    #[test]
    fn what_is_older_than_a_day_is_forgotten() {
        let begun = Instant::now();
        let mut history = History::default();
        history.add(&cluster(1), change(1, begun));
        history.add(&cluster(1), change(2, begun + Duration::from_secs(10)));
        history.expire(begun + DAY);
        assert_eq!(versions(&history, 1), [1, 2]);
        history.expire(begun + DAY + Duration::from_secs(1));
        assert_eq!(versions(&history, 1), [2]);
        history.expire(begun + DAY * 2);
        assert!(history.of_cluster.is_empty() && history.whose.is_empty());
    }
}
