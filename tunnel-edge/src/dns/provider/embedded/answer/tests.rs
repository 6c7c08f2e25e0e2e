use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{CNAME, SRV, TXT};
use hickory_proto::rr::{DNSClass, LowerName, Name, RData, Record, RecordType};
use proptest::prelude::*;

use super::*;
use crate::dns::provider::zone::{Authority, Zone};
use crate::dns::records::{Key, RecordSet, Records};

use super::super::table::Replacement;

fn name(text: &str) -> Name {
    let mut name = Name::from_ascii(text).unwrap();
    if !name.is_fqdn() {
        name = name
            .append_domain(&Name::from_ascii("apps.example.com.").unwrap())
            .unwrap();
    }
    name
}

fn put(records: &mut Records, owner: &str, data: Vec<RData>) {
    let key = Key {
        name: LowerName::from(name(owner)),
        kind: data[0].record_type(),
    };
    let data = data.into_iter().collect::<BTreeSet<_>>();
    records.insert(key, RecordSet { ttl: 60, data });
}

fn address(last: u8) -> RData {
    RData::A(Ipv4Addr::new(192, 0, 2, last).into())
}

fn alias(target: &str) -> RData {
    RData::CNAME(CNAME(name(target)))
}

fn table() -> Table {
    let mut records = Records::new();
    put(&mut records, "acme--prod", vec![address(1), address(2)]);
    let v6 = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7);
    put(&mut records, "acme--prod", vec![RData::AAAA(v6.into())]);
    put(&mut records, "*", vec![address(9)]);
    put(
        &mut records,
        "acme--prod._causeway",
        vec![RData::TXT(TXT::new(vec!["v=1".into()]))],
    );
    let edge = RData::SRV(SRV::new(0, 0, 443, name("edge-1")));
    put(&mut records, "_causeway._tcp", vec![edge]);
    put(&mut records, "edge-1", vec![alias("Edge-1.Example.NET.")]);
    put(&mut records, "inner", vec![alias("ACME--prod")]);
    put(&mut records, "dangling", vec![alias("x.acme--prod")]);
    put(&mut records, "loop-a", vec![alias("loop-b")]);
    put(&mut records, "loop-b", vec![alias("loop-a")]);
    put(&mut records, "itself", vec![alias("itself")]);
    put(&mut records, "*.round", vec![alias("lb.round")]);
    for number in 0..20 {
        let next = alias(&format!("chain-{}", number + 1));
        put(&mut records, &format!("chain-{number}"), vec![next]);
    }
    put(&mut records, "*.under", vec![alias("acme--prod")]);
    put(&mut records, "a.b.c", vec![address(3)]);
    put(&mut records, "many", (0..100).map(address).collect());
    let authority = Authority {
        nameservers: vec![name("ns1.example.com.")],
        contact: name("hostmaster.example.com."),
        negative_ttl: 30,
    };
    let zone = Zone::new(
        LowerName::from(name("apps.example.com.")),
        17,
        records,
        Some(authority),
    );
    let mut table = Table::new(zone.origin()).unwrap();
    for (key, set) in zone.records() {
        table.replace(Replacement::new(key, Some(set)).unwrap());
    }
    table
}

fn question(owner: &str, kind: RecordType) -> Message {
    let mut message = Message::new(0x1234, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(name(owner), kind));
    message
}

fn with_edns(mut message: Message, payload: u16) -> Message {
    let mut edns = Edns::new();
    edns.set_max_payload(payload);
    message.set_edns(edns);
    message
}

fn ask_by(transport: Transport, message: &Message) -> Message {
    let mut out = Vec::new();
    answer(&table(), &message.to_vec().unwrap(), transport, &mut out).expect("an answer");
    let answer = Message::from_vec(&out).expect("an answer that can be read");
    assert_eq!(answer.metadata.id, message.metadata.id);
    assert_eq!(answer.metadata.message_type, MessageType::Response);
    assert!(!answer.metadata.recursion_available);
    answer
}

