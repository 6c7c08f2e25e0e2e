//! When to look, what to ask of the provider, and what to make of its answers. Pure.
//!
//! ```text
//! Resting ──due──▶ Looking ──handle_view──▶ Reading ──handle_reading──▶ Changing ──the last answer──▶ Resting
//!                     └─ the registry is away ─▶ Resting  └─ it fails ─▶ Resting │
//!                                                Reading, those names alone ◀────┘ overtaken, the first time
//! ```
//!
//! Whoever drives it asks [`Reconciler::poll`] what to do, does it, and tells what came of it, until
//! it is told to wait. Events only bring the next look forward: what is to be done follows from what
//! there should be and what there is, never from what has happened.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use hickory_proto::rr::LowerName;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::desired::{Desired, Naming, desired};
use super::memory::Memory;
use super::ownership;
use super::plan::{Act, Limits, Plan, Planned, Removals, Situation, State, plan};
use super::provider::{Applied, ProviderError, Reading, Reason};
use super::records::{Change, Records, Snapshot};
use super::report::{Failure, Outcome, Report, Tally};
use super::round::{Round, name_reports};
use super::view::{Unreachable, View};

/// How names are kept true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Policy {
    pub(crate) naming: Naming,
    pub(crate) owner: String,
    pub(crate) limits: Limits,
    pub(crate) debounce: Duration,
    pub(crate) resync: Duration,
    pub(crate) settle: Duration,
}

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Ask the registry, and call [`Reconciler::handle_view`].
    Look,
    /// Read the zone, and call [`Reconciler::handle_reading`].
    Read {
        names: BTreeSet<LowerName>,
        known: Option<u32>,
    },
    /// Begin this change, ask on, and call [`Reconciler::handle_applied`] when it has ended.
    Apply(Change, Act),
    /// Nothing, until one of the changes has ended.
    Await,
    /// Nothing, until then or until something is told.
    Wait(Instant),
}

/// Keeps one zone true.
#[derive(Debug)]
pub(crate) struct Reconciler {
    policy: Policy,
    memory: Memory,
    phase: Phase,
    /// What the zone had when it was read last, if nothing has been changed since.
    snapshot: Option<Snapshot>,
    /// What the zone that was read last is known to agree with, with nothing held and nothing failed.
    agreed: Option<Desired>,
    /// When the next round begins.
    due: Instant,
    /// Before this it does not, unless somebody asks for it.
    not_before: Instant,
    /// Something has changed since the registry was looked at.
    dirty: bool,
    /// Until when nothing is removed.
    settled: Instant,
    /// The registry was away or empty at the last look.
    lost: bool,
    backoff: ExponentialBackoff,
    random: StdRng,
    failures: BTreeMap<LowerName, Failure>,
    report: Report,
}

#[derive(Debug)]
enum Phase {
    Resting,
    Looking,
    Reading(Box<Round>),
    Changing(Box<Round>),
}

impl Reconciler {
    /// Begins with a round at once. `seed` is for the jitter.
    pub(crate) fn new(policy: Policy, now: Instant, seed: u64) -> Self {
        Self {
            memory: Memory::new(policy.limits.remove_after),
            phase: Phase::Resting,
            snapshot: None,
            agreed: None,
            due: now,
            not_before: now,
            dirty: false,
            settled: now + policy.settle,
            lost: false,
            backoff: backoff(&policy).build(),
            random: StdRng::seed_from_u64(seed),
            failures: BTreeMap::new(),
            report: Report::new(now),
            policy,
        }
    }

    /// Names that an earlier process may have left: what becomes of them the zone tells.
    pub(crate) fn handle_known(&mut self, names: BTreeSet<LowerName>) {
        self.memory.may_be_there(names);
    }

    /// Something has changed at the registry.
    pub(crate) fn handle_changed(&mut self, now: Instant) {
        if !self.dirty {
            self.dirty = true;
            self.due = self.due.min(now + self.policy.debounce);
        }
    }

    /// Somebody wants a round now, whatever has failed before.
    pub(crate) fn handle_asked(&mut self, now: Instant) {
        self.dirty = true;
        self.due = now;
        self.not_before = now;
    }

    /// What to do next.
    pub(crate) fn poll(&mut self, now: Instant) -> Step {
        match &mut self.phase {
            Phase::Resting => {
                let due = self.due.max(self.not_before);
                if now < due {
                    return Step::Wait(due);
                }
                self.phase = Phase::Looking;
                Step::Look
            }
            Phase::Looking => Step::Look,
            Phase::Reading(round) if round.asked => Step::Await,
            Phase::Reading(round) => {
                round.asked = true;
                let names = match &round.again {
                    Some(again) => again.clone(),
                    None => known_names(&round.desired, &self.memory, &self.failures),
                };
                let known = self.snapshot.as_ref().map(|snapshot| snapshot.serial);
                Step::Read {
                    names: with_owners(names, &self.policy.naming.zone),
                    known,
                }
            }
            Phase::Changing(round) => match round.next() {
                Some(planned) => {
                    let step = Step::Apply(planned.change.clone(), planned.act);
                    let name = planned.change.name.clone();
                    round.under_way.insert(name, planned);
                    step
                }
                None => Step::Await,
            },
        }
    }

