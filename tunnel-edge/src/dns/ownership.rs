//! The record that says whose a name is: a TXT record beside it, in a subtree of its own. Pure.
//!
//! ```text
//! prod-1--acme            ▶ prod-1--acme._causeway   "v=1 owner=example.com for=cluster/acme/prod-1 types=A,AAAA sum=…"
//! *                       ▶ _wildcard._causeway
//! _causeway._tcp          ▶ _causeway._tcp._causeway
//! ```
//!
//! It is a sibling because nothing can stand beside a CNAME record (RFC 1034, section 3.6.2), and
//! below `_causeway` because so no label grows and all that is ours is found in one place.

use std::collections::BTreeSet;
use std::fmt;

use aws_lc_rs::digest;
use hickory_proto::rr::rdata::TXT;
use hickory_proto::rr::{LowerName, Name, RData, RecordType};

use super::records::Key;

/// The label below the zone under which all ownership records are.
const SUBTREE: &str = "_causeway";
const WILDCARD: &str = "_wildcard";
const APEX: &str = "_apex";

/// The version of the text that is written, and the only one that is understood.
const VERSION: &str = "1";

/// One string of a TXT record holds no more (RFC 1035, section 3.3).
const LONGEST_STRING: usize = 255;

/// What an ownership record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ownership {
    pub(crate) owner: String,
    /// What the name is for; for people.
    pub(crate) purpose: String,
    /// The types of the name's records that are the owner's. Others under the name are not.
    pub(crate) types: BTreeSet<RecordType>,
    /// Of the records as the owner wrote them; empty if it does not say.
    pub(crate) sum: String,
}

/// Why a text says nothing of ownership.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unreadable {
    #[error("it is no ownership record")]
    Foreign,
    #[error("it has version {0}, which this edge does not know")]
    Version(String),
}

/// Where the record of ownership of `served` is; `None` if that name would be too long.
pub(crate) fn key(served: &LowerName, zone: &LowerName) -> Option<Key> {
    let labels = usize::from(served.num_labels_below(zone)?);
    let wildcard = served.iter().next() == Some(b"*");
    let mut name = Name::new();
    if labels == 0 && !wildcard {
        name = name.append_label(APEX).ok()?;
    }
    for (index, label) in served.iter().take(labels).enumerate() {
        let is_star = index == 0 && label == b"*";
        name = match is_star {
            true => name.append_label(WILDCARD),
            false => name.append_label(label),
        }
        .ok()?;
    }
    let name = name.append_label(SUBTREE).ok()?;
    let name = name.append_domain(zone).ok()?;
    Some(Key {
        name: LowerName::from(name),
        kind: RecordType::TXT,
    })
}

/// Whose ownership the record under `name` is about; `None` if it is elsewhere.
pub(crate) fn served(name: &LowerName, zone: &LowerName) -> Option<LowerName> {
    let labels = usize::from(name.num_labels_below(zone)?);
    let below: Vec<&[u8]> = name.iter().take(labels).collect();
    let (last, relative) = below.split_last()?;
    if *last != SUBTREE.as_bytes() || relative.is_empty() {
        return None;
    }
    let mut served = Name::new();
    for (index, label) in relative.iter().enumerate() {
        if index == 0 && *label == APEX.as_bytes() && relative.len() == 1 {
            continue;
        }
        let is_star = index == 0 && *label == WILDCARD.as_bytes();
        let label: &[u8] = if is_star { b"*" } else { label };
        served = served.append_label(label).ok()?;
    }
    served.append_domain(zone).ok().map(LowerName::from)
}

impl Ownership {
    /// Of records that are about to be written.
    pub(crate) fn of(owner: &str, purpose: String, records: &BTreeSet<RData>) -> Self {
        Self {
            owner: owner.to_owned(),
            purpose,
            types: records.iter().map(RData::record_type).collect(),
            sum: sum(records),
        }
    }

