use std::net::Ipv4Addr;

use hickory_proto::rr::{Name, RData, RecordType};

use super::*;
use crate::dns::records::{Expectation, Key, RecordSet};

const ZONE: &str = "apps.example.com.";

fn lower(text: &str) -> LowerName {
    LowerName::from(Name::from_ascii(text).unwrap())
}

fn whole() -> Option<Authority> {
    Some(Authority {
        nameservers: vec![Name::from_ascii("ns1.example.com.").unwrap()],
        contact: Name::from_ascii("hostmaster.example.com.").unwrap(),
        negative_ttl: 30,
    })
}

fn open(authority: Option<Authority>, path: &Path) -> Zonefile {
    Zonefile::start(&lower(ZONE), authority, path).unwrap()
}

fn key(name: &str) -> Key {
    Key {
        name: lower(name),
        kind: RecordType::A,
    }
}

fn set(last: u8) -> RecordSet {
    let data = RData::A(Ipv4Addr::new(192, 0, 2, last).into());
    RecordSet {
        ttl: 60,
        data: BTreeSet::from([data]),
    }
}

/// A name with the address 192.0.2.`last`, if it has none yet.
fn adding(name: &str, last: u8) -> Change {
    Change {
        name: lower(name),
        expected: vec![Expectation::Unused(lower(name))],
        sets: vec![(key(name), Some(set(last)))],
    }
}

async fn zone(file: &Zonefile, known: Option<u32>) -> (u32, Records) {
    match file.read(&BTreeSet::new(), known).await.unwrap() {
        Reading::Zone(zone) => (zone.serial, zone.records),
        Reading::Unchanged => panic!("a zone expected"),
    }
}

#[tokio::test]
async fn a_file_to_include_has_our_records_only_and_others_stay() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("clusters");
    let file = open(None, &path);
    let (first, records) = zone(&file, None).await;
    assert!(records.is_empty() && !path.exists());
    assert_eq!(
        file.apply(&adding("a.apps.example.com.", 1)).await.unwrap(),
        Applied::Done
    );
    let text = fs::read_to_string(&path).unwrap();
    let serial = first.wrapping_add(1);
    assert!(
        text.ends_with(&format!(
            "; serial {serial}\na.apps.example.com. 60 IN A 192.0.2.1\n"
        )),
        "{text}"
    );
    let known = file.read(&BTreeSet::new(), Some(serial)).await.unwrap();
    assert_eq!(known, Reading::Unchanged);

    // Somebody edits it twice, and takes no new serial.
    let mut serial = serial;
    for (more, names) in [
        ("b.apps.example.com. 60 IN A 192.0.2.9\n", 2),
        ("\n; nothing\n", 2),
    ] {
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text + more).unwrap();
        let (edited, records) = zone(&file, Some(serial)).await;
        assert!(serial::is_later(edited, serial));
        assert_eq!(records.len(), names);
        serial = edited;
    }
    let overtaken = file.apply(&adding("b.apps.example.com.", 2)).await.unwrap();
    assert_eq!(overtaken, Applied::Overtaken);
    file.apply(&adding("c.apps.example.com.", 3)).await.unwrap();
    let text = fs::read_to_string(&path).unwrap();
    assert!(
        text.contains("b.apps.example.com. 60 IN A 192.0.2.9\n"),
        "{text}"
    );
}

#[tokio::test]
async fn a_whole_zone_begins_with_its_soa_and_outlives_the_process() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("zone");
    let file = open(whole(), &path);
    file.apply(&adding("a.apps.example.com.", 1)).await.unwrap();
    let (before, records) = zone(&file, None).await;
    drop(file);
    let text = fs::read_to_string(&path).unwrap();
    let first = text.lines().find(|line| !line.starts_with(';')).unwrap();
    assert!(
        first.starts_with("apps.example.com. 30 IN SOA ns1.example.com. hostmaster.example.com. "),
        "{first}"
    );
    let again = open(whole(), &path);
    assert_eq!(zone(&again, None).await, (before, records));
}

#[tokio::test]
async fn changes_that_wait_are_each_answered() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("zone");
    let file = open(whole(), &path);
    let changes: Vec<Change> = (0..300)
        .map(|place| {
            adding(
                &format!("n{}.apps.example.com.", place % 250),
                (place % 250) as u8,
            )
        })
        .collect();
    let outcomes =
        futures_util::future::join_all(changes.iter().map(|change| file.apply(change))).await;
    let done = outcomes
        .iter()
        .filter(|outcome| matches!(outcome, Ok(Applied::Done)))
        .count();
    let overtaken = outcomes
        .iter()
        .filter(|outcome| matches!(outcome, Ok(Applied::Overtaken)))
        .count();
    assert_eq!((done, overtaken), (250, 50));
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(text.matches(" IN A ").count(), 250);
}

#[tokio::test]
async fn a_file_that_cannot_be_read_is_left_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("zone");
    let file = open(None, &path);
    for (text, because) in [
        ("a.apps.example.com. IN A\n", ": "),
        (
            "a.example.org. 60 IN A 192.0.2.1\n",
            "a.example.org. is not in the zone apps.example.com.",
        ),
        ("$INCLUDE \"other\"\n", "$INCLUDE is not followed"),
    ] {
        fs::write(&path, text).unwrap();
        let error = file
            .apply(&adding("a.apps.example.com.", 1))
            .await
            .unwrap_err();
        assert_eq!(error.reason, Reason::Malformed);
        assert!(error.message.contains(because), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
    fs::remove_file(&path).unwrap();
    assert_eq!(
        file.apply(&adding("a.apps.example.com.", 1)).await.unwrap(),
        Applied::Done
    );
}

#[tokio::test]
async fn what_cannot_be_written_is_said_and_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("gone").join("zone");
    let file = open(None, &path);
    let error = file
        .apply(&adding("a.apps.example.com.", 1))
        .await
        .unwrap_err();
    assert_eq!(error.reason, Reason::File);
    assert!(zone(&file, None).await.1.is_empty());
    let outside = file.apply(&adding("a.example.org.", 1)).await.unwrap_err();
    assert_eq!(outside.reason, Reason::Unwritable);
    fs::create_dir(directory.path().join("gone")).unwrap();
    assert_eq!(
        file.apply(&adding("a.apps.example.com.", 1)).await.unwrap(),
        Applied::Done
    );
}

#[tokio::test]
async fn the_mode_that_somebody_gave_it_stays() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("zone");
    fs::write(&path, "").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let file = open(None, &path);
    file.apply(&adding("a.apps.example.com.", 1)).await.unwrap();
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o640
    );
}
