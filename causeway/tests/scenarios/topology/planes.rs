//! Edges and clients of a topology.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    sync::Arc,
    thread,
};

use chaos::{
    net::{Program, Settings, Topology, Wire},
    wire::{Link, Shape},
};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{
    Authority, DEADLINE, Origin, admin, causeway,
    nameserver::{Software, Zone},
    peer, topology, wait_for,
};

/// What every wire does as long as a test says nothing else.
pub(super) const HEALTHY: Shape = Shape {
    delay: std::time::Duration::from_millis(2),
    ..Shape::CLEAR
};

const ZONE: &str = "planes.test";

/// Of the first client's ingress at every edge; the next client's is the next.
const FIRST_PORT: u16 = 7001;

/// Liveness short enough for a test that waits for it, and long enough for a busy machine.
const SESSION: &str = "\n[session]\nping_interval = \"1s\"\ndead_after = \"5s\"\nidle_ping_interval = \"1s\"\nidle_dead_after = \"5s\"\n";

/// Edges, and clients that find them by a name server. Whoever talks to another has a wire to them of
/// their own. Every edge has a tcp ingress for the service `app` of every client, which is an echo.
pub(super) struct Planes {
    // Dropped first: what runs in it uses the rest.
    topology: Topology,
    programs: Vec<Arc<Program>>,
    clients: Vec<String>,
    directory: TempDir,
}

impl Planes {
    /// Edges of these names, and clients with how many edges each wants. Waits until all of them run.
    /// `None`, said by name, where that cannot be made.
    pub(super) fn create(edges: &[&str], clients: &[(&str, u8)]) -> Option<Self> {
        peer("ip")?;
        let names = Software::Bind.program()?;
        let topology = topology()?;
        let others = ["names", "caller", "origin"];
        let clients_names = clients.iter().map(|(name, _)| *name);
        for name in others
            .into_iter()
            .chain(edges.iter().copied())
            .chain(clients_names)
        {
            topology.add_host(name).unwrap();
        }
        let mut planes = Self {
            topology,
            programs: Vec::new(),
            clients: clients.iter().map(|(name, _)| (*name).to_owned()).collect(),
            directory: tempfile::tempdir().unwrap(),
        };
        planes.lay_wires(edges);
        planes.start_names(edges, &names);
        let authority = Authority::create(&planes.directory.path().join("authority"));
        for edge in edges {
            let file = planes.edge_file(edge);
            planes.start(&authority, "edge", edge, edge, &file);
        }
        let origin = planes.topology.host("origin").unwrap();
        let origin = origin.within(|| Origin::echo_on(origin.v4().into()));
        for (client, wanted) in clients {
            let file = planes.client_file(*wanted, &origin);
            let cluster = format!("acme/{client}");
            planes.start(&authority, "client", client, &cluster, &file);
        }
        Some(planes)
    }

    fn lay_wires(&self, edges: &[&str]) {
        let settings = Settings {
            link: Link::symmetric(HEALTHY),
            ..Settings::default()
        };
        let lay = |from: &str, to: &str| {
            self.topology.lay_wire(from, to, settings).unwrap();
        };
        for edge in edges {
            lay("caller", edge);
        }
        for client in &self.clients {
            for to in edges.iter().chain(&["names", "origin"]) {
                lay(client, to);
            }
        }
    }

    /// Every host has its own name, and `edge` is the name of all edges.
    fn start_names(&mut self, edges: &[&str], software: &std::path::Path) {
        let address = self.address("names", 53);
        let records = self.topology.records();
        let zone = records.lines().fold(Zone::new(ZONE), Zone::record);
        let zone = edges.iter().fold(zone, |zone, edge| {
            zone.record(&format!("edge 30 A {}", self.address(edge, 0).ip()))
        });
        let directory = self.make_directory("names");
        let mut command = Software::Bind.command(software, &directory, address, &zone);
        let server = self
            .topology
            .start("names", "name server", &mut command)
            .unwrap();
        let runs = server.wait_until(DEADLINE, |seen| {
            seen.printed
                .lines()
                .any(|line| line.ends_with(" running"))
                .then_some(())
        });
        runs.unwrap_or_else(|late| panic!("{late}"));
        self.programs.push(server);
    }

