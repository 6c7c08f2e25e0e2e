//! The first command that anyone types: it works without preparation, says where everything is,
//! can be run again, and ends when told to.

mod cut;
mod trouble;

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    path::Path,
    process::{Child, ChildStdout, Stdio},
    thread,
    time::Duration,
};

use serde_json::Value;

use crate::support::{Origin, Request, causeway, signal, wait_for};

/// How long nothing must be heard from a stopped client for it to count as silent.
const SILENCE: Duration = Duration::from_secs(1);

#[test]
fn it_serves_hello_and_ends_on_ctrl_c() {
    let directory = tempfile::tempdir().unwrap();
    let (mut quickstart, document) = Quickstart::start(directory.path(), &[]);

    let hello = &document["services"]["hello"];
    let address: SocketAddr = hello["addr"].as_str().unwrap().parse().unwrap();
    let host = hello["host"].as_str().unwrap();
    assert_eq!(host, "hello--demo--acme.localhost");
    assert_eq!(
        hello["url"],
        format!("http://{host}:{}", address.port()),
        "the URL is what to open"
    );
    let answer = Request::get(address, "/", host).send().unwrap();
    assert_eq!(answer.status, 200);
    assert!(
        answer.text().unwrap().contains("acme"),
        "hello says who it is"
    );
    for key in ["edge_admin", "client_admin"] {
        let url = document[key].as_str().unwrap();
        let admin: SocketAddr = url.strip_prefix("http://").unwrap().parse().unwrap();
        let ready = Request::get(admin, "/readyz", "localhost").send().unwrap();
        assert_eq!(ready.status, 200, "{key}");
    }
    assert!(
        document["tunnel"]
            .as_str()
            .unwrap()
            .parse::<SocketAddr>()
            .is_ok()
    );

    quickstart.interrupt();
    assert_eq!(quickstart.exit_code(), Some(0), "Ctrl-C ends it with 0");
    assert!(
        Request::get(address, "/", host).send().is_err(),
        "nothing is left listening"
    );
}

/// hello is reached through the tunnel only: without the client there is no hello.
#[test]
fn hello_stops_with_the_client_and_goes_on_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let (quickstart, document) = Quickstart::start(directory.path(), &[]);
    let hello = &document["services"]["hello"];
    let address: SocketAddr = hello["addr"].as_str().unwrap().parse().unwrap();
    let host = hello["host"].as_str().unwrap();
    let client = quickstart.child_of_kind("client");

    signal(client, "STOP");
    // A signal is sent at once and heard when the process is next on a core.
    wait_for("the client to stop", || is_stopped(client).then_some(()));
    let stream = Request::get(address, "/", host).connect().unwrap();
    stream.set_read_timeout(Some(SILENCE)).unwrap();
    let silence = (&stream).read(&mut [0; 1]);
    assert!(silence.is_err(), "a stopped client answered: {silence:?}");

    signal(client, "CONT");
    let answer = wait_for("hello to answer again", || {
        Request::get(address, "/", host)
            .send()
            .ok()
            .filter(|answer| answer.status == 200)
    });
    assert!(answer.text().is_ok());
}

/// What was made at first is kept: the same authority, the same identities.
#[test]
fn a_second_run_reuses_the_directory() {
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path().join("demo");
    let (mut quickstart, _) = Quickstart::start(&dir, &[]);
    quickstart.interrupt();
    quickstart.exit_code();
    let before = pems(&dir);
    assert!(before.len() >= 6, "authority, edge and client: {before:?}");

    let (mut quickstart, document) = Quickstart::start(&dir, &[]);
    assert!(document["services"]["hello"].is_object());
    assert_eq!(pems(&dir), before);
    quickstart.interrupt();
    assert_eq!(quickstart.exit_code(), Some(0));
}

