//! What is known of every cluster, and in which order it has changed. Pure.
//!
//! ```text
//! entered, reported, left, expire ──▶ Known ──▶ page, get: as it is now
//!                                          └──▶ next_after(version): what a watcher has not seen
//! ```
//!
//! Every change has a version, one more than the last. A cluster is found by the version of its last
//! change, so a watcher needs nothing but the version that it has come to: it is never behind by more
//! than one entry for each cluster, however slow it is.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use std::time::SystemTime;

use certs::{ClusterId, Label};
use relay::SessionId;
use relay::proto::HealthState;
use tokio::time::Instant;

use super::history::{Change, DAY, History, Moment, What};
use super::service::{Service, best_of};
use super::vitals::Pulse;

/// How many clusters that left are listed.
const MAX_GONE: usize = 10_000;

/// How many clusters that are not listed any more watchers can still be told of.
const MAX_FORGOTTEN: usize = 10_000;

/// How many changes of health are told one by one when they come at once.
const MAX_TOGETHER: usize = 32;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Known {
    version: u64,
    clusters: BTreeMap<ClusterId, Cluster>,
    /// Which cluster's last change each version is; also of those that are not listed any more.
    by_version: BTreeMap<u64, ClusterId>,
    /// Those that left, the longest ago first.
    gone: BTreeSet<(Instant, ClusterId)>,
    /// Versions at which clusters were forgotten, the oldest first.
    forgotten: VecDeque<u64>,
    /// A watcher that has seen less may have missed that a cluster was forgotten.
    resumable_from: u64,
    history: History,
}

#[derive(Debug)]
struct Cluster {
    modified: u64,
    /// When it became connected or disconnected.
    since: Moment,
    sessions: Vec<Session>,
    /// Of the last session, once there is none.
    last: Option<Last>,
}

/// A session as it was admitted, and what its client reports.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) id: SessionId,
    pub(super) replica: String,
    pub(super) software: String,
    pub(super) since: SystemTime,
    pub(super) certificate_expires: Option<SystemTime>,
    pub(super) services: Vec<Service>,
    pub(super) pulse: Arc<dyn Pulse>,
}

/// What is left of a cluster without sessions.
#[derive(Clone, Debug)]
pub(super) struct Last {
    pub(super) heard: SystemTime,
    pub(super) software: String,
    pub(super) certificate_expires: Option<SystemTime>,
    pub(super) services: Vec<Service>,
}

/// A cluster as it is known at one version.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) id: ClusterId,
    pub(super) version: u64,
    pub(super) since: SystemTime,
    pub(super) sessions: Vec<Session>,
    pub(super) last: Option<Last>,
    pub(super) changes: Vec<Change>,
}

/// Whether there is a session with a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Connected,
    Disconnected,
}

/// Which clusters are asked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Filter {
    pub(super) tenant: Option<Label>,
    pub(super) state: Option<State>,
}

/// What a watcher has been told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    /// What has changed up to here.
    pub(super) seen: u64,
    /// It began with nothing when this was the version, and was never told of what had been forgotten
    /// by then.
    pub(super) begun: u64,
}

/// What a watcher is told next.
#[derive(Debug)]
pub(super) enum Next {
    /// A cluster is now so; its changes are those that the watcher has not seen.
    Cluster(Box<Found>),
    /// A cluster is not listed any more.
    Forgotten { cluster: ClusterId, version: u64 },
    /// All is told; the watcher has come to this version.
    Nothing { version: u64 },
    /// The watcher has missed something, and has to begin anew.
    Lost,
}

impl State {
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Disconnected => "disconnected",
        }
    }
}

impl Found {
    pub(super) fn state(&self) -> State {
        match self.last {
            None => State::Connected,
            Some(_) => State::Disconnected,
        }
    }

    /// When anything arrived in one of its sessions.
    pub(super) fn heard(&self, now: SystemTime) -> Option<SystemTime> {
        let silences = self
            .sessions
            .iter()
            .map(|session| session.pulse.feel().silence);
        now.checked_sub(silences.min()?)
    }
}