    /// What the registry knows.
    pub(crate) fn handle_view(&mut self, now: Instant, view: Result<View, Unreachable>) {
        debug_assert!(matches!(self.phase, Phase::Looking), "nobody asked");
        let dirty = std::mem::take(&mut self.dirty);
        let view = match view {
            Ok(view) => view,
            Err(Unreachable(message)) => {
                self.lost = true;
                self.report.ended(now, Outcome::NoRegistry(message));
                self.rest(now, self.policy.resync);
                return;
            }
        };
        let empty = view.clusters.is_empty() || view.edges.is_empty();
        if self.lost && !empty {
            self.settled = self.settled.max(now + self.policy.settle);
        }
        self.lost = empty;
        if dirty {
            // Only where nothing has changed on either side may the zone go unread.
            self.snapshot = None;
        }
        let removals = if empty {
            Removals::Never
        } else if now < self.settled {
            Removals::NotBefore(self.settled)
        } else {
            Removals::Allowed
        };
        let round = Round::new(now, desired(&view, &self.policy.naming), removals);
        self.phase = Phase::Reading(Box::new(round));
    }

    /// What the zone has.
    pub(crate) fn handle_reading(&mut self, now: Instant, read: Result<Reading, ProviderError>) {
        let Phase::Reading(mut round) = std::mem::replace(&mut self.phase, Phase::Resting) else {
            debug_assert!(false, "nobody asked");
            return;
        };
        if matches!(read, Ok(Reading::Unchanged)) && self.agreed.as_ref() == Some(&round.desired) {
            self.still_true(now, &round);
            return;
        }
        let (before, unread) = match read {
            Ok(Reading::Unchanged) => (self.snapshot.take(), None),
            Ok(Reading::Zone(snapshot)) => (Some(snapshot), None),
            Err(error) => (None, Some(Outcome::Unread(error.reason, error.message))),
        };
        self.snapshot = before;
        let Some(snapshot) = &self.snapshot else {
            let unread = unread.unwrap_or_else(|| {
                let message = "the zone is said to be unchanged, and was never read";
                Outcome::Unread(Reason::Malformed, message.to_owned())
            });
            self.fail(now, unread);
            return;
        };
        self.report.read = Some(now);
        self.report.serial = Some(snapshot.serial);
        let situation = Situation {
            only: round.again.as_ref(),
            ..self
                .policy
                .situation(&round.desired, &snapshot.records, round.removals, now)
        };
        let mut made = plan(&situation, &mut self.memory);
        // What failed the last time does not keep the rest waiting, removals included.
        let failures = &self.failures;
        made.changes.sort_by_key(|planned| {
            let removes = planned.act == Act::Remove;
            (failures.contains_key(&planned.change.name), removes)
        });
        if made.changes.is_empty() {
            if round.again.is_some() {
                // Only the names that were looked at again may have been read.
                self.snapshot = None;
            }
            round.absorb(made);
            self.finish(now, *round);
        } else {
            self.snapshot = None;
            round.queue = std::mem::take(&mut made.changes).into();
            let removals = round
                .queue
                .iter()
                .filter(|planned| planned.act == Act::Remove);
            round.removing = removals
                .map(|planned| planned.change.name.clone())
                .collect();
            round.absorb(made);
            self.phase = Phase::Changing(round);
        }
    }

    /// What became of the change of a name.
    pub(crate) fn handle_applied(
        &mut self,
        now: Instant,
        name: &LowerName,
        applied: Result<Applied, ProviderError>,
    ) {
        let Phase::Changing(round) = &mut self.phase else {
            debug_assert!(false, "nothing is under way");
            return;
        };
        let Some(Planned { change, act }) = round.under_way.remove(name) else {
            return;
        };
        match applied {
            Ok(Applied::Done) => {
                round.done(name, act);
                self.memory.made(&change);
                self.failures.remove(name);
            }
            Ok(Applied::Overtaken) => {
                round.tally.overtaken += 1;
                round.overtaken.insert(name.clone());
            }
            Err(error) => {
                round.failed(&error);
                let before = self.failures.remove(name);
                self.failures
                    .insert(name.clone(), Failure::new(act, error, now, before));
            }
        }
        if !(round.queue.is_empty() && round.under_way.is_empty()) {
            return;
        }
        let Phase::Changing(mut round) = std::mem::replace(&mut self.phase, Phase::Resting) else {
            return;
        };
        let overtaken = std::mem::take(&mut round.overtaken);
        if !overtaken.is_empty() && round.again.is_none() && !round.failed {
            round.again = Some(overtaken);
            round.asked = false;
            self.phase = Phase::Reading(round);
        } else {
            // Twice in one round is more than chance: whoever it is may finish first.
            round.contested = !overtaken.is_empty();
            self.finish(now, *round);
        }
    }

