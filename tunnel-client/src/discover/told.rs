//! What is told of a name.

use serde_json::{Value, json};
use tokio::time::Instant;

/// A name that was asked for, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ToldName {
    pub(crate) name: String,
    pub(crate) kind: &'static str,
    pub(crate) state: NameState,
    /// How many records are in use.
    pub(crate) records: usize,
    /// When it is asked again; `None` while it is being asked.
    pub(crate) next: Option<Instant>,
}

/// Where a name stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NameState {
    /// It has not been answered for yet.
    Asking,
    Fresh {
        until: Instant,
    },
    /// Nobody answers, and the last answer is used beyond its time.
    Stale {
        since: Instant,
        why: String,
    },
    /// DNS says that there is nothing.
    Denied {
        why: String,
    },
    /// Nobody answers, and nothing is known.
    Failed {
        why: String,
    },
}

impl NameState {
    /// What went wrong the last time.
    pub(crate) fn why(&self) -> Option<&str> {
        match self {
            Self::Asking | Self::Fresh { .. } => None,
            Self::Stale { why, .. } | Self::Denied { why } | Self::Failed { why } => Some(why),
        }
    }

    /// Whether there are records to use.
    pub(crate) fn is_usable(&self) -> bool {
        match self {
            Self::Fresh { .. } | Self::Stale { .. } => true,
            Self::Asking | Self::Denied { .. } | Self::Failed { .. } => false,
        }
    }

    pub(crate) fn is_stale(&self) -> bool {
        matches!(self, Self::Stale { .. })
    }

    fn label(&self) -> &'static str {
        match self {
            Self::Asking => "asking",
            Self::Fresh { .. } => "fresh",
            Self::Stale { .. } => "stale",
            Self::Denied { .. } => "denied",
            Self::Failed { .. } => "failed",
        }
    }
}

impl ToldName {
    /// Why it leads nowhere, if it does.
    pub(crate) fn why(&self) -> Option<String> {
        let why = self.state.why().filter(|_| !self.state.is_usable())?;
        Some(format!("{}: {why}", self.name))
    }

    /// For status.
    pub(crate) fn document(&self, now: Instant) -> Value {
        let from_now = |at: &Instant| at.saturating_duration_since(now).as_secs_f64();
        let (fresh_for, stale_since) = match &self.state {
            NameState::Fresh { until } => (Some(from_now(until)), None),
            NameState::Stale { since, .. } => {
                let since = now.saturating_duration_since(*since);
                (None, Some(since.as_secs_f64()))
            }
            NameState::Asking | NameState::Denied { .. } | NameState::Failed { .. } => (None, None),
        };
        json!({
            "name": self.name,
            "kind": self.kind,
            "state": self.state.label(),
            "records": self.records,
            "fresh_for_s": fresh_for,
            "stale_for_s": stale_since,
            "asked_again_in_s": self.next.as_ref().map(from_now),
            "error": self.state.why(),
        })
    }
}
