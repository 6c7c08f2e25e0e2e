//! A zone that this process holds itself: its records, its serial, and changes as an UPDATE makes
//! them (RFC 2136, section 3). Pure.

use std::collections::{BTreeSet, HashSet};

use hickory_proto::rr::rdata::{NS, SOA};
use hickory_proto::rr::{LowerName, Name, RData, RecordType};

use crate::dns::records::{Change, Expectation, Key, RecordSet, Records, Snapshot};

/// How long others may keep the list of name servers, in seconds.
const NAME_SERVERS_TTL: u32 = 3600;

/// For secondaries, of which there is none: nobody may transfer the zone (RFC 1912, section 2.2).
const REFRESH: i32 = 3600;
const RETRY: i32 = 600;
const EXPIRE: i32 = 1_209_600;

/// The longest time to live (RFC 2181, section 8).
const LONGEST_TTL: u32 = i32::MAX as u32;

/// A zone's records, and which state of them it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Zone {
    origin: LowerName,
    serial: u32,
    /// With the SOA and NS records of the apex, if there is an authority.
    records: Records,
    authority: Option<Authority>,
}

/// Who answers for a zone: what its SOA and NS records say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Authority {
    /// Never empty; the first is the primary.
    pub(super) nameservers: Vec<Name>,
    /// The mailbox of who runs it, its @ written as a dot.
    pub(super) contact: Name,
    /// In seconds: how long others may keep that there is no such name (RFC 2308).
    pub(super) negative_ttl: u32,
}

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The zone has a new serial.
    Changed,
    /// Everything was so before.
    Unchanged,
    /// An expectation does not hold. Nothing was done.
    Overtaken,
}

/// Why a change cannot be made. Nothing was done.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unwritable {
    #[error("{name} is not in the zone {origin}")]
    OutOfZone { name: String, origin: String },
    #[error("{0}: SOA and NS records come from the configuration")]
    Authority(LowerName),
    #[error("{0}: {1} is no type of records in a zone")]
    NoRecordType(LowerName, RecordType),
    #[error("{0}: there can be no other record beside a CNAME (RFC 2181, section 10.1)")]
    BesideAlias(LowerName),
    #[error("{0}: a set of {1} records is empty or holds records of other types")]
    Set(LowerName, RecordType),
    #[error("{0}: a time to live of {1} s is too long (RFC 2181, section 8)")]
    Ttl(LowerName, u32),
}

impl Authority {
    pub(super) fn new(nameservers: &[LowerName], contact: &LowerName, negative_ttl: u32) -> Self {
        let names = nameservers.iter();
        Self {
            nameservers: names.map(|name| Name::from(name.clone())).collect(),
            contact: Name::from(contact.clone()),
            negative_ttl,
        }
    }
}

impl Zone {
    /// `records` of others' making; SOA and NS records of the apex are `authority`'s.
    pub(super) fn new(
        origin: LowerName,
        serial: u32,
        records: Records,
        authority: Option<Authority>,
    ) -> Self {
        let mut zone = Self {
            origin,
            serial,
            records,
            authority,
        };
        if let Some(authority) = &zone.authority {
            let names = authority.nameservers.iter();
            let nameservers = RecordSet {
                ttl: NAME_SERVERS_TTL,
                data: names.map(|name| RData::NS(NS(name.clone()))).collect(),
            };
            zone.records.insert(zone.apex(RecordType::NS), nameservers);
        }
        zone.state_serial();
        zone
    }

    pub(super) fn origin(&self) -> &LowerName {
        &self.origin
    }

    pub(super) fn serial(&self) -> u32 {
        self.serial
    }

    pub(super) fn records(&self) -> &Records {
        &self.records
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        Snapshot {
            serial: self.serial,
            records: self.records.clone(),
        }
    }

    /// The key of a set at the apex.
    pub(super) fn apex(&self, kind: RecordType) -> Key {
        Key {
            name: self.origin.clone(),
            kind,
        }
    }

