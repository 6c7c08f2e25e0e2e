//! What a zone has, by name, and whose it is. Pure.

use std::collections::HashMap;

use hickory_proto::rr::{LowerName, RecordType};

use super::ownership::Ownership;
use super::records::{Key, RecordSet, Records};

/// What the zone has, by name.
pub(super) struct Zone<'a> {
    pub(super) names: HashMap<&'a LowerName, Sets<'a>>,
}

pub(super) type Sets<'a> = Vec<(RecordType, &'a RecordSet)>;

/// Whose a name is.
pub(super) enum Claim<'a> {
    Nobodys,
    Ours(Ownership, &'a RecordSet),
    /// And how that is known.
    Others(String),
}

impl<'a> Zone<'a> {
    pub(super) fn of(records: &'a Records) -> Self {
        let mut names: HashMap<&LowerName, Sets<'_>> = HashMap::new();
        for (key, set) in records {
            names.entry(&key.name).or_default().push((key.kind, set));
        }
        Self { names }
    }

    pub(super) fn at(&self, name: &LowerName) -> &[(RecordType, &'a RecordSet)] {
        self.names.get(name).map_or(&[], Vec::as_slice)
    }

    fn set(&self, key: &Key) -> Option<&'a RecordSet> {
        let mut sets = self.at(&key.name).iter();
        sets.find_map(|(kind, set)| (*kind == key.kind).then_some(*set))
    }

    pub(super) fn claim(&self, key: &Key, owner: &str) -> Claim<'a> {
        let Some(set) = self.set(key) else {
            return Claim::Nobodys;
        };
        match Ownership::read(&set.data) {
            Ok(read) if read.owner == owner => Claim::Ours(read, set),
            Ok(read) => Claim::Others(format!(
                "{} says that its owner is {}",
                key.name, read.owner
            )),
            Err(error) => Claim::Others(format!("{} cannot be read: {error}", key.name)),
        }
    }
}

/// The records under a name that are the owner's.
pub(super) fn ours<'a>(here: &[(RecordType, &'a RecordSet)], ownership: &Ownership) -> Sets<'a> {
    let mut ours = here.to_vec();
    ours.retain(|(kind, _)| ownership.types.contains(kind));
    ours
}
