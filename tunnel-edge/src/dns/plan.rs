//! What one round changes: what there should be against what there is. Pure.
//!
//! ```text
//!                   no record of ownership         ours                          another's
//! wanted            unused: add; used: foreign     differs: update or repair     foreign
//! not wanted        not ours to look at            held for a while, then gone   not ours to look at
//! ```

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use hickory_proto::rr::{LowerName, RData, RecordType};

use super::desired::{Desired, Wanted};
use super::memory::Memory;
use super::ownership::{self, Ownership};
use super::records::{Change, Expectation, Key, RecordSet, Records};
use super::zone::{Claim, Sets, Zone, ours};

/// Everything that a plan is made from.
#[derive(Debug)]
pub(crate) struct Situation<'a> {
    pub(crate) desired: &'a Desired,
    pub(crate) records: &'a Records,
    pub(crate) zone: &'a LowerName,
    pub(crate) owner: &'a str,
    pub(crate) limits: &'a Limits,
    pub(crate) removals: Removals,
    pub(crate) now: Instant,
    /// If stated, only these names are looked at.
    pub(crate) only: Option<&'a BTreeSet<LowerName>>,
}

/// How carefully is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// For how long a record must not have been wanted, at least, and twice its time to live.
    pub(crate) remove_after: Duration,
    /// How many names a round may remove; a tenth of ours, if that is more.
    pub(crate) max_removals: usize,
}

/// Whether anything may be removed at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Removals {
    Allowed,
    /// Clients have yet to return after a start.
    NotBefore(Instant),
    /// The registry knows of no cluster: it is more likely wrong than right.
    Never,
}

/// What is to be done, and what is not.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    /// In this order: removals are last.
    pub(crate) changes: Vec<Planned>,
    pub(crate) held: Vec<Held>,
    /// How every name stands that is wanted.
    pub(crate) states: BTreeMap<LowerName, State>,
    /// How many names are ours.
    pub(crate) owned: usize,
}

/// A change, and why it is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Planned {
    pub(crate) change: Change,
    pub(crate) act: Act,
}

/// What a change does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Act {
    /// A name that was not there.
    Add,
    /// Records of a name come or go, since edges did.
    Update,
    /// Somebody has changed what is ours.
    Repair,
    /// A name goes.
    Remove,
}

/// How a name stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    InSync,
    /// A change is to be made.
    Pending(Act),
    /// It is somebody else's: why it is believed to be.
    Foreign(String),
}

/// Something that is not wanted and stays for now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) name: LowerName,
    /// What the name is, or was, for.
    pub(crate) purpose: String,
    /// Some of its records; all of the name if there are none.
    pub(crate) records: BTreeSet<RData>,
    pub(crate) because: Because,
    /// Until when at least; `None` if that depends on something else than time.
    pub(crate) until: Option<Instant>,
}

/// Why it stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Because {
    /// It was wanted not long ago.
    Recent,
    /// It comes and goes.
    Flapping,
    Settling,
    NoClusters,
    /// This round removes enough already.
    Capped,
}

/// Makes the plan. `memory` learns what is wanted now.
pub(crate) fn plan(situation: &Situation<'_>, memory: &mut Memory) -> Plan {
    let mut planner = Planner {
        situation,
        memory,
        zone: Zone::of(situation.records),
        plan: Plan::default(),
    };
    for (name, wanted) in &situation.desired.names {
        if planner.looks_at(name) {
            planner.wanted(name, wanted);
        }
    }
    let unwanted = planner.unwanted();
    let mut plan = planner.plan;
    plan.changes
        .sort_by_key(|planned| planned.act == Act::Remove);
    if situation.only.is_none() {
        memory.keep_wanted(|name| situation.desired.names.contains_key(name));
        memory.forget(situation.now, |name| unwanted.contains(name));
    }
    plan
}

struct Planner<'a, 'm> {
    situation: &'a Situation<'a>,
    memory: &'m mut Memory,
    zone: Zone<'a>,
    plan: Plan,
}

