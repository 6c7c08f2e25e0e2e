//! git by its own protocol.

use std::{
    fs,
    net::SocketAddr,
    process::{Command, Stdio},
};

use super::{Comparison, Report};
use crate::support::{Process, fails, git_repository, listens, peer, port_for_server, succeeds};

#[test]
fn git_clone() {
    let Some(git) = peer("git") else { return };
    let directory = tempfile::tempdir().unwrap();
    git_repository(&git, &directory.path().join("origin"));
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
        fs::remove_dir_all(&clone).unwrap();
        report
    });
}
