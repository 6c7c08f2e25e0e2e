//! What happens to the connection between edge and client.

use std::{
    process::Command,
    thread,
    time::{Duration, Instant},
};

use chaos::{
    net::Wire,
    wire::{Link, Rate, Shape, Way},
};

use crate::support::{DEADLINE, Network, Plane, Side, eventually, wait_for};

/// How long after the first cut a flapping link stays, and how long each state lasts.
const FLAPPING: Duration = Duration::from_secs(120);
const FLAP: Duration = Duration::from_secs(4);

/// What the client's address changes to.
const OTHER_ADDRESS: &str = "198.51.100.7";

/// What happens to the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Both ends' sockets are aborted: each sends the other a TCP RST. QUIC has nothing that a stranger
    /// could send to that end; the client's UDP socket fails instead and loses its port.
    Reset,
    /// Nothing passes for so long, and nobody is told.
    Cut(Duration),
    /// No UDP passes from now on.
    UdpBlocked,
    /// The NAT before the client forgets it: its packets come from other ports, and answers to the old
    /// ones are lost.
    Rebound,
    /// The client's host has another address, and its old one no more.
    Moved,
    /// Cut and mended in turn.
    Flapping,
}

impl Fault {
    pub(super) fn needs_nat(self) -> bool {
        self == Self::Rebound
    }

    /// For how long something is wrong.
    pub(super) fn lasts(self) -> Duration {
        match self {
            Self::Cut(duration) => duration,
            Self::Flapping => FLAPPING,
            Self::Reset | Self::UdpBlocked | Self::Rebound | Self::Moved => Duration::ZERO,
        }
    }

    /// Whether the session must have been given another connection: the old one cannot have gone on,
    /// or was silent for longer than an end waits.
    pub(super) fn replaces(self, transport: &str) -> bool {
        match self {
            Self::UdpBlocked => true,
            Self::Cut(duration) => duration > Duration::from_secs(15),
            // QUIC knows a connection by its ids, not by sockets and addresses.
            Self::Reset | Self::Rebound | Self::Moved => transport != "quic",
            Self::Flapping => false,
        }
    }

    /// Does it, and mends what is to be mended: since when the streams should move again.
    pub(super) fn strike(
        self,
        network: &Network,
        wire: &Wire,
        plane: &mut Plane,
        burst: impl FnOnce(),
    ) -> Instant {
        match self {
            Self::Reset => {
                burst();
                let since = Instant::now();
                abort(network, plane);
                since
            }
            Self::Cut(duration) => {
                let cut = Instant::now();
                set_cut(wire, true);
                burst();
                // What is awaited is the time itself.
                thread::sleep(duration.saturating_sub(cut.elapsed()));
                set_cut(wire, false);
                Instant::now()
            }
            Self::UdpBlocked => {
                let since = Instant::now();
                set_udp_blocked(wire, true);
                burst();
                wait_for("what is on its way to arrive", || {
                    let left = Way::ALL.iter().any(|way| wire.on_the_way(*way) > 0);
                    (!left).then_some(())
                });
                since
            }
            Self::Rebound => {
                burst();
                wire.rebind();
                Instant::now()
            }
            Self::Moved => {
                burst();
                change_address(network);
                Instant::now()
            }
            Self::Flapping => {
                let began = Instant::now();
                set_cut(wire, true);
                burst();
                let mut cut = true;
                let mut next = began + FLAP;
                while cut || began.elapsed() < FLAPPING {
                    // What is awaited is the time itself.
                    thread::sleep(next.saturating_duration_since(Instant::now()));
                    cut = !cut;
                    set_cut(wire, cut);
                    next += FLAP;
                }
                Instant::now()
            }
        }
    }
}

/// The link, with this rate each way.
pub(super) fn link(rate: Rate) -> Link {
    Link::symmetric(Shape {
        delay: Duration::from_millis(5),
        rate,
        ..Shape::CLEAR
    })
}

fn set_cut(wire: &Wire, cut: bool) {
    for way in Way::ALL {
        wire.change(way, |before| Shape { cut, ..before });
    }
}

pub(super) fn set_udp_blocked(wire: &Wire, udp_blocked: bool) {
    for way in Way::ALL {
        wire.change(way, |before| Shape {
            udp_blocked,
            ..before
        });
    }
}

/// Aborts the sockets of the tunnel's connections. The client's host has no others that are connected
/// to the edge, and none of UDP but QUIC's.
fn abort(network: &Network, plane: &mut Plane) {
    let port = plane.tunnel().port().to_string();
    let edge = network.edge.address().to_string();
    let kill = |side: Side, which: &[&str]| {
        let mut ss = Command::new("ss");
        ss.args(["--kill", "--numeric", "--no-header"]).args(which);
        network.host(side).run(&mut ss, "").unwrap()
    };
    let mut killed = kill(Side::Client, &["--tcp", "dst", &edge, "dport", "=", &port]);
    killed += &kill(Side::Edge, &["--tcp", "sport", "=", &port]);
    killed += &kill(Side::Client, &["--udp", "--all"]);
    assert!(!killed.is_empty(), "there was no socket to abort");
}

/// Gives the client's host another address instead of its own, as when it changes networks.
pub(super) fn change_address(network: &Network) {
    prefer_other_address(network);
    let client = network.client.address();
    let gone = format!("address del {client}/32 dev lo\n");
    network.client.ip(&gone).unwrap();
}

/// Gives the client's host another address, by which it goes to the edge from now on.
pub(super) fn prefer_other_address(network: &Network) {
    let [edge, client] = [Side::Edge, Side::Client].map(|side| network.host(side).address());
    let interface = |side: Side, to: &str| {
        let host = network.host(side);
        let mut route = Command::new("ip");
        let told = host
            .run(route.args(["-o", "route", "get", to]), "")
            .unwrap();
        let mut words = told.split_whitespace().skip_while(|word| *word != "dev");
        words.nth(1).expect("a route leads there").to_owned()
    };
    let near = interface(Side::Client, &edge.to_string());
    let far = interface(Side::Edge, &client.to_string());
    network
        .edge
        .ip(&format!(
            "route replace {OTHER_ADDRESS}/32 dev {far} src {edge}\n"
        ))
        .unwrap();
    network
        .client
        .ip(&format!(
            "address add {OTHER_ADDRESS}/32 dev lo\n\
             route replace {edge}/32 dev {near} src {OTHER_ADDRESS}\n"
        ))
        .unwrap();
}

/// Waits until a session is carried by this transport.
#[track_caller]
pub(super) fn await_transport(plane: &mut Plane, transport: &str, patience: Duration) -> Duration {
    let began = Instant::now();
    let patience = patience.max(DEADLINE);
    let there = eventually(patience, || {
        let used = crate::udp_blocked::transports(plane, Side::Client);
        (used == [transport]).then(|| began.elapsed())
    });
    there.unwrap_or_else(|| panic!("no session by {transport} alone within {patience:?}"))
}
