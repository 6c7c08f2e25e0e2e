use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream, UdpSocket};
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RData, RecordType};
use tokio::runtime::{self, Runtime};

use super::*;
use crate::dns::records::{Expectation, RecordSet};
use crate::dns::tests::running::{Running, Scripted, in_sync, peak_mib};

/// For what should be there at once.
const PATIENCE: Duration = Duration::from_secs(20);

const ZONE: &str = "apps.example.com.";

fn lower(text: &str) -> LowerName {
    LowerName::from(Name::from_ascii(text).unwrap())
}

fn open_at(listen: &[&str], zone: &str, state_dir: &Path) -> Result<Embedded, EmbeddedError> {
    let authority = Authority {
        nameservers: vec![Name::from_ascii("ns1.example.com.").unwrap()],
        contact: Name::from_ascii("hostmaster.example.com.").unwrap(),
        negative_ttl: 30,
    };
    let listen: Vec<SocketAddr> = listen.iter().map(|text| text.parse().unwrap()).collect();
    Embedded::start(
        &lower(zone),
        authority,
        &listen,
        state_dir,
        &mut Registry::default(),
    )
}

fn open(zone: &str, state_dir: &Path) -> Embedded {
    open_at(&["127.0.0.1:0"], zone, state_dir).unwrap()
}

/// A name with the address 192.0.2.`last`, if it has none yet.
fn adding(name: &str, last: u8) -> Change {
    let key = Key {
        name: lower(name),
        kind: RecordType::A,
    };
    let data = RData::A(Ipv4Addr::new(192, 0, 2, last).into());
    let set = RecordSet {
        ttl: 60,
        data: BTreeSet::from([data]),
    };
    Change {
        name: key.name.clone(),
        expected: vec![Expectation::Unused(key.name.clone())],
        sets: vec![(key, Some(set))],
    }
}

fn runtime() -> Runtime {
    let mut builder = runtime::Builder::new_current_thread();
    builder.enable_all().build().unwrap()
}

fn apply(embedded: &Embedded, change: &Change) -> Result<Applied, ProviderError> {
    runtime().block_on(embedded.apply(change))
}

fn read(embedded: &Embedded, known: Option<u32>) -> Reading {
    let names = BTreeSet::new();
    let read = embedded.read(&names, known);
    runtime().block_on(read).unwrap()
}

fn question(name: &str) -> Vec<u8> {
    let mut message = Message::new(7, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), RecordType::A));
    message.to_vec().unwrap()
}

fn ask_udp(server: SocketAddr, message: &[u8]) -> Vec<u8> {
    let local = if server.is_ipv4() {
        "127.0.0.1:0"
    } else {
        "[::1]:0"
    };
    let socket = UdpSocket::bind(local).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.connect(server).unwrap();
    socket.send(message).unwrap();
    let mut room = [0; 65_535];
    let length = socket.recv(&mut room).unwrap();
    room[..length].to_vec()
}

fn ask_tcp(connection: &mut TcpStream, message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(message.len()).unwrap().to_be_bytes();
    connection.write_all(&[&length, message].concat()).unwrap();
    let mut length = [0; 2];
    connection.read_exact(&mut length).unwrap();
    let mut answer = vec![0; u16::from_be_bytes(length).into()];
    connection.read_exact(&mut answer).unwrap();
    answer
}

fn addresses(answer: &[u8]) -> Vec<String> {
    let answer = Message::from_vec(answer).unwrap();
    answer
        .answers
        .iter()
        .map(|record| record.data.to_string())
        .collect()
}

#[test]
fn what_is_applied_is_answered_over_both_transports() {
    let directory = tempfile::tempdir().unwrap();
    let embedded = open(ZONE, directory.path());
    let name = "acme.apps.example.com.";
    let server = embedded.addresses[0];
    assert!(addresses(&ask_udp(server, &question(name))).is_empty());
    assert_eq!(apply(&embedded, &adding(name, 1)).unwrap(), Applied::Done);
    assert_eq!(addresses(&ask_udp(server, &question(name))), ["192.0.2.1"]);
    let mut connection = TcpStream::connect(server).unwrap();
    connection.set_read_timeout(Some(PATIENCE)).unwrap();
    for _ in 0..3 {
        assert_eq!(
            addresses(&ask_tcp(&mut connection, &question(name))),
            ["192.0.2.1"]
        );
    }
    assert_eq!(
        apply(&embedded, &adding(name, 2)).unwrap(),
        Applied::Overtaken
    );
    assert_eq!(addresses(&ask_udp(server, &question(name))), ["192.0.2.1"]);
}

