//! The edge as the name server of its zone, asked by dig, dnsperf and strangers.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream, UdpSocket},
    path::PathBuf,
    process::{Command, Output},
};

use serde_json::Value;

use crate::support::{DEADLINE, Plane, Side, address_for_server, causeway, peer, wait_for};

const ZONE: &str = "apps.test";

/// Records of somebody else, which the edge serves and leaves alone.
const RECORDS: &str = "\
www.apps.test. 60 IN A 192.0.2.1
www.apps.test. 60 IN A 192.0.2.2
www.apps.test. 60 IN AAAA 2001:db8::1
www.apps.test. 60 IN TXT \"two words\"
alias.apps.test. 60 IN CNAME www.apps.test.
away.apps.test. 60 IN CNAME www.example.org.
_service._tcp.apps.test. 300 IN SRV 1 2 7443 www.apps.test.
*.wild.apps.test. 60 IN A 192.0.2.9
";

/// A running edge with a zone.
pub(crate) struct Zone {
    plane: Plane,
    server: SocketAddr,
}

impl Zone {
    /// `None`, said by name, when dig is missing.
    #[track_caller]
    fn start() -> Option<Self> {
        peer("dig")?;
        let server = address_for_server();
        let dns = format!(
            "[dns]\nzone = \"{ZONE}\"\ntarget = \"127.0.0.1\"\nwildcard = false\nresync = \"200ms\"\n\
             debounce = \"100ms\"\n[dns.embedded]\nlisten = \"{server}\"\nnameservers = \"ns1.example.org\"\n"
        );
        let plane = Plane::builder().edge_toml(&dns).fixed_ports().start();
        Some(Self { plane, server })
    }

    /// With records that were there before the edge.
    #[track_caller]
    pub(crate) fn start_with(records: &str) -> Option<Self> {
        let mut zone = Self::start()?;
        // Both, so that the client need not find out that its edge is another.
        zone.plane.client.kill();
        zone.plane.edge.kill();
        let kept = zone.kept();
        let text = fs::read_to_string(&kept).unwrap();
        fs::write(&kept, text + records).unwrap();
        zone.plane.start_again(Side::Edge);
        zone.plane.start_again(Side::Client);
        zone.plane.await_session();
        Some(zone)
    }

    /// Where it answers.
    pub(crate) fn server(&self) -> SocketAddr {
        self.server
    }

    fn kept(&self) -> PathBuf {
        let state = self.plane.path(Side::Edge).join("state");
        state.join(format!("dns-{ZONE}.zone"))
    }

