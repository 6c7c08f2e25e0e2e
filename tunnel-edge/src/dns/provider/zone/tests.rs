use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use hickory_proto::rr::rdata::{CNAME, TXT};
use proptest::prelude::*;

use super::*;

fn name(text: &str) -> LowerName {
    LowerName::from(Name::from_ascii(text).unwrap())
}

fn key(text: &str, kind: RecordType) -> Key {
    Key {
        name: name(text),
        kind,
    }
}

fn addresses(last: &[u8]) -> RecordSet {
    let address = |last: &u8| RData::A(Ipv4Addr::new(192, 0, 2, *last).into());
    RecordSet {
        ttl: 60,
        data: last.iter().map(address).collect(),
    }
}

fn alias(target: &str) -> RecordSet {
    let target = Name::from_ascii(target).unwrap();
    RecordSet {
        ttl: 60,
        data: BTreeSet::from([RData::CNAME(CNAME(target))]),
    }
}

fn text(text: &str) -> RecordSet {
    RecordSet {
        ttl: 60,
        data: BTreeSet::from([RData::TXT(TXT::new(vec![text.to_owned()]))]),
    }
}

fn zone(serial: u32) -> Zone {
    let authority = Authority {
        nameservers: vec![Name::from_ascii("ns1.example.com.").unwrap()],
        contact: Name::from_ascii("hostmaster.example.com.").unwrap(),
        negative_ttl: 30,
    };
    Zone::new(
        name("apps.example.com."),
        serial,
        Records::new(),
        Some(authority),
    )
}

fn change(expected: Vec<Expectation>, sets: Vec<(Key, Option<RecordSet>)>) -> Change {
    Change {
        name: name("acme.apps.example.com."),
        expected,
        sets,
    }
}

const ACME: &str = "acme.apps.example.com.";
const A: RecordType = RecordType::A;

#[test]
fn a_change_is_made_as_a_whole_and_moves_the_serial() {
    let mut zone = zone(7);
    let owner = key("acme._causeway.apps.example.com.", RecordType::TXT);
    let both = change(
        vec![Expectation::Unused(name(ACME))],
        vec![
            (key(ACME, A), Some(addresses(&[1, 2]))),
            (owner.clone(), Some(text("v=1"))),
        ],
    );
    assert_eq!(zone.make(&both), Ok(Outcome::Changed));
    assert_eq!(zone.serial(), 8);
    assert_eq!(zone.records()[&key(ACME, A)], addresses(&[1, 2]));
    assert_eq!(zone.records()[&owner], text("v=1"));
    let soa = &zone.records()[&zone.apex(RecordType::SOA)];
    assert!(matches!(soa.data.first(), Some(RData::SOA(soa)) if soa.serial == 8));

    // The name is used now.
    assert_eq!(zone.make(&both), Ok(Outcome::Overtaken));
    let again = change(vec![], both.sets);
    assert_eq!(zone.make(&again), Ok(Outcome::Unchanged));
    assert_eq!(zone.serial(), 8);
}

#[test]
fn serials_wrap() {
    let mut zone = zone(u32::MAX);
    let sets = vec![(key(ACME, A), Some(addresses(&[1])))];
    assert_eq!(zone.make(&change(vec![], sets)), Ok(Outcome::Changed));
    assert_eq!(zone.serial(), 0);
}

#[test]
fn what_cannot_be_is_refused_as_a_whole() {
    let long = RecordSet {
        ttl: LONGEST_TTL + 1,
        ..addresses(&[1])
    };
    let empty = RecordSet {
        ttl: 60,
        data: BTreeSet::new(),
    };
    let two = RecordSet {
        ttl: 60,
        data: &alias("a.example.com.").data | &alias("b.example.com.").data,
    };
    let cname = RecordType::CNAME;
    let cases = [
        (
            vec![(key("a.example.com.", A), Some(addresses(&[1])))],
            "a.example.com. is not in the zone apps.example.com.",
        ),
        (
            vec![(key("apps.example.com.", RecordType::SOA), None)],
            "apps.example.com.: SOA and NS records come",
        ),
        (
            vec![(key(ACME, RecordType::NS), None)],
            "acme.apps.example.com.: SOA and NS records come",
        ),
        (
            vec![(key(ACME, RecordType::ANY), None)],
            "acme.apps.example.com.: ANY is no type of records",
        ),
        (
            vec![(key(ACME, A), Some(long))],
            "acme.apps.example.com.: a time to live of 2147483648 s",
        ),
        (
            vec![(key(ACME, A), Some(empty))],
            "acme.apps.example.com.: a set of A records is empty",
        ),
        (
            vec![(key(ACME, A), Some(text("no address")))],
            "acme.apps.example.com.: a set of A records is empty or",
        ),
        (
            vec![(key(ACME, cname), Some(two))],
            "acme.apps.example.com.: there can be no other",
        ),
        (
            vec![
                (key(ACME, cname), Some(alias("a.example.com."))),
                (key(ACME, A), Some(addresses(&[1]))),
            ],
            "acme.apps.example.com.: there can be no other",
        ),
    ];
    for (mut sets, message) in cases {
        let mut zone = zone(1);
        let before = zone.clone();
        sets.insert(0, (key("good.apps.example.com.", A), Some(addresses(&[9]))));
        let error = zone.make(&change(vec![], sets)).unwrap_err().to_string();
        assert!(error.starts_with(message), "{error}");
        assert_eq!(zone, before, "{message}");
    }
}

