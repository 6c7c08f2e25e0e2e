//! Changes: each kind of expectation, each type of record, many at once.

use std::{collections::BTreeSet, slice};

use futures_util::future::join_all;
use hickory_proto::rr::RecordType;

use super::support::{
    a, aaaa, change, cluster, cname, done, expecting, key, name,
    nameserver::{NameServer, Software, Zone},
    overtaken, provider, read, removal, set, srv, txt, under, with_bind_and_knot, zone,
};
use crate::dns::{provider::Applied, provider::Provider, records::Expectation};

with_bind_and_knot!(
    a_name_is_made_only_if_nothing_is_there,
    a_set_is_changed_only_if_it_is_as_it_was,
    every_type_is_written_and_read_again,
    addresses_become_a_cname_and_back_in_one_change,
    a_thousand_changes_at_once_are_all_made,
    messages_are_signed_with_sha512,
);

async fn a_name_is_made_only_if_nothing_is_there(software: Software) {
    let Some(server) = NameServer::start(software, &zone()) else {
        return;
    };
    let provider = provider(&server);
    let unused = Expectation::Unused(name("one--acme"));
    let make = expecting("one--acme", &[unused], &cluster("one--acme", "192.0.2.1"));
    done(&provider, &make).await;
    assert_eq!(server.query("one--acme", "A"), ["192.0.2.1"]);
    assert_eq!(
        server.query("one--acme._causeway", "TXT"),
        ["\"v=1 owner=test\""]
    );

    // It is there now; and a name of somebody else is in use even without an address.
    overtaken(&provider, &make).await;
    let unused = Expectation::Unused(name("mail"));
    let take = expecting("mail", &[unused], &cluster("mail", "192.0.2.1"));
    overtaken(&provider, &take).await;
    assert_eq!(server.query("mail", "A"), [""; 0]);
    assert_eq!(server.query("mail._causeway", "TXT"), [""; 0]);

    // Beside the record of another type there may be one of ours, if that is all we expect.
    let absent = Expectation::Absent(key("mail", RecordType::A));
    let add = expecting("mail", &[absent], &cluster("mail", "192.0.2.1"));
    done(&provider, &add).await;
    overtaken(&provider, &add).await;
    assert_eq!(server.query("mail", "A"), ["192.0.2.1"]);
    assert_eq!(server.query("mail", "MX"), ["10 mx.example.org."]);
}

async fn a_set_is_changed_only_if_it_is_as_it_was(software: Software) {
    let Some(server) = NameServer::start(software, &zone()) else {
        return;
    };
    let provider = provider(&server);
    let two = [a("192.0.2.1"), a("192.0.2.2")];
    done(&provider, &change("one", &[set("one", 60, &two)])).await;

    let to = |old: &[_]| {
        let expected =
            Expectation::Exactly(key("one", RecordType::A), old.iter().cloned().collect());
        expecting("one", &[expected], &[set("one", 30, &[a("192.0.2.3")])])
    };
    // Less than there is, more than there is, something else.
    overtaken(&provider, &to(&two[..1])).await;
    overtaken(&provider, &to(&[&two[..], &[a("192.0.2.9")]].concat())).await;
    overtaken(&provider, &to(&[a("192.0.2.8"), a("192.0.2.9")])).await;
    assert_eq!(server.query("one", "A"), ["192.0.2.1", "192.0.2.2"]);
    done(&provider, &to(&two)).await;
    assert_eq!(
        server.query_records("one", "A"),
        ["one.apps.test. 30 IN A 192.0.2.3"]
    );

    // Of several expectations each one counts, and nothing is done by halves.
    let exactly = Expectation::Exactly(key("one", RecordType::A), BTreeSet::from([a("192.0.2.3")]));
    let owned = Expectation::Exactly(
        key("one._causeway", RecordType::TXT),
        BTreeSet::from([txt("v=1 owner=somebody")]),
    );
    let remove = removal(
        "one",
        &[exactly.clone(), owned],
        &[key("one", RecordType::A)],
    );
    overtaken(&provider, &remove).await;
    assert_eq!(server.query("one", "A"), ["192.0.2.3"]);
    let remove = removal("one", &[exactly], &[key("one", RecordType::A)]);
    done(&provider, &remove).await;
    assert_eq!(server.query("one", "A"), [""; 0]);
}

