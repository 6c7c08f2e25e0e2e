use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use hickory_proto::rr::rdata::{A, CNAME, SRV};

use super::*;
use crate::dns::provider::zone::Authority;

fn lower(text: &str) -> LowerName {
    LowerName::from(Name::from_ascii(text).unwrap())
}

fn set(name: &str, ttl: u32, data: Vec<RData>) -> (Key, RecordSet) {
    let key = Key {
        name: lower(name),
        kind: data[0].record_type(),
    };
    let data = data.into_iter().collect::<BTreeSet<_>>();
    (key, RecordSet { ttl, data })
}

fn txt(parts: &[&str]) -> RData {
    RData::TXT(TXT::new(parts.iter().map(|&part| part.into()).collect()))
}

#[test]
fn what_is_written_is_read_back() {
    let target = || Name::from_ascii("Edge-1.example.com.").unwrap();
    let records: Records = [
        // A label that is no word of a language, though it looks like one.
        set(
            "ab--cd.apps.example.com.",
            60,
            vec![
                RData::A(A(Ipv4Addr::new(192, 0, 2, 1))),
                RData::A(A(Ipv4Addr::new(192, 0, 2, 2))),
            ],
        ),
        set(
            "*.apps.example.com.",
            0,
            vec![RData::CNAME(CNAME(target()))],
        ),
        set(
            "_causeway._tcp.apps.example.com.",
            300,
            vec![RData::SRV(SRV::new(1, 2, 443, target()))],
        ),
        set(
            "xn--bcher-kva.apps.example.com.",
            300,
            vec![RData::A(A(Ipv4Addr::new(192, 0, 2, 3)))],
        ),
        set(
            "_wildcard._causeway.apps.example.com.",
            60,
            vec![txt(&["v=1 owner=a;b (c) \"d\" \\e", "$two", ""])],
        ),
    ]
    .into();
    let authority = Authority {
        nameservers: vec![Name::from_ascii("ns1.example.com.").unwrap()],
        contact: Name::from_ascii("first\\.last.example.com.").unwrap(),
        negative_ttl: 30,
    };
    let zone = Zone::new(
        lower("apps.example.com."),
        u32::MAX,
        records,
        Some(authority),
    );
    let text = render(&zone, "one\ntwo");
    assert!(text.starts_with("; one\n; two\n; serial 4294967295\napps.example.com. 30 IN SOA ns1.example.com. first\\.last.example.com. 4294967295 3600 600 1209600 30\n"), "{text}");
    let contents = parse(&text, zone.origin()).unwrap();
    assert_eq!(contents.serial, Some(u32::MAX));
    let mut expected = zone.records().clone();
    expected.remove(&zone.apex(RecordType::SOA));
    assert_eq!(contents.records, expected);
}

#[test]
fn what_people_write_is_read() {
    let text = "$ORIGIN apps.example.com.\n$TTL 1h\n@ IN SOA ns1 host (\n 7 3600 600\n 86400 30 )\n\
                by-hand IN A 192.0.2.1 ; a remark\n        IN TXT \"kept\"\n";
    let contents = parse(text, &lower("apps.example.com.")).unwrap();
    assert_eq!(contents.serial, Some(7));
    let expected: Records = [
        set(
            "by-hand.apps.example.com.",
            3600,
            vec![RData::A(A(Ipv4Addr::new(192, 0, 2, 1)))],
        ),
        set("by-hand.apps.example.com.", 3600, vec![txt(&["kept"])]),
    ]
    .into();
    assert_eq!(contents.records, expected);
}

#[test]
fn what_could_not_be_written_back_is_refused() {
    for text in [
        "a.apps.example.com. 60 IN TXT \"caf\\195\\169\"\n",
        "a.apps.example.com. 60 IN TYPE65400 \\# 1 00\n",
    ] {
        parse(text, &lower("apps.example.com.")).unwrap_err();
    }
    let (key, set) = set("a.apps.example.com.", 60, vec![txt(&["\u{e9}"])]);
    assert!(!is_faithful(&key, &set));
}