    /// What a round would do now, with this in the zone. Nothing is remembered of it.
    pub(crate) fn preview(&self, now: Instant, view: &View, records: &Records) -> Plan {
        let empty = view.clusters.is_empty() || view.edges.is_empty();
        let settled = match self.lost && !empty {
            true => self.settled.max(now + self.policy.settle),
            false => self.settled,
        };
        let removals = match (empty, now < settled) {
            (true, _) => Removals::Never,
            (false, true) => Removals::NotBefore(settled),
            (false, false) => Removals::Allowed,
        };
        let desired = desired(view, &self.policy.naming);
        let situation = self.policy.situation(&desired, records, removals, now);
        plan(&situation, &mut self.memory.clone())
    }

    /// How the last round ended.
    pub(crate) fn report(&self) -> &Report {
        &self.report
    }

    /// What a provider has to be asked for that answers questions only.
    pub(crate) fn names_for(&self, view: &View) -> BTreeSet<LowerName> {
        let desired = desired(view, &self.policy.naming);
        let names = known_names(&desired, &self.memory, &self.failures);
        with_owners(names, &self.policy.naming.zone)
    }

    /// Neither side has changed since a round that left nothing to do: no plan would say more.
    fn still_true(&mut self, now: Instant, round: &Round) {
        self.report.read = Some(now);
        self.report.tally = Tally::default();
        self.report.took = now.saturating_duration_since(round.began);
        self.report.ended(now, Outcome::Finished);
        self.rest(now, self.policy.resync);
    }

    fn finish(&mut self, now: Instant, round: Round) {
        let Round {
            began,
            desired,
            plan,
            removing,
            tally,
            failed,
            broken_off,
            contested,
            ..
        } = round;
        // A failure is over when the name needs no change any more.
        let is_pending = |name: &LowerName| match plan.states.get(name) {
            Some(State::Pending(_)) => true,
            Some(State::InSync | State::Foreign(_)) => false,
            None => removing.contains(name),
        };
        self.failures
            .retain(|name, failure| failure.last >= began || is_pending(name));
        self.report.names = name_reports(&desired, &plan.states, &self.failures);
        let pending = plan
            .states
            .values()
            .any(|state| matches!(state, State::Pending(_)));
        let rests = tally == Tally::default() && self.failures.is_empty() && !pending;
        self.agreed = (rests && plan.held.is_empty()).then_some(desired);
        self.report.held = plan.held;
        self.report.owned = plan.owned;
        self.report.tally = tally;
        self.report.took = now.saturating_duration_since(began);
        if broken_off {
            self.fail(now, Outcome::Unfinished);
            return;
        }
        let outcome = if failed {
            Outcome::Unfinished
        } else {
            Outcome::Finished
        };
        self.report.ended(now, outcome);
        if failed || contested {
            // These names wait longer each time; the others are no worse off for them.
            let delay = self.delay();
            self.rest(now, delay);
        } else {
            self.backoff = backoff(&self.policy).build();
            self.rest(now, self.policy.resync);
        }
        let waits = self.report.held.iter().filter_map(|held| held.until);
        if let Some(earliest) = waits.min() {
            self.due = self.due.min(earliest.max(now + self.policy.debounce));
        }
    }

    fn fail(&mut self, now: Instant, outcome: Outcome) {
        self.report.ended(now, outcome);
        self.phase = Phase::Resting;
        self.due = now + self.delay();
        self.not_before = self.due;
    }

    /// How long to wait after one more failure.
    fn delay(&mut self) -> Duration {
        let bound = self.backoff.next().unwrap_or(self.policy.resync);
        bound.mul_f64(self.random.random_range(0.5..=1.0))
    }

    /// Until the next round, which is due after about so long.
    fn rest(&mut self, now: Instant, after: Duration) {
        self.phase = Phase::Resting;
        self.not_before = now;
        self.due = now + after.mul_f64(self.random.random_range(0.9..=1.1));
        if self.dirty {
            self.due = self.due.min(now + self.policy.debounce);
        }
    }
}

impl Policy {
    fn situation<'a>(
        &'a self,
        desired: &'a Desired,
        records: &'a Records,
        removals: Removals,
        now: Instant,
    ) -> Situation<'a> {
        Situation {
            desired,
            records,
            zone: &self.naming.zone,
            owner: &self.owner,
            limits: &self.limits,
            removals,
            now,
            only: None,
        }
    }
}

/// From the debounce on, doubling, to the resync.
fn backoff(policy: &Policy) -> ExponentialBuilder {
    ExponentialBuilder::new()
        .with_min_delay(policy.debounce)
        .with_max_delay(policy.resync.max(policy.debounce))
        .with_factor(2.0)
        .without_max_times()
}

/// Every name that may be ours.
fn known_names(
    desired: &Desired,
    memory: &Memory,
    failures: &BTreeMap<LowerName, Failure>,
) -> BTreeSet<LowerName> {
    let known = desired.names.keys().chain(memory.names());
    known.chain(failures.keys()).cloned().collect()
}

fn with_owners(names: BTreeSet<LowerName>, zone: &LowerName) -> BTreeSet<LowerName> {
    let owners: Vec<_> = names
        .iter()
        .filter_map(|name| ownership::key(name, zone))
        .collect();
    let mut names = names;
    names.extend(owners.into_iter().map(|key| key.name));
    names
}
