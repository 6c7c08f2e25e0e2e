//! A report for people.
//!
//! It shows what it knows in a fixed order, and whatever else a newer process says as it
//! says it. Nothing in a report is trusted to be there, or to be safe to print.

use std::fmt;
use std::time::Duration;

use serde_json::Value;
use time::OffsetDateTime;

use super::fetch::Report;
use super::table::{Table, printable};
use super::values::{bytes, list, milliseconds, span, span_ms, text, when};

/// Whether to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Paint {
    Plain,
    Colours,
}

/// A report as seen at `now`.
#[derive(Debug)]
pub(super) struct View<'a> {
    pub(super) report: &'a Report,
    pub(super) now: OffsetDateTime,
    pub(super) paint: Paint,
}

/// The keys that have a place of their own below.
const PLACED: &[&str] = &[
    "role",
    "version",
    "identity",
    "certificate_expires",
    "started",
    "ready",
    "reasons",
    "config",
    "revocation_list",
    "listen",
    "dns",
    "sessions",
    "retired_sessions",
    "ingresses",
    "upstreams",
    "exposes",
    "forwards",
    "dialing",
    "discovery",
];

impl fmt::Display for View<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.headline(f)?;
        self.facts(f)?;
        self.dns(f)?;
        self.sessions(f)?;
        self.retired(f)?;
        self.services(f)
    }
}