#[test]
fn it_answers_from_the_address_that_was_asked() {
    let directory = tempfile::tempdir().unwrap();
    let embedded = open_at(&["0.0.0.0:0", "[::1]:0"], ZONE, directory.path()).unwrap();
    let port = embedded.addresses[0].port();
    // A connected socket takes nothing from anywhere else.
    for server in [
        format!("127.0.0.1:{port}"),
        format!("127.9.8.7:{port}"),
        embedded.addresses[1].to_string(),
    ] {
        let answer = ask_udp(server.parse().unwrap(), &question(ZONE));
        assert!(Message::from_vec(&answer).unwrap().metadata.authoritative);
    }
}

#[test]
fn a_reading_is_the_whole_zone_or_that_nothing_has_changed() {
    let directory = tempfile::tempdir().unwrap();
    let embedded = open(ZONE, directory.path());
    let Reading::Zone(before) = read(&embedded, None) else {
        panic!("a zone expected");
    };
    let kinds: Vec<_> = before.records.keys().map(|key| key.kind).collect();
    assert_eq!(kinds, [RecordType::NS, RecordType::SOA]);
    assert_eq!(read(&embedded, Some(before.serial)), Reading::Unchanged);
    apply(&embedded, &adding("acme.apps.example.com.", 1)).unwrap();
    let Reading::Zone(after) = read(&embedded, Some(before.serial)) else {
        panic!("a zone expected");
    };
    assert_eq!(after.serial, before.serial.wrapping_add(1));
    assert_eq!(after.records.len(), 3);
}

#[test]
fn a_restart_keeps_the_zone_and_the_serial_grows() {
    let directory = tempfile::tempdir().unwrap();
    let mut last = None;
    for round in 1..=3 {
        let embedded = open(ZONE, directory.path());
        for before in 1..round {
            let name = format!("n{before}.apps.example.com.");
            let answer = ask_udp(embedded.addresses[0], &question(&name));
            assert_eq!(addresses(&answer), [format!("192.0.2.{before}")]);
        }
        let name = format!("n{round}.apps.example.com.");
        assert_eq!(
            apply(&embedded, &adding(&name, round)).unwrap(),
            Applied::Done
        );
        let serial = embedded.keeper.book().zone.serial();
        if let Some(last) = last {
            // RFC 1982, section 3.2.
            let distance = serial.wrapping_sub(last);
            assert!(distance > 0 && distance < 1 << 31, "{last} → {serial}");
        }
        last = Some(serial);
    }
}

#[test]
fn two_zones_share_a_state_directory() {
    let directory = tempfile::tempdir().unwrap();
    let one = open(ZONE, directory.path());
    let other = open("apps.example.net.", directory.path());
    apply(&one, &adding("a.apps.example.com.", 1)).unwrap();
    apply(&other, &adding("a.apps.example.net.", 2)).unwrap();
    for (server, mine, others) in [
        (&one, "a.apps.example.com.", "a.apps.example.net."),
        (&other, "a.apps.example.net.", "a.apps.example.com."),
    ] {
        assert_eq!(
            addresses(&ask_udp(server.addresses[0], &question(mine))).len(),
            1
        );
        let refused = Message::from_vec(&ask_udp(server.addresses[0], &question(others))).unwrap();
        assert_eq!(u16::from(refused.metadata.response_code), 5);
    }
    let error = apply(&one, &adding("a.apps.example.net.", 3)).unwrap_err();
    assert_eq!(error.reason, Reason::Unwritable);
    drop((one, other));
    let again = open("apps.example.net.", directory.path());
    let answer = ask_udp(again.addresses[0], &question("a.apps.example.net."));
    assert_eq!(addresses(&answer), ["192.0.2.2"]);
}

