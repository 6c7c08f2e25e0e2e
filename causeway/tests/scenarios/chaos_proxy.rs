//! `causeway chaos proxy` as its users have it: in front of redis and of a name server, which know
//! nothing of it, with faults from arguments, over HTTP and by the clock.

use std::{
    fs,
    io::{BufRead, BufReader, ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{
    DEADLINE, Process, address_for_server, causeway, listens,
    nameserver::{NameServer, Software, Zone},
    peer, run, wait_for,
};

/// How long nothing must come for it to count as silence.
const SILENCE: Duration = Duration::from_millis(500);

#[test]
fn redis_answers_late() {
    let Some(redis) = Redis::start() else { return };
    let late = ["--fault", "down latency delay=250ms"];
    let proxy = ChaosProxy::before(redis.address, &late);
    let begin = Instant::now();
    assert_eq!(redis.cli(proxy.address, &["ping"]), "PONG");
    assert!(begin.elapsed() >= Duration::from_millis(250));
}

#[test]
fn a_call_to_redis_outlives_a_cut() {
    let Some(redis) = Redis::start() else { return };
    let proxy = ChaosProxy::before(redis.address, &[]);
    let mut caller = proxy.connect();
    assert_eq!(call(&mut caller, "SET key value"), "+OK");

    proxy.curl("PUT", "/faults/cut", "");
    caller.write_all(b"GET key\r\n").unwrap();
    caller.set_read_timeout(Some(SILENCE)).unwrap();
    let silence = caller.read(&mut [0]).unwrap_err().kind();
    assert!(matches!(
        silence,
        ErrorKind::WouldBlock | ErrorKind::TimedOut
    ));
    let late = proxy.connect();

    proxy.curl("DELETE", "/faults/cut", "");
    caller.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut answer = [0; 11];
    caller.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"$5\r\nvalue\r\n");
    let mut late = late;
    assert_eq!(call(&mut late, "PING"), "+PONG");

    let connections = proxy.curl("GET", "/connections", "");
    assert_eq!(connections.as_array().unwrap().len(), 2);
    let sent = "SET key value\r\nGET key\r\n".len();
    assert_eq!(connections[0]["bytes_up"], sent);
    assert_eq!(connections[0]["bytes_down"], "+OK\r\n$5\r\nvalue\r\n".len());
}

#[test]
fn redis_seems_to_reset_its_callers() {
    let Some(redis) = Redis::start() else { return };
    let proxy = ChaosProxy::before(redis.address, &[]);
    let mut caller = proxy.connect();
    assert_eq!(call(&mut caller, "PING"), "+PONG");
    proxy.curl("PUT", "/faults/reset", "");
    let error = caller.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    proxy.curl("DELETE", "/faults", "");
    assert_eq!(redis.cli(proxy.address, &["ping"]), "PONG");
}

#[test]
fn an_answer_of_redis_ends_in_the_middle() {
    let Some(redis) = Redis::start() else { return };
    let proxy = ChaosProxy::before(redis.address, &[]);
    let large = "x".repeat(100_000);
    assert_eq!(redis.cli(proxy.address, &["set", "large", &large]), "OK");
    assert_eq!(redis.cli(proxy.address, &["get", "large"]), large);

    proxy.curl("PUT", "/faults/truncate/down", "{\"bytes\": \"1KiB\"}");
    let mut caller = proxy.connect();
    caller.write_all(b"GET large\r\n").unwrap();
    let mut got = Vec::new();
    caller.read_to_end(&mut got).unwrap();
    assert_eq!(got.len(), 1024);
    assert!(got.starts_with(b"$100000\r\nxxx"));
}

#[test]
fn half_a_close_is_passed_on() {
    let Some(redis) = Redis::start() else { return };
    let proxy = ChaosProxy::before(redis.address, &["--fault", "slice size=1B pause=0ms"]);
    let mut caller = proxy.connect();
    caller.write_all(b"PING\r\nECHO hello\r\n").unwrap();
    caller.shutdown(Shutdown::Write).unwrap();
    let mut all = String::new();
    caller.read_to_string(&mut all).unwrap();
    // redis answers what was asked, and then ends as well.
    assert_eq!(all, "+PONG\r\n$5\r\nhello\r\n");
}

#[test]
fn a_name_server_on_a_bad_line() {
    let zone = Zone::new("chaos.test").record("www 300 A 192.0.2.1");
    let Some(server) = NameServer::start(Software::Knot, &zone) else {
        return;
    };
    let twice = [
        "--udp",
        "--fault",
        "down duplicate rate=100%",
        "--seed",
        "7",
    ];
    let proxy = ChaosProxy::before(server.address(), &twice);
    assert_eq!(proxy.document["seed"], 7);
    let dig = |patience| {
        let mut dig = Command::new(peer("dig").unwrap());
        dig.args(["+short", "+tries=1", patience, "@127.0.0.1", "-p"])
            .arg(proxy.address.port().to_string())
            .args(["www.chaos.test", "A"]);
        let Output { status, stdout, .. } = run(&mut dig, Stdio::null());
        (status.code(), String::from_utf8(stdout).unwrap())
    };
    let (code, answer) = dig("+time=20");
    assert_eq!((code, answer.trim()), (Some(0), "192.0.2.1"));

    proxy.curl("PUT", "/faults/loss", "{\"rate\": \"100%\"}");
    // 9: no answer (dig(1)).
    assert_eq!(dig("+time=1").0, Some(9));
    proxy.curl("DELETE", "/faults", "");
    let (code, answer) = dig("+time=20");
    assert_eq!((code, answer.trim()), (Some(0), "192.0.2.1"));
    let status = proxy.curl("GET", "/status", "");
    assert!(status["totals"]["datagrams_dropped"].as_u64().unwrap() >= 1);
}

#[test]
fn faults_by_the_clock() {
    let Some(redis) = Redis::start() else { return };
    let directory = tempfile::tempdir().unwrap();
    let timeline = directory.path().join("train.txt");
    let text = "# a tunnel\nat 0s latency delay=1ms\nat 100ms for 1s cut\nrepeat every 1500ms\n";
    fs::write(&timeline, text).unwrap();
    let timeline = timeline.to_str().unwrap();
    let proxy = ChaosProxy::before(redis.address, &["--timeline", timeline]);
    for _ in 0..2 {
        for is_cut in [true, false] {
            wait_for("the timeline's cut to begin and to end", || {
                let faults = proxy.curl("GET", "/faults", "");
                let up = &faults["up"];
                (up["cut"].is_object() == is_cut && up["latency"]["delay"] == "1ms").then_some(())
            });
        }
    }
    assert_eq!(redis.cli(proxy.address, &["ping"]), "PONG");
}

/// Whoever copies what it prints gets what it says.
#[test]
fn the_commands_that_it_prints_work() {
    let Some(redis) = Redis::start() else { return };
    let directory = tempfile::tempdir().unwrap();
    let control = format!("unix:{}/control.sock", directory.path().display());
    for control in ["127.0.0.1:0", &control] {
        let log = directory.path().join("text");
        let to = redis.address.to_string();
        let proxy = Process::start(
            "chaos proxy",
            causeway().args(["chaos", "proxy", "--control", control, "--to", &to]),
            &log,
        );
        wait_for("what it prints", || {
            proxy.log().contains("Ctrl-C stops it").then_some(())
        });
        let text = proxy.log();
        let commands: Vec<_> = text
            .lines()
            .filter_map(|line| line.trim_start_matches("Try").trim().strip_prefix("curl "))
            .map(|rest| rest.split("   ").next().unwrap())
            .collect();
        assert_eq!(commands.len(), 5, "{text}");
        for command in commands {
            let shell = format!("curl --silent --show-error --fail {command}");
            let Output { status, stderr, .. } =
                run(Command::new("sh").args(["-c", &shell]), Stdio::null());
            assert!(status.success(), "{shell}: {stderr:?}");
        }
        fs::remove_file(log).unwrap();
    }
}

#[test]
fn mistakes_say_what_would_be_right() {
    let directory = tempfile::tempdir().unwrap();
    let timeline = directory.path().join("train.txt");
    fs::write(&timeline, "at 1s cut\nin 2s clear\n").unwrap();
    let timeline = timeline.to_str().unwrap();
    let to = ["proxy", "--to", "127.0.0.1:1"];
    for (more, error) in [
        (
            &["--fault", "lag"][..],
            "there is no fault \"lag\"; there is latency",
        ),
        (
            &["--fault", "latency dely=1s"],
            "write delay=100ms jitter=0s",
        ),
        (
            &["--udp", "--fault", "slice"],
            "slice is for TCP, and this proxy passes UDP only",
        ),
        (
            &["--timeline", timeline],
            "train.txt: line 2: \"in\" begins no line; write: at TIME",
        ),
        (
            &["--timeline", "/nowhere"],
            "--timeline /nowhere: No such file",
        ),
        (&["--control", "0.0.0.0:0"], "it must be a loopback address"),
        (&["--listen", "here"], "write an IP address and a port"),
    ] {
        let mut command = causeway();
        command.arg("chaos").args(to).args(more);
        let Output { status, stderr, .. } = run(&mut command, Stdio::null());
        let stderr = String::from_utf8(stderr).unwrap();
        assert_eq!(status.code(), Some(2), "{stderr}");
        assert!(stderr.contains(error), "{stderr}");
    }
    let mut taken = causeway();
    let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = held.local_addr().unwrap().to_string();
    taken.arg("chaos").args(to).args(["--listen", &listen]);
    let Output { status, stderr, .. } = run(&mut taken, Stdio::null());
    let stderr = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(1));
    assert!(stderr.contains("address in use"), "{stderr}");
}

