//! IP packets, as far as a wire has to read them.

#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use thiserror::Error;

#[cfg(test)]
pub(super) use tests::{checksums_are_right, icmp_echo, tcp, udp};

/// An IPv4 (RFC 791) or IPv6 (RFC 8200) packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    bytes: Vec<u8>,
    protocol: Protocol,
    /// Where the header of `protocol` is, if this packet has it.
    transport: Transport,
}

/// What an IP packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// RFC 9293.
    Tcp,
    /// RFC 768.
    Udp,
    /// RFC 792 or RFC 4443.
    Icmp,
    /// Something else.
    Other,
}

/// Where what an IP packet carries begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    /// Its header is there.
    Header(usize),
    /// This is a later fragment: the header was in an earlier packet.
    Continued(usize),
}

/// These bytes are not a whole IP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not an IP packet")]
pub struct NotIp;

impl Packet {
    /// Reads the headers of a packet.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, NotIp> {
        let (number, transport) = match bytes.first().map(|first| first >> 4) {
            Some(4) => read_v4(&bytes)?,
            Some(6) => read_v6(&bytes)?,
            Some(_) | None => return Err(NotIp),
        };
        let protocol = match number {
            1 | 58 => Protocol::Icmp,
            6 => Protocol::Tcp,
            17 => Protocol::Udp,
            _ => Protocol::Other,
        };
        Ok(Self {
            bytes,
            protocol,
            transport,
        })
    }

    /// The whole packet.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How long it is in bytes.
    pub fn length(&self) -> usize {
        self.bytes.len()
    }

    /// What it carries.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Where it comes from.
    pub fn source(&self) -> IpAddr {
        if self.is_v4() {
            v4_at(&self.bytes, 12)
        } else {
            v6_at(&self.bytes, 8)
        }
    }

    /// Where it is to go.
    pub fn destination(&self) -> IpAddr {
        if self.is_v4() {
            v4_at(&self.bytes, 16)
        } else {
            v6_at(&self.bytes, 24)
        }
    }

    /// Which bit is flipped when somebody draws this number; none of a packet that is all IP header.
    pub(super) fn choose_bit(&self, drawn: u64) -> Option<usize> {
        let begin = match self.transport {
            Transport::Continued(at) => at,
            Transport::Header(at) => {
                let payload = at + self.header_length(at);
                if payload < self.bytes.len() {
                    payload
                } else {
                    at
                }
            }
        };
        let bits = (self.bytes.len() - begin) * 8;
        (bits > 0).then(|| begin * 8 + (drawn % bits as u64) as usize)
    }

    /// Flips a bit, counted from the first byte's highest.
    pub(super) fn flip(&mut self, bit: usize) {
        self.bytes[bit / 8] ^= 0x80 >> (bit % 8);
    }

    pub(super) fn is_v4(&self) -> bool {
        self.bytes[0] >> 4 == 4
    }

    pub(super) fn transport(&self) -> Transport {
        self.transport
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    fn header_length(&self, at: usize) -> usize {
        match self.protocol {
            Protocol::Tcp => self
                .bytes
                .get(at + 12)
                .map_or(20, |byte| usize::from(byte >> 4) * 4),
            Protocol::Udp | Protocol::Icmp => 8,
            Protocol::Other => 0,
        }
    }
}

/// The number of the protocol, and where it begins.
fn read_v4(bytes: &[u8]) -> Result<(u8, Transport), NotIp> {
    const SHORTEST: usize = 20;
    if bytes.len() < SHORTEST {
        return Err(NotIp);
    }
    let header = usize::from(bytes[0] & 0xf) * 4;
    if header < SHORTEST || header > bytes.len() {
        return Err(NotIp);
    }
    let offset = u16::from_be_bytes([bytes[6], bytes[7]]) & 0x1fff;
    let transport = if offset == 0 {
        Transport::Header(header)
    } else {
        Transport::Continued(header)
    };
    Ok((bytes[9], transport))
}

/// The number of the protocol behind all extension headers (RFC 8200 §4), and where it begins.
fn read_v6(bytes: &[u8]) -> Result<(u8, Transport), NotIp> {
    const HEADER: usize = 40;
    const HOP_BY_HOP: u8 = 0;
    const ROUTING: u8 = 43;
    const FRAGMENT: u8 = 44;
    const DESTINATION_OPTIONS: u8 = 60;
    if bytes.len() < HEADER {
        return Err(NotIp);
    }
    let (mut next, mut at) = (bytes[6], HEADER);
    let mut continued = false;
    while matches!(next, HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION_OPTIONS) && !continued {
        let extension = bytes.get(at..at + 8).ok_or(NotIp)?;
        if next == FRAGMENT {
            continued = u16::from_be_bytes([extension[2], extension[3]]) >> 3 != 0;
            at += 8;
        } else {
            at += (usize::from(extension[1]) + 1) * 8;
        }
        next = extension[0];
    }
    if at > bytes.len() {
        return Err(NotIp);
    }
    let transport = if continued {
        Transport::Continued(at)
    } else {
        Transport::Header(at)
    };
    Ok((next, transport))
}

fn v4_at(bytes: &[u8], at: usize) -> IpAddr {
    let mut address = [0; 4];
    address.copy_from_slice(&bytes[at..at + 4]);
    Ipv4Addr::from(address).into()
}

fn v6_at(bytes: &[u8], at: usize) -> IpAddr {
    let mut address = [0; 16];
    address.copy_from_slice(&bytes[at..at + 16]);
    Ipv6Addr::from(address).into()
}
