//! Several edges, each on a loopback address of its own and all on one port, and a client that is
//! told names.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{
    Authority, CLUSTER, Origin, Process, Request, admin, causeway, eventually,
    nameserver::{NameServer, Software, Zone},
    port_for_server, wait_for,
};

/// Edges, a client, and what it asks for names.
pub(super) struct Field {
    pub(super) names: NameServer,
    /// Where every edge accepts tunnels.
    pub(super) port: u16,
    edges: Vec<Option<Process>>,
    client: Option<Process>,
    authority: Authority,
    /// Whom the client asks for names.
    resolver: SocketAddr,
    /// What else the edges' configuration says.
    more: String,
    /// What the edges offer as `state`, by HTTP/1.1.
    upstream: Origin,
    // Dropped last: the processes write into it.
    directory: TempDir,
}

/// Answers of DNS are used for as long as their TTL says, and who does not answer is asked again soon.
const RESOLVER: &str = "min_ttl = \"100ms\"\ntimeout = \"1s\"\n";

/// Liveness short enough for a test that waits for it.
const SESSION: &str = "\n[session]\nping_interval = \"500ms\"\ndead_after = \"2s\"\nidle_ping_interval = \"500ms\"\nidle_dead_after = \"2s\"\ndrain = \"10s\"\n[backoff]\nmax = \"1s\"\n";

/// After a long outage a name server is asked only every 30 s.
const NAME_DEADLINE: Duration = Duration::from_secs(60);

impl Field {
    /// The name server with this zone, and nobody else yet. `None` where there is no name server.
    pub(super) fn new(zone: &Zone) -> Option<Self> {
        let names = NameServer::start(Software::Bind, zone)?;
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::create(&directory.path().join("authority"));
        let upstream = Origin::http(|_, mut stream| {
            use std::io::Write;
            // A caller that was cut off shows it in its own end.
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        });
        Some(Self {
            resolver: names.address(),
            more: String::new(),
            names,
            port: port_on_every_host(),
            edges: Vec::new(),
            client: None,
            authority,
            upstream,
            directory,
        })
    }

    /// The same with so many edges.
    pub(super) fn with_edges(zone: &Zone, count: u8) -> Option<Self> {
        let mut field = Self::new(zone)?;
        for number in 1..=count {
            field.start_edge(number);
        }
        Some(field)
    }

    /// Has edges that are started from now on publish names: `provider` is the rest of `[dns]`.
    pub(super) fn publish(&mut self, zone: &str, provider: &str) {
        self.more = format!(
            "[dns]\nzone = \"{zone}\"\ntarget = \"{}\"\nresync = \"200ms\"\ndebounce = \"100ms\"\n{provider}\n",
            host(1),
        );
    }

    /// Has the client ask somebody else for names.
    pub(super) fn resolve_at(&mut self, resolver: SocketAddr) {
        self.resolver = resolver;
    }

    /// A file of this text, which goes with everything else.
    pub(super) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// Starts `edge-<number>`, for the first time or again.
    #[track_caller]
    pub(super) fn start_edge(&mut self, number: u8) {
        let directory = self.edge_directory(number);
        if !directory.exists() {
            fs::create_dir(&directory).unwrap();
            let name = format!("edge-{number}");
            self.authority
                .issue(&["edge", &name], &directory.join("state"));
            fs::write(directory.join("edge.toml"), self.edge_file(number)).unwrap();
        }
        self.run_edge(number, &directory);
    }

    /// Starts one in the place of `edge-<number>` whose certificate another authority has made.
    #[track_caller]
    pub(super) fn start_impostor(&mut self, number: u8) {
        let directory = self.edge_directory(number);
        fs::create_dir(&directory).unwrap();
        let foreign = Authority::create(&directory.join("authority"));
        foreign.issue(&["edge", "edge-1"], &directory.join("state"));
        fs::write(directory.join("edge.toml"), self.edge_file(number)).unwrap();
        self.run_edge(number, &directory);
    }

    fn run_edge(&mut self, number: u8, directory: &Path) {
        let mut command = causeway();
        command
            .arg("edge")
            .arg("--config")
            .arg(directory.join("edge.toml"));
        let name = format!("edge-{number}");
        let process = Process::start(&name, &mut command, &directory.join("log"));
        let index = usize::from(number) - 1;
        while self.edges.len() <= index {
            self.edges.push(None);
        }
        self.edges[index] = Some(process);
        wait_for(&format!("{name} to listen"), || {
            admin(&directory.join("admin.sock"), "/api/status").ok()
        });
    }