#[test]
fn every_fault_is_listed() {
    let list = |more: &[&str]| {
        let output = run(causeway().args(["chaos", "list"]).args(more), Stdio::null());
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    let all: Value = serde_json::from_str(&list(&["--json"])).unwrap();
    let text = list(&[]);
    for fault in all.as_array().unwrap() {
        let name = fault["name"].as_str().unwrap();
        assert!(text.contains(&format!("{name} (")), "{name}");
        assert!(list(&[name]).starts_with(name));
    }
    assert_eq!(all[0]["parameters"][0]["default"], "100ms");
}

/// Says something to redis that has an answer of one line.
fn call(caller: &mut TcpStream, words: &str) -> String {
    caller.write_all(format!("{words}\r\n").as_bytes()).unwrap();
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        let mut byte = [0];
        caller.read_exact(&mut byte).unwrap();
        line.extend(byte);
    }
    String::from_utf8(line).unwrap().trim_end().to_owned()
}

/// A redis server of its own.
struct Redis {
    address: SocketAddr,
    cli: std::path::PathBuf,
    _process: Process,
    _directory: TempDir,
}

impl Redis {
    /// `None`, said by name, if it or its client is missing.
    fn start() -> Option<Self> {
        let (server, cli) = (peer("redis-server")?, peer("redis-cli")?);
        let directory = tempfile::tempdir().unwrap();
        let address = address_for_server();
        let process = Process::start(
            "redis",
            Command::new(server)
                .args(["--bind", "127.0.0.1", "--save", "", "--port"])
                .arg(address.port().to_string())
                .current_dir(directory.path()),
            &directory.path().join("redis.log"),
        );
        listens("redis", address);
        Some(Self {
            address,
            cli,
            _process: process,
            _directory: directory,
        })
    }