    /// Reads the one record of a set; several say nothing, since somebody else has added one.
    pub(crate) fn read(records: &BTreeSet<RData>) -> Result<Self, Unreadable> {
        let mut records = records.iter();
        let (Some(RData::TXT(text)), None) = (records.next(), records.next()) else {
            return Err(Unreadable::Foreign);
        };
        let text = text.txt_data.concat();
        let text = std::str::from_utf8(&text).map_err(|_| Unreadable::Foreign)?;
        Self::parse(text)
    }

    fn parse(text: &str) -> Result<Self, Unreadable> {
        let of = |wanted: &str| {
            text.split(' ').find_map(|word| {
                let (key, value) = word.split_once('=')?;
                (key == wanted).then_some(value)
            })
        };
        match text.strip_prefix("v=").and(of("v")) {
            None => return Err(Unreadable::Foreign),
            Some(VERSION) => {}
            Some(other) => return Err(Unreadable::Version(other.to_owned())),
        }
        let (Some(owner), Some(types)) = (of("owner"), of("types")) else {
            return Err(Unreadable::Foreign);
        };
        let types = types
            .split(',')
            .map(|name| name.parse::<RecordType>().map_err(|_| Unreadable::Foreign))
            .collect::<Result<BTreeSet<_>, _>>()?;
        // A record of ownership cannot give away other people's texts, nor the zone itself.
        let publishable = |kind: &RecordType| PUBLISHED.contains(kind);
        if !types.iter().all(publishable) {
            return Err(Unreadable::Foreign);
        }
        Ok(Self {
            owner: owner.to_owned(),
            purpose: of("for").unwrap_or_default().to_owned(),
            types,
            sum: of("sum").unwrap_or_default().to_owned(),
        })
    }

    /// Whether these are the records that it was written with.
    pub(crate) fn vouches_for(&self, records: &BTreeSet<RData>) -> bool {
        self.sum == sum(records)
    }

    /// The record.
    pub(crate) fn record(&self) -> RData {
        let text = self.to_string();
        let strings = text.as_bytes().chunks(LONGEST_STRING).collect();
        RData::TXT(TXT::from_bytes(strings))
    }
}

/// The types of records that are ever ours.
pub(crate) const PUBLISHED: [RecordType; 4] = [
    RecordType::A,
    RecordType::AAAA,
    RecordType::CNAME,
    RecordType::SRV,
];

impl fmt::Display for Ownership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            owner,
            purpose,
            types,
            sum,
        } = self;
        let types: Vec<String> = types.iter().map(ToString::to_string).collect();
        let types = types.join(",");
        write!(
            f,
            "v={VERSION} owner={owner} for={purpose} types={types} sum={sum}"
        )
    }
}

/// Tells a set of records apart from any other: 64 bits of SHA-256 over their texts, in order.
fn sum(records: &BTreeSet<RData>) -> String {
    let mut texts: Vec<String> = records
        .iter()
        .map(|data| format!("{} {data}\n", data.record_type()).to_ascii_lowercase())
        .collect();
    texts.sort();
    let digest = digest::digest(&digest::SHA256, texts.concat().as_bytes());
    let bytes = digest.as_ref().iter().take(8);
    bytes.map(|byte| format!("{byte:02x}")).collect()
}

/// How many labels a name has in front of a zone's.
trait Below {
    /// `None` if it is not in the zone.
    fn num_labels_below(&self, zone: &LowerName) -> Option<u8>;
}