    /// Makes a change as a whole, if all it expects holds.
    pub(super) fn make(&mut self, change: &Change) -> Result<Outcome, Unwritable> {
        if !change.expected.iter().all(|expected| self.holds(expected)) {
            return Ok(Outcome::Overtaken);
        }
        self.check(change)?;
        let mut changed = false;
        for (key, set) in &change.sets {
            let before = match set {
                Some(set) => self.records.insert(key.clone(), set.clone()),
                None => self.records.remove(key),
            };
            changed |= before.as_ref() != set.as_ref();
        }
        if !changed {
            return Ok(Outcome::Unchanged);
        }
        self.advance(1);
        Ok(Outcome::Changed)
    }

    /// Takes a later serial, by less than half of all there are (RFC 1982).
    pub(super) fn advance(&mut self, by: u32) {
        debug_assert!(by <= LONGEST_TTL, "a greater step would lead backwards");
        self.serial = self.serial.wrapping_add(by);
        self.state_serial();
    }

    /// Writes the serial into the SOA record, whose time to live is the negative one too (RFC
    /// 2308, section 3).
    fn state_serial(&mut self) {
        let Some(authority) = &self.authority else {
            return;
        };
        let soa = SOA::new(
            authority.nameservers[0].clone(),
            authority.contact.clone(),
            self.serial,
            REFRESH,
            RETRY,
            EXPIRE,
            authority.negative_ttl,
        );
        let set = RecordSet {
            ttl: authority.negative_ttl,
            data: BTreeSet::from([RData::SOA(soa)]),
        };
        self.records.insert(self.apex(RecordType::SOA), set);
    }

    /// RFC 2136, section 3.2.
    fn holds(&self, expectation: &Expectation) -> bool {
        match expectation {
            Expectation::Unused(name) => self.kinds(name).next().is_none(),
            Expectation::Absent(key) => !self.records.contains_key(key),
            Expectation::Exactly(key, data) => {
                self.records.get(key).is_some_and(|set| set.data == *data)
            }
        }
    }

    /// The types of the records under a name, in order.
    fn kinds(&self, name: &LowerName) -> impl Iterator<Item = RecordType> {
        let first = Key {
            name: name.clone(),
            kind: RecordType::from(0),
        };
        let sets = self.records.range(first..).map(|(key, _)| key);
        sets.take_while(move |key| key.name == *name)
            .map(|key| key.kind)
    }

    fn check(&self, change: &Change) -> Result<(), Unwritable> {
        for (key, set) in &change.sets {
            let Key { name, kind } = key;
            if !self.origin.zone_of(name) {
                return Err(Unwritable::OutOfZone {
                    name: name.to_string(),
                    origin: self.origin.to_string(),
                });
            }
            if matches!(kind, RecordType::SOA | RecordType::NS) {
                return Err(Unwritable::Authority(name.clone()));
            }
            if !is_data(*kind) {
                return Err(Unwritable::NoRecordType(name.clone(), *kind));
            }
            let Some(set) = set else { continue };
            let fits = set.data.iter().all(|data| data.record_type() == *kind);
            if set.data.is_empty() || !fits {
                return Err(Unwritable::Set(name.clone(), *kind));
            }
            if set.ttl > LONGEST_TTL {
                return Err(Unwritable::Ttl(name.clone(), set.ttl));
            }
            if *kind == RecordType::CNAME && set.data.len() > 1 {
                return Err(Unwritable::BesideAlias(name.clone()));
            }
        }
        self.check_aliases(change)
    }

    fn check_aliases(&self, change: &Change) -> Result<(), Unwritable> {
        let names: HashSet<&LowerName> = change.sets.iter().map(|(key, _)| &key.name).collect();
        for name in names {
            let mut kinds: BTreeSet<RecordType> = self.kinds(name).collect();
            for (key, set) in change.sets.iter().filter(|(key, _)| key.name == *name) {
                match set {
                    Some(_) => kinds.insert(key.kind),
                    None => kinds.remove(&key.kind),
                };
            }
            if kinds.contains(&RecordType::CNAME) && kinds.len() > 1 {
                return Err(Unwritable::BesideAlias(name.clone()));
            }
        }
        Ok(())
    }
}

/// Whether records of this type can lie in a zone: it is neither a question's nor of the message
/// itself (RFC 6895, section 3.1).
fn is_data(kind: RecordType) -> bool {
    let code = u16::from(kind);
    code != 0 && code != u16::from(RecordType::OPT) && !(128..256).contains(&code)
}

#[cfg(test)]
mod tests;
