//! Names that follow tunnels on name servers of others: a real edge and real clients, BIND and
//! Knot, and third parties who write in the same zone.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tempfile::TempDir;

use crate::support::{
    Plane, Process, Side, causeway,
    nameserver::{EDGE, Fate, NameServer, Software, Way, Zone, is_update},
    wait_for,
};

/// What others have in the zone, as a transfer shows it.
const OTHERS: [&str; 6] = [
    "alias.apps.test. 300 IN CNAME www.apps.test.",
    "elsewhere--acme.apps.test. 60 IN A 192.0.2.66",
    "mail.apps.test. 300 IN MX 10 mx.example.org.",
    "odd.apps.test. 300 IN TYPE65280 \\# 4 01020304",
    "www.apps.test. 300 IN A 192.0.2.80",
    "www.apps.test. 300 IN TXT \"not yours\" \"in two pieces\"",
];

#[test]
fn on_bind_names_follow_clusters_and_others_records_stay() {
    names_follow_clusters_and_others_records_stay(Software::Bind);
}

#[test]
fn on_knot_names_follow_clusters_and_others_records_stay() {
    names_follow_clusters_and_others_records_stay(Software::Knot);
}

fn names_follow_clusters_and_others_records_stay(software: Software) {
    let Some(server) = NameServer::start(software, &zone()) else {
        return;
    };
    let relay = server.relay();
    let access = Access::new(server.key(EDGE).secret.as_str());
    let mut plane = Plane::builder()
        .edge_toml(&access.edge_toml(relay.address()))
        .start();
    let is = |name: &str, kind: &str, data: &[&str]| {
        wait_for(&format!("{name} {kind} {data:?}"), || {
            (server.query(name, kind) == data).then_some(())
        });
    };
    is("demo--acme", "A", &["203.0.113.7"]);
    is("demo--acme", "AAAA", &["2001:db8::7"]);
    is("web--demo--acme", "A", &["203.0.113.7"]);
    is("edge-1", "AAAA", &["2001:db8::7"]);
    let port = plane.tunnel().port();
    let services = wait_for("the edge's own record", || {
        Some(server.query("_causeway._tcp", "SRV")).filter(|found| found.len() == 1)
    });
    assert!(
        services[0].ends_with(&format!(" {port} edge-1.apps.test.")),
        "{services:?}"
    );

    // One more comes, and goes again.
    let mut second = second_client(&mut plane, "acme/second");
    // What the wildcard says is no record of its own.
    let is_there = || {
        let records = server.records();
        records
            .iter()
            .any(|record| record.starts_with("second--acme."))
    };
    wait_for("the name of one more cluster", || is_there().then_some(()));
    second.signal("TERM");
    second.ended();
    wait_for("the name of the cluster that left to go", || {
        (!is_there()).then_some(())
    });

    // What is true is left alone.
    let rounds = |plane: &mut Plane| plane.status(Side::Edge)["dns"]["rounds"].as_u64().unwrap();
    wait_for("a round that leaves nothing to do", || {
        let counts = plane.status(Side::Edge)["dns"]["held_count"].clone();
        (counts == 0).then_some(())
    });
    let (before, updates) = (rounds(&mut plane), relay.updates());
    assert!(updates > 0);
    wait_for("ten rounds more", || {
        (rounds(&mut plane) >= before + 10).then_some(())
    });
    assert_eq!(relay.updates(), updates);
    assert_others_are_whole(&server);

    // The server's operator removes a record of ours by mistake: it is made again.
    server.update("delete demo--acme A");
    is("demo--acme", "A", &["203.0.113.7"]);
    assert_others_are_whole(&server);
}

#[test]
fn on_bind_an_edit_in_between_survives_and_is_reported() {
    an_edit_in_between_survives_and_is_reported(Software::Bind);
}

#[test]
fn on_knot_an_edit_in_between_survives_and_is_reported() {
    an_edit_in_between_survives_and_is_reported(Software::Knot);
}

fn an_edit_in_between_survives_and_is_reported(software: Software) {
    let Some(server) = NameServer::start(software, &zone()) else {
        return;
    };
    let server = Arc::new(server);
    let relay = server.relay();
    let (somebody, edited) = (Arc::clone(&server), AtomicBool::new(false));
    relay.judge(move |way, message| {
        let of_cluster = message.windows(11).any(|bytes| bytes == b"\x0ademo--acme");
        if way == Way::ToServer
            && is_update(message)
            && of_cluster
            && !edited.swap(true, Ordering::SeqCst)
        {
            somebody.update("add demo--acme 300 A 192.0.2.99");
        }
        Fate::Pass
    });
    let access = Access::new(server.key(EDGE).secret.as_str());
    let mut plane = Plane::builder()
        .edge_toml(&access.edge_toml(relay.address()))
        .start();
    wait_for("the name to be somebody else's", || {
        (plane.status(Side::Edge)["dns"]["counts"]["foreign"] == 1).then_some(())
    });
    let (_, cluster) = plane.ask("/api/clusters/acme/demo");
    let name = &cluster["dns"][0];
    assert_eq!(name["name"], "demo--acme.apps.test.");
    assert_eq!(name["state"], "foreign");
    assert!(name["why"].as_str().unwrap().contains("A records"));
    let overtaken = metric(
        &plane,
        "causeway_dns_changes_total",
        "outcome=\"overtaken\"",
    );
    assert_eq!(overtaken, 1);
    assert_eq!(server.query("demo--acme", "A"), ["192.0.2.99"]);
    let log = plane.edge.log();
    assert!(log.contains("somebody"), "{log}");
    assert_others_are_whole(&server);

    // When it is given up, it is taken.
    server.update("delete demo--acme");
    wait_for("the name to be ours", || {
        (server.query("demo--acme", "A") == ["203.0.113.7"]).then_some(())
    });
    wait_for("the edge to say so", || {
        let (_, cluster) = plane.ask("/api/clusters/acme/demo");
        (cluster["dns"][0]["state"] == "in_sync").then_some(())
    });
}

