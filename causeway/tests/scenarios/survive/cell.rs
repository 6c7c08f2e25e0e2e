//! One cell of the matrix: everything at once over one transport, and one fault.

use std::time::{Duration, Instant};

use chaos::{net::Wire, wire::Rate};
use std::sync::Arc;

use super::{
    conversation::{Numbered, Typist},
    fault::{Fault, await_transport, link, set_udp_blocked},
    streams::Streams,
    transfers::{Files, Transactions},
};
use crate::{
    protocols::{Postgres, Sshd},
    support::{CLUSTER, Network, Origin, Plane, Server, Side, eventually, script, wait_for},
};

/// How long streams may take to move again before the test fails. How long they should is printed
/// beside how long they did.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long the client may need to find QUIC again.
const BACK: Duration = Duration::from_secs(90);

/// How much longer than the fault pgbench goes on.
const LONGER: Duration = Duration::from_secs(15);

/// One transport, one fault.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cell {
    /// `auto` for the client's choice.
    pub(super) transport: &'static str,
    pub(super) fault: Fault,
    /// How long the file is that goes each way, and how fast the link, so that the file is on its way
    /// all the while.
    pub(super) file: u64,
    pub(super) rate: Rate,
}

impl Cell {
    /// Runs it, if the long suite is asked for.
    pub(super) fn run(self) {
        if std::env::var_os("CAUSEWAY_TEST_FULL").is_none() {
            eprintln!("not run: the matrix is part of the long suite, CAUSEWAY_TEST_FULL=1");
            return;
        }
        let Some((network, wire)) = self.network() else {
            return;
        };
        let Some(servers) = Servers::start(&network, self.file) else {
            return;
        };
        let mut plane = servers.plane(&network, self.transport);
        if self.transport == "auto" {
            await_transport(&mut plane, "quic", BACK);
        }
        self.strike(&network, &wire, &servers, &mut plane);
    }

    fn network(self) -> Option<(Network, Arc<Wire>)> {
        match self.fault.needs_nat() {
            true => Network::over_nat(link(self.rate)),
            false => Network::over(link(self.rate)),
        }
    }

    fn strike(self, network: &Network, wire: &Wire, servers: &Servers, plane: &mut Plane) {
        let (edge, client) = (&network.edge, &network.client);
        let streams = Streams::open([
            (client, plane.forward("echo")),
            (edge, plane.ingress("echo")),
        ]);
        wait_for("every stream to have begun", || {
            (streams.begun() == streams.count()).then_some(())
        });
        let resumed = [Side::Client, Side::Edge].map(|side| resumptions(plane, side));

        let bench = Transactions::begin(
            &servers.postgres,
            (edge, client),
            plane.forward("postgres"),
            self.fault.lasts() + LONGER,
        );
        let mut calling = script("grpc_numbered.py").expect("its server runs by the same Python");
        let grpc = Numbered::begin("grpc", edge, &mut calling, plane.ingress("grpc"));
        let mut chatting = script("ws_numbered.py").expect("its server runs by the same Python");
        let websocket =
            Numbered::begin("websocket", edge, &mut chatting, plane.ingress("websocket"));
        let typed = servers.sshd.path("typed");
        let mut ssh = servers.sshd.ssh(plane.ingress("ssh"));
        let typist = Typist::begin(edge, &mut ssh, typed);
        let transfers = servers.files.transfer(edge, plane.ingress("files"));

        let since = self.fault.strike(network, wire, plane, || streams.burst());
        streams.mended(since);
        let enough = streams.count() * 99 / 100;
        let mut reconnected = None;
        let moving = eventually(PATIENCE, || {
            if reconnected.is_none() && resumptions(plane, Side::Client) > resumed[0] {
                reconnected = Some(since.elapsed());
            }
            let moving = streams.moving();
            (moving.len() >= enough).then_some(moving)
        });
        let moving = moving.unwrap_or_else(|| {
            let few = streams.moving().len();
            panic!(
                "{few} of {} streams move again within {PATIENCE:?}",
                streams.count()
            )
        });
        assert!(transfers.are_under_way(), "the files were too short");
        if self.fault == Fault::UdpBlocked {
            self.unblock(wire, plane);
        }
        wait_for("the last of the streams to move", || {
            (streams.moving().len() == streams.count()).then_some(())
        });
        let last = streams.moving()[streams.count() - 1];

        let told = Instant::now();
        let complete = streams.end();
        let took = told.elapsed();
        let conversations = (grpc.end(), websocket.end(), typist.end());
        let transactions = bench.end(&servers.postgres, edge);
        servers.files.complete(transfers);
        let again = [Side::Client, Side::Edge].map(|side| resumptions(plane, side));
        eprintln!(
            "{} {:?}: reconnected {reconnected:.2?}, moving again p50 {:.2} s, p99 {:.2} s, last {:.2} s; all complete {:.2} s after they \
             were told to end, {:.2} s after the link was whole; resumed {:?}; grpc, websocket, typed {:?}, \
             {transactions} transactions, 2 files of {} MiB, whole {:.1} s after; load {}",
            self.transport,
            self.fault,
            moving[enough / 2].as_secs_f64(),
            moving[enough - 1].as_secs_f64(),
            last.as_secs_f64(),
            took.as_secs_f64(),
            complete[complete.len() - 1].as_secs_f64(),
            [again[0] - resumed[0], again[1] - resumed[1]],
            conversations,
            self.file >> 20,
            since.elapsed().as_secs_f64(),
            load(),
        );
        if self.fault.replaces(self.transport) {
            assert!(again[0] > resumed[0] && again[1] > resumed[1], "{again:?}");
        }
    }

