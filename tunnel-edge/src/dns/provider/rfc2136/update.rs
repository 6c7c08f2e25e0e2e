//! A change as one UPDATE message (RFC 2136): the server makes all of it, or nothing. Pure.

use hickory_proto::{
    op::{Message, MessageType, OpCode, Query, UpdateMessage},
    rr::{DNSClass, LowerName, Name, RData, Record, RecordType},
};

use crate::dns::records::{Change, Expectation};

/// The message, not yet signed. `Err` names what does not lie in the zone.
pub(super) fn message(id: u16, zone: &LowerName, change: &Change) -> Result<Message, LowerName> {
    let mut message = Message::new(id, MessageType::Query, OpCode::Update);
    let mut section = Query::new();
    section
        .set_name(zone.into())
        .set_query_type(RecordType::SOA);
    message.add_zone(section);
    for expectation in &change.expected {
        message.add_pre_requisites(prerequisites(expectation));
    }
    // All removals come first: a record added beside a CNAME that is still there would be passed
    // over without a word (RFC 2136, section 3.4.2.2).
    for (key, _) in &change.sets {
        message.add_update(without_data(&key.name, DNSClass::ANY, key.kind));
    }
    for (key, set) in &change.sets {
        for data in set.iter().flat_map(|set| &set.data) {
            let ttl = set.as_ref().map_or(0, |set| set.ttl);
            message.add_update(Record::from_rdata((&key.name).into(), ttl, data.clone()));
        }
    }
    let stranger = message
        .prerequisites()
        .iter()
        .chain(message.updates())
        .map(|record| LowerName::from(&record.name))
        .find(|name| !zone.zone_of(name));
    stranger.map_or(Ok(message), Err)
}

/// What the server checks first (RFC 2136, section 2.4).
fn prerequisites(expectation: &Expectation) -> Vec<Record> {
    match expectation {
        Expectation::Unused(name) => vec![without_data(name, DNSClass::NONE, RecordType::ANY)],
        Expectation::Absent(key) => vec![without_data(&key.name, DNSClass::NONE, key.kind)],
        Expectation::Exactly(key, data) => {
            let record = |data: &RData| Record::from_rdata((&key.name).into(), 0, data.clone());
            data.iter().map(record).collect()
        }
    }
}

fn without_data(name: &LowerName, class: DNSClass, kind: RecordType) -> Record {
    let mut record = Record::update0(Name::from(name), 0, kind);
    record.dns_class = class;
    record
}
