//! `causeway chaos proxy` as its users have it: in front of redis and of a name server, which know
//! nothing of it, with faults from arguments, over HTTP and by the clock.

use std::{
    fs,
    io::{BufRead, BufReader, ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{
    DEADLINE, Process, address_for_server, causeway, listens,
    nameserver::{NameServer, Software, Zone},
    peer, run, signal, wait_for,
};

mod words;

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

#[test]
fn told_to_stop_it_resets_what_is_open() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut proxy = ChaosProxy::before(server.local_addr().unwrap(), &[]);
    let mut caller = proxy.connect();
    let (mut served, _) = server.accept().unwrap();
    served.set_read_timeout(Some(DEADLINE)).unwrap();
    // Half of what would be said, so that an end would be taken for all of it.
    caller.write_all(b"half").unwrap();
    served.read_exact(&mut [0; 4]).unwrap();
    served.write_all(b"half").unwrap();
    caller.read_exact(&mut [0; 4]).unwrap();

    signal(proxy.child.id(), "TERM");
    for side in [&mut caller, &mut served] {
        let error = side.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
    let ended = wait_for("its end", || proxy.child.try_wait().unwrap());
    assert_eq!(ended.code(), Some(0));
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