    /// From now on `edge-<number>` tells its clients of these edges.
    #[track_caller]
    pub(super) fn tell(&mut self, number: u8, edges: &[&str]) {
        let told: Vec<_> = edges.iter().map(|edge| format!("\"{edge}\"")).collect();
        let tunnel = format!("tunnel = \"{}\"\n", self.tunnel(number));
        let telling = format!("{tunnel}edges = [{}]\n", told.join(", "));
        let file = self.edge_file(number).replace(&tunnel, &telling);
        let directory = self.edge_directory(number);
        let applied = || {
            let answer = admin(&directory.join("admin.sock"), "/metrics").unwrap();
            let metrics = answer.text().unwrap();
            let counted = metrics.lines().find(|line| {
                line.starts_with("causeway_config_reloads_total{outcome=\"applied\"}")
            });
            counted.map(str::to_owned)
        };
        let before = applied();
        fs::write(directory.join("edge.toml"), file).unwrap();
        self.edge(number).signal("HUP");
        wait_for("the edge to read its configuration again", || {
            (applied() != before).then_some(())
        });
    }

    pub(super) fn edge(&mut self, number: u8) -> &mut Process {
        let process = &mut self.edges[usize::from(number) - 1];
        process.as_mut().expect("it was started")
    }

    fn edge_file(&self, number: u8) -> String {
        format!(
            "[identity]\ndir = \"state\"\n[listen]\ntunnel = \"{}\"\n[admin]\nlisten = \"unix:admin.sock\"\n\
             [[ingress]]\nname = \"app\"\nkind = \"tcp\"\nlisten = \"127.0.0.1:0\"\nto = \"{CLUSTER}/app\"\nanonymous = true\n\
             [[upstream]]\nservice = \"state\"\ntarget = \"{}\"\nallow = [\"{CLUSTER}\"]\n{}{SESSION}",
            self.tunnel(number),
            self.upstream.tcp(),
            self.more,
        )
        .replace("[backoff]\nmax = \"1s\"\n", "")
    }

    /// Where `edge-<number>` accepts tunnels.
    pub(super) fn tunnel(&self, number: u8) -> SocketAddr {
        (host(number), self.port).into()
    }

    /// Where callers of the client's service `app` connect to `edge-<number>`.
    #[track_caller]
    pub(super) fn ingress(&self, number: u8) -> SocketAddr {
        let status = self.status_of(&self.edge_directory(number));
        let listen = status["ingresses"][0]["listen"][0].as_str().unwrap();
        listen.parse().unwrap()
    }

    /// Starts the client with these lines in `[edge]`, exposing `app` as `origin`.
    #[track_caller]
    pub(super) fn start_client(&mut self, edge: &str, origin: &Origin) {
        let directory = self.client_directory();
        fs::create_dir(&directory).unwrap();
        self.authority
            .issue(&["client", CLUSTER], &directory.join("state"));
        let file = format!(
            "[identity]\ndir = \"state\"\n[edge]\n{edge}\n[resolver]\nservers = \"{}\"\n{RESOLVER}\
             [admin]\nlisten = \"unix:admin.sock\"\n[[expose]]\nservice = \"app\"\ntarget = \"{}\"\nhealth = \"off\"\n\
             [[forward]]\nservice = \"state\"\nlisten = \"127.0.0.1:0\"\n{SESSION}",
            self.resolver,
            origin.tcp(),
        );
        fs::write(directory.join("client.toml"), file).unwrap();
        self.start_client_again();
    }

    /// Starts the client as it was.
    #[track_caller]
    pub(super) fn start_client_again(&mut self) {
        let directory = self.client_directory();
        let mut command = causeway();
        command
            .arg("client")
            .arg("--config")
            .arg(directory.join("client.toml"));
        self.client = Some(Process::start(
            "client",
            &mut command,
            &directory.join("log"),
        ));
        wait_for("the client to start", || {
            admin(&directory.join("admin.sock"), "/api/status").ok()
        });
    }

    pub(super) fn client(&mut self) -> &mut Process {
        self.client.as_mut().expect("it was started")
    }

    /// What the client's `/api/status` says now.
    #[track_caller]
    pub(super) fn status(&self) -> Value {
        self.status_of(&self.client_directory())
    }

    /// What the client's `/readyz` says now.
    pub(super) fn readyz(&self) -> (u16, String) {
        let answer = admin(&self.client_directory().join("admin.sock"), "/readyz").unwrap();
        (answer.status, answer.text().unwrap())
    }

    /// What the client's `/metrics` says now.
    pub(super) fn metrics(&self) -> String {
        let answer = admin(&self.client_directory().join("admin.sock"), "/metrics").unwrap();
        answer.text().unwrap()
    }

