//! What the log is told of rounds: one event for each fact, when it begins and when it is over.

use std::collections::BTreeMap;

use super::provider::Reason;
use super::report::{NameReport, NameState, Outcome, Report, Tally};

/// What was told, so that it is told once, and that its end can be.
#[derive(Debug, Default)]
pub(super) struct News {
    /// How the last round ended.
    outcome: Option<Outcome>,
    /// The zone could not be read, and has not been since.
    unread: bool,
    /// The registry could not be asked, and has not been since.
    no_registry: bool,
    capped: bool,
    /// Names that are somebody else's, or have failed, and were not in sync since.
    troubled: BTreeMap<String, NameState>,
}

/// A fact that is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event<'r> {
    Unread(Reason, &'r str),
    ReadAgain,
    NoRegistry(&'r str),
    RegistryAgain,
    /// Names were changed, or should have been.
    Changed(Tally),
    /// Not all removals are made.
    Capped,
    Foreign(&'r str, &'r NameReport),
    Unfit(&'r str, &'r NameReport),
    InSyncAgain(&'r str, &'r NameReport),
}

impl News {
    /// What is to be told of a round.
    pub(super) fn of<'r>(&mut self, report: &'r Report) -> Vec<Event<'r>> {
        let mut events = Vec::new();
        let is_news = self.outcome != report.outcome;
        self.outcome.clone_from(&report.outcome);
        match &report.outcome {
            Some(Outcome::Finished | Outcome::Unfinished) => {
                let ends = [
                    (&mut self.no_registry, Event::RegistryAgain),
                    (&mut self.unread, Event::ReadAgain),
                ];
                for (trouble, over) in ends {
                    events.extend(std::mem::take(trouble).then_some(over));
                }
                let is_changed = report.tally != Tally::default();
                events.extend(is_changed.then_some(Event::Changed(report.tally)));
            }
            Some(Outcome::Unread(reason, message)) => {
                self.unread = true;
                events.extend(is_news.then_some(Event::Unread(*reason, message)));
            }
            Some(Outcome::NoRegistry(message)) => {
                self.no_registry = true;
                events.extend(is_news.then_some(Event::NoRegistry(message)));
            }
            None => {}
        }
        let was_capped = std::mem::replace(&mut self.capped, report.is_capped());
        events.extend((self.capped && !was_capped).then_some(Event::Capped));
        self.troubled
            .retain(|name, _| report.names.contains_key(name));
        for (name, named) in &report.names {
            events.extend(self.of_name(name, named));
        }
        events
    }

    fn of_name<'r>(&mut self, name: &'r str, report: &'r NameReport) -> Option<Event<'r>> {
        let state = &report.state;
        match state {
            NameState::InSync => {
                let was_troubled = self.troubled.remove(name).is_some();
                return was_troubled.then_some(Event::InSyncAgain(name, report));
            }
            NameState::Pending(_) => return None,
            NameState::Foreign(_) | NameState::Failed { .. } => {}
        }
        let before = self.troubled.insert(name.to_owned(), state.clone());
        match state {
            _ if before.as_ref() == Some(state) => None,
            NameState::Foreign(_) => Some(Event::Foreign(name, report)),
            NameState::Failed { reason: None, .. } => Some(Event::Unfit(name, report)),
            // A change that failed was told of when it did.
            NameState::Failed {
                reason: Some(_), ..
            }
            | NameState::InSync
            | NameState::Pending(_) => None,
        }
    }
}

impl Event<'_> {
    /// Tells the log; `report` is the one that it is of.
    pub(super) fn log(self, report: &Report) {
        match self {
            Self::Unread(reason, message) => {
                let reason = reason.label();
                tracing::warn!(reason, "the zone cannot be read: {message}");
            }
            Self::ReadAgain => tracing::info!("the zone can be read again"),
            Self::NoRegistry(message) => {
                tracing::warn!("{message}: all names stay as they are");
            }
            Self::RegistryAgain => tracing::info!("the registry can be reached again"),
            Self::Changed(tally) => tracing::info!(
                added = tally.added,
                updated = tally.updated,
                repaired = tally.repaired,
                removed = tally.removed,
                overtaken = tally.overtaken,
                failed = tally.failed,
                owned = report.owned,
                "names reconciled"
            ),
            Self::Capped => tracing::warn!(
                held = report.held.len(),
                "more names are to be removed than one round may: see `causeway dns plan`"
            ),
            Self::Foreign(name, NameReport { purpose, state }) => {
                let why = state.why().unwrap_or_default();
                tracing::warn!(%name, %purpose, "this name is somebody else's and is left alone: {why}");
            }
            Self::Unfit(name, NameReport { purpose, state }) => {
                let why = state.why().unwrap_or_default();
                tracing::warn!(%name, %purpose, "this name cannot be published: {why}");
            }
            Self::InSyncAgain(name, NameReport { purpose, .. }) => {
                tracing::info!(%name, %purpose, "this name is published as it should be again");
            }
        }
    }
}