#[test]
fn an_alias_takes_the_place_of_addresses_and_gives_it_back() {
    let mut zone = zone(1);
    let cname = key(ACME, RecordType::CNAME);
    let steps = [
        vec![(key(ACME, A), Some(addresses(&[1])))],
        vec![
            (key(ACME, A), None),
            (cname.clone(), Some(alias("a.example.com."))),
        ],
        vec![(cname, None), (key(ACME, A), Some(addresses(&[2])))],
    ];
    for sets in steps {
        assert_eq!(zone.make(&change(vec![], sets)), Ok(Outcome::Changed));
    }
    assert_eq!(zone.kinds(&name(ACME)).collect::<Vec<_>>(), [A]);
}

/// RFC 2136, section 3, over a plain list of records, without its shortcuts.
#[derive(Default)]
struct Model(BTreeMap<(LowerName, RecordType), RecordSet>);

impl Model {
    fn make(&mut self, change: &Change) -> bool {
        let holds = change.expected.iter().all(|expected| match expected {
            Expectation::Unused(name) => !self.0.keys().any(|(used, _)| used == name),
            Expectation::Absent(key) => !self
                .0
                .keys()
                .any(|(name, kind)| *name == key.name && *kind == key.kind),
            Expectation::Exactly(key, data) => self.0.iter().any(|((name, kind), set)| {
                *name == key.name && *kind == key.kind && set.data == *data
            }),
        });
        if !holds {
            return false;
        }
        let mut after = self.0.clone();
        for (key, set) in &change.sets {
            let place = (key.name.clone(), key.kind);
            match set {
                Some(set) => after.insert(place, set.clone()),
                None => after.remove(&place),
            };
        }
        let aliases: Vec<&LowerName> = after
            .keys()
            .filter(|(_, kind)| *kind == RecordType::CNAME)
            .map(|(name, _)| name)
            .collect();
        if aliases
            .iter()
            .any(|alias| after.keys().filter(|(name, _)| name == *alias).count() > 1)
        {
            return false;
        }
        self.0 = after;
        true
    }
}

fn any_key() -> impl Strategy<Value = Key> {
    let names = prop::sample::select(vec![ACME, "*.apps.example.com.", "a.b.apps.example.com."]);
    let kinds = prop::sample::select(vec![A, RecordType::TXT, RecordType::CNAME]);
    (names, kinds).prop_map(|(name, kind)| key(name, kind))
}

fn any_set(kind: RecordType, choice: u8) -> RecordSet {
    if kind == A {
        addresses(&[choice % 3, 7][..1 + usize::from(choice % 2)])
    } else if kind == RecordType::TXT {
        text(&choice.to_string())
    } else {
        alias(&format!("t{choice}.example.net."))
    }
}

fn any_change() -> impl Strategy<Value = Change> {
    let expectation = (any_key(), 0..3_u8, 0..4_u8).prop_map(|(key, which, choice)| match which {
        0 => Expectation::Unused(key.name),
        1 => Expectation::Absent(key),
        _ => {
            let data = any_set(key.kind, choice).data;
            Expectation::Exactly(key, data)
        }
    });
    let set = (any_key(), prop::option::of(0..4_u8)).prop_map(|(key, choice)| {
        let set = choice.map(|choice| any_set(key.kind, choice));
        (key, set)
    });
    let expected = prop::collection::vec(expectation, 0..2);
    (expected, prop::collection::vec(set, 1..3)).prop_map(|(expected, sets)| {
        // A set is changed once in a change.
        let sets: BTreeMap<Key, Option<RecordSet>> = sets.into_iter().collect();
        change(expected, sets.into_iter().collect())
    })
}

proptest! {
    #[test]
    fn changes_are_made_as_an_update_makes_them(changes in prop::collection::vec(any_change(), 1..40)) {
        let (mut zone, mut model) = (zone(1), Model::default());
        for change in changes {
            let before = zone.clone();
            let made = zone.make(&change);
            let done = matches!(made, Ok(Outcome::Changed | Outcome::Unchanged));
            prop_assert_eq!(done, model.make(&change));
            prop_assert_eq!(zone.serial() != before.serial(), made == Ok(Outcome::Changed));
            let mut served = zone.records().clone();
            served.remove(&zone.apex(RecordType::SOA));
            served.remove(&zone.apex(RecordType::NS));
            let served: BTreeMap<_, _> = served.into_iter().map(|(key, set)| ((key.name, key.kind), set)).collect();
            prop_assert_eq!(&served, &model.0);
        }
    }
}
