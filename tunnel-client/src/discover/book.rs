//! What was asked, what was answered, and how long that holds. Pure: time and chance come in.
//!
//! ```text
//!            ┌──────────── asked again when its TTL is over ────────────┐
//!            ▼                                                          │
//! asking ──▶ fresh ──nobody answers──▶ stale ──longer than stale_for──▶ failed
//!    │         │                         │                                ▲
//!    │         └───────────── denied ◀───┘                                │
//!    └───────────────────────── nobody answers ───────────────────────────┘
//! ```

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::question::{Answer, Failure, Family, Question, Records};
use super::told::{NameState, ToldName};
use crate::config::ResolverSettings;

/// How soon who did not answer is asked again, at first and at most.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(30);

/// Every question that is of interest.
#[derive(Debug)]
pub(super) struct Book {
    bounds: ResolverSettings,
    entries: BTreeMap<Question, Entry>,
}

#[derive(Debug)]
struct Entry {
    last: Last,
    /// Of the last answer that had any.
    known: Option<Known>,
    asked: Option<Instant>,
    /// `None` while it is being asked.
    due: Option<Instant>,
    failures: u32,
}

#[derive(Debug)]
struct Known {
    records: Records,
    fresh_until: Instant,
}

/// What became of the last time that it was asked.
#[derive(Debug)]
enum Last {
    Nothing,
    Answered,
    Denied(String),
    Unanswered(String),
}

impl Book {
    pub(super) fn new(settings: &ResolverSettings) -> Self {
        Self {
            bounds: settings.clone(),
            entries: BTreeMap::new(),
        }
    }

    /// These questions, and no others.
    pub(super) fn want(&mut self, wanted: &BTreeSet<Question>, now: Instant) {
        self.entries.retain(|question, _| wanted.contains(question));
        for question in wanted {
            self.entries
                .entry(question.clone())
                .or_insert_with(|| Entry {
                    last: Last::Nothing,
                    known: None,
                    asked: None,
                    due: Some(now),
                    failures: 0,
                });
        }
    }

