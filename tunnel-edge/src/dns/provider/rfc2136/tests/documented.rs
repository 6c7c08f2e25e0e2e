//! The configurations that docs/dns.md gives work as they stand there.

use std::{fs, process::Command, str::FromStr};

use hickory_proto::rr::LowerName;

use super::support::{
    Access, a, done,
    nameserver::{EDGE, NameServer, Software, Zone},
    peers::peer,
    read, removal, set, with_bind_and_knot,
};
use crate::dns::records::{Change, Key};

with_bind_and_knot!(the_documented_configuration_suffices);

async fn the_documented_configuration_suffices(software: Software) {
    let statements = documented(match software {
        Software::Bind => "named.conf",
        Software::Knot => "knot.conf",
    });
    let zone = Zone::new("apps.example.com")
        .told_as(&statements)
        .filed_as(&documented("zone"));
    let Some(server) = NameServer::start(software, &zone) else {
        return;
    };
    // The key of the edges is the one that is documented.
    assert!(statements.contains(&server.key(EDGE).secret));
    let edge = documented("toml");
    assert!(edge.contains(&format!("key = \"{EDGE}\"")), "{edge}");

    let provider = Access::to(&server, server.address()).provider();
    let before = read(&provider).await;
    let (_, records) = set("one--acme", 60, &[a("192.0.2.1")]);
    let name = LowerName::from_str("one--acme.apps.example.com.").unwrap();
    let key = Key {
        name: name.clone(),
        kind: hickory_proto::rr::RecordType::A,
    };
    let make = Change {
        name: name.clone(),
        expected: Vec::new(),
        sets: vec![(key.clone(), Some(records))],
    };
    done(&provider, &make).await;
    assert_eq!(server.query("one--acme", "A"), ["192.0.2.1"]);
    let mut remove = removal("one--acme", &[], &[key]);
    remove.name = name;
    done(&provider, &remove).await;
    let after = read(&provider).await;
    assert_eq!(after.records.len(), before.records.len());
}

#[test]
fn the_documented_zone_is_right_as_it_stands() {
    let Some(program) = peer("named-checkzone") else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("apps.example.com.zone");
    fs::write(&file, documented("zone")).unwrap();
    let checked = Command::new(program)
        .arg("apps.example.com")
        .arg(file)
        .output()
        .unwrap();
    assert!(checked.status.success(), "{checked:?}");
}

/// The block of this language in the chapter about this provider, without the indentation of the list
/// that it stands in. A zone file stands in none: there, what a line begins with has a meaning.
fn documented(language: &str) -> String {
    let text = include_str!("../../../../../../docs/dns.md");
    let mut chapters = text
        .split("\n## A name server that takes updates\n")
        .skip(1);
    let chapter = chapters.next().unwrap().split("\n## ").next().unwrap();
    let (before, rest) = chapter.split_once(&format!("```{language}\n")).unwrap();
    let indentation = before.rsplit('\n').next().unwrap();
    let (block, _) = rest.split_once(&format!("\n{indentation}```\n")).unwrap();
    let lines = block
        .lines()
        .map(|line| line.strip_prefix(indentation).unwrap_or(line));
    lines.flat_map(|line| [line, "\n"]).collect()
}