impl<'a> Planner<'a, '_> {
    fn looks_at(&self, name: &LowerName) -> bool {
        self.situation.only.is_none_or(|only| only.contains(name))
    }

    fn wanted(&mut self, name: &'a LowerName, wanted: &Wanted) {
        self.memory.wanted(name);
        let key = ownership::key(name, self.situation.zone)
            .expect("what has no room for its owner is not desired");
        let types: BTreeSet<_> = wanted.records.iter().map(RData::record_type).collect();
        let claim = self.zone.claim(&key, self.situation.owner);
        let here = self.zone.at(name);
        let state = match claim {
            Claim::Others(why) => State::Foreign(why),
            Claim::Nobodys => match in_the_way(here, &types, &BTreeSet::new()) {
                Some(kind) => State::Foreign(format!(
                    "it has {kind} records, and {} does not say that they are ours",
                    key.name
                )),
                None => self.add(name, key, wanted, &types),
            },
            Claim::Ours(ownership, set) => match in_the_way(here, &types, &ownership.types) {
                Some(kind) => State::Foreign(format!(
                    "it has {kind} records, which are not among ours at {}",
                    key.name
                )),
                None => {
                    self.plan.owned += 1;
                    self.compare(name, key, wanted, &ownership, set)
                }
            },
        };
        self.plan.states.insert(name.clone(), state);
    }

    fn add(
        &mut self,
        name: &LowerName,
        owner_key: Key,
        wanted: &Wanted,
        types: &BTreeSet<RecordType>,
    ) -> State {
        let mut expected = vec![Expectation::Absent(owner_key.clone())];
        if types.contains(&RecordType::CNAME) {
            expected.push(Expectation::Unused(name.clone()));
        } else {
            let absent = types.iter().chain([&RecordType::CNAME, &RecordType::NS]);
            expected.extend(absent.map(|kind| Expectation::Absent(key(name, *kind))));
        }
        let ownership = self.ownership(wanted, &wanted.records);
        let mut sets = of_types(name, types, &wanted.records, wanted.ttl);
        sets.push((owner_key, Some(alone(ownership.record(), wanted.ttl))));
        self.change(Act::Add, name, expected, sets)
    }

    /// A name that is ours, and wanted.
    fn compare(
        &mut self,
        name: &LowerName,
        owner_key: Key,
        wanted: &Wanted,
        ownership: &Ownership,
        owner_set: &RecordSet,
    ) -> State {
        let ours = ours(self.zone.at(name), ownership);
        let there: BTreeSet<RData> = ours.iter().flat_map(|(_, set)| set.data.clone()).collect();
        let intact = ownership.vouches_for(&there);
        let kept = self.kept(name, wanted, &there, intact, most_ttl(&ours));
        let records: BTreeSet<RData> = wanted.records.union(&kept).cloned().collect();
        let new_ownership = self.ownership(wanted, &records);
        let new_owner_set = alone(new_ownership.record(), wanted.ttl);
        let ttl_is_right = ours.iter().all(|(_, set)| set.ttl == wanted.ttl);
        if records == there && ttl_is_right && *owner_set == new_owner_set {
            return State::InSync;
        }
        let mut expected = as_it_is(name, &owner_key, ownership, owner_set, &ours);
        let types: BTreeSet<_> = records.iter().map(RData::record_type).collect();
        let others = types.iter().chain([&RecordType::CNAME]);
        let unowned = others.filter(|kind| !ownership.types.contains(kind));
        let unowned: BTreeSet<_> = unowned.collect();
        expected.extend(
            unowned
                .into_iter()
                .map(|kind| Expectation::Absent(key(name, *kind))),
        );
        // What goes is first: an alias comes only where nothing else is.
        let gone = ours.iter().filter(|(kind, _)| !types.contains(kind));
        let mut sets: Vec<_> = gone.map(|(kind, _)| (key(name, *kind), None)).collect();
        sets.extend(of_types(name, &types, &records, wanted.ttl));
        sets.push((owner_key, Some(new_owner_set)));
        let act = if intact { Act::Update } else { Act::Repair };
        self.change(act, name, expected, sets)
    }

    /// Which records stay for now, though they are not wanted. Those that were written by somebody
    /// else do not; nor can anything stay beside an alias.
    fn kept(
        &mut self,
        name: &LowerName,
        wanted: &Wanted,
        there: &BTreeSet<RData>,
        intact: bool,
        ttl: u32,
    ) -> BTreeSet<RData> {
        let mut extra: BTreeSet<RData> = there.difference(&wanted.records).cloned().collect();
        if !intact || is_alias_of(there) || is_alias_of(&wanted.records) {
            extra.clear();
        }
        let now = self.situation.now;
        let since = self.memory.extra(name, &extra, now);
        let flapping = self.memory.held_until(name, now);
        let mut held: HashMap<(Because, Option<Instant>), BTreeSet<RData>> = HashMap::new();
        for (data, since) in since {
            let because = if wanted.leaving.contains(&data) {
                flapping.map(|until| (Because::Flapping, Some(until)))
            } else {
                self.held(since, ttl, flapping)
            };
            if let Some(because) = because {
                held.entry(because).or_default().insert(data);
            }
        }
        let kept = held.values().flatten().cloned().collect();
        for ((because, until), records) in held {
            self.plan.held.push(Held {
                name: name.clone(),
                purpose: wanted.purpose.to_string(),
                records,
                because,
                until,
            });
        }
        kept
    }

    /// Removes or holds all names that are ours and not wanted, and answers which these are. The
    /// longest unwanted go first.
    fn unwanted(&mut self) -> BTreeSet<LowerName> {
        let Situation { zone, owner, .. } = *self.situation;
        let mut unwanted = BTreeSet::new();
        let mut removable = Vec::new();
        let mut owner_names: Vec<&LowerName> = self.zone.names.keys().copied().collect();
        owner_names.sort();
        for owner_name in owner_names {
            let Some(name) = ownership::served(owner_name, zone) else {
                continue;
            };
            if self.situation.desired.names.contains_key(&name) || !self.looks_at(&name) {
                continue;
            }
            let owner_key = key(owner_name, RecordType::TXT);
            let Claim::Ours(ownership, owner_set) = self.zone.claim(&owner_key, owner) else {
                continue;
            };
            self.plan.owned += 1;
            unwanted.insert(name.clone());
            let ours = ours(self.zone.at(&name), &ownership);
            let since = self.memory.unwanted(&name, self.situation.now);
            let flapping = self.memory.held_until(&name, self.situation.now);
            match self.held(since, most_ttl(&ours), flapping) {
                Some((because, until)) => self.hold(name, &ownership, because, until),
                None => {
                    let expected = as_it_is(&name, &owner_key, &ownership, owner_set, &ours);
                    let kinds = ours.iter().map(|(kind, _)| key(&name, *kind));
                    let sets = kinds.chain([owner_key]).map(|key| (key, None)).collect();
                    removable.push((since, name, ownership, expected, sets));
                }
            }
        }
        let most = self.situation.limits.max_removals.max(self.plan.owned / 10);
        removable.sort_by(|(a, x, ..), (b, y, ..)| (a, x).cmp(&(b, y)));
        for (nth, (_, name, ownership, expected, sets)) in removable.into_iter().enumerate() {
            if nth < most {
                self.change(Act::Remove, &name, expected, sets);
            } else {
                self.hold(name, &ownership, Because::Capped, None);
            }
        }
        unwanted
    }

    /// Why something may not be removed yet that was not wanted `since` then.
    fn held(
        &self,
        since: Instant,
        ttl: u32,
        flapping: Option<Instant>,
    ) -> Option<(Because, Option<Instant>)> {
        let Situation {
            limits,
            removals,
            now,
            ..
        } = *self.situation;
        let settling = match removals {
            Removals::Allowed => None,
            Removals::NotBefore(then) => Some((Because::Settling, then)),
            Removals::Never => return Some((Because::NoClusters, None)),
        };
        let kept = limits.remove_after.max(Duration::from_secs(ttl.into()) * 2);
        let recent = Some((Because::Recent, since + kept));
        let flapping = flapping.map(|until| (Because::Flapping, until));
        let reasons = [recent, settling, flapping].into_iter().flatten();
        let (because, until) = reasons
            .filter(|(_, until)| *until > now)
            .max_by_key(|(_, until)| *until)?;
        Some((because, Some(until)))
    }

    fn hold(
        &mut self,
        name: LowerName,
        ownership: &Ownership,
        because: Because,
        until: Option<Instant>,
    ) {
        self.plan.held.push(Held {
            name,
            purpose: ownership.purpose.clone(),
            records: BTreeSet::new(),
            because,
            until,
        });
    }

    fn change(
        &mut self,
        act: Act,
        name: &LowerName,
        expected: Vec<Expectation>,
        sets: Vec<(Key, Option<RecordSet>)>,
    ) -> State {
        let change = Change {
            name: name.clone(),
            expected,
            sets,
        };
        self.plan.changes.push(Planned { change, act });
        State::Pending(act)
    }

    fn ownership(&self, wanted: &Wanted, records: &BTreeSet<RData>) -> Ownership {
        Ownership::of(self.situation.owner, wanted.purpose.to_string(), records)
    }
}