#[test]
fn on_bind_a_wrong_secret_is_told_and_mended() {
    a_wrong_secret_is_told_and_mended(Software::Bind);
}

#[test]
fn on_knot_a_wrong_secret_is_told_and_mended() {
    a_wrong_secret_is_told_and_mended(Software::Knot);
}

fn a_wrong_secret_is_told_and_mended(software: Software) {
    let Some(server) = NameServer::start(software, &zone()) else {
        return;
    };
    let access = Access::new("c29tZXRoaW5nIHRoYXQgd2FzIHdyaXR0ZW4gZG93biB3cm9uZw==");
    let mut plane = Plane::builder()
        .edge_toml(&access.edge_toml(server.address()))
        .fixed_ports()
        .start();
    let message = wait_for("a round that cannot read the zone", || {
        let status = plane.status(Side::Edge);
        let last = &status["dns"]["last_round"];
        let message = last["message"].as_str()?.to_owned();
        (last["reason"] == "bad_signature").then_some(message)
    });
    for word in [EDGE, "same secret", &server.address().to_string()] {
        assert!(message.contains(word), "no {word} in: {message}");
    }
    assert!(metric(&plane, "causeway_dns_errors_total", "bad_signature") > 0);
    assert!(plane.edge.log().contains("same secret"));
    assert_eq!(server.serial(), 1);

    fs::write(access.file(), &server.key(EDGE).secret).unwrap();
    plane.edge.kill();
    plane.start_again(Side::Edge);
    wait_for("the name", || {
        (server.query("demo--acme", "A") == ["203.0.113.7"]).then_some(())
    });
    assert_others_are_whole(&server);
}

/// A zone in which others have records.
fn zone() -> Zone {
    OTHERS.iter().fold(Zone::new("apps.test"), |zone, record| {
        zone.record(&record.replace(" IN ", " "))
    })
}

#[track_caller]
fn assert_others_are_whole(server: &NameServer) {
    let records = server.records();
    for record in OTHERS {
        assert!(
            records.iter().any(|it| it == record),
            "{record}: {records:?}"
        );
    }
}

/// The secret of the edge's key in a file, and what `edge.toml` says.
struct Access(TempDir);

impl Access {
    fn new(secret: &str) -> Self {
        let access = Self(tempfile::tempdir().unwrap());
        fs::write(access.file(), secret).unwrap();
        access
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("tsig.secret")
    }

    /// Everything happens soon, so that nobody has to wait.
    fn edge_toml(&self, server: SocketAddr) -> String {
        format!(
            "[dns]\nzone = \"apps.test\"\nprovider = \"rfc2136\"\n\
             target = [\"203.0.113.7\", \"2001:db8::7\"]\n\
             ttl = \"0s\"\nedge_ttl = \"0s\"\n\
             resync = \"200ms\"\ndebounce = \"100ms\"\nsettle = \"100ms\"\nremove_after = \"100ms\"\n\
             [dns.rfc2136]\nserver = \"{server}\"\nkey = \"{EDGE}\"\nsecret_file = \"{}\"\n",
            self.file().display()
        )
    }
}

/// A client of another cluster at the same edge.
fn second_client(plane: &mut Plane, cluster: &str) -> Process {
    let directory = plane.path(Side::Client).join("second");
    fs::create_dir(&directory).unwrap();
    plane
        .authority()
        .issue(&["client", cluster], &directory.join("state"));
    let tunnel = plane.tunnel();
    let config = directory.join("client.toml");
    fs::write(
        &config,
        format!(
            "[identity]\ndir = \"state\"\n\n[edge]\naddress = \"{tunnel}\"\n\n\
             [admin]\nlisten = \"unix:admin.sock\"\n"
        ),
    )
    .unwrap();
    client(&config, &directory.join("client.log"))
}

fn client(config: &Path, log: &Path) -> Process {
    let mut command = causeway();
    command.arg("client").arg("--config").arg(config);
    Process::start("second client", &mut command, log)
}

/// The sum of the lines of a metric of the edge that have this label.
fn metric(plane: &Plane, name: &str, label: &str) -> u64 {
    let metrics = plane.metrics(Side::Edge);
    let lines = metrics
        .lines()
        .filter(|line| line.starts_with(name) && line.contains(label));
    let values = lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap());
    values.sum()
}
