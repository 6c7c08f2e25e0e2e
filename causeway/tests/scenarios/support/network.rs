//! Two hosts with a wire between them: network namespaces joined by a pair of virtual interfaces,
//! with packet filters in both that lose what a test wants, or by an emulated link.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::Deref,
    path::PathBuf,
    process::Command,
    sync::Arc,
};

use chaos::{
    net::{self, Namespace, Settings, Topology, Translation, Wire},
    wire::{Link, PublicAddress},
};
use serde_json::Value;

use super::{peers::peer, plane::Side, topology::topology};

/// The interface at either end of the wire, and the table of packet filters.
const WIRE: &str = "wire";

/// Counts what leaves by the wire, and has room for what is to be lost. Packets are lost where
/// they arrive: a sender would be told of those that are dropped where they leave.
const FILTERS: &str = r#"
table inet wire {
    counter tcp_sent {}
    counter udp_sent {}
    chain sent {
        type filter hook output priority filter;
        oifname "wire" meta l4proto tcp counter name tcp_sent
        oifname "wire" meta l4proto udp counter name udp_sent
    }
    chain lost {
        type filter hook input priority filter;
    }
}
"#;

/// The edge's host and the client's. Nothing else is on their network.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    pub(crate) edge: Arc<Host>,
    pub(crate) client: Arc<Host>,
    topology: Arc<Topology>,
}

/// A host on the wire.
#[derive(Debug)]
pub(crate) struct Host {
    host: Arc<net::Host>,
    nft: PathBuf,
}

/// What is lost on the wire, both ways.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Loss {
    Tcp,
    Udp,
    /// Of an established QUIC connection what is longer than 1000 bytes. Handshakes, which have
    /// long headers (RFC 9000 §17), pass whatever their length.
    LongQuic,
    /// Every IP packet that is longer than so many bytes.
    LongerThan(u16),
}

impl Loss {
    fn rule(self) -> String {
        match self {
            Self::Tcp => "meta l4proto tcp drop".to_owned(),
            Self::Udp => "meta l4proto udp drop".to_owned(),
            Self::LongQuic => "udp length > 1008 @th,64,1 0 drop".to_owned(),
            Self::LongerThan(bytes) => format!("ip length > {bytes} drop"),
        }
    }
}

impl Network {
    /// Two hosts that lose nothing yet. `None`, said by name, where it cannot be made.
    pub(crate) fn create() -> Option<Self> {
        let network = Self::apart()?;
        let client = network.client.path();
        let pair = format!("link add {WIRE} type veth peer name {WIRE} netns {client}");
        network.edge.ip(&pair);
        for host in [&network.edge, &network.client] {
            host.ip(&format!("address add {}/24 dev {WIRE}", host.address()));
            // Packets as they are on a real wire, not in batches that look like one.
            host.ip(&format!("link set {WIRE} up gso_max_segs 1"));
            host.filter(FILTERS);
        }
        Some(network)
    }

    /// Two hosts with this link between them, over which the client dials. `None`, said by name,
    /// where it cannot be made.
    pub(crate) fn over(link: Link) -> Option<(Self, Arc<Wire>)> {
        Self::wired(Settings {
            link,
            ..Settings::default()
        })
    }

    /// Two hosts, of which the client is behind a NAT.
    pub(crate) fn over_nat(link: Link) -> Option<(Self, Arc<Wire>)> {
        Self::wired(Settings {
            link,
            translation: Translation::Nat(PublicAddress {
                v4: Ipv4Addr::new(203, 0, 113, 1),
                v6: Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 1),
            }),
            ..Settings::default()
        })
    }

    fn wired(settings: Settings) -> Option<(Self, Arc<Wire>)> {
        let network = Self::apart()?;
        let (client, edge) = (Side::Client.name(), Side::Edge.name());
        let wire = network.topology.lay_wire(client, edge, settings).unwrap();
        Some((network, wire))
    }

    /// Two hosts with nothing between them.
    fn apart() -> Option<Self> {
        let (Some(_), Some(nft), Some(_)) = (peer("ip"), peer("nft"), peer("unshare")) else {
            return None;
        };
        let topology = topology()?;
        let host = |side: Side| {
            let host = topology.add_host(side.name()).unwrap();
            let nft = nft.clone();
            Arc::new(Host { host, nft })
        };
        Some(Self {
            edge: host(Side::Edge),
            client: host(Side::Client),
            topology: Arc::new(topology),
        })
    }

    pub(crate) fn host(&self, side: Side) -> &Arc<Host> {
        match side {
            Side::Edge => &self.edge,
            Side::Client => &self.client,
        }
    }

    /// Has both interfaces take and send IP packets of at most so many bytes.
    pub(crate) fn set_mtu(&self, bytes: u16) {
        for host in [&self.edge, &self.client] {
            host.ip(&format!("link set {WIRE} mtu {bytes}"));
        }
    }

    /// Loses this and nothing else from now on.
    pub(crate) fn lose(&self, losses: &[Loss]) {
        for host in [&self.edge, &self.client] {
            let mut rules = format!("flush chain inet {WIRE} lost\n");
            for loss in losses {
                rules += &format!("add rule inet {WIRE} lost iifname {WIRE} {}\n", loss.rule());
            }
            host.filter(&rules);
        }
    }
}

impl Host {
    /// Its address on the wire.
    pub(crate) fn address(&self) -> IpAddr {
        self.host.v4().into()
    }

    /// How many TCP segments it has sent over the wire.
    pub(crate) fn tcp_sent(&self) -> u64 {
        self.counter("tcp_sent")
    }

    /// How many UDP datagrams it has sent over the wire.
    pub(crate) fn udp_sent(&self) -> u64 {
        self.counter("udp_sent")
    }

    fn counter(&self, name: &str) -> u64 {
        let mut list = Command::new(&self.nft);
        list.args(["--json", "list", "counter", "inet", WIRE, name]);
        let printed = self.run(&mut list, "").unwrap();
        let listed: Value = serde_json::from_str(&printed).unwrap();
        let packets = &listed["nftables"][1]["counter"]["packets"];
        packets.as_u64().unwrap_or_else(|| panic!("{printed}"))
    }

    fn ip(&self, line: &str) {
        self.host.ip(line).unwrap();
    }

    /// Changes the packet filters, all at once.
    fn filter(&self, rules: &str) {
        let mut nft = Command::new(&self.nft);
        self.run(nft.args(["--file", "-"]), rules).unwrap();
    }
}

impl Deref for Host {
    type Target = Namespace;

    fn deref(&self) -> &Namespace {
        &self.host
    }
}