fn ask(owner: &str, kind: RecordType) -> Message {
    let answer = ask_by(Transport::Udp, &question(owner, kind));
    assert_eq!(answer.queries, question(owner, kind).queries);
    answer
}

/// Answers as text, and the code.
fn summary(answer: &Message) -> (ResponseCode, Vec<String>) {
    let line = |record: &Record| format!("{} {} {}", record.name, record.ttl, record.data);
    let mut lines: Vec<String> = answer.answers.iter().map(line).collect();
    lines.sort();
    (answer.metadata.response_code, lines)
}

fn assert_negative(answer: &Message, code: ResponseCode) {
    assert_eq!(summary(answer), (code, vec![]));
    assert!(answer.metadata.authoritative);
    assert_soa(answer);
}

fn assert_soa(answer: &Message) {
    let [soa] = &answer.authorities[..] else {
        panic!("one SOA record expected: {answer}");
    };
    assert_eq!(soa.name, name("apps.example.com."));
    assert_eq!(soa.ttl, 30);
    assert!(matches!(&soa.data, RData::SOA(soa) if soa.serial == 17 && soa.minimum == 30));
}

#[test]
fn sets_are_answered() {
    for (owner, kind, expected) in [
        (
            "acme--prod",
            RecordType::A,
            vec![
                "acme--prod.apps.example.com. 60 192.0.2.1",
                "acme--prod.apps.example.com. 60 192.0.2.2",
            ],
        ),
        (
            "acme--prod",
            RecordType::AAAA,
            vec!["acme--prod.apps.example.com. 60 2001:db8::7"],
        ),
        (
            "_causeway._tcp",
            RecordType::SRV,
            vec!["_causeway._tcp.apps.example.com. 60 0 0 443 edge-1.apps.example.com."],
        ),
        (
            "acme--prod._causeway",
            RecordType::TXT,
            vec!["acme--prod._causeway.apps.example.com. 60 v=1"],
        ),
        (
            "apps.example.com.",
            RecordType::NS,
            vec!["apps.example.com. 3600 ns1.example.com."],
        ),
        ("*", RecordType::A, vec!["*.apps.example.com. 60 192.0.2.9"]),
    ] {
        let answer = ask(owner, kind);
        let expected = expected.into_iter().map(str::to_owned).collect();
        assert_eq!(summary(&answer), (ResponseCode::NoError, expected));
        assert!(answer.metadata.authoritative && answer.metadata.recursion_desired);
        assert!(answer.authorities.is_empty() && answer.additionals.is_empty());
    }
    let soa = ask("apps.example.com.", RecordType::SOA);
    assert!(
        matches!(&soa.answers[..], [soa] if matches!(&soa.data, RData::SOA(soa) if soa.serial == 17))
    );
}

#[test]
fn case_does_not_matter_and_is_kept() {
    let answer = ask("aCMe--pROd.Apps.eXample.com.", RecordType::AAAA);
    let asked = name("aCMe--pROd.Apps.eXample.com.");
    assert!(answer.queries[0].name().eq_case(&asked));
    assert!(answer.answers[0].name.eq_case(&asked));
}

#[test]
fn wildcards_answer_for_what_is_not_there() {
    let found = |owner: &str| summary(&ask(owner, RecordType::A));
    let line = |owner: &str| {
        (
            ResponseCode::NoError,
            vec![format!("{owner}.apps.example.com. 60 192.0.2.9")],
        )
    };
    assert_eq!(found("web--acme--prod"), line("web--acme--prod"));
    assert_eq!(found("deep.below.it"), line("deep.below.it"));
    // Below a name that exists there is no wildcard (RFC 4592, section 2.2.1).
    for owner in ["x.acme--prod", "x._tcp", "x.a.b.c", "x.b.c"] {
        assert_negative(&ask(owner, RecordType::A), ResponseCode::NXDomain);
    }
    assert_negative(
        &ask("web--acme--prod", RecordType::AAAA),
        ResponseCode::NoError,
    );
    let through = summary(&ask("x.under", RecordType::AAAA));
    assert_eq!(
        through.1,
        [
            "acme--prod.apps.example.com. 60 2001:db8::7",
            "x.under.apps.example.com. 60 acme--prod.apps.example.com."
        ]
    );
}

