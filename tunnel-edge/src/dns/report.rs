//! What a round has come to, for status, metrics and logs. Pure.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::plan::{Act, Because, Held};
use super::provider::{ProviderError, Reason};

/// How the zone stands after a round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Report {
    /// How many rounds have ended.
    pub(crate) rounds: u64,
    /// When the last round ended; the start, if none has yet.
    pub(crate) at: Instant,
    /// How it ended; `None` if none has yet.
    pub(crate) outcome: Option<Outcome>,
    /// When one last finished.
    pub(crate) finished: Option<Instant>,
    pub(crate) took: Duration,
    /// When the zone was last read.
    pub(crate) read: Option<Instant>,
    /// The zone's serial when it was last read, or after the changes of a round that was asked for.
    pub(crate) serial: Option<u32>,
    /// Every name that there should be, or that could not be removed. As of the last round that read
    /// the zone.
    pub(crate) names: BTreeMap<String, NameReport>,
    pub(crate) held: Vec<Held>,
    /// How many names in the zone are ours.
    pub(crate) owned: usize,
    pub(crate) tally: Tally,
}

/// How a round ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Finished,
    /// Changes have failed: which, the names say.
    Unfinished,
    /// The zone could not be read.
    Unread(Reason, String),
    /// The registry could not be asked.
    NoRegistry(String),
}

/// What a round has changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) added: usize,
    pub(crate) updated: usize,
    pub(crate) repaired: usize,
    pub(crate) removed: usize,
    pub(crate) overtaken: usize,
    pub(crate) failed: usize,
}

/// One name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NameReport {
    /// What it is for: `cluster/acme/prod-1`.
    pub(crate) purpose: String,
    pub(crate) state: NameState,
}

/// How a name stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NameState {
    InSync,
    Pending(Act),
    /// It is somebody else's.
    Foreign(String),
    Failed {
        /// `None` if DNS cannot hold it.
        reason: Option<Reason>,
        message: String,
    },
}

/// A change that failed, as often as it was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) act: Act,
    pub(crate) reason: Reason,
    pub(crate) message: String,
    pub(crate) since: Instant,
    pub(crate) last: Instant,
    pub(crate) times: u32,
}

impl Report {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            rounds: 0,
            at: now,
            outcome: None,
            finished: None,
            took: Duration::ZERO,
            read: None,
            serial: None,
            names: BTreeMap::new(),
            held: Vec::new(),
            owned: 0,
            tally: Tally::default(),
        }
    }

    /// Whether the round removed less than it could.
    pub(crate) fn is_capped(&self) -> bool {
        let mut held = self.held.iter();
        held.any(|held| held.because == Because::Capped)
    }

    pub(super) fn ended(&mut self, now: Instant, outcome: Outcome) {
        self.rounds += 1;
        self.at = now;
        match outcome {
            Outcome::Finished => self.finished = Some(now),
            Outcome::Unfinished => {}
            // Nothing was changed: what stands there is another round's.
            Outcome::Unread(..) | Outcome::NoRegistry(_) => self.tally = Tally::default(),
        }
        self.outcome = Some(outcome);
    }
}

impl Tally {
    pub(super) fn count(&mut self, act: Act) {
        *match act {
            Act::Add => &mut self.added,
            Act::Update => &mut self.updated,
            Act::Repair => &mut self.repaired,
            Act::Remove => &mut self.removed,
        } += 1;
    }
}

impl Failure {
    pub(super) fn new(act: Act, error: ProviderError, now: Instant, before: Option<Self>) -> Self {
        let ProviderError { reason, message } = error;
        Self {
            act,
            reason,
            message,
            since: before.as_ref().map_or(now, |before| before.since),
            last: now,
            times: before.map_or(0, |before| before.times) + 1,
        }
    }
}

impl NameState {
    pub(super) fn failed(failure: &Failure) -> Self {
        let Failure {
            act,
            reason,
            message,
            times,
            ..
        } = failure;
        let message = format!("{} failed {times} times: {message}", act.noun());
        Self::Failed {
            reason: Some(*reason),
            message,
        }
    }

    /// The closed set of words for it.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::InSync => "in_sync",
            Self::Pending(_) => "pending",
            Self::Foreign(_) => "foreign",
            Self::Failed { .. } => "failed",
        }
    }

    /// Why it is not in sync.
    pub(crate) fn why(&self) -> Option<String> {
        match self {
            Self::InSync => None,
            Self::Pending(act) => Some(format!("its {} is to come", act.noun())),
            Self::Foreign(why) => Some(why.clone()),
            Self::Failed { message, .. } => Some(message.clone()),
        }
    }
}

impl Act {
    /// The closed set of words for it.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Update => "update",
            Self::Repair => "repair",
            Self::Remove => "remove",
        }
    }

    fn noun(self) -> &'static str {
        match self {
            Self::Add => "addition",
            Self::Update => "update",
            Self::Repair => "repair",
            Self::Remove => "removal",
        }
    }
}
