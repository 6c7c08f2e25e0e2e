//! Zones as text (RFC 1035, section 5). Pure.

use std::fmt::Write;

use hickory_proto::rr::rdata::TXT;
use hickory_proto::rr::{DNSClass, LowerName, Name, RData, RecordType};
use hickory_proto::serialize::txt::{ParseError, Parser};

use super::zone::Zone;
use crate::dns::records::{Key, RecordSet, Records};

/// Before the serial, in a comment: a file without an SOA record has it nowhere else.
const SERIAL: &str = "; serial ";

/// What a file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Contents {
    pub(super) serial: Option<u32>,
    pub(super) records: Records,
}

/// Why a text is not the zone's.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TextError {
    #[error("{0}")]
    Syntax(#[from] ParseError),
    #[error("$INCLUDE is not followed; include this file instead")]
    Include,
    #[error("{name} is not in the zone {origin}")]
    OutOfZone { name: String, origin: String },
    #[error("{0} has records of another class than IN")]
    Class(LowerName),
    #[error("the {1} records of {0} could not be written back as they are")]
    Lossy(LowerName, RecordType),
}

/// The whole zone, one record a line, each name in full. `heading` is lines of comment.
pub(super) fn render(zone: &Zone, heading: &str) -> String {
    let mut text = String::new();
    for line in heading.lines() {
        let _ = writeln!(text, "; {line}");
    }
    let _ = writeln!(text, "{SERIAL}{}", zone.serial());
    // A zone begins with its SOA record.
    let soa = zone.apex(RecordType::SOA);
    if let Some(set) = zone.records().get(&soa) {
        render_set(&mut text, &soa, set);
    }
    for (key, set) in zone.records().iter().filter(|(key, _)| **key != soa) {
        render_set(&mut text, key, set);
    }
    text
}

/// Whether a set can be read back as it is.
pub(super) fn is_faithful(key: &Key, set: &RecordSet) -> bool {
    let mut text = String::new();
    render_set(&mut text, key, set);
    let parsed = Parser::new(text, None, Some(Name::root())).parse();
    let Ok((_, sets)) = parsed else {
        return false;
    };
    let sets: Vec<_> = sets
        .into_iter()
        .map(|(key, set)| ours(key.name, &set))
        .collect();
    matches!(&sets[..], [(found, data)] if found == key && data == set)
}

/// Reads a zone's text, anybody's. SOA records are only looked at for their serial.
pub(super) fn parse(text: &str, origin: &LowerName) -> Result<Contents, TextError> {
    if text.lines().any(|line| line.starts_with("$INCLUDE")) {
        return Err(TextError::Include);
    }
    let stated = text.lines().find_map(|line| line.strip_prefix(SERIAL));
    let mut serial = stated.and_then(|text| text.trim().parse().ok());
    let (_, sets) = Parser::new(text, None, Some(Name::from(origin.clone()))).parse()?;
    let mut records = Records::new();
    for (key, set) in sets {
        if set.dns_class() != DNSClass::IN {
            return Err(TextError::Class(key.name));
        }
        let (key, set) = ours(key.name, &set);
        if !origin.zone_of(&key.name) {
            return Err(TextError::OutOfZone {
                name: key.name.to_string(),
                origin: origin.to_string(),
            });
        }
        if let Some(RData::SOA(soa)) = set.data.first() {
            serial = Some(soa.serial);
            continue;
        }
        if !is_faithful(&key, &set) {
            return Err(TextError::Lossy(key.name, key.kind));
        }
        records.insert(key, set);
    }
    Ok(Contents { serial, records })
}

fn ours(name: LowerName, set: &hickory_proto::rr::RecordSet) -> (Key, RecordSet) {
    let key = Key {
        name,
        kind: set.record_type(),
    };
    let data = set.records_without_rrsigs();
    let set = RecordSet {
        ttl: set.ttl(),
        data: data.map(|record| record.data.clone()).collect(),
    };
    (key, set)
}

fn render_set(text: &mut String, key: &Key, set: &RecordSet) {
    for data in &set.data {
        let name = key.name.to_ascii();
        let _ = write!(text, "{name} {} IN {} ", set.ttl, key.kind);
        render_data(text, data);
        text.push('\n');
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "types of others' records, which are checked for being read back as they are"
)]
fn render_data(text: &mut String, data: &RData) {
    let _ = match data {
        RData::CNAME(target) => write!(text, "{}", target.to_ascii()),
        RData::NS(target) => write!(text, "{}", target.to_ascii()),
        RData::SRV(srv) => {
            let target = srv.target.to_ascii();
            write!(
                text,
                "{} {} {} {target}",
                srv.priority, srv.weight, srv.port
            )
        }
        RData::SOA(soa) => {
            let (primary, contact) = (soa.mname.to_ascii(), soa.rname.to_ascii());
            let times = (soa.refresh, soa.retry, soa.expire);
            write!(
                text,
                "{primary} {contact} {} {} {} {} {}",
                soa.serial, times.0, times.1, times.2, soa.minimum
            )
        }
        RData::TXT(txt) => {
            render_text(text, txt);
            Ok(())
        }
        other => write!(text, "{other}"),
    };
}

/// Quoted, with what is special or not printable escaped (RFC 1035, section 5.1).
fn render_text(text: &mut String, txt: &TXT) {
    for (place, part) in txt.txt_data.iter().enumerate() {
        text.push_str(if place == 0 { "\"" } else { " \"" });
        for &byte in part.iter() {
            match byte {
                b'"' | b'\\' => text.extend(['\\', byte.into()]),
                b' '..=b'~' => text.push(byte.into()),
                _ => {
                    let _ = write!(text, "\\{byte:03}");
                }
            }
        }
        text.push('"');
    }
}

#[cfg(test)]
mod tests;
