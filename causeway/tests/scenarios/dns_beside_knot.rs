//! The embedded name server beside Knot: the same zone, the same questions, on the same machine, in
//! turn. The figures are printed; that all is answered, and alike, is asserted.

use std::{fmt::Write as _, fs, net::SocketAddr, path::Path, process::Command};

use crate::{
    dns_embedded::Zone,
    support::{
        nameserver::{NameServer, Software, Zone as KnotZone},
        peer,
    },
};

/// How many names the zone has; every tenth question is for one that it has not.
const NAMES: usize = 10_000;

/// What dnsperf says of one server.
#[derive(Debug)]
struct Figures {
    per_second: f64,
    latency_us: f64,
    sent: u64,
    completed: u64,
    codes: Vec<String>,
}

#[test]
fn the_embedded_server_answers_what_knot_answers() {
    let Some(dnsperf) = peer("dnsperf") else {
        return;
    };
    let full = std::env::var_os("CAUSEWAY_TEST_FULL").is_some();
    let (rounds, seconds) = if full { (3, 10) } else { (1, 1) };
    let (mut ours, mut others, mut questions) =
        (String::new(), KnotZone::new("apps.test"), String::new());
    for place in 0..NAMES {
        let address = format!("192.0.{}.{}", place / 256, place % 256);
        let _ = writeln!(ours, "n{place}.apps.test. 60 IN A {address}");
        others = others.record(&format!("n{place} 60 A {address}"));
        let asked = if place % 10 == 0 { "none" } else { "n" };
        let _ = writeln!(questions, "{asked}{place}.apps.test A");
    }
    let (Some(edge), Some(knot)) = (
        Zone::start_with(&ours),
        NameServer::start(Software::Knot, &others),
    ) else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("questions");
    fs::write(&file, questions).unwrap();
    for transport in ["udp", "tcp"] {
        for round in 1..=rounds {
            let measure = |server| measure(&dnsperf, transport, server, &file, seconds);
            let (embedded, knot) = (measure(edge.server()), measure(knot.address()));
            println!(
                "{transport}, round {round}: embedded {:.0}/s, {:.0} µs; knot {:.0}/s, {:.0} µs; lost {} and {}",
                embedded.per_second,
                embedded.latency_us,
                knot.per_second,
                knot.latency_us,
                embedded.sent - embedded.completed,
                knot.sent - knot.completed
            );
            for figures in [embedded, knot] {
                assert!(figures.completed > 0, "{figures:?}");
                assert_eq!(figures.codes, ["NOERROR", "NXDOMAIN"], "{figures:?}");
            }
        }
    }
}

fn measure(
    dnsperf: &Path,
    transport: &str,
    server: SocketAddr,
    questions: &Path,
    seconds: u32,
) -> Figures {
    let output = Command::new(dnsperf)
        .args([
            "-m",
            transport,
            "-s",
            &server.ip().to_string(),
            "-p",
            &server.port().to_string(),
        ])
        .args(["-c", "8", "-l", &seconds.to_string(), "-d"])
        .arg(questions)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let value = |label: &str| -> &str {
        let line = text
            .lines()
            .find_map(|line| line.trim().strip_prefix(label));
        line.unwrap_or_else(|| panic!("no {label}: {text}")).trim()
    };
    let number = |label: &str| {
        value(label)
            .split(' ')
            .next()
            .unwrap()
            .parse::<f64>()
            .unwrap()
    };
    let mut codes: Vec<String> = value("Response codes:")
        .split(", ")
        .map(|code| code.split(' ').next().unwrap().to_owned())
        .collect();
    codes.sort();
    Figures {
        per_second: number("Queries per second:"),
        latency_us: number("Average Latency (s):") * 1e6,
        sent: number("Queries sent:") as u64,
        completed: number("Queries completed:") as u64,
        codes,
    }
}