impl View<'_> {
    fn get(&self, key: &str) -> &Value {
        self.report.status.get(key).unwrap_or(&Value::Null)
    }

    fn headline(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, colour) = if self.report.ready {
            ("ready", 32)
        } else {
            ("not ready", 31)
        };
        let word = match self.paint {
            Paint::Plain => word.to_owned(),
            Paint::Colours => format!("\x1b[1;{colour}m{word}\x1b[0m"),
        };
        let name = format!("{} {}", text(self.get("role")), text(self.get("version")));
        let name = printable(name.trim());
        let name = match self.paint {
            Paint::Plain => name,
            Paint::Colours => format!("\x1b[1m{name}\x1b[0m"),
        };
        writeln!(
            f,
            "{name}  {word}  {}",
            printable(&self.report.address.to_string())
        )
    }

    fn facts(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for reason in &self.report.not_ready {
            fact(f, "because", reason)?;
        }
        fact(f, "identity", &text(self.get("identity")))?;
        if let Some(expires) = when(self.get("certificate_expires")) {
            let left = expires - self.now;
            let left = match Duration::try_from(left) {
                Ok(left) => format!("in {}", span(left)),
                Err(_) => format!("{} ago: expired", span(left.unsigned_abs())),
            };
            fact(
                f,
                "certificate",
                &format!("expires {left}, {}", text(self.get("certificate_expires"))),
            )?;
        }
        if let Some(up) = self.since(self.get("started")) {
            fact(f, "up", &up)?;
        }
        self.config(f)?;
        self.revocations(f)?;
        if let Value::Object(listen) = self.get("listen") {
            // The admin address is in the headline.
            for (name, addresses) in listen.iter().filter(|(name, _)| *name != "admin") {
                fact(f, name, &list(addresses))?;
            }
        }
        self.discovery(f)?;
        self.dialing(f)?;
        for (key, value) in &self.report.status {
            if !PLACED.contains(&key.as_str()) {
                fact(f, key, &text(value))?;
            }
        }
        Ok(())
    }

    fn config(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let config = self.get("config");
        let mut line = text(&config["file"]);
        if let Some(ago) = self.since(&config["loaded"]) {
            line.push_str(&format!(", loaded {ago} ago"));
        }
        match config["reload_failures"].as_u64() {
            None | Some(0) => {}
            Some(failures) => line.push_str(&format!(", {failures} failed reloads since")),
        }
        fact(f, "config", &line)?;
        // Of several mistakes, each has a line.
        for mistake in text(&config["last_error"]).lines() {
            fact(f, "rejected", mistake)?;
        }
        Ok(())
    }

    /// How many are revoked, if there is such a list or was.
    fn revocations(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = self.get("revocation_list");
        if let Some(entries @ 1..) = list["entries"].as_u64() {
            let ago = self.since(&list["loaded"]).unwrap_or_default();
            fact(f, "revoked", &format!("{entries}, read {ago} ago"))?;
        }
        fact(f, "not read", &text(&list["last_error"]))
    }

    /// Every name of an edge, and what DNS has said of it.
    fn discovery(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Value::Array(names) = &self.get("discovery")["names"] else {
            return Ok(());
        };
        for name in names {
            let mut line = format!("{} {}", text(&name["name"]), text(&name["state"]));
            if let Some(records) = name["records"].as_u64().filter(|records| *records > 0) {
                line.push_str(&format!(", {records} found"));
            }
            if let Some(stale) = name["stale_for_s"].as_f64() {
                let stale = Duration::try_from_secs_f64(stale).unwrap_or_default();
                line.push_str(&format!(", {} too old", span(stale)));
            }
            if let Some(error) = name["error"].as_str() {
                line.push_str(&format!(": {error}"));
            }
            fact(f, "discovery", &line)?;
        }
        Ok(())
    }

    fn dialing(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dialing = self.get("dialing");
        if dialing.is_null() {
            return Ok(());
        }
        let mut line = text(&dialing["state"]);
        if line != "connected" {
            if let Some(attempt) = dialing["attempt"].as_u64() {
                line.push_str(&format!(", attempt {attempt}"));
            }
            if let Some(ms) = dialing["next_attempt_in_ms"].as_u64() {
                line.push_str(&format!(", next in {}", span_ms(ms)));
            }
        }
        fact(f, "dialing", &line)?;
        fact(f, "last error", &text(&dialing["last_error"]))
    }

    /// How many names stand how; `causeway dns` shows which.
    fn dns(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dns = self.get("dns");
        if !dns.is_object() {
            return Ok(());
        }
        let of = |key: &str, value: &Value| match text(value) {
            text if text.is_empty() => text,
            text => format!(", {key} {text}"),
        };
        let zone = text(&dns["zone"]);
        writeln!(
            f,
            "\n  dns: {}{}{}",
            printable(zone.trim_end_matches('.')),
            printable(&of("provider", &dns["provider"])),
            printable(&of("serial", &dns["serial"])),
        )?;
        let counts = &dns["counts"];
        let count = |key: &str| text(&counts[key]);
        let names = format!(
            "{} in sync, {} pending, {} foreign, {} failed",
            count("in_sync"),
            count("pending"),
            count("foreign"),
            count("failed")
        );
        let row = |f: &mut fmt::Formatter<'_>, name: &str, value: &str| match value {
            "" => Ok(()),
            value => writeln!(f, "    {name:11} {}", printable(value)),
        };
        if dns["last_read"].is_string() {
            row(f, "names", &names)?;
        } else {
            row(f, "names", "not known: the zone has not been read yet")?;
        }
        if let Some(held @ 1..) = dns["held_count"].as_u64() {
            row(f, "held", &format!("{held} that are not wanted any more"))?;
        }
        let round = &dns["last_round"];
        if let Some(ago) = self.since(&round["ended"]) {
            let outcome = text(&round["outcome"]);
            row(f, "last round", &format!("{outcome}, {ago} ago"))?;
        }
        row(f, "because", &text(&round["message"]))
    }

    fn sessions(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Value::Array(sessions) = self.get("sessions") else {
            return Ok(());
        };
        let mut table = Table::new(&[
            "peer",
            "transport",
            "remote",
            "up",
            "rtt",
            "streams",
            "sent",
            "received",
            "key exchange",
            "version",
            "replica",
            "services",
        ]);
        for session in sessions {
            table.row(vec![
                text(&session["peer"]),
                transport(session),
                text(&session["remote"]),
                self.since(&session["since"]).unwrap_or_default(),
                session["rtt_ms"]
                    .as_f64()
                    .map(milliseconds)
                    .unwrap_or_default(),
                text(&session["streams"]),
                session["bytes_sent"]
                    .as_u64()
                    .map(bytes)
                    .unwrap_or_default(),
                session["bytes_received"]
                    .as_u64()
                    .map(bytes)
                    .unwrap_or_default(),
                text(&session["key_exchange"]),
                text(&session["version"]),
                text(&session["replica"]),
                services(session),
            ]);
        }
        section(f, "sessions", sessions.len(), &table)
    }

    /// Those that were left for a better one, and end with their last stream. Mostly there are none.
    fn retired(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sessions = self.get("retired_sessions").as_array();
        let Some(sessions) = sessions.filter(|sessions| !sessions.is_empty()) else {
            return Ok(());
        };
        let columns = ["peer", "transport", "remote", "streams"];
        let mut table = Table::new(&columns);
        for session in sessions {
            table.row(columns.map(|column| text(&session[column])).into());
        }
        section(f, "retired sessions", sessions.len(), &table)
    }

    fn services(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SECTIONS: &[(&str, &[&str])] = &[
            ("ingresses", &["name", "kind", "listen", "to"]),
            ("upstreams", &["service", "target", "allow"]),
            ("exposes", &["service", "target", "health"]),
            ("forwards", &["service", "listen"]),
        ];
        for (key, columns) in SECTIONS {
            let Value::Array(entries) = self.get(key) else {
                continue;
            };
            let mut table = Table::new(columns);
            for entry in entries {
                let cell = |column: &&str| match *column {
                    "health" => self.health(&entry["health"]),
                    column => list(&entry[column]),
                };
                table.row(columns.iter().map(cell).collect());
            }
            section(f, key, entries.len(), &table)?;
        }
        Ok(())
    }

    /// How a service is, for how long, and why if it is not well.
    fn health(&self, health: &Value) -> String {
        let mut shown = text(&health["state"]);
        if shown == "off" {
            return shown;
        }
        if let Some(since) = self.since(&health["since"]) {
            shown.push_str(&format!(" {since}"));
        }
        match text(&health["error"]).as_str() {
            "" => shown,
            error => format!("{shown}: {error}"),
        }
    }

    fn since(&self, value: &Value) -> Option<String> {
        // A clock that was set back makes it a moment ago, not an error.
        let ago = Duration::try_from(self.now - when(value)?).unwrap_or_default();
        Some(span(ago))
    }
}

fn fact(f: &mut fmt::Formatter<'_>, name: &str, value: &str) -> fmt::Result {
    if value.is_empty() {
        Ok(())
    } else {
        writeln!(f, "  {:11} {}", printable(name), printable(value))
    }
}

fn section(f: &mut fmt::Formatter<'_>, title: &str, count: usize, table: &Table) -> fmt::Result {
    match count {
        0 => writeln!(f, "\n  {title}: none"),
        count => write!(f, "\n  {title}: {count}\n{}", table.render("    ")),
    }
}

/// The names of a session's services, and which of them are failing.
/// What carries the session, or did before its connection was lost.
fn transport(session: &Value) -> String {
    let transport = text(&session["transport"]);
    match session["connected"].as_bool() {
        Some(false) => format!("{transport} (lost)"),
        Some(true) | None => transport,
    }
}

fn services(session: &Value) -> String {
    let Value::Array(names) = &session["services"] else {
        return list(&session["services"]);
    };
    let shown = names.iter().map(|name| {
        let name = text(name);
        match session["health"].get(&name).and_then(Value::as_str) {
            Some(state @ "failing") => format!("{name} ({state})"),
            Some(_) | None => name,
        }
    });
    shown.collect::<Vec<_>>().join(", ")
}
