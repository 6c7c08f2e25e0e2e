//! The check list: every link of the chain from the authority to a round trip.

use std::net::SocketAddr;
use std::time::Duration;

use certs::validity::rfc3339;
use serde_json::Value;

use super::probe::Outcome;
use super::report::{Check, Millis, Report};
use crate::pair::{Exposed, Forwarded, Mark, Vouched, Way, session};

impl Report {
    pub(super) fn checks(&self) -> Vec<Check> {
        let mut checks = vec![self.authority(), self.edge(), self.joined(), self.client()];
        checks.extend(
            self.exposed
                .iter()
                .map(|(it, outcome)| service(it, outcome)),
        );
        checks.extend(
            self.forwarded
                .iter()
                .map(|(it, outcome)| forward(it, outcome)),
        );
        checks.extend(self.open_to_others.map(|address| {
            let open = format!("from everywhere may use {address}, as --http asks for;");
            let limit = "edge.toml can limit that: allow = [...] instead of anonymous = true";
            doubtful("callers", vec![open, limit.to_owned()])
        }));
        checks.extend(self.edited.iter().map(|file| {
            let used = format!("{} has your changes and is used as it is;", file.display());
            let delete = "arguments do not change it: delete it to have it written anew";
            doubtful("your file", vec![used, delete.to_owned()])
        }));
        checks
    }

    fn authority(&self) -> Check {
        let Vouched {
            trust_domain,
            authority,
            authority_kept,
            until,
            renewed,
        } = &self.vouched;
        let whence = if *authority_kept { "kept" } else { "made" };
        let at = authority.display();
        let until = rfc3339(*until);
        let day = until.split('T').next().unwrap_or_default();
        let mut lines = vec![
            format!("{trust_domain}, {whence} in {at}"),
            format!("certificates of edge and client are valid until {day}"),
        ];
        if !renewed.is_empty() {
            let names: Vec<_> = renewed.iter().map(|kind| kind.as_str()).collect();
            lines.push(format!("issued anew before it ended: {}", names.join(", ")));
        }
        good("authority", lines)
    }

    fn edge(&self) -> Check {
        let mut callers = Vec::new();
        for (exposed, _) in &self.exposed {
            match exposed.way {
                // One for all of them, so it comes first and once.
                Way::Http { address, .. } => {
                    let http = format!("{address} (http)");
                    if !callers.contains(&http) {
                        callers.insert(0, http);
                    }
                }
                Way::Tcp(address) => callers.push(format!("{address} ({})", exposed.name)),
                Way::Nowhere => {}
            }
        }
        let mut lines = vec![format!("clients come to UDP and TCP {}", self.tunnel)];
        if let Some(line) = self.line {
            lines.push(format!("by way of the fault proxy at UDP and TCP {line}"));
        }
        lines.extend(each("callers come to TCP", &callers));
        good("edge", lines)
    }

    fn joined(&self) -> Check {
        let session = session(&self.edge).unwrap_or(&Value::Null);
        let text = |key: &str| session[key].as_str().unwrap_or("unknown").to_owned();
        let transport = match text("transport") {
            quic if quic == "quic" => "QUIC".to_owned(),
            other => other,
        };
        let rtt = session["rtt_ms"].as_f64().unwrap_or_default() / 1000.0;
        let rtt = Millis(Duration::try_from_secs_f64(rtt).unwrap_or_default());
        let (peer, key_exchange) = (text("peer"), text("key_exchange"));
        let line = format!("{peer} over {transport}, key exchange {key_exchange}, RTT {rtt}");
        good("joined", vec![line])
    }

