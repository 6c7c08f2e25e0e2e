//! Translation of addresses and ports.

#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use super::packet::{Packet, Protocol, Transport};

/// Whom the world sees in place of those inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicAddress {
    /// For what is sent over IPv4.
    pub v4: Ipv4Addr,
    /// For what is sent over IPv6.
    pub v6: Ipv6Addr,
}

/// Gives everything that leaves one public address and ports of it, and leads answers back.
///
/// It maps as RFC 4787 §4.1 wants it, the same public port for all that an inside port sends, and lets
/// in what anyone sends there. TCP, UDP and ICMP echo pass, also over IPv6; fragments, ICMP errors and what
/// nobody inside has asked for do not. Checksums are corrected by the difference (RFC 1624), so one
/// that was wrong stays wrong.
#[derive(Debug)]
pub struct Nat {
    public: PublicAddress,
    outside: HashMap<Inside, u16>,
    inside: HashMap<Outside, Inside>,
    /// How many ports have been given away.
    given: u32,
}

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Inside {
    protocol: Protocol,
    address: IpAddr,
    port: u16,
}

/// Whom the world sees send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Outside {
    protocol: Protocol,
    is_v4: bool,
    port: u16,
}

/// The first public port, and how many there are. When all have been given away, whoever has had
/// one longest loses it.
const FIRST_PORT: u16 = 20_000;
const PORTS: u32 = 40_000;

impl Nat {
    /// One that knows nobody yet.
    pub fn new(public: PublicAddress) -> Self {
        Self {
            public,
            outside: HashMap::new(),
            inside: HashMap::new(),
            given: 0,
        }
    }

    /// Forgets everyone, as when it restarts: whatever is sent from now on comes from a new port,
    /// and answers to the old ones are lost.
    pub fn rebind(&mut self) {
        self.outside.clear();
        self.inside.clear();
    }

    /// Sends a packet out; `None` if it may not pass.
    pub fn outbound(&mut self, mut packet: Packet) -> Option<Packet> {
        let fields = Fields::of(&packet, Crossing::Out)?;
        let inside = Inside {
            protocol: packet.protocol(),
            address: packet.source(),
            port: fields.port(&packet),
        };
        let port = match self.outside.get(&inside) {
            Some(port) => *port,
            None => self.give_port(inside),
        };
        let public = if packet.is_v4() {
            self.public.v4.into()
        } else {
            self.public.v6.into()
        };
        fields.rewrite(&mut packet, public, port);
        Some(packet)
    }

    /// Lets a packet in; `None` if it may not pass.
    pub fn inbound(&mut self, mut packet: Packet) -> Option<Packet> {
        let fields = Fields::of(&packet, Crossing::In)?;
        let outside = Outside {
            protocol: packet.protocol(),
            is_v4: packet.is_v4(),
            port: fields.port(&packet),
        };
        let inside = self.inside.get(&outside)?;
        fields.rewrite(&mut packet, inside.address, inside.port);
        Some(packet)
    }

    fn give_port(&mut self, inside: Inside) -> u16 {
        let port = FIRST_PORT + (self.given % PORTS) as u16;
        self.given = self.given.wrapping_add(1);
        let outside = Outside {
            protocol: inside.protocol,
            is_v4: inside.address.is_ipv4(),
            port,
        };
        if let Some(former) = self.inside.insert(outside, inside) {
            self.outside.remove(&former);
        }
        self.outside.insert(inside, port);
        port
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Crossing {
    Out,
    In,
}

/// Where a packet has what is rewritten.
#[derive(Clone, Copy, Debug)]
struct Fields {
    address: usize,
    port: usize,
    checksum: usize,
    /// Whether the transport's checksum covers the addresses.
    covers_addresses: bool,
    /// Whether a checksum of zero says that there is none.
    may_be_absent: bool,
}

impl Fields {
    fn of(packet: &Packet, crossing: Crossing) -> Option<Self> {
        let Transport::Header(at) = packet.transport() else {
            return None;
        };
        let is_v4 = packet.is_v4();
        let address = match (is_v4, crossing) {
            (true, Crossing::Out) => 12,
            (true, Crossing::In) => 16,
            (false, Crossing::Out) => 8,
            (false, Crossing::In) => 24,
        };
        let side = match crossing {
            Crossing::Out => 0,
            Crossing::In => 2,
        };
        let (header, port, checksum) = match packet.protocol() {
            Protocol::Tcp => (20, at + side, at + 16),
            Protocol::Udp => (8, at + side, at + 6),
            Protocol::Icmp => (8, at + 4, at + 2),
            Protocol::Other => return None,
        };
        let bytes = packet.bytes();
        if bytes.len() < at + header {
            return None;
        }
        let is_icmp = packet.protocol() == Protocol::Icmp;
        // Echo requests go out and their replies come in (RFC 792, RFC 4443 §4).
        let echo = match (is_v4, crossing) {
            (true, Crossing::Out) => 8,
            (true, Crossing::In) => 0,
            (false, Crossing::Out) => 128,
            (false, Crossing::In) => 129,
        };
        if is_icmp && bytes[at] != echo {
            return None;
        }
        Some(Self {
            address,
            port,
            checksum,
            covers_addresses: !(is_icmp && is_v4),
            may_be_absent: packet.protocol() == Protocol::Udp,
        })
    }

    fn port(self, packet: &Packet) -> u16 {
        word(packet.bytes(), self.port)
    }

    fn rewrite(self, packet: &mut Packet, address: IpAddr, port: u16) {
        const V4_CHECKSUM: usize = 10;
        let is_v4 = packet.is_v4();
        let bytes = packet.bytes_mut();
        let mut address_change = Change::default();
        match address {
            IpAddr::V4(v4) => address_change.set(bytes, self.address, &v4.octets()),
            IpAddr::V6(v6) => address_change.set(bytes, self.address, &v6.octets()),
        }
        let mut port_change = Change::default();
        port_change.set(bytes, self.port, &port.to_be_bytes());

        if is_v4 {
            address_change.correct(bytes, V4_CHECKSUM);
        }
        if self.may_be_absent && word(bytes, self.checksum) == 0 {
            return;
        }
        if self.covers_addresses {
            address_change.correct(bytes, self.checksum);
        }
        port_change.correct(bytes, self.checksum);
        if self.may_be_absent && word(bytes, self.checksum) == 0 {
            bytes[self.checksum..self.checksum + 2].copy_from_slice(&[0xff; 2]);
        }
    }
}

/// By how much a checksum changes: the sum of ~m + m' of RFC 1624 over the words that changed.
#[derive(Clone, Copy, Debug, Default)]
struct Change(u32);

impl Change {
    fn set(&mut self, bytes: &mut [u8], at: usize, new: &[u8]) {
        for (index, pair) in new.chunks_exact(2).enumerate() {
            let at = at + 2 * index;
            self.0 +=
                u32::from(!word(bytes, at)) + u32::from(u16::from_be_bytes([pair[0], pair[1]]));
            bytes[at..at + 2].copy_from_slice(pair);
        }
    }

    fn correct(self, bytes: &mut [u8], at: usize) {
        let mut sum = u32::from(!word(bytes, at)) + self.0;
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        bytes[at..at + 2].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    }
}

fn word(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}
