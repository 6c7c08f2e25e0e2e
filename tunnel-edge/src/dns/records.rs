//! Records, as sets under a name and a type, and a change of one name. Pure.

use std::collections::{BTreeMap, BTreeSet};

use hickory_proto::rr::{LowerName, RData, RecordType};

/// Which set of records (RFC 2181, section 5): the fully qualified name and the type.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) name: LowerName,
    pub(crate) kind: RecordType,
}

/// All records of one [`Key`]; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RecordSet {
    /// In seconds.
    pub(crate) ttl: u32,
    pub(crate) data: BTreeSet<RData>,
}

/// Sets of records.
pub(crate) type Records = BTreeMap<Key, RecordSet>;

/// What an authoritative server had at one serial of its zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Snapshot {
    /// The serial of the SOA record (RFC 1035, section 3.3.13).
    pub(crate) serial: u32,
    /// Every set that the provider could read: after a transfer the whole zone, others' records
    /// included; otherwise what was asked for.
    pub(crate) records: Records,
}

/// A change of one name and of the record that says whose it is: made as a whole, or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    /// The name that is served.
    pub(crate) name: LowerName,
    /// What must still be so for the change to be made (RFC 2136, section 2.4).
    pub(crate) expected: Vec<Expectation>,
    /// Each set as it is to be from then on; `None` takes it away.
    pub(crate) sets: Vec<(Key, Option<RecordSet>)>,
}

/// A prerequisite of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Expectation {
    /// There is no record at all under the name.
    Unused(LowerName),
    /// There is no such set.
    Absent(Key),
    /// The set has exactly these records, whatever their time to live.
    Exactly(Key, BTreeSet<RData>),
}
