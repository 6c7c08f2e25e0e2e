//! An audit log that takes nothing: a pipe whose reader has stopped, or that has none.

use std::{
    fs::{self, File},
    io::{ErrorKind, Read, Write},
    net::Shutdown,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};
use tempfile::TempDir;

use crate::support::{Authority, Origin, Plane, Process, Side, causeway, wait_for};

#[test]
fn a_reader_that_has_stopped_keeps_no_process_from_its_end() {
    let pipe = FullPipe::new();
    let (mut plane, _origin) = audited_by(&pipe.path);
    exchange(&mut plane);
    plane.client.signal("TERM");
    assert!(plane.client.ended().success());
    let log = plane.client.log();
    assert!(log.contains("takes nothing any more"), "{log}");
    assert!(log.contains("\"lost\":1"), "{log}");
}

#[test]
fn the_second_signal_ends_a_process_whose_log_takes_nothing() {
    let pipe = FullPipe::new();
    let (mut plane, _origin) = audited_by(&pipe.path);
    exchange(&mut plane);
    let mut held = plane.dial_ingress("echo");
    held.write_all(b"x").unwrap();
    held.read_exact(&mut [0]).unwrap();
    plane.client.signal("TERM");
    wait_for("the drain", || {
        plane.client.log().contains("stopping").then_some(())
    });
    plane.client.signal("TERM");
    assert_eq!(plane.client.ended().code(), Some(1));
    let log = plane.client.log();
    let lines: Vec<serde_json::Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let is_said = |line: &serde_json::Value| {
        let message = line["message"].as_str().unwrap_or_default();
        message.starts_with("told to stop again")
    };
    assert!(lines.iter().any(is_said), "{log}");
}

#[test]
fn a_pipe_without_a_reader_in_the_place_of_the_file_loses_records() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit");
    let (mut plane, _origin) = audited_by(&path);
    fs::remove_file(&path).unwrap();
    make_pipe(&path);
    exchange(&mut plane);
    wait_for("the lost record to be counted", || {
        let lost = "causeway_audit_records_total{outcome=\"lost\"} 1";
        plane.metrics(Side::Client).contains(lost).then_some(())
    });
    let log = plane.client.log();
    assert!(log.contains("a pipe that nobody reads"), "{log}");

    let mut reader = open(&path);
    exchange(&mut plane);
    let mut read = String::new();
    wait_for("the next record", || {
        match reader.read_to_string(&mut read) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            other => panic!("{other:?}"),
        }
        (read.matches('\n').count() == 2).then_some(())
    });
    assert!(read.contains("\"lost_records\":1"), "{read}");
    plane.client.signal("TERM");
    assert!(plane.client.ended().success());
}

#[test]
fn a_pipe_that_nobody_reads_stops_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    Authority::create(&at("authority")).issue(&["edge", "edge-1"], &at("state"));
    make_pipe(&at("audit"));
    let config = at("edge.toml");
    fs::write(
        &config,
        "[identity]\ndir = \"state\"\n[listen]\ntunnel = \"127.0.0.1:0\"\n[admin]\nlisten = \"off\"\n\
         [audit]\nfile = \"audit\"\n",
    )
    .unwrap();
    let mut command = causeway();
    let command = command.arg("edge").arg("--config").arg(config);
    let mut edge = Process::start("edge", command, &at("edge.log"));
    assert_eq!(edge.ended().code(), Some(1));
    let log = edge.log();
    let said: serde_json::Value = serde_json::from_str(log.trim()).unwrap();
    let error = said["error"].as_str().unwrap();
    assert!(
        error.contains("a pipe that nobody reads; start its reader first"),
        "{error}"
    );
}

/// A named pipe that is full, and whose reader reads nothing.
struct FullPipe {
    path: PathBuf,
    _reader: File,
    _directory: TempDir,
}

impl FullPipe {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit");
        make_pipe(&path);
        let mut reader = open(&path);
        let full = loop {
            if let Err(error) = reader.write(&[b'\n'; 4096]) {
                break error.kind();
            }
        };
        assert_eq!(full, ErrorKind::WouldBlock);
        Self {
            path,
            _reader: reader,
            _directory: directory,
        }
    }
}

fn make_pipe(path: &Path) {
    let mode = Mode::RUSR | Mode::WUSR;
    mknodat(CWD, path, FileType::Fifo, mode, 0).unwrap();
}

/// Both ends of a pipe at once, which waits for nobody (fifo(7)).
fn open(path: &Path) -> File {
    let nonblocking = OFlags::NONBLOCK.bits().cast_signed();
    let mut options = File::options();
    options.read(true).write(true).custom_flags(nonblocking);
    options.open(path).unwrap()
}

/// A plane whose client records at `path`, with an echo behind a tcp ingress.
fn audited_by(path: &Path) -> (Plane, Origin) {
    let origin = Origin::echo();
    let plane = Plane::builder()
        .client_toml(&format!("[audit]\nfile = \"{}\"\n", path.display()))
        .expose("echo", &origin.tcp())
        .tcp_ingress("echo")
        .start();
    (plane, origin)
}

/// One stream, from its beginning to its end.
fn exchange(plane: &mut Plane) {
    let mut caller = plane.dial_ingress("echo");
    caller.write_all(b"hello").unwrap();
    caller.shutdown(Shutdown::Write).unwrap();
    let mut back = String::new();
    caller.read_to_string(&mut back).unwrap();
    assert_eq!(back, "hello");
}
