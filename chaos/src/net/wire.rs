//! A wire between two hosts.

mod lane;

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Instant,
};

use parking_lot::Mutex;
use tun_rs::{DeviceBuilder, SyncDevice};

use self::lane::{Lane, Translate};
use super::{error::Error, namespace::Host};
use crate::wire::{Decision, Direction, Link, Nat, PublicAddress, Seed, Shape, Tally, Way};

/// How a wire begins.
#[derive(Clone, Copy, Debug, Default)]
pub struct Settings {
    /// What it does to packets.
    pub link: Link,
    /// What its chances follow from.
    pub seed: Seed,
    /// Whom the server sees.
    pub translation: Translation,
    /// Whether it remembers what it decided.
    pub trace: Trace,
}

/// Whom the server sees.
#[derive(Clone, Copy, Debug, Default)]
pub enum Translation {
    /// The client, which it can dial too.
    #[default]
    None,
    /// A public address, behind which the client is.
    Nat(PublicAddress),
}

/// Whether a wire remembers what it decided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trace {
    /// Only in numbers.
    #[default]
    Forget,
    /// Every decision, in some 50 bytes of memory each.
    Keep,
}

/// A wire between a client and a server, who each have an interface at its end and a route to the
/// other. It carries IP packets of up to 1500 bytes with one address as their destination.
///
/// Of several wires between the same two hosts the latest is used. Dropping one takes the interfaces away. What is on it is lost then.
/// Every change is logged with its name, and so is at its end what it has done.
#[derive(Debug)]
pub struct Wire {
    name: String,
    up: Lane,
    down: Lane,
    nat: Option<Arc<Mutex<Nat>>>,
}

impl Wire {
    /// Lays a wire.
    pub(super) fn lay(
        name: &str,
        client: &Host,
        server: &Host,
        settings: Settings,
    ) -> Result<Self, Error> {
        let (seen_v4, seen_v6) = match settings.translation {
            Translation::None => (client.v4(), client.v6()),
            Translation::Nat(public) => (public.v4, public.v6),
        };
        let near = Arc::new(interface(client, server.v4(), server.v6())?);
        let far = Arc::new(interface(server, seen_v4, seen_v6)?);
        let nat = match settings.translation {
            Translation::None => None,
            Translation::Nat(public) => Some(Arc::new(Mutex::new(Nat::new(public)))),
        };
        let translate = |outbound: bool| match &nat {
            None => Translate::Nothing,
            Some(nat) if outbound => Translate::Entering(Arc::clone(nat)),
            Some(nat) => Translate::Leaving(Arc::clone(nat)),
        };
        let beginning = Instant::now();
        let lane = |way, shape, from: &Arc<SyncDevice>, to: &Arc<SyncDevice>| {
            let direction = Direction::new(shape, settings.seed.derive(way as u64));
            let translate = translate(way == Way::Up);
            let ends = (Arc::clone(from), Arc::clone(to));
            Lane::open(way, direction, beginning, ends, translate, settings.trace)
        };
        tracing::info!(wire = name, link = %settings.link.to_json(), seed = settings.seed.0, "laid");
        Ok(Self {
            name: name.to_owned(),
            up: lane(Way::Up, settings.link.up, &near, &far)?,
            down: lane(Way::Down, settings.link.down, &far, &near)?,
            nat,
        })
    }

    /// Its name: who dials, a colon, and whom they dial.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it does to packets now.
    pub fn link(&self) -> Link {
        Link {
            up: self.up.shape(),
            down: self.down.shape(),
        }
    }

    /// Changes both ways. What is on the wire stays there.
    pub fn set_link(&self, link: Link) {
        self.set(Way::Up, link.up);
        self.set(Way::Down, link.down);
    }

    /// Changes one way. What is on the wire stays there.
    pub fn set(&self, way: Way, shape: Shape) {
        self.change(way, |_| shape);
    }

    /// Changes one way into what follows from what it is, between which nobody else changes it. What is
    /// on the wire stays there.
    pub fn change(&self, way: Way, change: impl FnOnce(Shape) -> Shape) {
        let shape = self.lane(way).change(change);
        tracing::info!(wire = %self.name, way = way.name(), shape = %shape.to_json(), "changed");
    }

    /// Whether the client is behind a NAT.
    pub fn has_nat(&self) -> bool {
        self.nat.is_some()
    }

    /// Gives new public ports to everyone behind the NAT; answers to the old ones are lost. Without
    /// a NAT this does nothing.
    pub fn rebind(&self) {
        if let Some(nat) = &self.nat {
            nat.lock().rebind();
            tracing::info!(wire = %self.name, "rebound");
        }
    }

    /// What one way has done so far.
    pub fn tally(&self, way: Way) -> Tally {
        self.lane(way).tally()
    }

    /// How many packets have arrived that the receiver's system had no room for.
    pub fn refused(&self, way: Way) -> u64 {
        self.lane(way).refused()
    }

    /// How many packets are on their way.
    pub fn on_the_way(&self, way: Way) -> usize {
        self.lane(way).on_the_way()
    }

    /// What one way has decided so far, if that is kept.
    pub fn trace(&self, way: Way) -> Vec<Decision> {
        self.lane(way).trace()
    }

    fn lane(&self, way: Way) -> &Lane {
        match way {
            Way::Up => &self.up,
            Way::Down => &self.down,
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        for way in Way::ALL {
            let tally = self.tally(way).to_json();
            tracing::info!(wire = %self.name, way = way.name(), %tally, "taken away");
        }
    }
}

/// An interface of `host` through which it reaches these addresses.
fn interface(host: &Host, v4: Ipv4Addr, v6: Ipv6Addr) -> Result<SyncDevice, Error> {
    // Several may end at one host.
    static MADE: AtomicU32 = AtomicU32::new(0);
    let name = format!("wire{}", MADE.fetch_add(1, Ordering::Relaxed));
    let made = || Error::system(format!("make the interface {name}"));
    let build = || DeviceBuilder::new().name(&name).enable(false).build_sync();
    let device = host.within(build).map_err(made())?;
    device.set_nonblocking(true).map_err(made())?;
    let (own_v4, own_v6) = (host.v4(), host.v6());
    // Without an address of its own for the link, IPv6 has nothing to announce on it. The queue is what
    // the kernel holds while our thread waits for a processor: what does not fit would be lost by nobody.
    host.ip(&format!(
        "link set {name} addrgenmode none\n\
         link set {name} mtu 1500 txqueuelen 20000 up\n\
         route replace {v4}/32 dev {name} src {own_v4}\n\
         route replace {v6}/128 dev {name} src {own_v6}\n"
    ))?;
    Ok(device)
}
