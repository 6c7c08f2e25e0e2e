//! What is known of a service: as one session reports it, and over all sessions of a cluster. Pure.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use relay::proto::{HealthReason, HealthState, ServiceInfo};
use relay::{AppProtocol, ServiceName};

/// How much longer one report may be under way than another.
const JITTER: Duration = Duration::from_secs(5);

/// A service and how its target is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Service {
    pub(super) name: ServiceName,
    pub(super) protocol: AppProtocol,
    pub(super) state: HealthState,
    /// Since when; `None` if its client knows nothing of health.
    pub(super) since: Option<SystemTime>,
    pub(super) reason: Option<HealthReason>,
    pub(super) detail: String,
}

impl Service {
    /// As a report says that came at `now`.
    pub(super) fn reported(info: &ServiceInfo, now: SystemTime) -> Self {
        let health = info.health.as_ref();
        Self {
            name: info.name.clone(),
            protocol: info.protocol,
            state: health.map_or(HealthState::Unknown, |health| health.state),
            since: health.map(|health| {
                let since = now.checked_sub(health.lasting);
                since.map_or(UNIX_EPOCH, |since| since.max(UNIX_EPOCH))
            }),
            reason: health.and_then(|health| health.reason),
            detail: health.map_or_else(String::new, |health| health.detail.clone()),
        }
    }

    /// Takes over since when it is so from what was known before, if that is the same but for how long
    /// the two reports were under way.
    pub(super) fn keep_time_of(&mut self, before: &[Self]) {
        let mut same = before
            .iter()
            .filter(|old| old.name == self.name && old.state == self.state);
        if let Some((old, new)) = same.next().and_then(|old| old.since.zip(self.since)) {
            let apart = old.duration_since(new).or_else(|_| new.duration_since(old));
            if apart.is_ok_and(|apart| apart < JITTER) {
                self.since = Some(old);
            }
        }
    }

    /// How much it helps a caller: streams go to any session of the cluster.
    fn worth(&self) -> u8 {
        match self.state {
            HealthState::Healthy => 3,
            HealthState::Unknown => 2,
            HealthState::Off => 1,
            HealthState::Failing => 0,
        }
    }
}

/// The services of a cluster, each as the session has it that has it best. Ordered by name.
pub(super) fn best_of<'a>(all: impl IntoIterator<Item = &'a Service>) -> Vec<Service> {
    let mut best: BTreeMap<&ServiceName, &Service> = BTreeMap::new();
    for service in all {
        best.entry(&service.name)
            .and_modify(|known| {
                if service.worth() > known.worth() {
                    *known = service;
                }
            })
            .or_insert(service);
    }
    best.into_values().cloned().collect()
}

#[cfg(test)]
mod tests {
    use relay::proto::ServiceHealth;

    use super::*;

    #[test]
    fn the_best_session_counts_and_ages_become_times() {
        let now = UNIX_EPOCH + Duration::from_secs(1000);
        let reported = |state, lasting| {
            let info = ServiceInfo {
                name: "db".parse().unwrap(),
                protocol: AppProtocol::Tcp,
                health: Some(ServiceHealth {
                    state,
                    lasting: Duration::from_secs(lasting),
                    reason: None,
                    detail: String::new(),
                }),
            };
            Service::reported(&info, now)
        };
        let failing = reported(HealthState::Failing, 10);
        let healthy = reported(HealthState::Healthy, 400);
        assert_eq!(healthy.since, Some(UNIX_EPOCH + Duration::from_secs(600)));
        let best = std::slice::from_ref(&healthy);
        assert_eq!(best_of([&failing, &healthy]), best);
        assert_eq!(best_of([&healthy, &failing]), best);
        for too_long in [5000, u64::MAX] {
            let old = reported(HealthState::Off, too_long);
            assert_eq!(old.since, Some(UNIX_EPOCH), "a time that can be shown");
        }
        let mut again = reported(HealthState::Healthy, 397);
        again.keep_time_of(&[failing.clone(), healthy.clone()]);
        assert_eq!(again, healthy, "the same as before");
        let mut since = reported(HealthState::Healthy, 2);
        since.keep_time_of(&[failing, healthy.clone()]);
        assert_ne!(since.since, healthy.since, "it was not so in between");
    }
}
