//! A client whose machine has another address: it finds out by itself, and does not wait for an answer
//! that cannot come.

use std::net::TcpStream;

use chaos::wire::Rate;

use super::fault::{change_address, link, prefer_other_address};
use crate::support::{Network, Origin, Plane, Side, echoes, wait_for};

/// Nothing is to be noticed by silence.
const PATIENT: &str = "[session]\nping_interval = \"5m\"\ndead_after = \"10m\"\n\
                       idle_ping_interval = \"5m\"\nidle_dead_after = \"10m\"\n";

/// The streams rest, so that nothing waits for an answer either.
#[test]
fn a_connection_whose_address_is_gone_is_replaced_before_anybody_waits_for_it() {
    let Some(mut roaming) = Roaming::begin("tls") else {
        return;
    };
    change_address(&roaming.network);
    wait_for("the session to go on", || {
        (roaming.count("causeway_sessions_resumed_total") == 1).then_some(())
    });
    assert_eq!(roaming.doubted("address_gone"), 1);
    roaming.echo();
    assert_eq!(roaming.count("causeway_sessions_resumed_total"), 1);
}

/// Another interface, or a VPN, is no end of a connection that still has its address.
#[test]
fn a_connection_that_answers_is_kept_though_the_machine_prefers_another_address() {
    let Some(mut roaming) = Roaming::begin("tls") else {
        return;
    };
    const ANSWERS: &str = "causeway_control_messages_total{direction=\"received\",kind=\"pong\"}";
    let answers = roaming.count(ANSWERS);
    prefer_other_address(&roaming.network);
    wait_for("the connection to be doubted", || {
        (roaming.doubted("address_changed") == 1).then_some(())
    });
    wait_for("it to be asked, and to answer", || {
        (roaming.count(ANSWERS) > answers).then_some(())
    });
    roaming.echo();
    assert_eq!(roaming.count("causeway_sessions_resumed_total"), 0);
    assert_eq!(roaming.doubted("address_gone"), 0);
}

/// An edge sends to the address that it knows until something comes from another.
#[test]
fn over_quic_the_edge_learns_the_new_address_at_once_and_the_connection_goes_on() {
    let Some(mut roaming) = Roaming::begin("quic") else {
        return;
    };
    change_address(&roaming.network);
    wait_for("the connection to be doubted", || {
        (roaming.doubted("address_gone") == 1).then_some(())
    });
    roaming.echo();
    assert_eq!(roaming.count("causeway_sessions_resumed_total"), 0);
}

/// Who waits between two attempts waits for a network that there is.
#[test]
fn an_attempt_follows_when_there_is_a_network_again() {
    let Some(network) = Network::create() else {
        return;
    };
    let client = network.client.clone();
    client.ip("link set wire down\n").unwrap();
    let mut plane = Plane::builder()
        .on(&network)
        .transport("tls")
        .client_toml("[backoff]\ninitial = \"10m\"\nmax = \"10m\"\n")
        .launch();
    wait_for("an attempt to have failed", || {
        let status = plane.status(Side::Client);
        status["dialing"]["next_attempt_in_ms"].as_u64()
    });
    client.ip("link set wire up\n").unwrap();
    wait_for("a session", || plane.sessions().first().map(drop));
}

/// A plane over one transport, with streams that each end has opened.
struct Roaming {
    network: Network,
    plane: Plane,
    callers: Vec<TcpStream>,
    _echoes: [Origin; 2],
}

impl Roaming {
    fn begin(transport: &str) -> Option<Self> {
        let (network, _) = Network::over(link(Rate::mbit(100)))?;
        let upstream = network.edge.within(Origin::echo);
        let exposed = network.client.within(Origin::echo);
        let mut plane = Plane::builder()
            .on(&network)
            .transport(transport)
            .forward("echo", &upstream.tcp())
            .expose("db", &exposed.tcp())
            .tcp_ingress("db")
            .edge_toml(PATIENT)
            .client_toml(PATIENT)
            .start();
        let callers = (0..10).map(|nth| match nth % 2 {
            0 => plane.dial_ingress("db"),
            _ => plane.dial_forward("echo"),
        });
        let callers = callers.collect();
        let mut roaming = Self {
            network,
            plane,
            callers,
            _echoes: [upstream, exposed],
        };
        roaming.echo();
        Some(roaming)
    }

    /// All of them, those of the edge's callers first.
    #[track_caller]
    fn echo(&mut self) {
        for step in [0, 1] {
            let opened_there = self.callers.iter_mut().skip(step).step_by(2);
            opened_there.for_each(echoes);
        }
    }

    fn doubted(&self, because: &str) -> u64 {
        self.count(&format!(
            "causeway_connections_doubted_total{{because=\"{because}\"}}"
        ))
    }

    /// What the client has counted.
    fn count(&self, metric: &str) -> u64 {
        let metrics = self.plane.metrics(Side::Client);
        let lines = metrics.lines();
        let count = lines.filter_map(|line| line.strip_prefix(metric)?.trim().parse::<u64>().ok());
        count.sum()
    }
}
