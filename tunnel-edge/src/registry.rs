//! Which session reaches which cluster: in memory, for one edge.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use certs::ClusterId;
use parking_lot::Mutex;
use relay::proto::{Attempt, Hello, Instance, ReplicaId, SessionId};
use relay::{CloseCode, Session};
use tokio::sync::watch;

use crate::revocation::Shown;

/// All live sessions by cluster.
#[derive(Debug)]
pub(crate) struct Registry {
    clusters: Mutex<HashMap<ClusterId, Vec<Entry>>>,
    max_sessions: usize,
    next: AtomicUsize,
    /// Changes at the first and the last sight of a cluster.
    sights: watch::Sender<()>,
}

/// How many sessions one cluster may have, so that one tenant cannot take all places.
const MAX_OF_CLUSTER: usize = 64;

/// Why a session is not put in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotRegistered {
    /// There is no place for one more.
    Full,
    /// The same client has connected again since.
    Late,
}

/// A session, and what its client said of itself.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) session: Session,
    pub(crate) shown: Shown,
    pub(crate) replica: ReplicaId,
    pub(crate) instance: Instance,
    pub(crate) attempt: Attempt,
    pub(crate) beside: Vec<SessionId>,
    pub(crate) software: String,
    pub(crate) since: SystemTime,
    /// Its client has begun another one beside it. It may not be able to say so on this one.
    pub(crate) left: bool,
}

/// Takes the session out again when dropped.
#[derive(Debug)]
pub(crate) struct Registered {
    registry: Arc<Registry>,
    cluster: ClusterId,
    entry: Entry,
}

/// Sessions that a newer one of the same client takes the place of.
#[derive(Debug)]
#[must_use = "they are not over before they are closed"]
pub(crate) struct Superseded(Vec<Session>);

impl Superseded {
    pub(crate) fn ids(&self) -> Vec<SessionId> {
        self.0.iter().map(Session::id).collect()
    }

    /// Ends them.
    pub(crate) fn close(self) {
        for old in self.0 {
            old.close(
                CloseCode::Superseded,
                "a newer session of this client has begun",
            );
        }
    }
}

impl Entry {
    /// Whether the client has begun this session beside `old`, which lives on for its streams.
    fn is_beside(&self, old: &Self) -> bool {
        self.instance == old.instance && self.beside.contains(&old.session.id())
    }
}

impl Registry {
    /// For at most `max_sessions` sessions.
    pub(crate) fn new(max_sessions: usize) -> Self {
        Self {
            clusters: Mutex::default(),
            max_sessions,
            next: AtomicUsize::new(0),
            sights: watch::Sender::new(()),
        }
    }

    /// Whether there is a place for the client that says `hello`. It may be gone by the time that
    /// the client is put in.
    pub(crate) fn has_room(&self, cluster: &ClusterId, hello: &Hello) -> bool {
        let takes_place_of = |old: &Entry| {
            let lives_on =
                old.instance == hello.instance && hello.beside.contains(&old.session.id());
            old.replica == hello.replica && !lives_on
        };
        has_room(
            &self.clusters.lock(),
            self.max_sessions,
            cluster,
            takes_place_of,
        )
    }

    /// Puts a session in. Older ones of the same replica are over: their client was restarted, or
    /// has lost them and does not know. Only the one that it is begun beside lives on.
    pub(crate) fn register(
        self: &Arc<Self>,
        cluster: ClusterId,
        entry: Entry,
    ) -> Result<(Registered, Superseded), NotRegistered> {
        let mut clusters = self.clusters.lock();
        let takes_place_of = |old: &Entry| old.replica == entry.replica && !entry.is_beside(old);
        if !has_room(&clusters, self.max_sessions, &cluster, takes_place_of) {
            return Err(NotRegistered::Full);
        }
        let entries = clusters.entry(cluster.clone()).or_default();
        let is_later = |old: &Entry| {
            old.replica == entry.replica
                && old.instance == entry.instance
                && old.attempt > entry.attempt
        };
        if entries.iter().any(is_later) {
            return Err(NotRegistered::Late);
        }
        let superseded: Vec<_> = entries.extract_if(.., |old| takes_place_of(old)).collect();
        for old in entries.iter_mut().filter(|old| entry.is_beside(old)) {
            old.left = true;
        }
        let first_sight = entries.is_empty() && superseded.is_empty();
        entries.push(entry.clone());
        drop(clusters);
        if first_sight {
            self.sights.send_replace(());
        }
        for old in &superseded {
            let restarted = old.instance != entry.instance;
            tracing::info!(%cluster, replica = %entry.replica, old = %old.session.id(), restarted, "superseded");
        }
        let superseded = superseded.into_iter().map(|old| old.session).collect();
        let registered = Registered {
            registry: self.clone(),
            cluster,
            entry,
        };
        Ok((registered, Superseded(superseded)))
    }