#[test]
fn what_is_not_there_is_denied_with_the_soa() {
    // No such type; names without records of their own (RFC 8020); no such name.
    for owner in ["acme--prod", "_tcp", "_causeway", "b.c", "c", "under"] {
        assert_negative(&ask(owner, RecordType::MX), ResponseCode::NoError);
    }
    assert_negative(
        &ask("nobody._causeway", RecordType::TXT),
        ResponseCode::NXDomain,
    );
}

#[test]
fn aliases_are_followed_as_far_as_the_zone_goes() {
    let edge = ask("edge-1", RecordType::A);
    assert_eq!(
        summary(&edge).1,
        ["edge-1.apps.example.com. 60 edge-1.example.net."]
    );
    let inner = ask("inner", RecordType::AAAA);
    assert_eq!(
        summary(&inner).1,
        [
            "acme--prod.apps.example.com. 60 2001:db8::7",
            "inner.apps.example.com. 60 acme--prod.apps.example.com."
        ]
    );
    // What its end lacks, or that it has none (RFC 2308, section 2).
    let no_data = ask("inner", RecordType::TXT);
    assert_eq!(
        (no_data.answers.len(), no_data.metadata.response_code),
        (1, ResponseCode::NoError)
    );
    assert_soa(&no_data);
    let dangling = ask("dangling", RecordType::A);
    assert_eq!(
        (dangling.answers.len(), dangling.metadata.response_code),
        (1, ResponseCode::NXDomain)
    );
    assert_soa(&dangling);
    let itself = ask("inner", RecordType::CNAME);
    assert_eq!(itself.answers.len(), 1);
    let endless = ask("chain-0", RecordType::A);
    assert_eq!(endless.answers.len(), MOST_ALIASES + 1);
}

#[test]
fn aliases_that_lead_back_are_said_once() {
    for (asked, said) in [
        ("loop-a", 2),
        ("itself", 1),
        // To what only the wildcard gives, which leads there again.
        ("x.round", 2),
    ] {
        let answer = ask(asked, RecordType::A);
        assert_eq!(answer.metadata.response_code, ResponseCode::NoError);
        let (_, mut records) = summary(&answer);
        assert_eq!(records.len(), said, "{records:?}");
        records.dedup();
        assert_eq!(records.len(), said, "{records:?}");
    }
}

#[test]
fn any_gets_one_set() {
    let answer = ask("acme--prod", RecordType::ANY);
    assert!(
        answer
            .answers
            .iter()
            .all(|record| record.record_type() == RecordType::A)
    );
    assert_eq!(answer.answers.len(), 2);
    assert_negative(&ask("_tcp", RecordType::ANY), ResponseCode::NoError);
    assert_negative(&ask("x._tcp", RecordType::ANY), ResponseCode::NXDomain);
}

#[test]
fn others_zones_transfers_and_classes_are_refused() {
    let mut chaos = question("acme--prod", RecordType::TXT);
    chaos.queries[0].query_class = DNSClass::CH;
    for message in [
        question("example.com.", RecordType::A),
        question("example.org.", RecordType::A),
        question("notapps.example.com.", RecordType::A),
        question(".", RecordType::NS),
        question("apps.example.com.", RecordType::AXFR),
        question("apps.example.com.", RecordType::IXFR),
        chaos,
    ] {
        for transport in [Transport::Udp, Transport::Tcp] {
            let answer = ask_by(transport, &message);
            assert_eq!(
                summary(&answer),
                (ResponseCode::Refused, vec![]),
                "{message}"
            );
            assert!(answer.authorities.is_empty() && !answer.metadata.authoritative);
        }
    }
}