    fn edge_file(&self, edge: &str) -> String {
        let mut file = format!(
            "[identity]\ndir = \"state\"\n[listen]\ntunnel = \"{}\"\n[admin]\nlisten = \"unix:admin.sock\"\n{SESSION}",
            self.address(edge, 443),
        );
        for client in &self.clients {
            file += &format!(
                "[[ingress]]\nname = \"{client}\"\nkind = \"tcp\"\nlisten = \"{}\"\nto = \"acme/{client}/app\"\nanonymous = true\n",
                self.ingress(edge, client),
            );
        }
        file
    }

    fn client_file(&self, edges: u8, origin: &Origin) -> String {
        format!(
            "[identity]\ndir = \"state\"\n[edge]\naddress = \"edge.{ZONE}\"\nedges = {edges}\n\
             [resolver]\nservers = \"{}\"\n[admin]\nlisten = \"unix:admin.sock\"\n\
             [[expose]]\nservice = \"app\"\ntarget = \"{}\"\nhealth = \"off\"\n{SESSION}[backoff]\nmax = \"1s\"\n",
            self.address("names", 53),
            origin.tcp(),
        )
    }

    fn start(&mut self, authority: &Authority, side: &str, name: &str, identity: &str, file: &str) {
        let directory = self.make_directory(name);
        authority.issue(&[side, identity], &directory.join("state"));
        let config = directory.join("config.toml");
        fs::write(&config, file).unwrap();
        let mut command = causeway();
        command.arg(side).arg("--config").arg(config);
        let program = self.topology.start(name, name, &mut command).unwrap();
        self.programs.push(Arc::clone(&program));
        wait_for(&format!("{name} to run"), || {
            let seen = program.seen();
            assert!(seen.ended.is_none(), "{name} ended: {}", seen.printed);
            admin(&directory.join("admin.sock"), "/api/status").ok()
        });
    }

    /// A connection from the caller's host to an edge's ingress for a client.
    #[track_caller]
    pub(super) fn call(&self, edge: &str, client: &str) -> TcpStream {
        let address = self.ingress(edge, client);
        let caller = self.topology.host("caller").unwrap();
        let stream = caller.within(|| TcpStream::connect(address)).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream
    }

    /// The wire from a client to an edge.
    pub(super) fn wire(&self, client: &str, edge: &str) -> Arc<Wire> {
        self.topology
            .wires()
            .find(&format!("{client}:{edge}"))
            .unwrap()
    }

    /// All wires.
    pub(super) fn wires(&self) -> Vec<Arc<Wire>> {
        self.topology.wires().all()
    }

    /// Waits until a client has sessions with so many edges, and gives their names.
    #[track_caller]
    pub(super) fn await_connected(&self, client: &str, edges: usize) -> Vec<String> {
        wait_for(&format!("{edges} edges of {client}"), || {
            Some(self.connected(client)).filter(|found| found.len() == edges)
        })
    }

    /// Waits until a client has sessions with these edges and no others.
    #[track_caller]
    pub(super) fn await_at(&self, client: &str, edges: &[&str]) {
        wait_for(&format!("{client} at {edges:?}"), || {
            (self.connected(client) == edges).then_some(())
        });
    }

    /// The edges that a client has sessions with that a round trip has worked through, sorted.
    fn connected(&self, client: &str) -> Vec<String> {
        let socket = self.directory.path().join(client).join("admin.sock");
        let status = admin(&socket, "/api/status").unwrap().text().unwrap();
        let status: Value = serde_json::from_str(&status).unwrap();
        let sessions = status["sessions"].as_array().unwrap();
        let peer = |session: &Value| session["peer"].as_str().unwrap().to_owned();
        let mut peers: Vec<_> = sessions.iter().map(peer).collect();
        peers.sort();
        // There may be one more session with an edge while a client moves to another transport.
        peers.dedup();
        peers
    }

    fn ingress(&self, edge: &str, client: &str) -> SocketAddr {
        let number = self.clients.iter().position(|name| name == client).unwrap();
        self.address(edge, FIRST_PORT + u16::try_from(number).unwrap())
    }

    fn address(&self, host: &str, port: u16) -> SocketAddr {
        (self.topology.host(host).unwrap().v4(), port).into()
    }

    fn make_directory(&self, name: &str) -> PathBuf {
        let directory = self.directory.path().join(name);
        fs::create_dir(&directory).unwrap();
        directory
    }
}

impl Drop for Planes {
    fn drop(&mut self) {
        // A process may go on without the task that did.
        let panicked = |program: &&Arc<Program>| program.seen().printed.contains(" panicked at ");
        if !thread::panicking()
            && let Some(program) = self.programs.iter().find(panicked)
        {
            panic!("{} panicked:\n{}", program.name(), program.seen().printed);
        }
    }
}
