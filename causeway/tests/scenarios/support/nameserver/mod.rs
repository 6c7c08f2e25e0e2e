//! Real authoritative name servers, each a process of its own on a free loopback port: BIND 9 and
//! Knot, with signed updates and transfers. What is in them is changed and read by third parties
//! (nsupdate and dig), never by what is tested.
//!
//! ```no_run
//! let zone = Zone::new("apps.test").record("www 300 A 192.0.2.1");
//! let Some(server) = NameServer::start(Software::Bind, &zone) else { return };
//! server.update("add www 300 A 192.0.2.2");
//! assert_eq!(server.query("www", "A"), ["192.0.2.1", "192.0.2.2"]);
//! ```
//!
//! The unit tests of the edge's provider take this module in as well.
#![allow(
    dead_code,
    unused_imports,
    reason = "each crate that takes it in uses a part"
)]

mod bind;
mod knot;
mod relay;
mod zone;

use std::{
    fs,
    io::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use tempfile::TempDir;

use super::{peers::peer, ports::address_for_server, process::Process, wait::wait_for};

pub(crate) use relay::{Fate, Relay, Way, is_update};
pub(crate) use zone::{EDGE, Key, OBSERVER, THIRD_PARTY, Zone};

/// Which name server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Software {
    /// BIND 9.
    Bind,
    Knot,
}

impl Software {
    /// Where it is. `None`, said by name, when it is missing.
    pub(crate) fn program(self) -> Option<PathBuf> {
        peer(match self {
            Self::Bind => "named",
            Self::Knot => "knotd",
        })
    }

    /// What serves this zone, as it is at its beginning, in the foreground, with everything that it writes in
    /// `directory`.
    pub(crate) fn command(
        self,
        program: &Path,
        directory: &Path,
        address: SocketAddr,
        zone: &Zone,
    ) -> Command {
        let file = directory.join(zone.file_name());
        if !file.exists() {
            fs::write(file, zone.file()).unwrap();
        }
        match self {
            Self::Bind => bind::command(program, directory, address, zone),
            Self::Knot => knot::command(program, directory, address, zone),
        }
    }
}

/// A name server with one zone. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct NameServer {
    software: Software,
    program: PathBuf,
    zone: Zone,
    address: SocketAddr,
    process: Option<Process>,
    directory: TempDir,
}

impl NameServer {
    /// Starts it and waits until it answers. `None`, said by name, when it or a tool that the
    /// tests need beside it is missing.
    #[track_caller]
    pub(crate) fn start(software: Software, zone: &Zone) -> Option<Self> {
        let program = software.program()?;
        for tool in ["dig", "nsupdate"] {
            peer(tool)?;
        }
        let directory = tempfile::tempdir().unwrap();
        let mut server = Self {
            software,
            program,
            zone: zone.clone(),
            address: address_for_server(),
            process: None,
            directory,
        };
        server.start_again();
        Some(server)
    }

    /// Starts it again on the same port with the zone as it was.
    #[track_caller]
    pub(crate) fn start_again(&mut self) {
        assert!(self.process.is_none(), "it is still running");
        let software = self.software;
        let mut command =
            software.command(&self.program, self.directory(), self.address, &self.zone);
        let log = self.directory().join("log");
        self.process = Some(Process::start("name server", &mut command, &log));
        wait_for("the name server to answer", || {
            (!self.query("@", "SOA").is_empty()).then_some(())
        });
    }

    /// Ends it as an operator does.
    #[track_caller]
    pub(crate) fn stop(&mut self) {
        let mut process = self.process.take().expect("it is running");
        process.signal("TERM");
        process.ended();
    }

    /// Ends it as a crash does.
    #[track_caller]
    pub(crate) fn kill(&mut self) {
        self.process.take().expect("it is running").kill();
    }

    /// The process, to be stopped and continued by signals.
    pub(crate) fn process(&self) -> &Process {
        self.process.as_ref().expect("it is running")
    }