async fn every_type_is_written_and_read_again(software: Software) {
    let Some(server) = NameServer::start(software, &zone()) else {
        return;
    };
    let before = server.records();
    let provider = provider(&server);
    let long = "owner=".to_owned() + &"o".repeat(200);
    let sets = [
        set("edge-1", 300, &[a("203.0.113.7")]),
        set("edge-1", 300, &[aaaa("2001:db8::7")]),
        set("*", 60, &[cname("edge-1.apps.test.")]),
        set("_wildcard._causeway", 60, &[txt(&long)]),
        set(
            "_causeway._tcp",
            300,
            &[srv(7443, "edge-1.apps.test."), srv(7444, "edge-2.example.")],
        ),
    ];
    for (key, records) in &sets {
        done(&provider, &change("@", &[(key.clone(), records.clone())])).await;
    }
    let snapshot = read(&provider).await;
    for (key, records) in &sets {
        assert_eq!(snapshot.records.get(key), Some(records), "{key:?}");
    }
    assert_eq!(
        server.query("any--thing", "CNAME"),
        ["edge-1.apps.test."],
        "the wildcard"
    );
    assert_eq!(
        server.query("_causeway._tcp", "SRV"),
        ["0 0 7443 edge-1.apps.test.", "0 0 7444 edge-2.example."]
    );
    for (key, _) in &sets {
        done(&provider, &removal("@", &[], slice::from_ref(key))).await;
    }
    assert_eq!(server.records(), before);
}

async fn addresses_become_a_cname_and_back_in_one_change(software: Software) {
    let Some(server) = NameServer::start(software, &zone()) else {
        return;
    };
    let provider = provider(&server);
    let addresses = set("one", 60, &[a("192.0.2.1")]);
    let alias = set("one", 60, &[cname("edge-1.apps.test.")]);
    done(&provider, &change("one", slice::from_ref(&addresses))).await;
    for (old, new) in [(&addresses, &alias), (&alias, &addresses)] {
        // The new set comes first here, and the old one stands in its way on the server.
        let mut replace = change("one", slice::from_ref(new));
        replace.sets.push((old.0.clone(), None));
        done(&provider, &replace).await;
        let now = under(&read(&provider).await, "one");
        assert_eq!(now, [(new.0.kind, new.1.clone())].into());
    }
}

async fn a_thousand_changes_at_once_are_all_made(software: Software) {
    let Some(server) = NameServer::start(software, &Zone::new("apps.test")) else {
        return;
    };
    let provider = provider(&server);
    let changes: Vec<_> = (0..1000)
        .map(|number| {
            let name_of = format!("c{number}--acme");
            let unused = Expectation::Unused(name(&name_of));
            let address = format!("10.0.{}.{}", number / 250, number % 250);
            expecting(&name_of, &[unused], &cluster(&name_of, &address))
        })
        .collect();
    let applied = join_all(changes.iter().map(|change| provider.apply(change))).await;
    for applied in applied {
        assert_eq!(applied.unwrap(), Applied::Done);
    }
    // SOA, NS and A of the zone itself, and two sets for each cluster.
    assert_eq!(read(&provider).await.records.len(), 3 + 2 * changes.len());
}

async fn messages_are_signed_with_sha512(software: Software) {
    let Some(server) = NameServer::start(software, &zone().algorithm("hmac-sha512")) else {
        return;
    };
    let provider = provider(&server);
    done(&provider, &change("one", &cluster("one", "192.0.2.1"))).await;
    assert!(!under(&read(&provider).await, "one").is_empty());
}