#[test]
fn a_port_that_is_taken_is_refused_with_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap().to_string();
    let error = open_at(&[&listen], ZONE, directory.path())
        .unwrap_err()
        .to_string();
    let expected = format!("the name server cannot listen on {listen} (UDP): ");
    assert!(error.starts_with(&expected), "{error}");
    assert!(
        error.ends_with("stop that one, or set [dns.embedded] listen"),
        "{error}"
    );
    assert!(fs::read_dir(directory.path()).unwrap().next().is_none());
}

#[test]
fn a_kept_zone_that_somebody_spoilt_is_put_aside() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(ZONE, directory.path()));
    let path = directory.path().join("dns-apps.example.com.zone");
    let aside = directory.path().join("dns-apps.example.com.zone.damaged");
    let kept = fs::read_to_string(&path).unwrap();
    for more in [
        "a.example.net. 60 IN A 192.0.2.1\n",
        "a.apps.example.com. 60 IN A 192.0.2\n",
        "$INCLUDE \"/etc/passwd\"\n",
        "a.apps.example.com. 60 CH A 192.0.2.1\n",
        "garbage (((\n",
    ] {
        let spoilt = format!("{kept}{more}");
        fs::write(&path, &spoilt).unwrap();
        let embedded = open(ZONE, directory.path());
        let Reading::Zone(snapshot) = read(&embedded, None) else {
            panic!("a zone");
        };
        assert_eq!(
            snapshot.records.len(),
            2,
            "{more}: its own two, and no more"
        );
        drop(embedded);
        assert_eq!(fs::read_to_string(&aside).unwrap(), spoilt);
    }
}

#[test]
fn one_address_has_so_many_connections_and_others_are_answered() {
    let directory = tempfile::tempdir().unwrap();
    let embedded = open_at(&["0.0.0.0:0"], ZONE, directory.path()).unwrap();
    let server = SocketAddr::from(([127, 0, 0, 1], embedded.addresses[0].port()));
    let mut held: Vec<TcpStream> = (0..32)
        .map(|_| TcpStream::connect(server).unwrap())
        .collect();
    for connection in &mut held {
        connection.set_read_timeout(Some(PATIENCE)).unwrap();
        assert!(!ask_tcp(connection, &question(ZONE)).is_empty());
    }
    let mut beyond = TcpStream::connect(server).unwrap();
    beyond.set_read_timeout(Some(PATIENCE)).unwrap();
    let ended = beyond.read(&mut [0; 1]);
    assert!(
        matches!(ended, Ok(0))
            || ended.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionReset)
    );
    let socket = socket_from([127, 0, 0, 2], server);
    let mut other = socket;
    other.set_read_timeout(Some(PATIENCE)).unwrap();
    assert!(!ask_tcp(&mut other, &question(ZONE)).is_empty());
}

fn socket_from(address: [u8; 4], server: SocketAddr) -> TcpStream {
    let connected = runtime().block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from((address, 0))).unwrap();
        socket.connect(server).await.unwrap().into_std().unwrap()
    });
    connected.set_nonblocking(false).unwrap();
    connected
}

#[tokio::test]
async fn thousands_of_clusters_converge_from_empty() {
    let full = std::env::var_os("CAUSEWAY_TEST_FULL").is_some();
    let count = if full { 10_000 } else { 1_000 };
    let directory = tempfile::tempdir().unwrap();
    let embedded = open(ZONE, directory.path());
    let address = embedded.addresses[0];
    let scripted = Scripted::new(count);
    let began = std::time::Instant::now();
    let running = Running::over(lower(ZONE), "embedded", Arc::new(embedded), &scripted);
    running
        .until("all names in sync", |report| in_sync(report) == count + 3)
        .await;
    println!(
        "embedded: {count} clusters from empty in {:.1?}; resident at most {} MiB, test included",
        began.elapsed(),
        peak_mib("self"),
    );
    // It answers what the reconciler believes.
    let last = format!("c{}--tenant-99.{ZONE}", count - 1);
    let asking = move || addresses(&ask_udp(address, &question(&last)));
    let answer = tokio::task::spawn_blocking(asking).await.unwrap();
    assert_eq!(answer, ["203.0.113.7"]);
    running.rounds(1).await;
    let serial = running.dns.report().serial;
    running.rounds(10).await;
    assert_eq!(
        running.dns.report().serial,
        serial,
        "steady rounds change nothing"
    );
    running.stop().await;
}
