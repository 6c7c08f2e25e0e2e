//! What the names are made from: which edges there are, and which clusters they reach.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use certs::{ClusterId, Label};

use tokio::sync::watch;

use crate::config::DnsTarget;

/// The edges and the clusters, as a registry knows them at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) edges: BTreeMap<Label, EdgeView>,
    /// For each cluster that has a session, the edges that hold one.
    pub(crate) clusters: BTreeMap<ClusterId, BTreeSet<Label>>,
}

/// One edge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EdgeView {
    /// How it is reached.
    pub(crate) target: DnsTarget,
    /// Where clients connect to.
    pub(crate) port: u16,
    pub(crate) standing: Standing,
}

/// Whether an edge takes anybody new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Serving,
    /// It drains.
    Leaving,
}

/// The registry does not answer: nothing is known, which is not the same as that nothing is there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the registry cannot be reached: {0}")]
pub(crate) struct Unreachable(pub(crate) String);

/// A registry, as far as names are made from it.
pub(crate) trait Clusters: Debug + Send + Sync {
    /// What it knows now. Must not block.
    fn view(&self) -> Result<View, Unreachable>;

    /// Changes whenever a cluster is seen for the first or the last time, or an edge comes, goes or
    /// drains. Not when a client connects anew.
    fn changes(&self) -> watch::Receiver<()>;
}
