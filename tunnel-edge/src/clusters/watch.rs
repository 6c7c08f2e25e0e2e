//! One watch: every cluster as it is, then what changes, as fast as its reader reads.

use std::sync::Arc;

use relay::grpc::Code;
use tokio::sync::watch as channel;

use super::Clusters;
use super::call::Failed;
use super::known::{Filter, Next, Position};
use super::message::watch_clusters_response::Event;
use super::message::{Forgotten, Resync, Synced, WatchClustersResponse, cluster};

/// Where a watcher stands. Nothing waits for it: what it is told next is looked up when it can take
/// it, so it costs the same however slow it is.
#[derive(Debug)]
pub(super) struct Watch {
    clusters: Arc<Clusters>,
    filter: Filter,
    version: channel::Receiver<u64>,
    position: Position,
    /// The first message is that all has to begin anew.
    begins_anew: bool,
    synced: bool,
}

impl Watch {
    /// Goes on from `seen` of the process `instance`, or begins if neither is stated.
    pub(super) fn new(clusters: Arc<Clusters>, filter: Filter, instance: &str, seen: u64) -> Self {
        let goes_on = !instance.is_empty() || seen != 0;
        let knows = goes_on && instance == clusters.instance;
        let begun = clusters.known.lock().beginning();
        Self {
            version: clusters.version.subscribe(),
            filter,
            position: if knows {
                Position { seen, begun: 0 }
            } else {
                begun
            },
            begins_anew: goes_on && !knows,
            synced: false,
            clusters,
        }
    }

    /// The next message, as soon as there is one. Cancel-safe.
    pub(super) async fn next(&mut self) -> Result<WatchClustersResponse, Failed> {
        loop {
            if std::mem::take(&mut self.begins_anew) {
                return Ok(self.message(Event::Resync(Resync {})));
            }
            // Before it is looked, so that nothing comes in between unseen.
            self.version.mark_unchanged();
            let next = self
                .clusters
                .known
                .lock()
                .next_after(self.position, &self.filter);
            match next {
                Next::Cluster(found) => {
                    self.position.seen = found.version;
                    let told = cluster(&self.clusters, &found);
                    return Ok(self.message(Event::Cluster(told)));
                }
                Next::Forgotten { cluster, version } => {
                    self.position.seen = version;
                    return Ok(self.message(Event::Forgotten(Forgotten {
                        tenant: cluster.tenant.to_string(),
                        cluster: cluster.cluster.to_string(),
                    })));
                }
                Next::Lost => {
                    self.position = self.clusters.known.lock().beginning();
                    self.begins_anew = true;
                    self.synced = false;
                }
                Next::Nothing { version } => {
                    self.position.seen = version;
                    if !std::mem::replace(&mut self.synced, true) {
                        return Ok(self.message(Event::Synced(Synced {})));
                    }
                    self.news().await?;
                }
            }
        }
    }

    async fn news(&mut self) -> Result<(), Failed> {
        let stopping = || Failed::new(Code::UNAVAILABLE, "the edge is stopping");
        tokio::select! {
            () = self.clusters.closed.cancelled() => Err(stopping()),
            changed = self.version.changed() => changed.map_err(|_| stopping()),
        }
    }

    fn message(&self, event: Event) -> WatchClustersResponse {
        WatchClustersResponse {
            instance: self.clusters.instance.clone(),
            version: self.position.seen,
            event: Some(event),
        }
    }
}

#[cfg(test)]
mod tests {
    use certs::ClusterId;
    use relay::proto::Instance;
    use tokio_util::sync::CancellationToken;

    use super::super::Presence;
    use super::super::history::Moment;
    use super::super::known::tests::session;
    use super::*;

    fn clusters() -> Arc<Clusters> {
        let instance = Instance::from_bytes([7; 16]);
        Arc::new(Clusters::new("edge-1".to_owned(), instance, None))
    }

    fn enter(clusters: &Arc<Clusters>, cluster: &str, number: u128) -> Presence {
        let cluster: ClusterId = cluster.parse().unwrap();
        let now = Moment::now();
        clusters.enter_as(&cluster, session(number, now), &[], now)
    }

    fn begin(clusters: &Arc<Clusters>) -> Watch {
        Watch::new(clusters.clone(), Filter::default(), "", 0)
    }

    /// The next message in words.
    async fn next(watch: &mut Watch) -> String {
        let message = match watch.next().await {
            Ok(message) => message,
            Err(failed) => return format!("{failed:?}"),
        };
        match message.event.unwrap() {
            Event::Cluster(told) => {
                format!("{} {} {}", told.cluster, told.state, told.changes.len())
            }
            Event::Forgotten(told) => format!("{} forgotten", told.cluster),
            Event::Synced(_) => "synced".to_owned(),
            Event::Resync(_) => "resync".to_owned(),
        }
    }

    #[tokio::test]
    async fn a_slow_reader_is_told_what_is_and_not_all_that_was() {
        let clusters = clusters();
        let first = enter(&clusters, "acme/a", 1);
        let mut watch = begin(&clusters);
        assert_eq!(next(&mut watch).await, "a 1 1");
        assert_eq!(next(&mut watch).await, "synced");
        for number in 2..10_000 {
            drop(enter(&clusters, "acme/a", number));
        }
        drop(first);
        assert_eq!(
            next(&mut watch).await,
            "a 2 200",
            "once, with the last changes"
        );
        let waiting = tokio::spawn(async move { next(&mut watch).await });
        let _second = enter(&clusters, "acme/b", 10_000);
        assert_eq!(waiting.await.unwrap(), "b 1 1");
    }

    #[tokio::test]
    async fn a_watch_is_taken_up_again_or_begins_anew() {
        let clusters = clusters();
        let _first = enter(&clusters, "acme/a", 1);
        let seen = clusters.known.lock().version();
        let _second = enter(&clusters, "acme/b", 2);
        let from =
            |instance: &str, seen| Watch::new(clusters.clone(), Filter::default(), instance, seen);
        let mut later = from(&clusters.instance, seen);
        assert_eq!(next(&mut later).await, "b 1 1");
        assert_eq!(next(&mut later).await, "synced");
        for mut other in [
            from("another", seen),
            from("", seen),
            from(&clusters.instance, 99),
        ] {
            assert_eq!(next(&mut other).await, "resync");
            assert_eq!(next(&mut other).await, "a 1 1");
            assert_eq!(next(&mut other).await, "b 1 1");
            assert_eq!(next(&mut other).await, "synced");
        }
    }

    #[tokio::test]
    async fn a_watch_ends_with_the_edge() {
        let clusters = clusters();
        let mut watch = begin(&clusters);
        assert_eq!(next(&mut watch).await, "synced");
        let waiting = tokio::spawn(async move { next(&mut watch).await });
        clusters.close();
        assert!(waiting.await.unwrap().contains("the edge is stopping"));
        let stop = CancellationToken::new();
        stop.cancel();
        clusters.keep_time(stop).await;
    }
}
