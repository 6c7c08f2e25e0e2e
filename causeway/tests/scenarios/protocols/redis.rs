//! redis by its own client: many commands in flight, large values, a benchmark, published messages.

use std::{
    io::{Seek, SeekFrom, Write},
    process::{Command, Stdio},
};

use super::{Comparison, Report};
use crate::support::{
    Process, address_for_server, listens, peer, read_digest, run, succeeds, wait_for,
};

#[test]
fn redis() {
    let (Some(server), Some(cli), Some(benchmark)) = (
        peer("redis-server"),
        peer("redis-cli"),
        peer("redis-benchmark"),
    ) else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let address = address_for_server();
    let _redis = Process::start(
        "redis",
        Command::new(server)
            .args(["--bind", "127.0.0.1", "--save", "", "--port"])
            .arg(address.port().to_string())
            .current_dir(directory.path()),
        &directory.path().join("redis.log"),
    );
    listens("redis", address);
    let commands = tempfile::tempfile().unwrap();
    for number in 0..100_000 {
        write!(&commands, "SET key:{number} value:{number}\r\n").unwrap();
    }
    Comparison::of("tcp", address).run(|address| {
        let at = |program| {
            let mut command = Command::new(program);
            command.args(["-h", "127.0.0.1", "-p", &address.port().to_string()]);
            command
        };
        let redis = |words: &[&str]| succeeds(at(&cli).args(words), Stdio::null());
        let mut report = Report::default();
        report.add("empty", redis(&["FLUSHALL"]));
        (&commands).seek(SeekFrom::Start(0)).unwrap();
        let input = Stdio::from(commands.try_clone().unwrap());
        report.add("100,000 in a pipe", succeeds(at(&cli).arg("--pipe"), input));
        report.add("all there", redis(&["DBSIZE"]));
        let large = "100000000";
        report.add("100 MB", redis(&["SETRANGE", "large", large, "end"]));
        report.add("100 MB back", redis(&["GET", "large"]));
        report.add("error", redis(&["INCR", "large"]));
        let load = ["-q", "-t", "set,get", "-n", "20000", "-c", "20", "-P", "8"];
        let loaded = run(at(&benchmark).args(load), Stdio::null());
        let said = String::from_utf8_lossy(&loaded.stdout);
        let done = loaded.status.success() && said.contains("GET:") && !said.contains("Error");
        report.add("load", if done { "done" } else { "FAIL" });
        let mut subscribing = at(&cli);
        subscribing.args(["SUBSCRIBE", "news"]);
        report.add("messages", received(subscribing, redis));
        report
    });
}

/// What a subscriber prints of a hundred messages, each published once the one before arrived,
/// and of one of 100 kB.
fn received(mut subscribing: Command, redis: impl Fn(&[&str]) -> String) -> String {
    let directory = tempfile::tempdir().unwrap();
    let subscriber = Process::start(
        "subscriber",
        &mut subscribing,
        &directory.path().join("log"),
    );
    let ends_with = |text: &str| {
        let text = format!("\n{text}\n");
        wait_for(text.trim(), || {
            subscriber.log().ends_with(&text).then_some(())
        });
    };
    ends_with("news\n1");
    let large = "large".repeat(20_000);
    for message in (0..100).map(|n| format!("message {n}")).chain([large]) {
        let heard = redis(&["PUBLISH", "news", &message]);
        if !heard.contains("\"1\"") {
            return format!("FAIL {heard}");
        }
        ends_with(&message);
    }
    let log = subscriber.log();
    format!("{:?}", read_digest(log.as_bytes()).unwrap())
}