    /// What redis-cli prints.
    #[track_caller]
    fn cli(&self, at: SocketAddr, words: &[&str]) -> String {
        let mut command = Command::new(&self.cli);
        command.args(["-h", "127.0.0.1", "-p", &at.port().to_string()]);
        let Output { status, stdout, .. } = run(command.args(words), Stdio::null());
        assert!(status.success());
        String::from_utf8(stdout).unwrap().trim_end().to_owned()
    }
}

/// A running `causeway chaos proxy --json` on free ports.
struct ChaosProxy {
    child: Child,
    document: Value,
    address: SocketAddr,
}

impl ChaosProxy {
    #[track_caller]
    fn before(to: SocketAddr, more: &[&str]) -> Self {
        let mut child = causeway()
            .args(["chaos", "proxy", "--json", "--to", &to.to_string()])
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut line).unwrap();
        let document: Value = serde_json::from_str(&line).expect("it says where it is");
        let address = document["listen"].as_str().unwrap().parse().unwrap();
        Self {
            child,
            document,
            address,
        }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream
    }

    /// The answer of the control listener to curl.
    #[track_caller]
    fn curl(&self, method: &str, path: &str, body: &str) -> Value {
        let curl = peer("curl").unwrap_or_else(|| Path::new("curl").into());
        let url = format!("{}{path}", self.document["control"].as_str().unwrap());
        let mut command = Command::new(curl);
        command.args(["--silent", "--show-error", "--fail-with-body", "-X", method]);
        let Output { status, stdout, .. } =
            run(command.args(["--data", body, &url]), Stdio::null());
        let answer = String::from_utf8(stdout).unwrap();
        assert!(status.success(), "{answer}");
        serde_json::from_str(&answer).unwrap()
    }
}

impl Drop for ChaosProxy {
    fn drop(&mut self) {
        // It may have ended already, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