    /// What has to be asked now; it is under way from now on.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<Question> {
        let due = |entry: &&mut Entry| entry.due.is_some_and(|due| due <= now);
        let mut taken = Vec::new();
        for (question, entry) in &mut self.entries {
            if due(&entry) {
                entry.due = None;
                entry.asked = Some(now);
                taken.push(question.clone());
            }
        }
        taken
    }

    /// What a question has led to. `jitter`, up to 1, spreads who asks again.
    pub(super) fn note(
        &mut self,
        question: &Question,
        outcome: Result<Answer, Failure>,
        now: Instant,
        jitter: f64,
    ) {
        let (shortest, longest) = (self.bounds.min_ttl, self.bounds.max_ttl);
        let Some(entry) = self.entries.get_mut(question) else {
            return;
        };
        // Some servers never answer for one family, and the other one is enough; but what was known of
        // a family is not gone because nobody answers for it now.
        let outcome = match outcome {
            Ok(Answer {
                unanswered: Some((family, failure)),
                ..
            }) if entry.knows(family, now, self.bounds.stale_for) => Err(failure),
            other => other,
        };
        let again = match outcome {
            Ok(Answer { records, ttl, .. }) => {
                let ttl = ttl.clamp(shortest, longest);
                let fresh_until = now + ttl;
                entry.last = Last::Answered;
                entry.known = Some(Known {
                    records,
                    fresh_until,
                });
                entry.failures = 0;
                ttl
            }
            Err(Failure::Denied { why, ttl, .. }) => {
                // What the zone's owner has taken away is gone (RFC 8767 §4).
                entry.last = Last::Denied(why);
                entry.known = None;
                entry.failures += 1;
                let asked_to_wait = ttl.unwrap_or(shortest).clamp(shortest, longest);
                asked_to_wait.min(retry(entry.failures, shortest, jitter).max(shortest))
            }
            Err(Failure::Unanswered { why, .. }) => {
                entry.last = Last::Unanswered(why);
                entry.failures += 1;
                retry(entry.failures, shortest, jitter)
            }
        };
        entry.due = Some(now + again);
    }

    /// Asks again soon, though no sooner after the last time than the shortest TTL.
    pub(super) fn hurry(&mut self, now: Instant) {
        let shortest = self.bounds.min_ttl;
        for entry in self.entries.values_mut() {
            let soonest = entry.asked.map_or(now, |asked| (asked + shortest).max(now));
            entry.due = entry.due.map(|due| due.min(soonest));
        }
    }

    /// When there will be something to ask, or something known will be too old.
    pub(super) fn next_change(&self, now: Instant) -> Option<Instant> {
        let due = self.entries.values().filter_map(|entry| entry.due);
        let known = self.entries.values().filter_map(|it| it.known.as_ref());
        let ends = known.flat_map(|known| [known.fresh_until, self.useless_from(known)]);
        due.chain(ends.filter(|end| *end > now)).min()
    }

    /// What is known in answer to a question, and may still be used.
    pub(super) fn records(&self, question: &Question, now: Instant) -> Option<&Records> {
        let known = self.entries.get(question)?.known.as_ref()?;
        (now < self.useless_from(known)).then_some(&known.records)
    }

    /// Whether every question was answered, be it by a denial or long ago.
    pub(super) fn is_complete(&self, now: Instant) -> bool {
        let mut questions = self.entries.keys();
        questions.all(|question| match self.state(question, now) {
            NameState::Fresh { .. } | NameState::Stale { .. } | NameState::Denied { .. } => true,
            NameState::Asking | NameState::Failed { .. } => false,
        })
    }

    /// Where a question stands.
    pub(super) fn state(&self, question: &Question, now: Instant) -> NameState {
        let Some(entry) = self.entries.get(question) else {
            return NameState::Asking;
        };
        let usable = entry.known.as_ref();
        let usable = usable.filter(|known| now < self.useless_from(known));
        match (&entry.last, usable) {
            (Last::Nothing, _) => NameState::Asking,
            (Last::Denied(why), _) => NameState::Denied { why: why.clone() },
            (Last::Answered, Some(known)) => NameState::Fresh {
                until: known.fresh_until,
            },
            (Last::Unanswered(why), Some(known)) => NameState::Stale {
                since: known.fresh_until,
                why: why.clone(),
            },
            (Last::Unanswered(why), None) => NameState::Failed { why: why.clone() },
            (Last::Answered, None) => NameState::Asking,
        }
    }

    /// Every question and where it stands.
    pub(super) fn told(&self, now: Instant) -> Vec<ToldName> {
        let told = self.entries.iter().map(|(question, entry)| ToldName {
            name: question.to_string(),
            kind: question.label(),
            state: self.state(question, now),
            records: match self.records(question, now) {
                Some(Records::Targets(targets)) => targets.len(),
                Some(Records::Addresses(addresses)) => addresses.len(),
                None => 0,
            },
            next: entry.due,
        });
        told.collect()
    }

    fn useless_from(&self, known: &Known) -> Instant {
        known.fresh_until + self.bounds.stale_for
    }
}

impl Entry {
    /// Whether it has addresses of the family that may still be used.
    fn knows(&self, family: Family, now: Instant, stale_for: Duration) -> bool {
        let Some(Known {
            records: Records::Addresses(addresses),
            fresh_until,
        }) = &self.known
        else {
            return false;
        };
        let is_of_family = |address: &IpAddr| match family {
            Family::V4 => address.is_ipv4(),
            Family::V6 => address.is_ipv6(),
        };
        now < *fresh_until + stale_for && addresses.iter().any(is_of_family)
    }
}

/// How long to wait after so many failures.
fn retry(failures: u32, shortest: Duration, jitter: f64) -> Duration {
    let first = FIRST_RETRY.min(shortest);
    let doubled = first.saturating_mul(1 << failures.saturating_sub(1).min(16));
    doubled.min(LONGEST_RETRY).mul_f64(jitter)
}
