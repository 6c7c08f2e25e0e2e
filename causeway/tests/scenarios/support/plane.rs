//! The two planes: an authority, an edge and a client, as processes from configuration files in
//! a temporary directory, on free ports.

mod builder;

use std::{
    fs,
    io::Write,
    net::{SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;
use tempfile::TempDir;

use self::builder::HOST;
pub(crate) use self::builder::{Builder, CLUSTER};
use super::{
    http::{Answer, Request},
    identity::{Authority, causeway},
    process::Process,
    wait::{DEADLINE, eventually, wait_for},
};

/// A running edge and a running client with a session between them.
#[derive(Debug)]
pub(crate) struct Plane {
    pub(crate) edge: Process,
    pub(crate) client: Process,
    builder: Builder,
    authority: Authority,
    // Dropped last: the processes write into it.
    directory: TempDir,
}

/// Which of the two processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Edge,
    Client,
}

impl Side {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Edge => "edge",
            Self::Client => "client",
        }
    }
}

impl Builder {
    /// Starts both, and waits until a session stands.
    #[track_caller]
    pub(crate) fn start(self) -> Plane {
        let mut plane = self.launch();
        plane.await_session();
        plane
    }

    /// Starts both, and waits for nothing but the edge to listen.
    #[track_caller]
    pub(crate) fn launch(self) -> Plane {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        for side in [Side::Edge, Side::Client] {
            fs::create_dir(at(side.name())).unwrap();
        }
        let authority = Authority::create(&at("authority"));
        authority.issue(&["edge", "edge-1"], &at("edge/state"));
        authority.issue(&["client", CLUSTER], &at("client/state"));

        fs::write(at("edge/edge.toml"), self.edge_file()).unwrap();
        let mut edge = start(directory.path(), Side::Edge, &self);
        let status = admin_status(&mut edge, &at("edge/admin.sock"));
        let tunnel = address(&status["listen"]["tunnel"][0]);
        fs::write(at("client/client.toml"), self.client_file(tunnel)).unwrap();
        let client = start(directory.path(), Side::Client, &self);
        Plane {
            edge,
            client,
            builder: self,
            authority,
            directory,
        }
    }
}

impl Plane {
    pub(crate) fn builder() -> Builder {
        Builder::default()
    }

    /// Where the edge accepts tunnels.
    pub(crate) fn tunnel(&mut self) -> SocketAddr {
        address(&self.status(Side::Edge)["listen"]["tunnel"][0])
    }

    /// Where the ingress called `name` listens: a service for tcp, `web` for http. The first
    /// address if there are several.
    #[track_caller]
    pub(crate) fn ingress(&mut self, name: &str) -> SocketAddr {
        self.ingress_addresses(name)[0]
    }

    /// Everywhere that the ingress called `name` listens.
    #[track_caller]
    pub(crate) fn ingress_addresses(&mut self, name: &str) -> Vec<SocketAddr> {
        listed(&self.status(Side::Edge)["ingresses"], "name", name)
    }

    /// Where the client listens for callers of `service`. The first address if there are several.
    #[track_caller]
    pub(crate) fn forward(&mut self, service: &str) -> SocketAddr {
        self.forward_addresses(service)[0]
    }

    /// Everywhere that the client listens for callers of `service` over TCP.
    #[track_caller]
    pub(crate) fn forward_addresses(&mut self, service: &str) -> Vec<SocketAddr> {
        listed(&self.status(Side::Client)["forwards"], "service", service)
    }

    /// The host by which the http ingress reaches `service` of the client's cluster.
    pub(crate) fn host(&self, service: &str) -> String {
        let (tenant, cluster) = CLUSTER.split_once('/').expect("tenant/cluster");
        HOST.replace("{service}", service)
            .replace("{cluster}", cluster)
            .replace("{tenant}", tenant)
    }

    /// A `GET` of `path` from `service` by the http ingress.
    pub(crate) fn get(&mut self, service: &str, path: &str) -> Request {
        Request::get(self.ingress("web"), path, &self.host(service))
    }

    /// A connection to the tcp ingress of `service`.
    #[track_caller]
    pub(crate) fn dial_ingress(&mut self, service: &str) -> TcpStream {
        let address = self.ingress(service);
        self.at(Side::Edge, || dial(address))
    }

    /// A connection to the client's forward to `service`.
    #[track_caller]
    pub(crate) fn dial_forward(&mut self, service: &str) -> TcpStream {
        let address = self.forward(service);
        self.at(Side::Client, || dial(address))
    }

    /// What `/api/status` of one process says now.
    #[track_caller]
    pub(crate) fn status(&mut self, side: Side) -> Value {
        let socket = self.path(side).join("admin.sock");
        match side {
            Side::Edge => admin_status(&mut self.edge, &socket),
            Side::Client => admin_status(&mut self.client, &socket),
        }
    }

    /// What the edge's admin listener answers to `path`: its status and its JSON.
    #[track_caller]
    pub(crate) fn ask(&self, path: &str) -> (u16, Value) {
        let answer = admin(&self.path(Side::Edge).join("admin.sock"), path).unwrap();
        let status = answer.status;
        (
            status,
            serde_json::from_str(&answer.text().unwrap()).unwrap(),
        )
    }