    /// All that dig says.
    #[track_caller]
    fn dig(&self, arguments: &str) -> String {
        let output = Command::new(peer("dig").unwrap())
            .args(["-r", "@127.0.0.1", "-p", &self.server.port().to_string()])
            .args(["+tries=1", "+time=10"])
            .args(arguments.split(' '))
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    #[track_caller]
    fn short(&self, arguments: &str) -> Vec<String> {
        let text = self.dig(&format!("+short {arguments}"));
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    }

    /// `causeway dns …` at this edge.
    fn dns(&self, act: &str, more: &[&str]) -> Output {
        let config = self.plane.config(Side::Edge);
        causeway()
            .args(["dns", act, "--config"])
            .arg(config)
            .args(more)
            .output()
            .unwrap()
    }
}

#[test]
fn dig_gets_every_kind_of_answer() {
    let Some(zone) = Zone::start_with(RECORDS) else {
        return;
    };
    for (asked, expected) in [
        ("www.apps.test A", vec!["192.0.2.1", "192.0.2.2"]),
        ("www.apps.test AAAA", vec!["2001:db8::1"]),
        ("WWW.Apps.TEST TXT", vec!["\"two words\""]),
        (
            "alias.apps.test AAAA",
            vec!["2001:db8::1", "www.apps.test."],
        ),
        ("away.apps.test A", vec!["www.example.org."]),
        (
            "_service._tcp.apps.test SRV",
            vec!["1 2 7443 www.apps.test."],
        ),
        ("any.thing.wild.apps.test A", vec!["192.0.2.9"]),
        ("apps.test NS", vec!["ns1.example.org."]),
        ("+tcp www.apps.test A", vec!["192.0.2.1", "192.0.2.2"]),
        ("+noedns www.apps.test AAAA", vec!["2001:db8::1"]),
        (
            "+bufsize=512 +dnssec www.apps.test AAAA",
            vec!["2001:db8::1"],
        ),
    ] {
        assert_eq!(zone.short(asked), expected, "{asked}");
    }
    for (asked, status, soa) in [
        ("none.apps.test A", "NXDOMAIN", true),
        ("www.apps.test MX", "NOERROR", true),
        ("_tcp.apps.test A", "NOERROR", true),
        ("x.www.apps.test A", "NXDOMAIN", true),
        ("example.org A", "REFUSED", false),
        ("+opcode=notify apps.test SOA", "NOTIMP", false),
        (
            "+edns=1 +noednsnegotiation www.apps.test A",
            "BADVERS",
            false,
        ),
    ] {
        let text = zone.dig(asked);
        assert!(
            text.contains(&format!("status: {status},")),
            "{asked}: {text}"
        );
        let said = text.contains("IN\tSOA\tns1.example.org. hostmaster.apps.test. ");
        assert_eq!(said, soa, "{asked}: {text}");
        assert!(
            !text.contains("MALFORMED") && !text.contains("WARNING: Messa"),
            "{text}"
        );
    }
    let answer = zone.dig("www.apps.test A");
    assert!(answer.contains(";; flags: qr aa rd;"), "{answer}");
    assert!(
        answer.contains("; EDNS: version: 0, flags:; udp: 1232"),
        "{answer}"
    );
    let transfer = zone.dig("apps.test AXFR");
    assert!(transfer.contains("; Transfer failed."), "{transfer}");
    let any = zone.dig("+notcp www.apps.test ANY");
    assert!(any.contains("ANSWER: 2,"), "{any}");
}

#[test]
fn what_does_not_fit_a_datagram_is_asked_for_again_by_tcp() {
    let many: String = (0..200)
        .map(|last| format!("many.apps.test. 60 IN A 192.0.2.{last}\n"))
        .collect();
    let Some(zone) = Zone::start_with(&many) else {
        return;
    };
    let cut = zone.dig("+ignore many.apps.test A");
    assert!(
        cut.contains(";; flags: qr aa tc rd;") && cut.contains("ANSWER: 0,"),
        "{cut}"
    );
    assert_eq!(zone.short("many.apps.test A").len(), 200);
}

#[test]
fn names_follow_the_tunnels_and_a_killed_edge_answers_as_before() {
    let Some(mut zone) = Zone::start_with(RECORDS) else {
        return;
    };
    wait_for("the names of the cluster and the edge", || {
        let names = ["demo--acme.apps.test A", "edge-1.apps.test A"];
        names
            .iter()
            .all(|name| zone.short(name) == ["127.0.0.1"])
            .then_some(())
    });
    let srv = zone.short("_causeway._tcp.apps.test SRV");
    let port = zone.plane.tunnel().port();
    assert_eq!(srv.len(), 1);
    assert!(
        srv[0].ends_with(&format!(" {port} edge-1.apps.test.")),
        "{srv:?}"
    );
    let serial = |zone: &Zone| -> u32 {
        zone.short("apps.test SOA")[0]
            .split(' ')
            .nth(2)
            .unwrap()
            .parse()
            .unwrap()
    };
    let before = serial(&zone);
    wait_for("the zone to be kept", || {
        let kept = fs::read_to_string(zone.kept()).unwrap();
        kept.contains("demo--acme.apps.test. ").then_some(())
    });

    // The client cannot come back, so that no name is there but from before.
    zone.plane.client.kill();
    zone.plane.edge.kill();
    zone.plane.start_again(Side::Edge);
    let first = wait_for("the first answer", || {
        let first = zone.dig("demo--acme.apps.test A");
        first.contains("status: ").then_some(first)
    });
    assert!(
        first.contains("status: NOERROR") && first.contains("\tA\t127.0.0.1"),
        "{first}"
    );
    assert_eq!(zone.short("www.apps.test AAAA"), ["2001:db8::1"]);
    let distance = serial(&zone).wrapping_sub(before);
    assert!(
        distance > 0 && distance < 1 << 31,
        "the serial grows: {distance}"
    );
}

#[test]
fn the_command_says_what_differs_and_corrects_it() {
    let Some(zone) = Zone::start_with(RECORDS) else {
        return;
    };
    wait_for("the zone to be in sync", || {
        let diff = zone.dns("diff", &[]);
        diff.status.success().then_some(())
    });
    let plan = zone.dns("plan", &[]);
    let text = String::from_utf8(plan.stdout).unwrap();
    assert_eq!(
        text,
        "apps.test. (embedded): 0 to change, 0 held back, 0 of others\n"
    );
    assert!(plan.status.success());
    let applied = zone.dns("apply", &[]);
    let text = String::from_utf8(applied.stdout).unwrap();
    assert!(text.starts_with("apps.test. (embedded), serial "), "{text}");
    assert!(
        text.contains(": round finished in ") && text.ends_with("3 of 3 names in sync\n"),
        "{text}"
    );
    assert!(applied.status.success());
    let json = zone.dns("plan", &["--json"]);
    let plan: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(plan["changes"], Value::Array(Vec::new()));
}

#[test]
fn the_command_says_when_there_is_nothing_to_ask() {
    let plane = Plane::builder().start();
    let config = plane.config(Side::Edge);
    let says = |why: &str| {
        let output = causeway()
            .args(["dns", "plan", "--config"])
            .arg(&config)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1));
        let error = String::from_utf8(output.stderr).unwrap();
        let expected = format!("publishes no names: {why}\n");
        assert!(error.ends_with(&expected), "{error}");
    };
    says("it was started without [dns]");
    let mut written = fs::read_to_string(&config).unwrap();
    written += "[dns]\nzone = \"apps.test\"\ntarget = \"203.0.113.7\"\nprovider = \"zonefile\"\n\
                [dns.zonefile]\npath = \"apps.test.zone\"\n";
    fs::write(&config, written).unwrap();
    says(&format!(
        "it was started before {} had [dns], which is read at the start only; restart it",
        config.display()
    ));
    let output = causeway()
        .args(["dns", "diff", "--config", "/nonexistent"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
}

/// Bytes that nobody would think of, the same each time (xorshift64).
struct Random(u64);

impl Random {
    fn byte(&mut self) -> u8 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.to_be_bytes()[0]
    }
}