    fn status_of(&self, directory: &Path) -> Value {
        let answer = admin(&directory.join("admin.sock"), "/api/status").unwrap();
        serde_json::from_str(&answer.text().unwrap()).unwrap()
    }

    /// The edges that the client has sessions with that a round trip has worked through, sorted.
    pub(super) fn connected(&self) -> Vec<String> {
        let status = self.status();
        let sessions = status["sessions"].as_array().unwrap();
        let peer = |session: &Value| session["peer"].as_str().unwrap().to_owned();
        let connected = sessions.iter().filter(|it| it["connected"] == true);
        let mut peers: Vec<_> = connected.map(peer).collect();
        peers.sort();
        peers
    }

    /// Waits until the client has sessions with exactly these.
    #[track_caller]
    pub(super) fn await_connected(&self, edges: &[&str]) {
        wait_for(&format!("sessions with {edges:?}"), || {
            let ready = edges.is_empty() || self.status()["ready"] == true;
            (ready && self.connected() == edges).then_some(())
        });
    }

    /// Waits until the client says this of the first name that it asks for, and gives all that it says.
    #[track_caller]
    pub(super) fn await_name(&self, state: &str) -> Value {
        let name = eventually(NAME_DEADLINE, || {
            let name = self.status()["discovery"]["names"][0].take();
            (name["state"] == state).then_some(name)
        });
        name.unwrap_or_else(|| panic!("no name is {state}: {}", self.status()["discovery"]))
    }

    /// Where local callers reach the edges' `state`.
    #[track_caller]
    pub(super) fn forward(&self) -> SocketAddr {
        let status = self.status();
        let listen = status["forwards"][0]["listen"][0].as_str().unwrap();
        listen.parse().unwrap()
    }

    fn edge_directory(&self, number: u8) -> PathBuf {
        self.directory.path().join(format!("edge-{number}"))
    }

    fn client_directory(&self) -> PathBuf {
        self.directory.path().join("client")
    }
}

/// One request to the forward, from its beginning to its end.
pub(super) fn request(forward: SocketAddr) -> Result<(), String> {
    let answer = Request::get(forward, "/", "state").send();
    let answer = answer.map_err(|error| error.to_string())?;
    let status = answer.status;
    let text = answer.text().map_err(|error| error.to_string())?;
    match (status, text.as_str()) {
        (200, "ok") => Ok(()),
        (status, text) => Err(format!("{status} {text}")),
    }
}

/// Sends requests from several threads while `work` is done, and gives how many there were; fails the
/// test if one of them failed.
#[track_caller]
pub(super) fn under_load(forward: SocketAddr, work: impl FnOnce()) -> usize {
    use std::sync::atomic::{AtomicBool, Ordering};
    let over = AtomicBool::new(false);
    let outcomes: Vec<Result<usize, String>> = thread::scope(|scope| {
        let callers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut done = 0;
                    while !over.load(Ordering::SeqCst) {
                        request(forward).map_err(|error| format!("after {done}: {error}"))?;
                        done += 1;
                    }
                    Ok(done)
                })
            })
            .collect();
        // A test that fails in its work must not leave its callers running.
        let worked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        over.store(true, Ordering::SeqCst);
        let outcomes = callers.into_iter().map(|it| it.join().unwrap()).collect();
        if let Err(panic) = worked {
            std::panic::resume_unwind(panic);
        }
        outcomes
    });
    let counts: Result<Vec<usize>, String> = outcomes.into_iter().collect();
    counts.expect("no request fails").into_iter().sum()
}

/// How long an outage of DNS lasts: ten minutes with `scripts/test --full`.
pub(super) fn outage() -> Duration {
    match std::env::var_os("CAUSEWAY_TEST_FULL") {
        Some(_) => Duration::from_secs(600),
        None => Duration::from_secs(1),
    }
}

/// Looks at something for so long, and fails when it does not hold any more.
#[track_caller]
pub(super) fn holds_for(duration: Duration, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + duration;
    while Instant::now() < until {
        assert!(holds());
        thread::sleep(Duration::from_millis(50));
    }
}

/// The address of `edge-<number>`.
pub(super) fn host(number: u8) -> IpAddr {
    Ipv4Addr::new(127, 0, 0, number).into()
}

/// A port that is free on the hosts of all edges, for TCP and UDP.
fn port_on_every_host() -> u16 {
    loop {
        let port = port_for_server();
        let is_free = |number| {
            let address = (host(number), port);
            TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok()
        };
        if (1..=4).all(is_free) {
            return port;
        }
    }
}