    /// What `/readyz` of one process says now: its status and its body.
    pub(crate) fn readyz(&self, side: Side) -> (u16, String) {
        let answer = admin(&self.path(side).join("admin.sock"), "/readyz").unwrap();
        (answer.status, answer.text().unwrap())
    }

    /// The metrics of one process as it gives them, in OpenMetrics text.
    pub(crate) fn metrics(&self, side: Side) -> String {
        admin(&self.path(side).join("admin.sock"), "/metrics")
            .unwrap()
            .text()
            .unwrap()
    }

    /// The sessions that the edge holds.
    pub(crate) fn sessions(&mut self) -> Vec<Value> {
        let status = self.status(Side::Edge);
        status["sessions"].as_array().cloned().unwrap_or_default()
    }

    /// Waits until both ends hold exactly one session and the client is ready.
    #[track_caller]
    pub(crate) fn await_session(&mut self) {
        wait_for("a session between client and edge", || {
            let ready = self.status(Side::Client)["ready"] == true;
            (ready && self.sessions().len() == 1).then_some(())
        });
    }

    /// The directory of one process: its configuration, `state` and `admin.sock`.
    pub(crate) fn path(&self, side: Side) -> PathBuf {
        self.directory.path().join(side.name())
    }

    /// The configuration file of one process.
    pub(crate) fn config(&self, side: Side) -> PathBuf {
        self.path(side).join(format!("{}.toml", side.name()))
    }

    pub(crate) fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Does something on the host of one process.
    fn at<T: Send>(&self, side: Side, work: impl FnOnce() -> T + Send) -> T {
        match &self.builder.network {
            Some(network) => network.host(side).within(work),
            None => work(),
        }
    }

    /// Starts one process again, after it was killed.
    pub(crate) fn start_again(&mut self, side: Side) {
        let process = start(self.directory.path(), side, &self.builder);
        match side {
            Side::Edge => self.edge = process,
            Side::Client => self.client = process,
        }
    }
}

/// Starts one process from its configuration file.
fn start(directory: &Path, side: Side, told: &Builder) -> Process {
    let name = side.name();
    let config = directory.join(name).join(format!("{name}.toml"));
    let log = directory.join(format!("{name}.log"));
    let mut command = causeway();
    if let Some(filter) = &told.log {
        command.env("CAUSEWAY_LOG", filter);
    }
    command.arg(name).arg("--config").arg(config);
    if let Some((limited_side, most)) = told.open_files
        && limited_side == side
    {
        command = limited(&command, most);
    }
    let spawn = |command: &mut Command| match &told.network {
        Some(network) => network.host(side).spawn(command),
        None => command.spawn(),
    };
    Process::start_by(name, &mut command, &log, spawn)
}

/// `command` as a process that may have no more than `most` files open.
fn limited(command: &Command, most: u32) -> Command {
    let mut shell = Command::new("sh");
    shell
        .args(["-c", &format!("ulimit -n {most}; exec \"$0\" \"$@\"")])
        .arg(command.get_program())
        .args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell
}

/// Asks for `/api/status` until it is answered, or fails when the process has ended.
#[track_caller]
fn admin_status(process: &mut Process, socket: &Path) -> Value {
    let status = eventually(DEADLINE, || {
        if let Some(status) = process.has_ended() {
            return Some(Err(status));
        }
        let answer = admin(socket, "/api/status").ok()?;
        serde_json::from_str(&answer.text().ok()?).ok().map(Ok)
    });
    match status {
        Some(Ok(status)) => status,
        Some(Err(status)) => panic!("{process:?} ended: {status}\n{}", process.log()),
        None => panic!("{process:?} does not answer\n{}", process.log()),
    }
}

/// One request to an admin socket.
pub(crate) fn admin(socket: &Path, path: &str) -> std::io::Result<Answer<UnixStream>> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.write_all(
        format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").as_bytes(),
    )?;
    Answer::read(stream)
}

/// The listening addresses, but for unix sockets, of the entry of `list` whose `key` is `name`.
#[track_caller]
fn listed(list: &Value, key: &str, name: &str) -> Vec<SocketAddr> {
    let entries = list.as_array().map(Vec::as_slice).unwrap_or_default();
    let Some(entry) = entries.iter().find(|entry| entry[key] == name) else {
        panic!("the status lists no {key} {name}: {list}");
    };
    let listen = entry["listen"].as_array().map(Vec::as_slice);
    let is_unix = |value: &Value| value.as_str().is_some_and(|text| text.starts_with("unix:"));
    let tcp = listen
        .unwrap_or_default()
        .iter()
        .filter(|value| !is_unix(value));
    tcp.map(address).collect()
}

#[track_caller]
fn address(value: &Value) -> SocketAddr {
    let text = value.as_str().unwrap_or_default();
    text.parse()
        .unwrap_or_else(|_| panic!("the status should give an address, not {value}"))
}

#[track_caller]
fn dial(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_write_timeout(Some(DEADLINE)).unwrap();
    stream
}