#[test]
fn what_does_not_fit_is_left_out_whole() {
    let plain = question("many", RecordType::A);
    let cut = ask_by(Transport::Udp, &plain);
    assert!(cut.metadata.truncation && cut.answers.is_empty() && cut.edns.is_none());
    let cut = ask_by(Transport::Udp, &with_edns(plain.clone(), 4096));
    assert!(cut.metadata.truncation && cut.answers.is_empty());
    assert_eq!(cut.edns.unwrap().max_payload(), UDP_PAYLOAD);
    let whole = ask_by(Transport::Tcp, &plain);
    assert!(!whole.metadata.truncation);
    assert_eq!(whole.answers.len(), 100);
}

#[test]
fn an_answer_is_as_long_as_who_asks_takes_it() {
    let message = question("many", RecordType::A);
    for payload in [0, 512, 1000, 1232, 65_535] {
        let message = with_edns(message.clone(), payload).to_vec().unwrap();
        let mut out = Vec::new();
        answer(&table(), &message, Transport::Udp, &mut out).unwrap();
        assert!(
            out.len() <= usize::from(payload.max(512)) && out.len() <= usize::from(UDP_PAYLOAD)
        );
    }
}

#[test]
fn who_comes_first_changes() {
    let first = |id: u16| {
        let mut message = question("acme--prod", RecordType::A);
        message.metadata.id = id;
        ask_by(Transport::Udp, &message).answers[0].data.clone()
    };
    assert_ne!(first(0), first(1));
    assert_eq!(first(0), first(2));
}

#[test]
fn edns_is_spoken_with_who_speaks_it() {
    let mut message = with_edns(question("acme--prod", RecordType::A), 1232);
    message.edns.as_mut().unwrap().set_dnssec_ok(true);
    let answer = ask_by(Transport::Udp, &message);
    let edns = answer.edns.clone().unwrap();
    assert!(edns.flags().dnssec_ok && edns.version() == 0);
    assert_eq!(answer.answers.len(), 2);
    message.edns.as_mut().unwrap().set_version(1);
    let answer = ask_by(Transport::Udp, &message);
    assert_eq!(u16::from(answer.metadata.response_code), 16);
    assert!(answer.answers.is_empty());
    assert_eq!(answer.edns.unwrap().version(), 0);
}

#[test]
fn what_is_no_question_is_not_answered_as_one() {
    let table = table();
    let code = |message: &[u8]| answer(&table, message, Transport::Udp, &mut Vec::new());
    let good = with_edns(question("acme--prod", RecordType::A), 1232)
        .to_vec()
        .unwrap();
    assert_eq!(code(&good), Some(Code::NoError));
    // An answer, or less than a header.
    let mut response = good.clone();
    response[2] |= 0x80;
    assert_eq!(code(&response), None);
    assert_eq!(code(&good[..11]), None);
    // An UPDATE; two questions, or none; more than it says; less than it says.
    let mut update = good.clone();
    update[2] |= 5 << 3;
    assert_eq!(code(&update), Some(Code::NotImp));
    for count in [0, 2] {
        let mut questions = good.clone();
        questions[5] = count;
        assert_eq!(code(&questions), Some(Code::FormErr));
    }
    let longer = [&good[..], b"x"].concat();
    assert_eq!(code(&longer), Some(Code::FormErr));
    for length in 12..good.len() {
        assert_eq!(code(&good[..length]), Some(Code::FormErr), "{length}");
    }
    // Two EDNS records.
    let mut twice = [&good[..], &good[good.len() - OPT_LENGTH..]].concat();
    twice[11] = 2;
    assert_eq!(code(&twice), Some(Code::FormErr));
    // A name that is a pointer to itself.
    let pointer = [&good[..HEADER], &[0xC0, 12, 0, 1, 0, 1]].concat();
    let pointer = [&pointer[..11], &[0], &pointer[12..]].concat();
    assert_eq!(code(&pointer), Some(Code::FormErr));
}

