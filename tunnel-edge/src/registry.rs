//! Which session reaches which cluster: in memory, for one edge.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use certs::ClusterId;
use parking_lot::Mutex;
use relay::proto::{Instance, ReplicaId};
use relay::{CloseCode, Session};

/// All live sessions by cluster.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    clusters: Mutex<HashMap<ClusterId, Vec<Entry>>>,
    next: AtomicUsize,
}

/// A session, and what its client said of itself.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) session: Session,
    pub(crate) replica: ReplicaId,
    pub(crate) instance: Instance,
    pub(crate) software: String,
    pub(crate) since: SystemTime,
}

/// Takes the session out again when dropped.
#[derive(Debug)]
pub(crate) struct Registered {
    registry: Arc<Registry>,
    cluster: ClusterId,
    entry: Entry,
}

impl Registry {
    /// Puts a session in. An older one of the same replica is over: its client was restarted, or
    /// has lost it and does not know.
    pub(crate) fn register(self: &Arc<Self>, cluster: ClusterId, entry: Entry) -> Registered {
        let mut clusters = self.clusters.lock();
        let entries = clusters.entry(cluster.clone()).or_default();
        let old = entries.iter().position(|old| old.replica == entry.replica);
        let superseded = old.map(|position| entries.swap_remove(position));
        entries.push(entry.clone());
        drop(clusters);
        if let Some(old) = superseded {
            let restarted = old.instance != entry.instance;
            tracing::info!(%cluster, replica = %entry.replica, old = %old.session.id(), restarted, "superseded");
            old.session.close(
                CloseCode::Superseded,
                "a newer session of this client has begun",
            );
        }
        Registered {
            registry: self.clone(),
            cluster,
            entry,
        }
    }

    /// A session with the cluster; in turn, if several of its replicas are connected.
    pub(crate) fn find(&self, cluster: &ClusterId) -> Option<Session> {
        let clusters = self.clusters.lock();
        let entries = clusters.get(cluster)?;
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let in_turn = (0..entries.len()).map(|nth| &entries[(first + nth) % entries.len()]);
        let usable = |entry: &&Entry| entry.session.is_open() && !entry.session.is_peer_draining();
        in_turn
            .clone()
            .find(usable)
            .or_else(|| in_turn.clone().find(|entry| entry.session.is_open()))
            .map(|entry| entry.session.clone())
    }

    /// How many sessions there are.
    pub(crate) fn len(&self) -> usize {
        self.clusters.lock().values().map(Vec::len).sum()
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

impl Drop for Registered {
    fn drop(&mut self) {
        let mut clusters = self.registry.clusters.lock();
        if let Some(entries) = clusters.get_mut(&self.cluster) {
            entries.retain(|entry| entry.session.id() != self.entry.session.id());
            if entries.is_empty() {
                clusters.remove(&self.cluster);
            }
        }
    }
}