impl Known {
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// A session has begun, in the place of those that it `replaces`.
    pub(super) fn entered(
        &mut self,
        id: &ClusterId,
        session: Session,
        replaces: &[SessionId],
        now: Moment,
    ) {
        let name = session.id.to_string();
        let cluster = self.clusters.entry(id.clone()).or_insert_with(|| Cluster {
            modified: 0,
            since: now,
            sessions: Vec::new(),
            last: None,
        });
        let is_first = cluster.sessions.is_empty();
        let is_replaced = |old: &mut Session| replaces.contains(&old.id);
        let replaced: Vec<_> = cluster.sessions.extract_if(.., is_replaced).collect();
        cluster.sessions.push(session);
        if is_first {
            self.gone.remove(&(cluster.since.monotonic, id.clone()));
            cluster.since = now;
            cluster.last = None;
        }
        let whats: Vec<_> = if is_first {
            vec![What::Connected { session: name }]
        } else if replaced.is_empty() {
            vec![What::SessionBegan { session: name }]
        } else {
            let of = |old: &Session| What::SessionReplaced {
                session: name.clone(),
                replaced: old.id.to_string(),
            };
            replaced.iter().map(of).collect()
        };
        self.changed(id, now, whats);
    }

    /// A client says what it exposes, and how that is.
    pub(super) fn reported(
        &mut self,
        id: &ClusterId,
        session: SessionId,
        mut services: Vec<Service>,
        now: Moment,
    ) {
        let Some(cluster) = self.clusters.get_mut(id) else {
            return;
        };
        let before = cluster.services();
        let Some(known) = cluster
            .sessions
            .iter_mut()
            .find(|known| known.id == session)
        else {
            return;
        };
        for service in &mut services {
            service.keep_time_of(&known.services);
        }
        if known.services == services {
            return;
        }
        known.services = services;
        let changes = differences(&before, &cluster.services());
        self.changed(id, now, changes);
    }

    /// A session is over, whose peer was heard last at `heard`.
    pub(super) fn left(
        &mut self,
        id: &ClusterId,
        session: SessionId,
        why: String,
        heard: SystemTime,
        now: Moment,
    ) {
        let Some(cluster) = self.clusters.get_mut(id) else {
            return;
        };
        let Some(place) = cluster
            .sessions
            .iter()
            .position(|known| known.id == session)
        else {
            return;
        };
        let ended = cluster.sessions.remove(place);
        let session = session.to_string();
        if !cluster.sessions.is_empty() {
            return self.changed(id, now, [What::SessionEnded { session, why }]);
        }
        cluster.since = now;
        cluster.last = Some(Last {
            heard,
            software: ended.software,
            certificate_expires: ended.certificate_expires,
            services: ended.services,
        });
        self.gone.insert((now.monotonic, id.clone()));
        self.changed(id, now, [What::Disconnected { session, why }]);
        if self.gone.len() > MAX_GONE {
            self.forget_longest_gone();
        }
    }

    /// Forgets what happened more than a day ago, and who left then. Whether anything was forgotten
    /// that watchers are told of.
    pub(super) fn expire(&mut self, now: Instant) -> bool {
        self.history.expire(now);
        let before = self.version;
        while self
            .gone
            .first()
            .is_some_and(|(since, _)| now.saturating_duration_since(*since) > DAY)
        {
            self.forget_longest_gone();
        }
        self.version != before
    }

    /// At most `limit` clusters behind `after`, in the order of their names, without their changes;
    /// and whether there are more.
    pub(super) fn page(
        &self,
        filter: &Filter,
        after: Option<&ClusterId>,
        limit: usize,
    ) -> (Vec<Found>, bool) {
        let begin = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut wanted = self
            .clusters
            .range::<ClusterId, _>((begin, Bound::Unbounded))
            .filter(|(id, cluster)| filter.matches(id, cluster.state()))
            .map(|(id, cluster)| cluster.found(id, Vec::new()));
        let page: Vec<_> = wanted.by_ref().take(limit).collect();
        (page, wanted.next().is_some())
    }

    /// One cluster, with its changes.
    pub(super) fn get(&self, id: &ClusterId) -> Option<Found> {
        let cluster = self.clusters.get(id)?;
        Some(cluster.found(id, self.history.after(id, 0)))
    }

    /// Where a watcher begins that knows nothing.
    pub(super) fn beginning(&self) -> Position {
        Position {
            seen: 0,
            begun: self.version,
        }
    }

    /// What a watcher that has come so far is told next.
    pub(super) fn next_after(&self, position: Position, filter: &Filter) -> Next {
        let Position { seen, begun } = position;
        if seen > self.version || seen.max(begun) < self.resumable_from {
            return Next::Lost;
        }
        for (&version, id) in self.by_version.range(seen + 1..) {
            match self.clusters.get(id) {
                Some(cluster)
                    if cluster.modified == version && filter.matches(id, cluster.state()) =>
                {
                    let changes = self.history.after(id, seen);
                    return Next::Cluster(Box::new(cluster.found(id, changes)));
                }
                // Not asked for, or it has come back since.
                Some(_) => {}
                None if version > begun && filter.matches(id, State::Disconnected) => {
                    let cluster = id.clone();
                    return Next::Forgotten { cluster, version };
                }
                None => {}
            }
        }
        Next::Nothing {
            version: self.version,
        }
    }