    /// Where it answers by UDP and TCP.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The name of its zone, without a dot at the end.
    pub(crate) fn zone(&self) -> &str {
        self.zone.name()
    }

    /// The key that an edge may use, or another of the zone's keys.
    pub(crate) fn key(&self, name: &str) -> &Key {
        self.zone.key_named(name)
    }

    /// The data of what it answers, in a stable order. `name` is relative to the zone, or
    /// absolute if it ends with a dot; `@` is the zone itself.
    #[track_caller]
    pub(crate) fn query(&self, name: &str, kind: &str) -> Vec<String> {
        let output = self.dig(&["+short", "-q", &self.zone.absolute(name), "-t", kind]);
        sorted_lines(&output)
    }

    /// The same as whole records: `name ttl IN type data`.
    #[track_caller]
    pub(crate) fn query_records(&self, name: &str, kind: &str) -> Vec<String> {
        let name = self.zone.absolute(name);
        let output = self.dig(&["+noall", "+answer", "-q", &name, "-t", kind]);
        sorted_lines(&output)
    }

    /// The serial of the zone.
    #[track_caller]
    pub(crate) fn serial(&self) -> u32 {
        let soa = self.query("@", "SOA");
        soa[0].split(' ').nth(2).unwrap().parse().unwrap()
    }

    /// All records of the zone but its SOA, by a transfer, in a stable order.
    #[track_caller]
    pub(crate) fn records(&self) -> Vec<String> {
        let key = self.key(OBSERVER).dig_argument();
        let name = format!("{}.", self.zone());
        let output = self.dig(&["+noall", "+answer", "-y", &key, "-q", &name, "-t", "AXFR"]);
        let mut records = sorted_lines(&output);
        let all = records.len();
        records.retain(|record| record.split_whitespace().nth(3) != Some("SOA"));
        assert_eq!(records.len() + 2, all, "not a whole transfer: {output:?}");
        records
    }

    /// Changes the zone as a third party: lines such as `add www 300 A 192.0.2.1` and
    /// `delete www A`, made at once. Names are relative to the zone unless they end with a dot.
    #[track_caller]
    pub(crate) fn update(&self, lines: &str) {
        let output = self.try_update_at(self.address, lines);
        assert!(output.status.success(), "{lines}: {output:?}");
    }

    /// The same through a relay, and it may fail. Lines such as `prereq nxdomain www` say what
    /// must be so.
    pub(crate) fn try_update_at(&self, address: SocketAddr, lines: &str) -> Output {
        let script = self.zone.update_script(address, lines);
        let mut nsupdate = Command::new(peer("nsupdate").unwrap())
            .args(["-v", "-t", "20", "-y"])
            .arg(self.key(THIRD_PARTY).dig_argument())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = nsupdate.stdin.take().unwrap();
        input.write_all(script.as_bytes()).unwrap();
        drop(input);
        nsupdate.wait_with_output().unwrap()
    }

    /// A relay in front of it, which counts and may meddle.
    pub(crate) fn relay(&self) -> Relay {
        Relay::start(self.address)
    }

    fn dig(&self, arguments: &[&str]) -> Output {
        Command::new(peer("dig").unwrap())
            .args(["-r", "@127.0.0.1", "-p", &self.address.port().to_string()])
            .args(["+norecurse", "+tries=1", "+time=5"])
            .args(arguments)
            .output()
            .unwrap()
    }

    fn directory(&self) -> &Path {
        self.directory.path()
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        // What it writes at its end must not land in a directory that is being removed.
        if let Some(mut process) = self.process.take()
            && process.has_ended().is_none()
        {
            process.kill();
        }
    }
}

/// Without dig's own remarks, which begin with a semicolon, and its columns.
fn sorted_lines(output: &Output) -> Vec<String> {
    let text = String::from_utf8_lossy(&output.stdout);
    let mut lines: Vec<_> = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with(';'))
        .map(|line| {
            let columns = line.split('\t').filter(|column| !column.is_empty());
            columns.collect::<Vec<_>>().join(" ")
        })
        .collect();
    lines.sort();
    lines
}