/// A model of the zone: a name exists if it or one below it has records.
#[derive(Debug, Clone)]
enum Step {
    Put(usize, bool),
    Take(usize, bool),
}

const NAMES: [&str; 6] = ["a", "a.b", "c.a.b", "*", "*.b", "d.e.f"];

proptest! {
    #[test]
    fn no_bytes_break_it(message in prop::collection::vec(any::<u8>(), 0..600)) {
        let mut out = Vec::new();
        answer(&table(), &message, Transport::Udp, &mut out);
    }

    #[test]
    fn no_change_of_a_question_breaks_it(
        changes in prop::collection::vec((0..70_usize, any::<u8>()), 1..6),
        kind in any::<u16>(),
    ) {
        let mut message = with_edns(question("web.acme--prod", RecordType::from(kind)), 1232).to_vec().unwrap();
        for (place, byte) in changes {
            let place = place % message.len();
            message[place] = byte;
        }
        let mut out = Vec::new();
        if answer(&table(), &message, Transport::Udp, &mut out).is_some() {
            prop_assert!(out.len() <= usize::from(UDP_PAYLOAD));
            prop_assert_eq!(&out[..2], &message[..2]);
            prop_assert!(out[2] & 0x80 != 0);
        }
    }

    #[test]
    fn a_name_is_there_as_long_as_it_or_one_below_it_has_records(
        steps in prop::collection::vec(
            prop_oneof![
                (0..NAMES.len(), any::<bool>()).prop_map(|(name, text)| Step::Put(name, text)),
                (0..NAMES.len(), any::<bool>()).prop_map(|(name, text)| Step::Take(name, text)),
            ],
            1..40,
        ),
    ) {
        let origin = LowerName::from(name("apps.example.com."));
        let mut table = Table::new(&origin).unwrap();
        let mut model = BTreeSet::new();
        for step in steps {
            let (place, is_text) = match step {
                Step::Put(place, is_text) => { model.insert((NAMES[place], is_text)); (place, is_text) }
                Step::Take(place, is_text) => { model.remove(&(NAMES[place], is_text)); (place, is_text) }
            };
            let data = if is_text { RData::TXT(TXT::new(vec!["x".into()])) } else { address(1) };
            let key = Key { name: LowerName::from(name(NAMES[place])), kind: data.record_type() };
            let set = RecordSet { ttl: 60, data: BTreeSet::from([data]) };
            let set = model.contains(&(NAMES[place], is_text)).then_some(&set);
            table.replace(Replacement::new(&key, set).unwrap());
        }
        for asked in ["a", "b", "a.b", "x.b", "c.a.b", "x.a.b", "f", "e.f", "d.e.f", "x"] {
            let exists = |name: &str| model.iter().any(|(used, _)| *used == name || used.ends_with(&format!(".{name}")));
            let answered = || {
                if exists(asked) {
                    return Some(asked.to_owned());
                }
                let mut above = asked;
                let encloser = loop {
                    match above.split_once('.') {
                        Some((_, rest)) if exists(rest) => break format!("*.{rest}"),
                        Some((_, rest)) => above = rest,
                        None => break "*".to_owned(),
                    }
                };
                exists(&encloser).then_some(encloser)
            };
            let message = question(asked, RecordType::A).to_vec().unwrap();
            let mut out = Vec::new();
            let code = answer(&table, &message, Transport::Udp, &mut out).unwrap();
            let expected = answered();
            prop_assert_eq!(code == Code::NoError, expected.is_some(), "{}", asked);
            let answers = Message::from_vec(&out).unwrap().answers.len();
            let has_address = expected.is_some_and(|name| model.contains(&(name.as_str(), false)));
            prop_assert_eq!(answers == 1, has_address, "{}", asked);
        }
    }
}