#[test]
fn what_strangers_send_breaks_nothing() {
    let Some(zone) = Zone::start_with(RECORDS) else {
        return;
    };
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for round in 0..5_000 {
        let length = usize::from(random.byte()) * 3;
        let mut message: Vec<u8> = (0..length).map(|_| random.byte()).collect();
        // Every other one looks like a question.
        if round % 2 == 0 && message.len() > 12 {
            message[2..12].copy_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 1]);
        }
        socket.send_to(&message, zone.server).unwrap();
        if round % 500 == 0 {
            let mut stream = TcpStream::connect(zone.server).unwrap();
            // It may be closed while we still write.
            let _ = stream.write_all(&message);
        }
    }
    // Half a question, and then nothing.
    let mut half = TcpStream::connect(zone.server).unwrap();
    half.write_all(&[0, 40, 1, 2, 3]).unwrap();
    wait_for("an answer after all that", || {
        (zone.short("www.apps.test AAAA") == ["2001:db8::1"]).then_some(())
    });
    assert_eq!(zone.short("+tcp www.apps.test AAAA"), ["2001:db8::1"]);
    half.set_read_timeout(Some(DEADLINE)).unwrap();
    assert_eq!(
        half.read(&mut [0; 1]).unwrap(),
        0,
        "it is closed after 10 s"
    );
    let metrics = zone.plane.metrics(Side::Edge);
    for line in [
        "causeway_dns_answers_total{transport=\"udp\",code=\"noerror\"} ",
        "causeway_dns_answers_total{transport=\"udp\",code=\"formerr\"} ",
        "causeway_dns_answers_total{transport=\"udp\",code=\"notimp\"} ",
        "causeway_dns_answers_total{transport=\"tcp\",code=\"noerror\"} ",
    ] {
        let found = metrics
            .lines()
            .find_map(|found| found.strip_prefix(line))
            .unwrap();
        assert_ne!(found, "0", "{line}");
    }
    assert!(!zone.plane.edge.log().contains("panic"));
}

#[test]
fn a_port_that_is_not_free_is_said_before_anything_starts() {
    let Some(mut zone) = Zone::start() else {
        return;
    };
    zone.plane.edge.kill();
    let _taken = wait_for("the port", || UdpSocket::bind(zone.server).ok());
    zone.plane.start_again(Side::Edge);
    assert_eq!(zone.plane.edge.ended().code(), Some(1));
    let log = zone.plane.edge.log();
    let expected = format!("the name server cannot listen on {} (UDP): ", zone.server);
    assert!(log.contains(&expected), "{log}");
}
