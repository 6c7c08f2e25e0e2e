//! The servers behind the tunnel, and the generators of load that are programs of others.

use std::{
    fs,
    io::{BufRead, BufReader, Lines, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use tempfile::TempDir;

use crate::support::{
    Pattern, Process, Server, address_for_server, listens, nginx, peer, run, script,
};

/// How long nginx's large file is.
pub(super) const LARGE: u64 = 4 << 20;

/// For how long the servers keep a connection without a request, in seconds: so short that what
/// the edge keeps for the next request is gone when the load is. nginx says so in its answers, as
/// a request that crosses the end of its connection fails if it is too long to be sent again.
const IDLE: u64 = 2;

/// nginx, redis, a gRPC and a WebSocket server.
pub(super) struct Servers {
    pub(super) nginx: SocketAddr,
    pub(super) redis: SocketAddr,
    pub(super) grpc: Server,
    pub(super) websocket: Server,
    _processes: [Process; 2],
    _directory: TempDir,
}

impl Servers {
    pub(super) fn start() -> Option<Self> {
        let redis = peer("redis-server")?;
        let directory = tempfile::tempdir().unwrap();
        let (site, nginx) = start_nginx(directory.path())?;
        let (store, redis) = start_redis(&redis, directory.path());
        let grpc = format!("grpc_server.py --max-idle {IDLE}");
        Some(Self {
            nginx,
            redis,
            grpc: Server::start("grpc_server.py", &mut script(&grpc)?),
            websocket: Server::start("ws_server.py", &mut script("ws_server.py")?),
            _processes: [site, store],
            _directory: directory,
        })
    }
}

fn start_nginx(directory: &Path) -> Option<(Process, SocketAddr)> {
    fs::create_dir_all(directory.join("www/put")).unwrap();
    for (name, length) in [("small", 1000), ("large", LARGE)] {
        let mut file = fs::File::create(directory.join("www").join(name)).unwrap();
        std::io::copy(&mut Pattern::new(length), &mut file).unwrap();
    }
    let address = address_for_server();
    let site = format!(
        "keepalive_timeout {IDLE}s {IDLE}s; keepalive_requests 1000; client_max_body_size 64m;\n\
         server {{ listen {address}; root {}/www; location /put/ {{ dav_methods PUT; }} }}",
        directory.display()
    );
    let process = nginx(directory, &site)?;
    listens("nginx", address);
    Some((process, address))
}

fn start_redis(redis: &Path, directory: &Path) -> (Process, SocketAddr) {
    let address = address_for_server();
    let process = Process::start(
        "redis",
        Command::new(redis)
            .args(["--bind", "127.0.0.1", "--save", "", "--port"])
            .arg(address.port().to_string())
            .current_dir(directory),
        &directory.join("redis.log"),
    );
    listens("redis", address);
    (process, address)
}

/// A program of `causeway/tests/peers` that stays, and loads for as many seconds as it is told.
pub(super) struct Generator {
    name: &'static str,
    child: Child,
    ask: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Generator {
    pub(super) fn start(name: &'static str, addresses: &[SocketAddr]) -> Self {
        let mut child = script(name)
            .expect("its server runs by the same Python")
            .args(addresses.iter().map(ToString::to_string))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let ask = child.stdin.take().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap()).lines();
        Self {
            name,
            child,
            ask,
            answers,
        }
    }

    /// Loads for so long: what it completed, and what it cut.
    pub(super) fn round(&mut self, seconds: u64) -> (u64, u64) {
        writeln!(self.ask, "{seconds}").unwrap();
        let answer = self.answers.next();
        let answer = answer.unwrap_or_else(|| panic!("{} has ended", self.name));
        let answer = answer.unwrap();
        let counts = answer.strip_prefix("done ").and_then(|counts| {
            let (complete, cut) = counts.split_once(' ')?;
            Some((complete.parse().ok()?, cut.parse().ok()?))
        });
        counts.unwrap_or_else(|| panic!("{}: {answer}", self.name))
    }
}

impl Drop for Generator {
    fn drop(&mut self) {
        // It may have ended already, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `wrk` on kept connections for so long: how many requests were answered, each by a 200.
pub(super) fn wrk(program: &PathBuf, address: SocketAddr, seconds: u64) -> u64 {
    let duration = format!("-d{seconds}s");
    let mut wrk = Command::new(program);
    wrk.args(["-t1", "-c8", &duration, "--timeout", "20s"]);
    wrk.arg(format!("http://{address}/small"));
    let output = run(&mut wrk, Stdio::null());
    let report = String::from_utf8_lossy(&output.stdout);
    let clean = !report.contains("Non-2xx") && !report.contains("Socket errors");
    let requests = report
        .lines()
        .find_map(|line| line.trim().split_once(" requests in "))
        .and_then(|(count, _)| count.parse().ok());
    match requests {
        Some(requests) if clean && output.status.success() => requests,
        Some(_) | None => panic!("{report}{}", String::from_utf8_lossy(&output.stderr)),
    }
}

/// `redis-benchmark` with 16 commands in flight on each connection: how many commands succeeded.
pub(super) fn redis_benchmark(program: &PathBuf, address: SocketAddr) -> u64 {
    const COMMANDS: u64 = 20_000;
    let mut benchmark = Command::new(program);
    benchmark
        .args(["-h", "127.0.0.1", "-p", &address.port().to_string()])
        .args(["-q", "-t", "set,get", "-c", "4", "-P", "16", "-d", "100"])
        .args(["-n", &COMMANDS.to_string()]);
    let output = run(&mut benchmark, Stdio::null());
    let report = String::from_utf8_lossy(&output.stdout);
    let done = report.contains("SET:") && report.contains("GET:") && !report.contains("rror");
    assert!(
        done && output.status.success(),
        "{report}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    2 * COMMANDS
}
