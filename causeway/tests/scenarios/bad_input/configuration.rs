//! Configuration files and addresses that cannot work: found before anything is started.

use std::{
    fs,
    net::{TcpListener, UdpSocket},
    path::PathBuf,
    process::Output,
};

use super::ended_saying;
use crate::support::{Authority, causeway};

const EDGE: &str =
    "[identity]\ndir = \"state\"\n[listen]\ntunnel = \"127.0.0.1:0\"\n[admin]\nlisten = \"off\"\n";
const CLIENT: &str =
    "[identity]\ndir = \"state\"\n[edge]\naddress = \"127.0.0.1:9\"\n[admin]\nlisten = \"off\"\n";

#[test]
fn an_unknown_key() {
    let home = Home::new();
    let output = home.run("edge", &EDGE.replace("tunnel", "tunel"));
    ended_saying(&output, 2, &["edge.toml:4", "tunel", "tunnel"]);
    let output = home.run("client", &CLIENT.replace("address", "adress"));
    ended_saying(&output, 2, &["client.toml:4", "adress", "address"]);
}

#[test]
fn a_missing_key() {
    let home = Home::new();
    let output = home.run("client", "[identity]\ndir = \"state\"\n");
    ended_saying(&output, 2, &["client.toml", "edge", "address"]);
    let ingress = "[[ingress]]\nkind = \"tcp\"\nlisten = \"127.0.0.1:0\"\nanonymous = true\n";
    let output = home.run("edge", &format!("{EDGE}{ingress}"));
    ended_saying(&output, 2, &["edge.toml", "ingress", "to"]);
}

/// Nobody is let in, or everybody, by omission.
#[test]
fn an_ingress_that_says_nothing_of_its_callers() {
    let home = Home::new();
    let ingress = "[[ingress]]\nkind = \"tcp\"\nlisten = \"127.0.0.1:0\"\nto = \"acme/demo/db\"\n";
    let output = home.run("edge", &format!("{EDGE}{ingress}"));
    ended_saying(&output, 2, &["edge.toml", "allow", "anonymous"]);
}

#[test]
fn what_is_not_toml() {
    let home = Home::new();
    let output = home.run("edge", "[identity\ndir = \"state\"\n");
    ended_saying(&output, 2, &["edge.toml:1"]);
}

#[test]
fn a_file_that_is_not_there() {
    for side in ["edge", "client"] {
        let output = causeway()
            .args([side, "--config", "/nowhere/at/all.toml"])
            .output()
            .unwrap();
        ended_saying(&output, 2, &["/nowhere/at/all.toml"]);
    }
}

#[test]
fn an_unknown_argument() {
    let output = causeway().args(["edge", "--confg", "x"]).output().unwrap();
    ended_saying(&output, 2, &["--confg", "--config"]);
}

#[test]
fn an_admin_listener_for_everyone() {
    let home = Home::new();
    let output = home.run("edge", &EDGE.replace("\"off\"", "\"0.0.0.0:7480\""));
    ended_saying(&output, 2, &["0.0.0.0:7480", "telemetry"]);
}

/// Every listener there is, taken by somebody else.
#[test]
fn ports_in_use() {
    let home = Home::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let tcp = taken.local_addr().unwrap().to_string();
    let held = UdpSocket::bind("127.0.0.1:0").unwrap();
    let udp = held.local_addr().unwrap().to_string();
    let listener = |table: &str, rest: &str| format!("[[{table}]]\nlisten = \"{tcp}\"\n{rest}");
    let cases = [
        ("edge", EDGE.replace("127.0.0.1:0", &udp), &udp, "tunnel"),
        ("edge", EDGE.replace("off", &tcp), &tcp, "admin"),
        (
            "edge",
            EDGE.to_owned()
                + &listener(
                    "ingress",
                    "kind = \"tcp\"\nto = \"acme/demo/db\"\nanonymous = true\n",
                ),
            &tcp,
            "ingress",
        ),
        ("client", CLIENT.replace("off", &tcp), &tcp, "admin"),
        (
            "client",
            CLIENT.to_owned() + &listener("forward", "service = \"state\"\n"),
            &tcp,
            "forward",
        ),
    ];
    for (side, file, address, key) in cases {
        let output = home.run(side, &file);
        ended_saying(&output, 1, &[address, "in use", key]);
    }
}

/// Where a process can be started that will not get far.
#[derive(Debug)]
struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::create(&directory.path().join("authority"));
        let home = Self(directory);
        authority.issue(&["edge", "edge-1"], &home.path("edge/state"));
        authority.issue(&["client", "acme/demo"], &home.path("client/state"));
        home
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Runs one side with this file, which must make it end by itself.
    #[track_caller]
    fn run(&self, side: &str, file: &str) -> Output {
        let config = self.path(&format!("{side}/{side}.toml"));
        fs::write(&config, file).unwrap();
        let output = causeway()
            .args(["check", "--kind", side])
            .arg(&config)
            .output()
            .unwrap();
        // What `check` can find, starting finds in the same words.
        let started = causeway()
            .args([side, "--config"])
            .arg(&config)
            .output()
            .unwrap();
        if output.status.code() == Some(2) {
            assert_eq!(started.status.code(), Some(2));
        }
        started
    }
}
