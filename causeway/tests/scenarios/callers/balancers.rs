//! The PROXY protocol in front of the edge: haproxy and curl say whose connection it is.

use std::{
    io::{Read, Write},
    net::{Ipv6Addr, SocketAddr},
    os::unix::net::UnixStream,
};

use tempfile::TempDir;

use super::{Answer, CALLER, OTHER, PROXY, Told, VERSIONS, ask, free, haproxy};
use crate::support::{CLUSTER, Plane, Process, listens, peer, wait_for};

/// How haproxy says it, and what it takes the bytes for.
const HOWS: [&str; 4] = [
    "mode tcp\n server edge EDGE send-proxy",
    "mode tcp\n server edge EDGE send-proxy-v2",
    "mode http\n server edge EDGE send-proxy-v2",
    "mode http\n server edge EDGE send-proxy-v2 proto h2",
];

/// What an origin of HTTP is told of the caller.
const HEADERS: &str = "$http_x_forwarded_for $http_forwarded";

#[test]
fn haproxy_in_front_of_an_http_ingress() {
    let (Some(origin), Some(_)) = (Told::start("", HEADERS), peer("curl")) else {
        return;
    };
    let mut plane = Plane::builder()
        .expose("origin", &format!("http://{}", origin.address))
        .edge_toml(&ingress("http", "origin"))
        .start();
    let edge = plane.ingress("behind");
    let expected = |caller: &str, to: SocketAddr| {
        let node = match caller.contains(':') {
            true => format!("\"[{caller}]\""),
            false => caller.to_owned(),
        };
        format!("{caller} for={node};host=\"{to}\";proto=http")
    };
    let Some(balancers) = Balancers::start(edge, &HOWS) else {
        return;
    };
    for (how, entries) in HOWS.iter().zip(&balancers.entries) {
        for version in VERSIONS {
            for (caller, to) in [
                (CALLER, entries[0]),
                (OTHER, entries[0]),
                (CALLER, entries[0]),
                ("::1", entries[1]),
            ] {
                let answer = ask(caller, to, &[version]);
                assert_eq!(answer.outcome, "200", "{how}: {answer:?}");
                assert_eq!(answer.body, expected(caller, to), "{how} {version}");
            }
        }
    }
    strangers(edge, |caller, _| expected(caller, edge));
}

#[test]
fn haproxy_in_front_of_a_tcp_ingress() {
    let port = "$proxy_protocol_addr $proxy_protocol_port";
    let (Some(origin), Some(_)) = (Told::start("proxy_protocol", port), peer("curl")) else {
        return;
    };
    let target = format!("tcp://{}\"\nproxy_protocol = \"v2", origin.address);
    let mut plane = Plane::builder()
        .expose("origin", &target)
        .edge_toml(&ingress("tcp", "origin"))
        .start();
    let edge = plane.ingress("behind");
    let Some(balancers) = Balancers::start(edge, &HOWS[..2]) else {
        return;
    };
    for (how, entries) in HOWS.iter().zip(&balancers.entries) {
        for (caller, to) in [
            (CALLER, entries[0]),
            (OTHER, entries[0]),
            ("::1", entries[1]),
        ] {
            let answer = ask(caller, to, &[]);
            assert_eq!(answer.outcome, "200", "{how}: {answer:?}");
            assert_eq!(answer.body, answer.local, "{how}");
        }
    }
    strangers(edge, |_, answer| answer.local.clone());
}

