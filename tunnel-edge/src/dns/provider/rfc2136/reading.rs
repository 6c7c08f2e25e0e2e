//! What a zone has, from what its server answers: a transfer, or query by query. Pure.

use std::collections::{BTreeMap, BTreeSet};

use hickory_proto::{
    op::{Message, MessageType, OpCode, Query},
    rr::{DNSClass, LowerName, Name, RData, Record, RecordType},
};

use crate::dns::records::{Key, RecordSet, Records, Snapshot};

/// The types that are asked for under a name; a CNAME comes as an answer to any of them.
pub(super) const TYPES: [RecordType; 4] = [
    RecordType::A,
    RecordType::AAAA,
    RecordType::TXT,
    RecordType::SRV,
];

/// What is asked for besides where something seems to be in the way: everything there is, which not every server says
/// (RFC 8482), and what people have beside or instead of addresses.
pub(super) const UNUSUAL_TYPES: [RecordType; 16] = [
    RecordType::ANY,
    RecordType::NS,
    RecordType::DS,
    RecordType::MX,
    RecordType::CAA,
    RecordType::HTTPS,
    RecordType::SVCB,
    RecordType::TLSA,
    RecordType::SSHFP,
    RecordType::PTR,
    RecordType::NAPTR,
    RecordType::HINFO,
    RecordType::OPENPGPKEY,
    RecordType::SMIMEA,
    RecordType::CERT,
    RecordType::KEY,
];

/// A question, not yet signed.
pub(super) fn question(id: u16, name: &Name, kind: RecordType) -> Message {
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(name.clone(), kind));
    message
}

/// The serial in an answer about the SOA record of `zone`.
pub(super) fn serial(zone: &LowerName, answer: &[Record]) -> Option<u32> {
    answer.iter().find_map(|record| serial_of(zone, record))
}

fn serial_of(zone: &LowerName, record: &Record) -> Option<u32> {
    let RData::SOA(soa) = &record.data else {
        return None;
    };
    (record.name == **zone).then_some(soa.serial)
}

/// A whole zone, taken in message by message: its SOA record, everything else, and the SOA record
/// again (RFC 5936, section 2.2).
#[derive(Debug)]
pub(super) struct Transfer<'a> {
    zone: &'a LowerName,
    serial: Option<u32>,
    records: Records,
}

/// Where a transfer stands.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    More,
    Whole,
}

impl<'a> Transfer<'a> {
    pub(super) fn new(zone: &'a LowerName) -> Self {
        Self {
            zone,
            serial: None,
            records: Records::new(),
        }
    }

    /// Whether nothing was taken in so far.
    pub(super) fn is_empty(&self) -> bool {
        self.serial.is_none()
    }

    /// Takes in the records of the next message; `Err` says what cannot be.
    pub(super) fn take(&mut self, records: Vec<Record>) -> Result<Progress, &'static str> {
        if records.is_empty() {
            return Err("a message of the transfer has no records");
        }
        let mut progress = Progress::More;
        for record in records {
            if progress == Progress::Whole {
                return Err("the transfer goes on behind its end");
            }
            progress = self.take_record(record)?;
        }
        Ok(progress)
    }

    fn take_record(&mut self, record: Record) -> Result<Progress, &'static str> {
        match (self.serial, serial_of(self.zone, &record)) {
            (None, None) => Err("the transfer does not begin with the SOA record"),
            (None, Some(serial)) => {
                self.serial = Some(serial);
                add(&mut self.records, record);
                Ok(Progress::More)
            }
            (Some(begun), Some(ended)) if begun == ended => Ok(Progress::Whole),
            (Some(_), Some(_)) => Err("the transfer ends with another serial than it began with"),
            (Some(_), None) => {
                add(&mut self.records, record);
                Ok(Progress::More)
            }
        }
    }

    /// The zone, once it is whole.
    pub(super) fn into_snapshot(self) -> Option<Snapshot> {
        Some(Snapshot {
            serial: self.serial?,
            records: self.records,
        })
    }
}

/// What answers to questions for one name have of it, by type.
pub(super) type Sets = BTreeMap<RecordType, RecordSet>;

/// Takes in one more answer. A CNAME is not followed: only what is under the name itself counts.
pub(super) fn add_answer(sets: &mut Sets, name: &Name, answer: Vec<Record>) {
    for record in answer {
        if record.name == *name && record.dns_class == DNSClass::IN && !says_nothing(&record.data) {
            add_to(sets, record.record_type(), record);
        }
    }
}

/// What stands for an answer to a question for any type (RFC 8482, section 4.2).
fn says_nothing(data: &RData) -> bool {
    matches!(data, RData::HINFO(hinfo) if *hinfo.cpu == *b"RFC8482")
}

/// The types to ask for to see `sets` again.
pub(super) fn types_of(sets: &Sets) -> Vec<RecordType> {
    let mut types: Vec<_> = sets.keys().copied().collect();
    for kind in &mut types {
        if *kind == RecordType::CNAME {
            *kind = RecordType::A;
        }
    }
    types
}

/// Whether these answers come from a wildcard rather than from the name itself (RFC 4592): then a
/// name below it, where nobody has a record, gets the same ones. If the name had records of its
/// own, no wildcard above it would be used below it.
pub(super) fn is_from_wildcard(sets: &Sets, below: &Sets) -> bool {
    !sets.is_empty() && sets == below
}

fn add(records: &mut Records, record: Record) {
    if record.dns_class == DNSClass::IN {
        let name = LowerName::from(&record.name);
        let kind = record.record_type();
        add_to(records, Key { name, kind }, record);
    }
}

fn add_to<K: Ord>(sets: &mut BTreeMap<K, RecordSet>, key: K, record: Record) {
    let set = sets.entry(key).or_insert_with(|| RecordSet {
        ttl: record.ttl,
        data: BTreeSet::new(),
    });
    set.data.insert(record.data);
}