impl Below for LowerName {
    fn num_labels_below(&self, zone: &LowerName) -> Option<u8> {
        // A wildcard's star is no label to hickory.
        let labels = |name: &Self| u8::try_from(name.iter().count()).ok();
        zone.zone_of(self)
            .then(|| labels(self)?.checked_sub(labels(zone)?))
            .flatten()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use hickory_proto::rr::rdata::A;
    use proptest::prelude::*;

    use super::*;

    fn lower(text: &str) -> LowerName {
        LowerName::from(Name::from_ascii(text).unwrap())
    }

    fn address(last: u8) -> RData {
        RData::A(A(Ipv4Addr::new(192, 0, 2, last)))
    }

    #[test]
    fn every_name_has_a_place_for_its_owner() {
        let zone = lower("apps.example.com.");
        for (name, owner) in [
            (
                "prod-1--acme.apps.example.com.",
                "prod-1--acme._causeway.apps.example.com.",
            ),
            (
                "*.apps.example.com.",
                "_wildcard._causeway.apps.example.com.",
            ),
            (
                "_causeway._tcp.apps.example.com.",
                "_causeway._tcp._causeway.apps.example.com.",
            ),
            ("apps.example.com.", "_apex._causeway.apps.example.com."),
        ] {
            let key = key(&lower(name), &zone).unwrap();
            assert_eq!(key.name, lower(owner));
            assert_eq!(key.kind, RecordType::TXT);
            assert_eq!(served(&key.name, &zone), Some(lower(name)));
        }
        assert_eq!(key(&lower("example.com."), &zone), None);
        for elsewhere in [
            "apps.example.com.",
            "a.apps.example.com.",
            "_causeway.apps.example.com.",
            "a._causeway.example.com.",
        ] {
            assert_eq!(served(&lower(elsewhere), &zone), None, "{elsewhere}");
        }
        let long = format!("{0}.{0}.{0}.{1}.", "a".repeat(61), "b".repeat(55));
        let zone = lower(&long);
        let name = Name::from_ascii("ab")
            .unwrap()
            .append_domain(&zone)
            .unwrap();
        assert_eq!(key(&LowerName::from(name), &zone), None, "256 bytes");
    }

    #[test]
    fn what_is_written_is_read() {
        let records = BTreeSet::from([address(1), address(2)]);
        let ownership = Ownership::of("example.com", "cluster/acme/prod-1".into(), &records);
        assert_eq!(
            ownership.to_string(),
            "v=1 owner=example.com for=cluster/acme/prod-1 types=A sum=70ac6e71caf29de2"
        );
        let read = Ownership::read(&BTreeSet::from([ownership.record()])).unwrap();
        assert_eq!(read, ownership);
        assert!(read.vouches_for(&records));
        assert!(!read.vouches_for(&BTreeSet::from([address(1)])));
    }

    #[test]
    fn a_long_text_takes_several_strings() {
        let purpose = format!("cluster/{}/{}", "t".repeat(63), "c".repeat(63));
        let ownership = Ownership::of(&"o".repeat(128), purpose, &BTreeSet::from([address(1)]));
        let record = ownership.record();
        assert!(matches!(&record, RData::TXT(text) if text.txt_data.len() == 2));
        assert_eq!(Ownership::read(&BTreeSet::from([record])), Ok(ownership));
    }

    #[test]
    fn other_texts_are_not_ours() {
        let read = |text: &str| {
            let record = RData::TXT(TXT::new(vec![text.to_owned()]));
            Ownership::read(&BTreeSet::from([record]))
        };
        for foreign in [
            "",
            "hello",
            "owner=a types=A",
            "heritage=external-dns,v=1 owner=a types=A",
            "v=1 owner=a",
            "v=1 types=A",
            "v=1 owner=a types=",
            "v=1 owner=a types=A,WHAT",
            "v=1 owner=a types=A,TXT",
            "v=1 owner=a types=SOA",
        ] {
            assert_eq!(read(foreign), Err(Unreadable::Foreign), "{foreign}");
        }
        assert_eq!(
            read("v=2 owner=a types=A"),
            Err(Unreadable::Version("2".into()))
        );
        let newer = read("v=1 colour=blue types=AAAA,A owner=a").unwrap();
        assert_eq!(newer.owner, "a");
        assert_eq!(newer.types.len(), 2);
        let two = ["v=1 owner=a types=A", "v=1 owner=b types=A"]
            .map(|text| RData::TXT(TXT::new(vec![text.to_owned()])));
        assert_eq!(
            Ownership::read(&BTreeSet::from(two)),
            Err(Unreadable::Foreign)
        );
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,80}|v=1( [a-z]{1,5}=[A-Z,]{0,6}){0,4}") {
            let record = RData::TXT(TXT::new(vec![text.clone()]));
            if text.len() <= LONGEST_STRING
                && let Ok(read) = Ownership::read(&BTreeSet::from([record]))
            {
                prop_assert_eq!(Ownership::parse(&read.to_string()), Ok(read));
            }
        }
    }
}
