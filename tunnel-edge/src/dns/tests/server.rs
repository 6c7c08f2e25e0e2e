//! A name server in memory that keeps to RFC 2136, edits that somebody else makes, and faults.

use std::collections::{BTreeSet, VecDeque};

use hickory_proto::rr::{LowerName, RData, RecordType};

use crate::dns::provider::{Applied, ProviderError, Reading, Reason};
use crate::dns::records::{Change, Expectation, Key, RecordSet, Records, Snapshot};

/// The authority for a zone.
#[derive(Clone, Debug)]
pub(super) struct Server {
    pub(super) records: Records,
    pub(super) serial: u32,
    /// How many zones were read in full.
    pub(super) transfers: usize,
    /// Every change that it was asked for, by the name.
    pub(super) asked: Vec<LowerName>,
    /// How many changes were made.
    pub(super) updates: usize,
    pub(super) reading: VecDeque<Reason>,
    pub(super) changing: VecDeque<Fault>,
    /// What somebody else does, each just before a change of ours.
    pub(super) meanwhile: VecDeque<(Key, Option<RecordSet>)>,
    /// The same, if there is such a set then, and it is not `others`.
    pub(super) drifts: VecDeque<(Key, RecordSet)>,
    pub(super) others: BTreeSet<Key>,
}

/// What goes wrong with a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    /// It is not made.
    Fails(Reason),
    /// It is made, and the answer is lost.
    Unanswered,
}

impl Server {
    pub(super) fn new() -> Self {
        Self {
            records: Records::new(),
            serial: u32::MAX,
            transfers: 0,
            asked: Vec::new(),
            updates: 0,
            reading: VecDeque::new(),
            changing: VecDeque::new(),
            meanwhile: VecDeque::new(),
            drifts: VecDeque::new(),
            others: BTreeSet::new(),
        }
    }

    pub(super) fn read(&mut self, known: Option<u32>) -> Result<Reading, ProviderError> {
        if let Some(reason) = self.reading.pop_front() {
            return Err(error(reason));
        }
        if known == Some(self.serial) {
            return Ok(Reading::Unchanged);
        }
        self.transfers += 1;
        Ok(Reading::Zone(Snapshot {
            serial: self.serial,
            records: self.records.clone(),
        }))
    }

    pub(super) fn apply(&mut self, change: &Change) -> Result<Applied, ProviderError> {
        self.asked.push(change.name.clone());
        if let Some((key, set)) = self.meanwhile.pop_front() {
            self.edit(key, set);
        }
        if let Some((key, set)) = self.drifts.pop_front()
            && self.records.contains_key(&key)
            && !self.others.contains(&key)
        {
            self.edit(key, Some(set));
        }
        match self.changing.pop_front().unwrap_or(Fault::None) {
            Fault::None => Ok(self.make(change)),
            Fault::Fails(reason) => Err(error(reason)),
            Fault::Unanswered => {
                self.make(change);
                Err(error(Reason::Timeout))
            }
        }
    }

    /// What anybody may do who has the key of another owner, or none.
    pub(super) fn edit(&mut self, key: Key, set: Option<RecordSet>) {
        self.serial = self.serial.wrapping_add(1);
        self.put(key, set);
    }

    fn make(&mut self, change: &Change) -> Applied {
        let holds = |expected: &Expectation| match expected {
            Expectation::Unused(name) => self.kinds(name).next().is_none(),
            Expectation::Absent(key) => !self.records.contains_key(key),
            Expectation::Exactly(key, data) => {
                let there = self.records.get(key);
                there.is_some_and(|set| set.data == *data)
            }
        };
        if !change.expected.iter().all(holds) {
            return Applied::Overtaken;
        }
        self.updates += 1;
        self.serial = self.serial.wrapping_add(1);
        for (key, set) in &change.sets {
            self.put(key.clone(), set.clone());
        }
        Applied::Done
    }

    /// An alias beside anything else, or anything else beside an alias, is left out silently
    /// (RFC 2136, section 3.4.2.2).
    fn put(&mut self, key: Key, set: Option<RecordSet>) {
        let Some(set) = set else {
            self.records.remove(&key);
            return;
        };
        let is_alias = |kind: RecordType| kind == RecordType::CNAME;
        let clashes = self
            .kinds(&key.name)
            .any(|there| there != key.kind && (is_alias(there) || is_alias(key.kind)));
        if !clashes {
            self.records.insert(key, set);
        }
    }

    /// The types of records under a name.
    fn kinds(&self, name: &LowerName) -> impl Iterator<Item = RecordType> {
        let first = Key {
            name: name.clone(),
            kind: RecordType::ZERO,
        };
        let keys = self.records.range(first..).map(|(key, _)| key);
        keys.take_while(|key| key.name == *name).map(|key| key.kind)
    }

    /// As a transfer shows it: a line for each record, in order.
    pub(super) fn lines(&self) -> Vec<String> {
        let line = |(key, set): (&Key, &RecordSet)| {
            let Key { name, kind } = key.clone();
            let ttl = set.ttl;
            let data = set.data.clone();
            data.into_iter()
                .map(move |data| format!("{name} {ttl} {kind} {data}"))
        };
        self.records.iter().flat_map(line).collect()
    }

    /// The texts of a set; empty if there is none.
    pub(super) fn texts(&self, key: &Key) -> Vec<String> {
        let set = self.records.get(key);
        let data = set.into_iter().flat_map(|set| &set.data);
        data.map(ToString::to_string).collect()
    }
}

pub(super) fn set(ttl: u32, data: impl IntoIterator<Item = RData>) -> RecordSet {
    let data: BTreeSet<RData> = data.into_iter().collect();
    RecordSet { ttl, data }
}

fn error(reason: Reason) -> ProviderError {
    ProviderError {
        reason,
        message: format!("the server says {}", reason.label()),
    }
}
