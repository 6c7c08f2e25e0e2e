//! What an edge's admin listener says of its zone, as far as it is shown.

use serde::Deserialize;

/// `/api/dns/plan`.
#[derive(Debug, Deserialize)]
pub(super) struct Plan {
    pub(super) zone: String,
    pub(super) provider: String,
    pub(super) changes: Vec<Change>,
    pub(super) held: Vec<Held>,
    pub(super) foreign: Vec<Foreign>,
    /// As of the last round.
    pub(super) failed: Vec<Failed>,
}

/// A name that would be changed.
#[derive(Debug, Deserialize)]
pub(super) struct Change {
    pub(super) act: String,
    pub(super) name: String,
    pub(super) sets: Vec<SetChange>,
}

/// A set of records as it is, and as it is to be.
#[derive(Debug, Deserialize)]
pub(super) struct SetChange {
    pub(super) name: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) from: Option<Set>,
    pub(super) to: Option<Set>,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Set {
    pub(super) ttl: u32,
    pub(super) data: Vec<String>,
}

/// A removal that is held back.
#[derive(Debug, Deserialize)]
pub(super) struct Held {
    pub(super) name: String,
    #[serde(rename = "for")]
    pub(super) purpose: String,
    /// Those that are held; the whole name if there are none.
    pub(super) records: Vec<String>,
    pub(super) because: String,
    pub(super) until: Option<String>,
}

/// A name that is somebody else's.
#[derive(Debug, Deserialize)]
pub(super) struct Foreign {
    pub(super) name: String,
    pub(super) why: String,
}

/// A name that could not be published, or not removed.
#[derive(Debug, Deserialize)]
pub(super) struct Failed {
    pub(super) name: String,
    pub(super) why: Option<String>,
}

/// `/api/dns`.
#[derive(Debug, Deserialize)]
pub(super) struct State {
    pub(super) zone: String,
    pub(super) provider: String,
    pub(super) serial: Option<u32>,
    /// When the zone was read, and what is said of its names was so.
    #[serde(default)]
    pub(super) last_read: Option<String>,
    pub(super) last_round: Option<Round>,
    pub(super) names: Vec<Name>,
    pub(super) held: Vec<Held>,
}

/// What a round has come to.
#[derive(Debug, Deserialize)]
pub(super) struct Round {
    pub(super) outcome: String,
    pub(super) message: Option<String>,
    pub(super) took_ms: f64,
    pub(super) added: usize,
    pub(super) updated: usize,
    pub(super) repaired: usize,
    pub(super) removed: usize,
    pub(super) overtaken: usize,
    pub(super) failed: usize,
}

/// How a name stands.
#[derive(Debug, Deserialize)]
pub(super) struct Name {
    pub(super) name: String,
    #[serde(rename = "for")]
    pub(super) purpose: String,
    pub(super) state: String,
    pub(super) why: Option<String>,
}

impl Plan {
    /// Whether the zone is as it should be.
    pub(super) fn is_empty(&self) -> bool {
        self.changes.is_empty()
            && self.held.is_empty()
            && self.foreign.is_empty()
            && self.failed.is_empty()
    }
}

impl Round {
    /// Whether it looked at the zone at all.
    pub(super) fn has_read(&self) -> bool {
        !matches!(&*self.outcome, "unread" | "no_registry")
    }
}

impl Name {
    pub(super) fn is_in_sync(&self) -> bool {
        self.state == "in_sync"
    }
}

impl State {
    /// How many names are.
    pub(super) fn in_sync(&self) -> usize {
        self.names.iter().filter(|name| name.is_in_sync()).count()
    }

    /// Whether a round has just made every change that it had to, and there is nothing it could not.
    pub(super) fn is_well(&self) -> bool {
        let finished = |round: &Round| round.outcome == "finished" && round.failed == 0;
        self.last_round.as_ref().is_some_and(finished)
            && self.names.iter().all(|name| name.state != "failed")
    }
}