    /// The session of a cluster that a client says it is an end of, and what its client has shown.
    pub(crate) fn session_of(
        &self,
        cluster: &ClusterId,
        hello: &Hello,
    ) -> Option<(Session, Shown)> {
        let wanted = hello.continues.as_ref()?.session;
        let clusters = self.clusters.lock();
        let mut entries = clusters.get(cluster)?.iter();
        let is_it = |entry: &&Entry| {
            entry.session.id() == wanted
                && entry.replica == hello.replica
                && entry.instance == hello.instance
        };
        let entry = entries.find(is_it)?;
        Some((entry.session.clone(), entry.shown.clone()))
    }

    /// A session with the cluster that was not `tried`; in turn, if several of its replicas are
    /// connected.
    pub(crate) fn find(&self, cluster: &ClusterId, tried: &[SessionId]) -> Option<Session> {
        let clusters = self.clusters.lock();
        let entries = clusters.get(cluster)?;
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let in_turn = (0..entries.len())
            .map(|nth| &entries[(first + nth) % entries.len()])
            .filter(|entry| !tried.contains(&entry.session.id()));
        let usable = |entry: &&Entry| {
            entry.session.is_connected() && !entry.session.is_peer_draining() && !entry.left
        };
        in_turn
            .clone()
            .find(usable)
            .or_else(|| in_turn.clone().find(|entry| entry.session.is_open()))
            .map(|entry| entry.session.clone())
    }

    /// The clusters that have a session.
    pub(crate) fn clusters(&self) -> Vec<ClusterId> {
        self.clusters.lock().keys().cloned().collect()
    }

    /// Changes when a cluster is seen for the first or the last time, not when its client connects anew.
    pub(crate) fn sights(&self) -> watch::Receiver<()> {
        self.sights.subscribe()
    }

    /// All of them, ordered by cluster.
    pub(crate) fn all(&self) -> Vec<(ClusterId, Entry)> {
        let clusters = self.clusters.lock();
        let mut all: Vec<_> = clusters
            .iter()
            .flat_map(|(cluster, entries)| {
                entries.iter().map(|entry| (cluster.clone(), entry.clone()))
            })
            .collect();
        drop(clusters);
        all.sort_by(|(a, x), (b, y)| (a, &x.replica).cmp(&(b, &y.replica)));
        all
    }
}

/// A client that takes the place of its own older session always has room; one that lets that live on
/// needs another place.
fn has_room(
    clusters: &HashMap<ClusterId, Vec<Entry>>,
    max_sessions: usize,
    cluster: &ClusterId,
    takes_place_of: impl Fn(&Entry) -> bool,
) -> bool {
    let own = clusters.get(cluster).map_or(&[][..], Vec::as_slice);
    let all: usize = clusters.values().map(Vec::len).sum();
    own.iter().any(takes_place_of) || (all < max_sessions && own.len() < MAX_OF_CLUSTER)
}

impl Drop for Registered {
    fn drop(&mut self) {
        let mut clusters = self.registry.clusters.lock();
        if let Some(entries) = clusters.get_mut(&self.cluster) {
            entries.retain(|entry| entry.session.id() != self.entry.session.id());
            if entries.is_empty() {
                clusters.remove(&self.cluster);
                self.registry.sights.send_replace(());
            }
        }
    }
}
