//! Two hosts with a wire between them, which loses what a test wants: network namespaces joined
//! by a pair of virtual interfaces, and packet filters in both.

use std::{
    fs::File,
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr},
    os::fd::AsFd,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::Value;

use super::{
    peers::{is_root, peer},
    plane::Side,
};

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
}

/// A network namespace. It has no name and no process of its own: the kernel takes it away with
/// the last that refers to it, however a test ends.
#[derive(Debug)]
pub(crate) struct Host {
    namespace: File,
    address: IpAddr,
    ip: PathBuf,
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
        let (Some(ip), Some(nft), Some(unshare)) = (peer("ip"), peer("nft"), peer("unshare"))
        else {
            return None;
        };
        if !is_root() {
            assert!(
                std::env::var_os("CI").is_none(),
                "network namespaces need root"
            );
            eprintln!("skipped: network namespaces need root");
            return None;
        }
        let (edge, client) = (Holder::start(&unshare), Holder::start(&unshare));
        let host = |holder: &Holder, last| Host {
            namespace: holder.namespace(),
            address: Ipv4Addr::new(192, 0, 2, last).into(),
            ip: ip.clone(),
            nft: nft.clone(),
        };
        let network = Self {
            edge: Arc::new(host(&edge, 1)),
            client: Arc::new(host(&client, 2)),
        };
        let pair = format!(
            "link add {WIRE} type veth peer name {WIRE} netns {}",
            client.pid()
        );
        network.edge.ip(&pair);
        for host in [&network.edge, &network.client] {
            host.ip(&format!("address add {}/24 dev {WIRE}", host.address));
            host.ip("link set lo up");
            // Packets as they are on a real wire, not in batches that look like one.
            host.ip(&format!("link set {WIRE} up gso_max_segs 1"));
            host.filter(FILTERS);
        }
        Some(network)
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
        self.address
    }

    /// Makes this thread part of the host: its sockets are, and all that it starts.
    pub(crate) fn enter(&self) {
        move_into_link_name_space(self.namespace.as_fd(), Some(LinkNameSpaceType::Network))
            .unwrap();
    }

    /// Does something on this host.
    pub(crate) fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let there = || {
            self.enter();
            work()
        };
        let done = thread::scope(|scope| scope.spawn(there).join());
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
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
        let printed = self.run(&mut list, "");
        let listed: Value = serde_json::from_str(&printed).unwrap();
        let packets = &listed["nftables"][1]["counter"]["packets"];
        packets.as_u64().unwrap_or_else(|| panic!("{printed}"))
    }

    fn ip(&self, words: &str) {
        self.run(Command::new(&self.ip).args(words.split(' ')), "");
    }

    /// Changes the packet filters, all at once.
    fn filter(&self, rules: &str) {
        self.run(Command::new(&self.nft).args(["--file", "-"]), rules);
    }

    /// Runs a program on this host to its end.
    fn run(&self, command: &mut Command, input: &str) -> String {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = self.within(|| command.spawn()).unwrap();
        let mut stdin = child.stdin.take().expect("it is piped");
        stdin.write_all(input.as_bytes()).unwrap();
        drop(stdin);
        let output = child.wait_with_output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command:?}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }
}

/// A process in a new namespace, until others refer to it.
struct Holder {
    child: Child,
}

impl Holder {
    fn start(unshare: &Path) -> Self {
        let mut child = Command::new(unshare)
            .args(["--net", "cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // What comes back has been through the namespace, so there is one.
        let mut byte = [0];
        child
            .stdin
            .as_mut()
            .expect("piped")
            .write_all(b".")
            .unwrap();
        child
            .stdout
            .as_mut()
            .expect("piped")
            .read_exact(&mut byte)
            .unwrap();
        Self { child }
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    fn namespace(&self) -> File {
        File::open(format!("/proc/{}/ns/net", self.pid())).unwrap()
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // It ends with its input, too.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
