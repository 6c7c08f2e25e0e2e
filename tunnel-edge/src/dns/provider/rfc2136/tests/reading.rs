//! Reading a zone: by transfer, and name by name where that is refused.

use std::{collections::BTreeSet, slice};

use hickory_proto::rr::{LowerName, RecordType};

use super::support::{
    Access, ZONE, a, change, cluster, cname, done, name,
    nameserver::{NameServer, Software, Zone},
    provider, read, removal, set, txt, under, with_bind_and_knot, zone,
};
use crate::dns::{
    provider::{Provider, Reading, rfc2136::Rfc2136},
    records::Snapshot,
};

with_bind_and_knot!(
    a_transfer_has_everything_and_is_not_repeated,
    a_large_zone_is_transferred_whole,
    where_transfers_are_refused_names_are_asked_for,
    an_answer_from_a_wildcard_is_not_taken_for_a_name,
);

async fn a_transfer_has_everything_and_is_not_repeated(software: Software) {
    let Some(server) = NameServer::start(software, &zone()) else {
        return;
    };
    let provider = provider(&server);
    let nobody = BTreeSet::new();
    let snapshot = read(&provider).await;
    assert_eq!(snapshot.serial, server.serial());
    let kinds = |relative| -> Vec<_> { under(&snapshot, relative).into_keys().collect() };
    assert_eq!(kinds("www"), [RecordType::A, RecordType::TXT]);
    assert_eq!(kinds("mail"), [RecordType::MX]);
    assert_eq!(kinds("alias"), [RecordType::CNAME]);
    assert_eq!(kinds("odd"), [RecordType::Unknown(65280)]);
    assert_eq!(kinds("@"), [RecordType::NS, RecordType::SOA]);

    let again = provider.read(&nobody, Some(snapshot.serial)).await;
    assert_eq!(again.unwrap(), Reading::Unchanged);
    server.update("add www 300 A 192.0.2.81");
    let changed = provider.read(&nobody, Some(snapshot.serial)).await;
    let Reading::Zone(changed) = changed.unwrap() else {
        panic!("somebody has changed it");
    };
    assert!(changed.serial > snapshot.serial);
    let addresses = set("www", 300, &[a("192.0.2.80"), a("192.0.2.81")]);
    assert_eq!(under(&changed, "www")[&RecordType::A], addresses.1);
}

async fn a_large_zone_is_transferred_whole(software: Software) {
    const NAMES: u16 = 20_000;
    let records = (0..NAMES).fold(Zone::new(ZONE), |zone, number| {
        let [high, low] = number.to_be_bytes();
        zone.record(&format!("c{number}--acme 60 A 10.1.{high}.{low}"))
    });
    let Some(server) = NameServer::start(software, &records) else {
        return;
    };
    let relay = server.relay();
    let provider = Access::to(&server, relay.address()).provider();
    let snapshot = read(&provider).await;
    assert_eq!(snapshot.records.len(), usize::from(NAMES) + 3);
    assert!(relay.answers() > 10, "{} messages", relay.answers());
}

async fn where_transfers_are_refused_names_are_asked_for(software: Software) {
    let Some(server) = NameServer::start(software, &zone().without_transfer()) else {
        return;
    };
    let relay = server.relay();
    let mut access = Access::to(&server, relay.address());
    let refused = access.provider();
    access.settings.transfer = false;
    let without = access.provider();

    done(&refused, &change("one", &cluster("one", "192.0.2.1"))).await;
    let alias = set("two", 60, &[cname("one.apps.test.")]);
    done(&without, &change("two", slice::from_ref(&alias))).await;
    let asked = ["one", "one._causeway", "two", "www", "mail", "nobody"];
    let asked: BTreeSet<_> = asked.into_iter().map(name).collect();
    let mut seen = Vec::new();
    for provider in [&refused, &without] {
        let snapshot = read_names(provider, &asked).await;
        assert_eq!(snapshot.serial, server.serial());
        let [address, owner] = cluster("one", "192.0.2.1");
        assert_eq!(under(&snapshot, "one"), [(RecordType::A, address.1)].into());
        let owned = under(&snapshot, "one._causeway");
        assert_eq!(owned, [(RecordType::TXT, owner.1)].into());
        // Not what the alias leads to.
        let expected = [(RecordType::CNAME, alias.1.clone())].into();
        assert_eq!(under(&snapshot, "two"), expected);
        assert_eq!(under(&snapshot, "www").len(), 2);
        assert!(under(&snapshot, "nobody").is_empty());
        let again = provider.read(&asked, Some(snapshot.serial)).await;
        assert_eq!(again.unwrap(), Reading::Unchanged);
        seen.push(snapshot);
    }
    assert_eq!(seen[0], seen[1]);
    assert_eq!(relay.updates(), 2);
}

async fn an_answer_from_a_wildcard_is_not_taken_for_a_name(software: Software) {
    let wild = zone()
        .record("* 60 A 203.0.113.7")
        .record("* 60 TXT \"anybody\"")
        .record("same 60 A 203.0.113.7")
        .record("same 60 TXT \"anybody\"")
        .record("below.between 60 A 203.0.113.7");
    let Some(server) = NameServer::start(software, &wild.without_transfer()) else {
        return;
    };
    let provider = provider(&server);
    assert_eq!(server.query("one--acme", "A"), ["203.0.113.7"]);
    let asked = ["one--acme", "one--acme._causeway", "same", "*", "between"];
    let asked: BTreeSet<_> = asked.into_iter().map(name).collect();
    let snapshot = read_names(&provider, &asked).await;
    assert!(under(&snapshot, "one--acme").is_empty());
    assert!(under(&snapshot, "one--acme._causeway").is_empty());
    assert!(under(&snapshot, "between").is_empty());
    // What is really there is seen, however much it looks like the wildcard.
    let wildcard = [
        (RecordType::A, set("*", 60, &[a("203.0.113.7")]).1),
        (RecordType::TXT, set("*", 60, &[txt("anybody")]).1),
    ];
    assert_eq!(under(&snapshot, "*"), wildcard.clone().into());
    assert_eq!(under(&snapshot, "same"), wildcard.into());

    done(
        &provider,
        &change("one--acme", &cluster("one--acme", "203.0.113.7")),
    )
    .await;
    let snapshot = read_names(&provider, &asked).await;
    assert_eq!(under(&snapshot, "one--acme").len(), 1);
    assert_eq!(under(&snapshot, "one--acme._causeway").len(), 1);
    let keys: Vec<_> = snapshot
        .records
        .keys()
        .filter(|key| key.name == name("one--acme"))
        .cloned()
        .collect();
    done(&provider, &removal("one--acme", &[], &keys)).await;
    let snapshot = read_names(&provider, &asked).await;
    assert!(under(&snapshot, "one--acme").is_empty());
}

async fn read_names(provider: &Rfc2136, names: &BTreeSet<LowerName>) -> Snapshot {
    match provider.read(names, None).await.unwrap() {
        Reading::Zone(snapshot) => snapshot,
        Reading::Unchanged => panic!("nothing was known"),
    }
}
