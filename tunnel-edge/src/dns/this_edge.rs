//! The view of an edge that knows only of itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use certs::Label;
use tokio::sync::watch;

use super::view::{Clusters, EdgeView, Standing, Unreachable, View};
use crate::config::DnsTarget;
use crate::registry::Registry;

/// One edge and the clusters that have a session with it.
#[derive(Debug)]
pub(crate) struct ThisEdge {
    pub(crate) name: Label,
    pub(crate) target: DnsTarget,
    /// Where clients connect to.
    pub(crate) port: u16,
    pub(crate) registry: Arc<Registry>,
}

impl Clusters for ThisEdge {
    fn view(&self) -> Result<View, Unreachable> {
        let edge = EdgeView {
            target: self.target.clone(),
            port: self.port,
            standing: Standing::Serving,
        };
        let reached_here = BTreeSet::from([self.name.clone()]);
        let clusters = self.registry.clusters().into_iter();
        Ok(View {
            edges: BTreeMap::from([(self.name.clone(), edge)]),
            clusters: clusters
                .map(|cluster| (cluster, reached_here.clone()))
                .collect(),
        })
    }

    fn changes(&self) -> watch::Receiver<()> {
        self.registry.sights()
    }
}
