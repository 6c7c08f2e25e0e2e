//! What goes wrong with the first command: it says so, leaves nothing running, and its exit status
//! tells whose turn it is.

use std::net::TcpListener;
use std::process::Output;

use super::*;
use crate::support::refusing_address;

/// `causeway quickstart` that is expected to end by itself.
fn ends(directory: &Path, more: &[&str]) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = causeway()
        .args(["quickstart", "--dir"])
        .arg(directory)
        .args(more)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    (status.code(), String::from_utf8(stderr).unwrap())
}

fn is_running(pid: u32) -> bool {
    // A process that nobody has waited for yet still has a directory, but no command line.
    fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty())
}

#[test]
fn a_client_that_dies_ends_it() {
    let directory = tempfile::tempdir().unwrap();
    let (mut quickstart, _) = Quickstart::start(directory.path(), &[]);
    let edge = quickstart.child_of_kind("edge");
    signal(quickstart.child_of_kind("client"), "KILL");
    assert_eq!(quickstart.exit_code(), Some(1));
    assert!(!is_running(edge), "the edge was stopped");
}

#[test]
fn its_processes_end_when_it_is_killed() {
    let directory = tempfile::tempdir().unwrap();
    let (quickstart, _) = Quickstart::start(directory.path(), &[]);
    let children = ["edge", "client"].map(|kind| quickstart.child_of_kind(kind));
    signal(quickstart.child.id(), "KILL");
    wait_for("edge and client to end", || {
        (!children.iter().any(|pid| is_running(*pid))).then_some(())
    });
}

#[test]
fn a_changed_file_is_used_and_its_mistake_told() {
    let directory = tempfile::tempdir().unwrap();
    let (mut quickstart, _) = Quickstart::start(directory.path(), &[]);
    quickstart.interrupt();
    quickstart.exit_code();
    let file = directory.path().join("edge.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("kind = \"http\"", "kind = \"htp\"")).unwrap();
    let (code, said) = ends(directory.path(), &[]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("unknown value \"htp\""), "{said}");
}

#[test]
fn a_service_that_is_down_is_no_reason_to_stop() {
    let directory = tempfile::tempdir().unwrap();
    let (address, _held) = refusing_address();
    let target = format!("gone=http://{address}");
    let (mut quickstart, document) = Quickstart::start(directory.path(), &["--expose", &target]);
    let gone = &document["services"]["gone"];
    let address: SocketAddr = gone["addr"].as_str().unwrap().parse().unwrap();
    let host = gone["host"].as_str().unwrap();
    let answer = Request::get(address, "/", host).send().unwrap();
    assert_eq!(answer.status, 502);
    quickstart.interrupt();
    assert_eq!(quickstart.exit_code(), Some(0));
}

#[test]
fn a_port_in_use_is_told_by_its_argument() {
    let directory = tempfile::tempdir().unwrap();
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap().to_string();
    let (code, said) = ends(directory.path(), &["--http", &address]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&format!("--http {address}")), "{said}");
}

#[test]
fn two_do_not_share_a_directory() {
    let directory = tempfile::tempdir().unwrap();
    let (_running, _) = Quickstart::start(directory.path(), &[]);
    let (code, said) = ends(directory.path(), &["--http", "127.0.0.1:0"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("another quickstart is running"), "{said}");
}