#[test]
fn services_and_upstreams_of_ones_own() {
    let db = Origin::digest();
    let state = Origin::echo();
    let directory = tempfile::tempdir().unwrap();
    let expose = format!("db={}", db.tcp());
    let upstream = format!("state={}", state.tcp());
    let (_quickstart, document) = Quickstart::start(
        directory.path(),
        &["--expose", &expose, "--upstream", &upstream],
    );
    let db_at: SocketAddr = document["services"]["db"]["addr"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    assert_eq!(document["services"]["db"]["url"], format!("tcp://{db_at}"));
    assert!(
        document["services"]["hello"].is_null(),
        "hello is for those who expose nothing"
    );
    let mut caller = std::net::TcpStream::connect(db_at).unwrap();
    caller.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    caller.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("0 e3b0c442"), "{answer}");

    let state_at: SocketAddr = document["forwards"]["state"]["addr"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    let caller = std::net::TcpStream::connect(state_at).unwrap();
    std::io::Write::write_all(&mut (&caller), b"ping").unwrap();
    let mut back = [0; 4];
    (&caller).read_exact(&mut back).unwrap();
    assert_eq!(&back, b"ping");
}

/// A running `causeway quickstart --json` on free ports.
#[derive(Debug)]
struct Quickstart {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Quickstart {
    /// Starts it and waits for its document.
    #[track_caller]
    fn start(directory: &Path, more: &[&str]) -> (Self, Value) {
        let mut child = causeway()
            .args([
                "quickstart",
                "--json",
                "--http",
                "127.0.0.1:0",
                "--tunnel",
                "127.0.0.1:0",
                "--dir",
            ])
            .arg(directory)
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let mut quickstart = Self { child, stdout };
        let document = quickstart.document();
        (quickstart, document)
    }

    /// The document on its standard output, however many lines it has.
    #[track_caller]
    fn document(&mut self) -> Value {
        let mut text = String::new();
        loop {
            let read = self.stdout.read_line(&mut text).unwrap();
            assert!(read > 0, "quickstart ended without its document: {text:?}");
            if let Ok(document) = serde_json::from_str(&text) {
                return document;
            }
        }
    }

    /// What Ctrl-C does: SIGINT to the process.
    fn interrupt(&self) {
        signal(self.child.id(), "INT");
    }

    #[track_caller]
    fn exit_code(&mut self) -> Option<i32> {
        wait_for("the end of quickstart", || self.child.try_wait().unwrap()).code()
    }

    /// The process that quickstart started as `causeway KIND`.
    #[track_caller]
    fn child_of_kind(&self, kind: &str) -> u32 {
        let pid = self.child.id();
        let children: Vec<u32> = fs::read_dir(format!("/proc/{pid}/task"))
            .unwrap()
            .flat_map(|task| {
                let children = task.unwrap().path().join("children");
                let children = fs::read_to_string(children).unwrap_or_default();
                let pids: Vec<u32> = children
                    .split_whitespace()
                    .map(|pid| pid.parse().unwrap())
                    .collect();
                pids
            })
            .collect();
        children
            .into_iter()
            .find(|child| {
                let command =
                    fs::read_to_string(format!("/proc/{child}/cmdline")).unwrap_or_default();
                command.split('\0').nth(1) == Some(kind)
            })
            .unwrap_or_else(|| panic!("quickstart has no child `{kind}`"))
    }
}

impl Drop for Quickstart {
    fn drop(&mut self) {
        if self.child.try_wait().ok().flatten().is_none() {
            // It ends its children when it is told to end; killed, it could not.
            self.interrupt();
            for _ in 0..500 {
                if self.child.try_wait().ok().flatten().is_some() {
                    return;
                }
                thread::sleep(Duration::from_millis(10));
            }
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Whether every thread of a process is stopped by a signal: state T in proc_pid_stat(5).
fn is_stopped(pid: u32) -> bool {
    fs::read_dir(format!("/proc/{pid}/task"))
        .unwrap()
        .all(|thread| {
            let stat = fs::read_to_string(thread.unwrap().path().join("stat")).unwrap_or_default();
            let behind_the_name = stat.rsplit(')').next().unwrap_or_default();
            behind_the_name.split_whitespace().next() == Some("T")
        })
}

/// Every certificate and key under `directory`, with its bytes.
fn pems(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(pems(&path));
        } else if path.extension().is_some_and(|extension| extension == "pem") {
            found.push((path.display().to_string(), fs::read(&path).unwrap()));
        }
    }
    found.sort();
    found
}
