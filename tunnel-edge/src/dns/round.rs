//! One round of the reconciler, and what it comes to. Pure.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

use hickory_proto::rr::LowerName;

use super::desired::Desired;
use super::plan::{Act, Plan, Planned, Removals, State};
use super::provider::{ProviderError, Reason};
use super::report::{Failure, NameReport, NameState, Tally};

/// One round, from the look at the registry to the last answer.
#[derive(Debug)]
pub(super) struct Round {
    pub(super) began: Instant,
    pub(super) desired: Desired,
    pub(super) removals: Removals,
    pub(super) asked: bool,
    pub(super) plan: Plan,
    pub(super) queue: VecDeque<Planned>,
    pub(super) removing: BTreeSet<LowerName>,
    pub(super) under_way: BTreeMap<LowerName, Planned>,
    pub(super) overtaken: BTreeSet<LowerName>,
    /// The names that are looked at again, because somebody overtook us.
    pub(super) again: Option<BTreeSet<LowerName>>,
    pub(super) tally: Tally,
    /// Failures in a row that may each be of their own name only.
    pub(super) in_a_row: usize,
    pub(super) failed: bool,
    /// A failure concerns more than one name: the rest was not tried.
    pub(super) broken_off: bool,
    /// Names were overtaken twice.
    pub(super) contested: bool,
}

/// Changes under way at once.
const UNDER_WAY: usize = 32;

/// So many names in a row are not refused each for reasons of its own.
const IN_A_ROW: usize = 3;

impl Round {
    pub(super) fn new(began: Instant, desired: Desired, removals: Removals) -> Self {
        Self {
            began,
            desired,
            removals,
            asked: false,
            plan: Plan::default(),
            queue: VecDeque::new(),
            removing: BTreeSet::new(),
            under_way: BTreeMap::new(),
            overtaken: BTreeSet::new(),
            again: None,
            tally: Tally::default(),
            in_a_row: 0,
            failed: false,
            broken_off: false,
            contested: false,
        }
    }

    /// The next change, if there is place for one. Removals begin when everything else has ended.
    pub(super) fn next(&mut self) -> Option<Planned> {
        let next = self.queue.front()?;
        let others = self
            .under_way
            .values()
            .any(|planned| planned.act != Act::Remove);
        if self.under_way.len() >= UNDER_WAY || (next.act == Act::Remove && others) {
            return None;
        }
        self.queue.pop_front()
    }

    /// Takes over what a plan says, of all names or of those that were looked at again.
    pub(super) fn absorb(&mut self, made: Plan) {
        match &self.again {
            None => self.plan = made,
            Some(again) => {
                self.plan.held.retain(|held| !again.contains(&held.name));
                self.plan.held.extend(made.held);
                self.plan.states.extend(made.states);
            }
        }
    }

    pub(super) fn done(&mut self, name: &LowerName, act: Act) {
        self.in_a_row = 0;
        self.tally.count(act);
        match (act, self.plan.states.get_mut(name)) {
            (Act::Remove, _) => self.plan.owned = self.plan.owned.saturating_sub(1),
            (Act::Add | Act::Update | Act::Repair, Some(state)) => {
                self.plan.owned += usize::from(act == Act::Add);
                *state = State::InSync;
            }
            (Act::Add | Act::Update | Act::Repair, None) => {}
        }
    }

    /// A failure that concerns more than one name ends the round: the rest would only fail as well.
    pub(super) fn failed(&mut self, error: &ProviderError) {
        self.tally.failed += 1;
        self.failed = true;
        self.in_a_row += 1;
        let of_the_name = match error.reason {
            Reason::Refused | Reason::ServerFailure | Reason::Malformed | Reason::Unwritable => {
                true
            }
            Reason::Unreachable
            | Reason::Timeout
            | Reason::BadKey
            | Reason::BadSignature
            | Reason::BadTime
            | Reason::NotAuthoritative
            | Reason::Truncated
            | Reason::File => false,
        };
        if !of_the_name || self.in_a_row >= IN_A_ROW {
            self.broken_off = true;
            self.queue.clear();
        }
    }
}

/// How every name stands, those that cannot be published and those that could not be removed included.
pub(super) fn name_reports(
    desired: &Desired,
    states: &BTreeMap<LowerName, State>,
    failures: &BTreeMap<LowerName, Failure>,
) -> BTreeMap<String, NameReport> {
    let wanted = states.iter().filter_map(|(name, state)| {
        let purpose = desired.names.get(name)?.purpose.to_string();
        let state = match (state, failures.get(name)) {
            (State::InSync, _) => NameState::InSync,
            (State::Foreign(why), _) => NameState::Foreign(why.clone()),
            (State::Pending(_), Some(failure)) => NameState::failed(failure),
            (State::Pending(act), None) => NameState::Pending(*act),
        };
        Some((name.to_string(), NameReport { purpose, state }))
    });
    let unfit = desired.unfit.iter().map(|(purpose, unfit)| {
        let purpose = purpose.to_string();
        let state = NameState::Failed {
            reason: None,
            message: unfit.message.clone(),
        };
        (unfit.name.clone(), NameReport { purpose, state })
    });
    let unremoved = failures
        .iter()
        .filter(|(name, _)| !states.contains_key(name))
        .map(|(name, failure)| {
            let purpose = "removal".to_owned();
            let state = NameState::failed(failure);
            (name.to_string(), NameReport { purpose, state })
        });
    unfit.chain(unremoved).chain(wanted).collect()
}
