//! Two hosts, and a prober that counts what of its datagrams arrives.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr, UdpSocket},
    process::Command,
    sync::Arc,
};

use chaos::{
    net::{Host, Settings, Topology, Trace, Wire},
    wire::{Carried, Decision, Fate, Link, Seed, Shape, Tally, Way},
};

#[path = "../../../causeway/tests/scenarios/support/wait.rs"]
mod wait;

#[path = "../../../causeway/tests/scenarios/support/topology.rs"]
mod topology;

pub(crate) use topology::topology;
pub(crate) use wait::wait_for;

/// Who dials, and whom they dial.
#[derive(Debug)]
pub(crate) struct Hosts {
    pub(crate) topology: Topology,
    pub(crate) client: Arc<Host>,
    pub(crate) server: Arc<Host>,
}

/// The families of addresses.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Hosts {
    /// `None`, and said, where they cannot be made.
    pub(crate) fn create() -> Option<Self> {
        let topology = topology()?;
        let [client, server] = ["client", "server"].map(|name| topology.add_host(name).unwrap());
        Some(Self {
            topology,
            client,
            server,
        })
    }

    /// Two for each family, so that nothing is left of what a test did with the other.
    pub(crate) fn for_each_family(test: impl Fn(&Self, Family)) {
        for family in [Family::V4, Family::V6] {
            if let Some(hosts) = Self::create() {
                test(&hosts, family);
            }
        }
    }

    /// A wire that does this to what the client sends, and nothing to the answers. It keeps a trace.
    pub(crate) fn wire(&self, up: Shape) -> Arc<Wire> {
        self.lay(Settings {
            link: Link {
                up,
                down: Shape::CLEAR,
            },
            seed: Seed(11),
            trace: Trace::Keep,
            ..Settings::default()
        })
    }

    pub(crate) fn lay(&self, settings: Settings) -> Arc<Wire> {
        let wire = self.topology.lay_wire("client", "server", settings);
        wire.unwrap()
    }

    pub(crate) fn server(&self, family: Family) -> IpAddr {
        address(&self.server, family)
    }

    pub(crate) fn client(&self, family: Family) -> IpAddr {
        address(&self.client, family)
    }

    /// Runs `ping` at the client, and gives what it printed, whatever that says.
    pub(crate) fn ping(&self, words: &str) -> String {
        let mut ping = Command::new("ping");
        ping.args(words.split(' '));
        let output = self.client.within(|| ping.output()).unwrap();
        let said = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&said).into_owned()
    }
}

fn address(host: &Host, family: Family) -> IpAddr {
    match family {
        Family::V4 => host.v4().into(),
        Family::V6 => host.v6().into(),
    }
}

/// Sends numbered datagrams from the client to the server.
#[derive(Debug)]
pub(crate) struct Prober {
    sender: UdpSocket,
    receiver: UdpSocket,
    sent: u32,
    /// In the order of their arrival.
    pub(crate) received: Vec<u32>,
    /// From where.
    pub(crate) sources: Vec<SocketAddr>,
}

impl Prober {
    pub(crate) fn new(hosts: &Hosts, family: Family) -> Self {
        let bind = |host: &Host, address: IpAddr| {
            let socket = host.within(|| UdpSocket::bind((address, 0))).unwrap();
            socket.set_nonblocking(true).unwrap();
            socket
        };
        let receiver = bind(&hosts.server, hosts.server(family));
        let sender = bind(&hosts.client, hosts.client(family));
        sender.connect(receiver.local_addr().unwrap()).unwrap();
        Self {
            sender,
            receiver,
            sent: 0,
            received: Vec::new(),
            sources: Vec::new(),
        }
    }

    /// Sends so many datagrams, few enough for the buffer of the receiver, and waits until the wire
    /// has dealt with them and all that arrive have arrived.
    pub(crate) fn send(&mut self, wire: &Wire, datagrams: u32) {
        const MOST: u32 = 100;
        for first in (0..datagrams).step_by(MOST as usize) {
            let burst = MOST.min(datagrams - first);
            let before = wire.tally(Way::Up);
            let received = self.received.len() as u64;
            for _ in 0..burst {
                self.sender.send(&self.sent.to_be_bytes()).unwrap();
                self.sent += 1;
            }
            wait_for("the wire to be empty", || {
                self.receive();
                let after = wire.tally(Way::Up);
                // TCP that is blocked may be tried again at any time.
                let datagrams = |tally: &Tally| tally.offered - tally.tcp_blocked;
                let is_taken = datagrams(&after) == datagrams(&before) + u64::from(burst);
                let is_empty = wire.on_the_way(Way::Up) == 0;
                // What has changed between two looks fits together in neither.
                if !is_taken || !is_empty || wire.tally(Way::Up) != after {
                    return None;
                }
                // The kernel keeps what is damaged.
                let intact = |tally: &Tally| tally.delivered - tally.corrupted;
                let arrived = intact(&after) - intact(&before);
                (self.received.len() as u64 == received + arrived).then_some(())
            });
        }
    }

    /// Sends a datagram of other content, which nobody here receives.
    pub(crate) fn send_bytes(&self, bytes: &[u8]) {
        self.sender.send(bytes).unwrap();
    }

    /// Sends an answer to where a datagram came from.
    pub(crate) fn answer(&self, to: SocketAddr, text: &[u8]) {
        self.receiver.send_to(text, to).unwrap();
    }

    /// The next answer, if there is one.
    pub(crate) fn answered(&self) -> Option<Vec<u8>> {
        let mut buffer = [0; 100];
        let length = self.sender.recv(&mut buffer).ok()?;
        Some(buffer[..length].to_vec())
    }

    pub(crate) fn receive(&mut self) {
        let mut buffer = [0; 100];
        while let Ok((length, source)) = self.receiver.recv_from(&mut buffer) {
            let number: [u8; 4] = buffer[..length].try_into().unwrap();
            self.received.push(u32::from_be_bytes(number));
            self.sources.push(source);
        }
    }

    /// How often each number arrived.
    pub(crate) fn counts(&self) -> BTreeMap<u32, usize> {
        let mut counts = BTreeMap::new();
        for number in &self.received {
            *counts.entry(*number).or_default() += 1;
        }
        counts
    }
}

/// The numbers of those that were carried in a way, by what the wire decided.
pub(crate) fn carried(trace: &[Decision], how: impl Fn(Carried) -> bool) -> Vec<u32> {
    let numbers = trace.iter().filter_map(|decision| match decision.fate {
        Fate::Carried(carried) => how(carried).then_some(decision.number as u32),
        Fate::Dropped(_) => None,
    });
    numbers.collect()
}
