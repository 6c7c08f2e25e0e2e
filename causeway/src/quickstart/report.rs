//! What there is to say once traffic flows: a check list with what to open and what to try, or JSON.

use std::fmt::{self, Write};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::probe::Outcome;
use super::sockets::Sockets;
use crate::pair::{Exposed, Forwarded, Mark, Status, Style, Vouched, Way};
use crate::status::{AdminAddress, printable};

/// Everything that is known once traffic flows.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) dir: PathBuf,
    /// How this program was called, for commands to type.
    pub(super) program: String,
    pub(super) vouched: Vouched,
    /// What the edge says of itself.
    pub(super) edge: Status,
    pub(super) edge_admin: AdminAddress,
    pub(super) tunnel: SocketAddr,
    /// Where the fault proxy listens that leads there, if there is one.
    pub(super) line: Option<SocketAddr>,
    pub(super) client_admin: AdminAddress,
    pub(super) client_pid: Option<u32>,
    pub(super) sockets: io::Result<Sockets>,
    pub(super) exposed: Vec<(Exposed, Outcome)>,
    pub(super) forwarded: Vec<(Forwarded, Outcome)>,
    /// Where others than this machine may call, since the arguments said so.
    pub(super) open_to_others: Option<SocketAddr>,
    /// The configuration files that were left as somebody had changed them.
    pub(super) edited: Vec<PathBuf>,
}

/// One line of the check list, and what stands below it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Check {
    pub(super) mark: Mark,
    pub(super) name: &'static str,
    pub(super) lines: Vec<String>,
}

/// How wide the names of checks are.
const NAMES: usize = 10;

impl Report {
    /// The document of `--json`.
    pub(super) fn json(&self) -> Value {
        let mut services = Map::new();
        for (exposed, _) in &self.exposed {
            let url = exposed.way.url();
            let service = match &exposed.way {
                Way::Http { address, host } => {
                    json!({"url": url, "addr": address.to_string(), "host": host})
                }
                Way::Tcp(address) => json!({"url": url, "addr": address.to_string()}),
                Way::Nowhere => continue,
            };
            services.insert(exposed.name.to_string(), service);
        }
        let forwards: Map<String, Value> = self
            .forwarded
            .iter()
            .map(|(forward, _)| (forward.name.clone(), json!({"addr": forward.listen})))
            .collect();
        let mut document = json!({
            "services": services,
            "forwards": forwards,
            "edge_admin": self.edge_admin.to_string(),
            "client_admin": self.client_admin.to_string(),
            "tunnel": self.tunnel.to_string(),
            "dir": self.dir.to_string_lossy(),
        });
        if let Some(line) = self.line {
            document["line"] = line.to_string().into();
        }
        document
    }

    /// The check list, then what to open and what to try.
    pub(super) fn text(&self, style: Style) -> String {
        let mut text = String::new();
        for check in self.checks() {
            let name = style.bold(&format!("{:NAMES$}", check.name));
            for (at, line) in check.lines.iter().enumerate() {
                let line = printable(line);
                let _ = match at {
                    0 => writeln!(text, "{} {name}  {line}", style.mark(check.mark)),
                    _ => writeln!(text, "{:1$}{line}", "", style.mark_width() + 1 + NAMES + 2),
                };
            }
        }
        text + "\n" + &self.next(style)
    }

    /// What is not as it was asked for, one line each; none if all is well.
    pub(super) fn doubts(&self) -> Vec<String> {
        self.checks()
            .into_iter()
            .filter(|check| check.mark != Mark::Good)
            .map(|check| printable(&format!("{}: {}", check.name, check.lines.join("; "))))
            .collect()
    }
}

/// A length of time in milliseconds, as exact as it is worth saying.
pub(super) struct Millis(pub(super) Duration);

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0.as_secs_f64() * 1000.0;
        let digits = usize::from(ms < 100.0) + usize::from(ms < 1.0);
        write!(f, "{ms:.digits$} ms")
    }
}

#[cfg(test)]
mod tests;