    /// Lets UDP pass again: live streams go back to QUIC.
    fn unblock(self, wire: &Wire, plane: &mut Plane) {
        let away = await_transport(plane, "tls", PATIENCE);
        set_udp_blocked(wire, false);
        let back = await_transport(plane, "quic", BACK);
        eprintln!(
            "auto: by TLS within another {away:?}, and back {back:?} after UDP was let through"
        );
    }
}

/// What is at the far ends.
struct Servers {
    postgres: Postgres,
    echo: Origin,
    exposed_echo: Origin,
    files: Files,
    grpc: Server,
    websocket: Server,
    sshd: Sshd,
}

impl Servers {
    /// PostgreSQL beside the edge, the others beside the client.
    fn start(network: &Network, file: u64) -> Option<Self> {
        let (edge, client) = (&network.edge, &network.client);
        let serve = |line: &str| {
            let mut command = script(line)?;
            Some(client.within(|| Server::start("a peer", &mut command)))
        };
        Some(Self {
            postgres: edge.within(Postgres::start)?,
            echo: edge.within(Origin::echo),
            exposed_echo: client.within(Origin::echo),
            files: client.within(|| Files::start(file))?,
            grpc: serve("grpc_server.py")?,
            websocket: serve("ws_server.py --patient")?,
            sshd: client.within(Sshd::start)?,
        })
    }

    fn plane(&self, network: &Network, transport: &str) -> Plane {
        let of = |service: &str| format!("{CLUSTER}/{service}");
        Plane::builder()
            .on(network)
            .transport(transport)
            .forward("echo", &self.echo.tcp())
            .forward("postgres", &format!("tcp://{}", self.postgres.address))
            .expose("echo", &self.exposed_echo.tcp())
            .expose("ssh", &format!("tcp://{}", self.sshd.address))
            .expose("files", &format!("http://{}", self.files.address))
            .expose("grpc", &format!("h2c://{}", self.grpc.address()))
            .expose("websocket", &format!("http://{}", self.websocket.address()))
            .tcp_ingress("echo")
            .tcp_ingress("ssh")
            .http_ingress_to("files", &of("files"))
            .http_ingress_to("grpc", &of("grpc"))
            .http_ingress_to("websocket", &of("websocket"))
            .start()
    }
}

/// How often one end has gone on with a session by another connection.
fn resumptions(plane: &Plane, side: Side) -> u64 {
    let metrics = plane.metrics(side);
    let lines = metrics.lines();
    lines
        .filter_map(|line| line.strip_prefix("causeway_sessions_resumed_total "))
        .filter_map(|count| count.parse::<u64>().ok())
        .sum()
}

/// The machine's, over a minute.
fn load() -> String {
    let loads = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    loads.split(' ').next().unwrap_or_default().to_owned()
}