    /// The sockets of the client, as the kernel sees them.
    fn client(&self) -> Check {
        let sockets = match &self.sockets {
            Ok(sockets) => sockets,
            Err(error) => {
                let line = format!("this system does not tell which sockets it has ({error})");
                return doubtful("client", vec![line]);
            }
        };
        let mut mark = Mark::Good;
        let mut tcp = Vec::new();
        for address in &sockets.tcp_listeners {
            match self.purpose(*address) {
                Some(purpose) => tcp.push(format!("{address} ({purpose})")),
                None => {
                    mark = Mark::Doubtful;
                    tcp.push(format!("{address} (unexpected)"));
                }
            }
        }
        let mut udp = Vec::new();
        for address in &sockets.udp {
            if sockets.ephemeral.contains(&address.port()) {
                udp.push(format!("{address} (ephemeral)"));
            } else {
                mark = Mark::Doubtful;
                udp.push(format!("{address} (unexpected)"));
            }
        }
        let mut lines = each("listens on TCP", &tcp);
        match lines.last_mut() {
            Some(last) => last.push_str(", nowhere else"),
            None => lines.push("listens nowhere".to_owned()),
        }
        lines.extend(each("dials from UDP", &udp));
        Check {
            mark,
            name: "client",
            lines,
        }
    }

    /// What the client listens at an address for.
    fn purpose(&self, address: SocketAddr) -> Option<String> {
        if self.client_admin.to_string() == format!("http://{address}") {
            return Some("admin".to_owned());
        }
        self.forwarded
            .iter()
            .find(|(forward, _)| forward.listen == address.to_string())
            .map(|(forward, _)| format!("forward to {}", forward.name))
    }
}

fn service(exposed: &Exposed, outcome: &Outcome) -> Check {
    let request = match &exposed.way {
        way @ Way::Http { .. } => format!("GET {}", way.url().unwrap_or_default()),
        Way::Tcp(address) => format!("{} at {address}", exposed.name),
        Way::Nowhere => {
            let nowhere = format!("{}: no [[ingress]] of the edge leads to it;", exposed.name);
            let add = "add one to edge.toml, or delete that file to have it written anew";
            return doubtful("round trip", vec![nowhere, add.to_owned()]);
        }
    };
    trip("round trip", &request, &exposed.target, "client", outcome)
}

fn forward(forward: &Forwarded, outcome: &Outcome) -> Check {
    match &forward.target {
        Some(target) => {
            let request = format!("{} at {}", forward.name, forward.listen);
            trip("forward", &request, target, "edge", outcome)
        }
        None => {
            let unknown = format!(
                "{}: the edge has no [[upstream]] of this name;",
                forward.name
            );
            let add = "add one to edge.toml, or delete that file to have it written anew";
            doubtful("forward", vec![unknown, add.to_owned()])
        }
    }
}

/// A round trip to `target`, which `dialer` connects to.
fn trip(name: &'static str, request: &str, target: &str, dialer: &str, outcome: &Outcome) -> Check {
    let help = format!("is {target} up? the {dialer} dials it whenever it is called");
    match outcome {
        Outcome::Answered { status, took } => good(
            name,
            vec![format!("{request} -> {status} in {}", Millis(*took))],
        ),
        Outcome::Responded { took } => good(
            name,
            vec![format!("{request} -> {target} in {}", Millis(*took))],
        ),
        Outcome::Silent => {
            let line = format!("{request} -> {target}, connected; it waits to be spoken to");
            good(name, vec![line])
        }
        Outcome::Refused { status, why } => doubtful(
            name,
            vec![format!("{request} -> {status}"), why.clone(), help],
        ),
        Outcome::Failed(why) => doubtful(name, vec![format!("{request} -> {why}"), help]),
    }
}

/// A line for each address: the first after `what`, the others below it.
fn each(what: &str, addresses: &[String]) -> Vec<String> {
    let width = what.len();
    let protocol = what.rsplit(' ').next().unwrap_or_default();
    let more = format!("and {protocol}");
    let line = |(at, address)| match at {
        0 => format!("{what} {address}"),
        _ => format!("{more:>width$} {address}"),
    };
    addresses.iter().enumerate().map(line).collect()
}

fn good(name: &'static str, lines: Vec<String>) -> Check {
    Check {
        mark: Mark::Good,
        name,
        lines,
    }
}

fn doubtful(name: &'static str, lines: Vec<String>) -> Check {
    Check {
        mark: Mark::Doubtful,
        name,
        lines,
    }
}