/// haproxy looks after its servers by connections that are nobody's but its own (LOCAL).
#[test]
fn haproxy_checks_an_http_ingress_in_its_own_name() {
    let (Some(origin), Some(_)) = (Told::start("", HEADERS), peer("curl")) else {
        return;
    };
    let mut plane = Plane::builder()
        .expose("origin", &format!("http://{}", origin.address))
        .edge_toml(&ingress("http", "origin"))
        .start();
    // The origin answers a check with whom it takes for the caller.
    let checked = |caller: &str| {
        format!(
            "mode http\n option httpchk\n\
             http-check send meth GET uri / ver HTTP/1.1 hdr Host origin.test\n\
             http-check expect rstring ^{caller}\n\
             server edge EDGE send-proxy-v2 check check-send-proxy inter 1s"
        )
    };
    let edge = plane.ingress("behind");
    let Some(balancers) = Balancers::start(edge, &[&checked(PROXY), &checked(OTHER)]) else {
        return;
    };
    let [right, wrong] = [0, 1].map(|at| balancers.entries[at][0]);
    for (entry, verdict, status) in [(right, "L7OK", "200"), (wrong, "L7RSP", "503")] {
        wait_for(verdict, || balancers.found(entry, verdict).then_some(()));
        let answer = ask(CALLER, entry, &[]);
        assert_eq!(answer.outcome, status, "{answer:?}");
        let is_callers = answer.body.starts_with(&format!("{CALLER} "));
        assert_eq!(is_callers, status == "200", "{answer:?}");
    }
}

/// Who is not the proxy is taken as it is, and who is has to say something.
#[track_caller]
fn strangers(edge: SocketAddr, expected: impl Fn(&str, &Answer) -> String) {
    for (caller, more) in [(OTHER, &[][..]), (PROXY, &["--haproxy-protocol"])] {
        let answer = ask(caller, edge, more);
        assert_eq!(answer.outcome, "200", "{answer:?}");
        assert_eq!(answer.body, expected(caller, &answer), "{answer:?}");
    }
    // 56: the connection was reset.
    let silent = ask(PROXY, edge, &[]);
    assert_eq!(silent.outcome, "curl Some(56)", "{silent:?}");
    let lying = ask(OTHER, edge, &["--haproxy-protocol"]);
    assert_ne!(lying.outcome, "200", "{lying:?}");
}

/// An ingress that believes [`PROXY`].
fn ingress(kind: &str, service: &str) -> String {
    format!(
        "[[ingress]]\nname = \"behind\"\nkind = \"{kind}\"\nlisten = \"127.0.0.1:0\"\n\
         to = \"{CLUSTER}/{service}\"\nanonymous = true\nproxy_protocol_from = \"{PROXY}\"\n"
    )
}

/// haproxy with an entry for each way, over IPv4 and over IPv6.
struct Balancers {
    entries: Vec<[SocketAddr; 2]>,
    _process: Process,
    directory: TempDir,
}

impl Balancers {
    fn start(edge: SocketAddr, hows: &[&str]) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let mut sections = String::new();
        let mut entries = Vec::new();
        for how in hows {
            let ipv4 = free();
            let ipv6 = SocketAddr::from((Ipv6Addr::LOCALHOST, ipv4.port()));
            let how = how.replace("EDGE", &format!("{edge} source {PROXY}"));
            sections += &format!(
                "listen on-{0}\n bind {ipv4}\n bind {ipv6}\n {how}\n",
                ipv4.port()
            );
            entries.push([ipv4, ipv6]);
        }
        let process = haproxy(directory.path(), &sections)?;
        for entry in entries.iter().flatten() {
            listens("haproxy", *entry);
        }
        Some(Self {
            entries,
            _process: process,
            directory,
        })
    }

    /// Whether that is what haproxy found when it last checked what is behind this entry.
    fn found(&self, entry: SocketAddr, verdict: &str) -> bool {
        // It is put there a moment after the entries are open.
        let Ok(mut stats) = UnixStream::connect(self.directory.path().join("stats.sock")) else {
            return false;
        };
        stats.write_all(b"show stat\n").unwrap();
        let mut table = String::new();
        stats.read_to_string(&mut table).unwrap();
        let server = format!("on-{},edge,", entry.port());
        let mut lines = table.lines();
        lines.any(|line| line.starts_with(&server) && line.contains(verdict))
    }
}
