//! git by its own protocol.

use std::{
    fs,
    net::SocketAddr,
    process::{Command, Stdio},
};

use super::{Comparison, Report};
use crate::support::{
    Process, fails, git_commits, git_repository, listens, peer, port_for_server, succeeds,
};

/// How many commits follow the clone.
const NEW: u64 = 100;

#[test]
fn git_clone_fetch_and_push() {
    let Some(git) = peer("git") else { return };
    let directory = tempfile::tempdir().unwrap();
    let origin = git_repository(&git, &directory.path().join("origin"));
    let port = port_for_server();
    let _daemon = Process::start(
        "git daemon",
        Command::new(&git)
            .args(["daemon", "--reuseaddr", "--export-all"])
            .args(["--enable=receive-pack", "--listen=127.0.0.1"])
            .arg(format!("--port={port}"))
            .arg(format!("--base-path={}", directory.path().display()))
            .arg(directory.path()),
        &directory.path().join("daemon.log"),
    );
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    listens("git daemon", address);
    Comparison::of("tcp", address).run(|address| {
        let mut report = Report::default();
        let clone = directory.path().join("clone");
        let run = |words: &[&str]| {
            let mut command = Command::new(&git);
            succeeds(command.args(words), Stdio::null())
        };
        let (url, there) = (format!("git://{address}/origin"), clone.to_str().unwrap());
        report.add("clone", run(&["clone", "-q", "--bare", &url, there]));
        report.add("whole", run(&["-C", there, "fsck", "--full"]));
        report.add("head", run(&["-C", there, "rev-parse", "HEAD"]));
        report.add("refs", run(&["ls-remote", &url, "HEAD"]));
        report.add(
            "nothing new",
            run(&["-C", there, "fetch", "-q", &url, "main:main"]),
        );
        git_commits(&git, &origin, 301..=300 + NEW);
        report.add(
            "fetch",
            run(&["-C", there, "fetch", "-q", &url, "main:main"]),
        );
        report.add(
            "fetched",
            run(&["-C", there, "rev-list", "--count", "main"]),
        );
        report.add("still whole", run(&["-C", there, "fsck", "--full"]));
        report.add("new head", run(&["-C", there, "rev-parse", "HEAD"]));
        let push = ["-C", there, "push", "-q", &url, "HEAD:refs/heads/pushed"];
        report.add("push", run(&push));
        let remove = ["-C", there, "push", "-q", &url, ":refs/heads/pushed"];
        report.add("push again", run(&remove));
        report.add("nothing there", {
            let missing = format!("git://{address}/missing");
            let mut listing = Command::new(&git);
            let outcome = fails(listing.args(["ls-remote", &missing]), Stdio::null());
            outcome.replace(&missing, "URL")
        });
        // The next clone finds what this one found.
        let before = ["update-ref", "refs/heads/main", &format!("main~{NEW}")];
        let back = Command::new(&git)
            .arg("-C")
            .arg(&origin)
            .args(before)
            .status();
        assert!(back.unwrap().success());
        fs::remove_dir_all(&clone).unwrap();
        report
    });
}