/// A type of records, not `owned`, beside which these cannot be published.
fn in_the_way(
    here: &[(RecordType, &RecordSet)],
    wanted: &BTreeSet<RecordType>,
    owned: &BTreeSet<RecordType>,
) -> Option<RecordType> {
    let conflicts = |kind: RecordType| {
        // Signatures stand beside everything, aliases too (RFC 4034, sections 3 and 4).
        let signs = [RecordType::RRSIG, RecordType::NSEC].contains(&kind);
        // What is below a delegation is another zone's (RFC 1034, section 4.2.1).
        let elsewhere = [RecordType::CNAME, RecordType::NS].contains(&kind);
        wanted.contains(&kind) || elsewhere || (is_alias(wanted) && !signs)
    };
    here.iter()
        .map(|(kind, _)| *kind)
        .find(|kind| !owned.contains(kind) && conflicts(*kind))
}

/// That what is ours, and that it is ours, is still as it was seen.
fn as_it_is(
    name: &LowerName,
    owner_key: &Key,
    ownership: &Ownership,
    owner_set: &RecordSet,
    ours: &Sets<'_>,
) -> Vec<Expectation> {
    let mut expected = vec![Expectation::Exactly(
        owner_key.clone(),
        owner_set.data.clone(),
    )];
    expected.extend(ownership.types.iter().map(|kind| {
        let there = ours.iter().find(|(there, _)| there == kind);
        match there {
            Some((_, set)) => Expectation::Exactly(key(name, *kind), set.data.clone()),
            None => Expectation::Absent(key(name, *kind)),
        }
    }));
    expected
}

fn of_types(
    name: &LowerName,
    types: &BTreeSet<RecordType>,
    records: &BTreeSet<RData>,
    ttl: u32,
) -> Vec<(Key, Option<RecordSet>)> {
    let set = |kind: &RecordType| {
        let of_type = |data: &&RData| data.record_type() == *kind;
        let data = records.iter().filter(of_type).cloned().collect();
        (key(name, *kind), Some(RecordSet { ttl, data }))
    };
    types.iter().map(set).collect()
}

fn key(name: &LowerName, kind: RecordType) -> Key {
    Key {
        name: name.clone(),
        kind,
    }
}

fn alone(record: RData, ttl: u32) -> RecordSet {
    RecordSet {
        ttl,
        data: BTreeSet::from([record]),
    }
}

fn most_ttl(sets: &Sets<'_>) -> u32 {
    sets.iter().map(|(_, set)| set.ttl).max().unwrap_or(0)
}

fn is_alias(types: &BTreeSet<RecordType>) -> bool {
    types.contains(&RecordType::CNAME)
}

fn is_alias_of(records: &BTreeSet<RData>) -> bool {
    records
        .iter()
        .any(|data| data.record_type() == RecordType::CNAME)
}
