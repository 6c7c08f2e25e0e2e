//! The comparison: a suite is run against a server directly, and then through the tunnel on every
//! transport and every way that makes sense. A difference fails.
//!
//! ```no_run
//! let server = Peer::python("grpc_server.py");
//! Comparison::of("h2c", server.address()).run(|address| Report::of(client(address)));
//! ```

use std::{collections::BTreeMap, fmt::Write, net::SocketAddr, process::Output};

use crate::support::{CLUSTER, Plane};

/// The transports that every suite runs on, by the names of the configuration.
pub(crate) const TRANSPORTS: &[&str] = &["quic", "tls", "yamux", "h2"];

/// Makes a test of its own of a scenario on each of [`TRANSPORTS`]: of one that lasts, or that is
/// about the connection, so that they run side by side and each says where it failed.
macro_rules! on_each_transport {
    [$($scenario:ident),+ $(,)?] => {
        $(mod $scenario {
            #[test]
            fn over_quic() {
                super::$scenario("quic");
            }
            #[test]
            fn over_tls() {
                super::$scenario("tls");
            }
            #[test]
            fn over_yamux() {
                super::$scenario("yamux");
            }
            #[test]
            fn over_h2() {
                super::$scenario("h2");
            }
        })+
    };
}
pub(crate) use on_each_transport;

/// The service that the server under test is, in both directions.
const SERVICE: &str = "peer";

/// The name of the ingress that speaks HTTP, beside the tcp ingress called [`SERVICE`].
const HTTP: &str = "peer-http";

/// A way through the tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Control plane to compute plane, requests routed by the edge.
    HttpIngress,
    /// Control plane to compute plane, bytes as they are.
    TcpIngress,
    /// Compute plane to control plane.
    Forward,
}

impl Way {
    pub(crate) const ALL: &[Self] = &[Self::HttpIngress, Self::TcpIngress, Self::Forward];
    /// Those that carry bytes as they are.
    pub(crate) const BYTES: &[Self] = &[Self::TcpIngress, Self::Forward];
}

/// What a suite found: an outcome for each of its cases.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Report(BTreeMap<String, String>);

impl Report {
    /// Reads what a client printed, a line for each case: `case<TAB>outcome`. The outcome begins
    /// with `FAIL` when it is not what the client's own protocol asks for.
    #[track_caller]
    pub(crate) fn of(output: &Output) -> Self {
        let (text, errors) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        assert!(
            output.status.success(),
            "the client ended with {}\n{text}\n{errors}",
            output.status
        );
        let mut report = Self::default();
        for line in text.lines() {
            match line.split_once('\t') {
                Some((case, outcome)) => report.add(case, outcome),
                None => panic!("not a line of a report: {line:?}\n{errors}"),
            }
        }
        report
    }

    /// One more case.
    #[track_caller]
    pub(crate) fn add(&mut self, case: impl Into<String>, outcome: impl Into<String>) {
        let case = case.into();
        let before = self.0.insert(case.clone(), outcome.into());
        assert_eq!(before, None, "{case} was reported twice");
    }

    /// Where the two differ, a line for each case; empty if nowhere.
    fn differences(&self, other: &Self) -> String {
        let absent = String::from("(absent)");
        let mut lines = String::new();
        let cases = self.0.keys().chain(other.0.keys());
        let cases: std::collections::BTreeSet<_> = cases.collect();
        for case in cases {
            let here = self.0.get(case).unwrap_or(&absent);
            let there = other.0.get(case).unwrap_or(&absent);
            if here != there {
                let _ = writeln!(lines, "{case}: direct {here}; tunnel {there}");
            }
        }
        lines
    }

    /// How many cases there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The cases that are not as their own protocol asks for.
    pub(crate) fn failures(&self) -> Vec<&str> {
        let failed = self.0.iter().filter(|(_, out)| out.starts_with("FAIL"));
        failed.map(|(case, _)| case.as_str()).collect()
    }
}

/// A server, and the ways to it that are compared.
#[derive(Debug)]
pub(crate) struct Comparison {
    scheme: String,
    server: SocketAddr,
    ways: &'static [Way],
    transports: Vec<&'static str>,
}

impl Comparison {
    /// A server that speaks `scheme` (`tcp`, `http`, `h2c`), on every way; bytes only for `tcp`.
    pub(crate) fn of(scheme: &str, server: SocketAddr) -> Self {
        Self {
            scheme: scheme.to_owned(),
            server,
            ways: if scheme == "tcp" {
                Way::BYTES
            } else {
                Way::ALL
            },
            transports: TRANSPORTS.to_vec(),
        }
    }

    /// On one transport only.
    pub(crate) fn over(self, transport: &'static str) -> Self {
        Self {
            transports: vec![transport],
            ..self
        }
    }

    /// Runs `suite` against the server at the address that it is given: first the server's own,
    /// then one for each transport and way. Every way gets its own edge and client.
    #[track_caller]
    pub(crate) fn run(&self, suite: impl Fn(SocketAddr) -> Report) {
        let direct = suite(self.server);
        eprintln!("direct: {direct:#?}");
        assert_ne!(direct, Report::default(), "the suite reports no case");
        let failures = direct.failures();
        assert!(failures.is_empty(), "without the tunnel: {direct:#?}");
        let mut differences = String::new();
        for transport in &self.transports {
            for way in self.ways {
                eprintln!("{way:?} over {transport}");
                let mut plane = self.plane(transport);
                let entry = match way {
                    Way::HttpIngress => plane.ingress(HTTP),
                    Way::TcpIngress => plane.ingress(SERVICE),
                    Way::Forward => plane.forward(SERVICE),
                };
                let found = direct.differences(&suite(entry));
                if !found.is_empty() {
                    differences += &format!("{way:?} over {transport}:\n{found}");
                }
                assert_eq!(plane.sessions().len(), 1, "{way:?} over {transport}");
            }
        }
        assert!(differences.is_empty(), "the tunnel shows:\n{differences}");
    }

    fn plane(&self, transport: &str) -> Plane {
        let target = format!("{}://{}", self.scheme, self.server);
        let mut builder = Plane::builder()
            .transport(transport)
            .expose(SERVICE, &target)
            .forward(SERVICE, &target)
            .tcp_ingress(SERVICE);
        if self.ways.contains(&Way::HttpIngress) {
            builder = builder.http_ingress_to(HTTP, &format!("{CLUSTER}/{SERVICE}"));
        }
        builder.start()
    }
}

#[test]
fn a_difference_is_seen() {
    let report = |lines: &[(&str, &str)]| {
        let mut report = Report::default();
        for (case, outcome) in lines {
            report.add(*case, *outcome);
        }
        report
    };
    let direct = report(&[("a", "1"), ("b", "2")]);
    assert_eq!(direct.differences(&direct), "");
    let tunnel = report(&[("a", "1"), ("b", "3"), ("c", "")]);
    assert_eq!(
        direct.differences(&tunnel),
        "b: direct 2; tunnel 3\nc: direct (absent); tunnel \n"
    );
    assert_eq!(report(&[("a", "FAIL: x"), ("b", "2")]).failures(), ["a"]);
}