    /// How many clusters are connected and not, and how many of their services are in each state.
    pub(super) fn counts(&self) -> ([usize; 2], [usize; HealthState::ALL.len()]) {
        let mut services = [0; HealthState::ALL.len()];
        for cluster in self.clusters.values() {
            for service in cluster.services() {
                let place = HealthState::ALL
                    .iter()
                    .position(|state| *state == service.state);
                if let (Some(place), State::Connected) = (place, cluster.state()) {
                    services[place] += 1;
                }
            }
        }
        let gone = self.gone.len();
        ([self.clusters.len() - gone, gone], services)
    }

    /// Up to `limit` names of clusters, those of `tenant` if it has any.
    pub(super) fn names(&self, tenant: &Label, limit: usize) -> Vec<ClusterId> {
        let of_tenant = self.clusters.keys().filter(|id| id.tenant == *tenant);
        let names: Vec<_> = of_tenant.take(limit).cloned().collect();
        if names.is_empty() {
            return self.clusters.keys().take(limit).cloned().collect();
        }
        names
    }

    fn changed(&mut self, id: &ClusterId, at: Moment, whats: impl IntoIterator<Item = What>) {
        let begin = self.version;
        for what in whats {
            self.version += 1;
            let version = self.version;
            self.history.add(id, Change { version, at, what });
        }
        if self.version == begin {
            self.version += 1;
        }
        if let Some(cluster) = self.clusters.get_mut(id) {
            self.by_version.remove(&cluster.modified);
            cluster.modified = self.version;
        }
        self.by_version.insert(self.version, id.clone());
    }

    fn forget_longest_gone(&mut self) {
        let Some((_, id)) = self.gone.pop_first() else {
            return;
        };
        if let Some(cluster) = self.clusters.remove(&id) {
            self.by_version.remove(&cluster.modified);
        }
        self.version += 1;
        self.by_version.insert(self.version, id);
        self.forgotten.push_back(self.version);
        if self.forgotten.len() > MAX_FORGOTTEN
            && let Some(oldest) = self.forgotten.pop_front()
        {
            self.by_version.remove(&oldest);
            self.resumable_from = oldest;
        }
    }
}

impl Cluster {
    fn state(&self) -> State {
        match self.last {
            None => State::Connected,
            Some(_) => State::Disconnected,
        }
    }

    fn services(&self) -> Vec<Service> {
        match &self.last {
            None => best_of(self.sessions.iter().flat_map(|session| &session.services)),
            Some(last) => last.services.clone(),
        }
    }

    fn found(&self, id: &ClusterId, changes: Vec<Change>) -> Found {
        Found {
            id: id.clone(),
            version: self.modified,
            since: self.since.wall,
            sessions: self.sessions.clone(),
            last: self.last.clone(),
            changes,
        }
    }
}

impl Filter {
    fn matches(&self, id: &ClusterId, state: State) -> bool {
        let of_tenant = self
            .tenant
            .as_ref()
            .is_none_or(|tenant| *tenant == id.tenant);
        of_tenant && self.state.is_none_or(|wanted| wanted == state)
    }
}

/// What has changed between two lists that are ordered by name.
fn differences(before: &[Service], after: &[Service]) -> Vec<What> {
    let by_name: BTreeMap<_, _> = before.iter().map(|old| (&old.name, old)).collect();
    let stayed = after
        .iter()
        .filter_map(|new| Some((*by_name.get(&new.name)?, new)));
    let mut whats = Vec::new();
    let stays = stayed.clone().count();
    let (added, removed) = (after.len() - stays, before.len() - stays);
    if added + removed > 0 {
        whats.push(What::Exposed { added, removed });
    }
    let mut beyond = 0;
    for (old, new) in stayed.filter(|(old, new)| old.state != new.state) {
        if whats.len() >= MAX_TOGETHER {
            beyond += 1;
            continue;
        }
        whats.push(What::Health {
            service: new.name.clone(),
            from: old.state,
            to: new.state,
            reason: new.reason,
            detail: new.detail.clone(),
        });
    }
    if beyond > 0 {
        whats.push(What::HealthOfMore { services: beyond });
    }
    whats
}

#[cfg(test)]
pub(super) mod tests;
