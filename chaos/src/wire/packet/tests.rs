use proptest::prelude::*;

use super::*;

/// A UDP packet with right checksums.
pub(in crate::wire) fn udp(from: (IpAddr, u16), to: (IpAddr, u16), payload: &[u8]) -> Packet {
    let length = (8 + payload.len()) as u16;
    let mut segment = ports(from.1, to.1);
    segment.extend(length.to_be_bytes());
    segment.extend([0, 0]);
    segment.extend(payload);
    sealed(from.0, to.0, 17, segment, 6)
}

/// A TCP packet with right checksums.
pub(in crate::wire) fn tcp(from: (IpAddr, u16), to: (IpAddr, u16), payload: &[u8]) -> Packet {
    let mut segment = ports(from.1, to.1);
    segment.extend([0, 0, 0, 1, 0, 0, 0, 2, 5 << 4, 0x10, 1, 0, 0, 0, 0, 0]);
    segment.extend(payload);
    sealed(from.0, to.0, 6, segment, 16)
}

/// An ICMP echo request, or the reply to one, with right checksums.
pub(in crate::wire) fn icmp_echo(from: IpAddr, to: IpAddr, is_reply: bool, id: u16) -> Packet {
    let (protocol, kind) = match (from.is_ipv4(), is_reply) {
        (true, false) => (1, 8),
        (true, true) => (1, 0),
        (false, false) => (58, 128),
        (false, true) => (58, 129),
    };
    let mut segment = vec![kind, 0, 0, 0];
    segment.extend(id.to_be_bytes());
    segment.extend([0, 1, 0xab, 0xcd]);
    sealed(from, to, protocol, segment, 2)
}

/// Whether the checksums of a packet without extension headers are what its bytes add up to.
pub(in crate::wire) fn checksums_are_right(packet: &Packet) -> bool {
    let Transport::Header(at) = packet.transport() else {
        panic!("a fragment has no checksum");
    };
    let header_is_right = !packet.is_v4() || sum(&packet.bytes()[..at]) == 0xffff;
    let segment = &packet.bytes()[at..];
    let pseudo = pseudo_header(packet.source(), packet.destination(), packet, segment.len());
    header_is_right && sum(&[&pseudo, segment].concat()) == 0xffff
}

fn ports(from: u16, to: u16) -> Vec<u8> {
    [from.to_be_bytes(), to.to_be_bytes()].concat()
}

/// The packet around a segment, whose checksum is at `checksum_at`.
fn sealed(from: IpAddr, to: IpAddr, number: u8, segment: Vec<u8>, checksum_at: usize) -> Packet {
    let length = segment.len() as u16;
    let mut bytes = match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let mut header = vec![0x45, 0];
            header.extend((20 + length).to_be_bytes());
            header.extend([0, 0, 0x40, 0, 64, number, 0, 0]);
            header.extend(from.octets());
            header.extend(to.octets());
            let checksum = !sum(&header);
            header[10..12].copy_from_slice(&checksum.to_be_bytes());
            header
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let mut header = vec![0x60, 0, 0, 0];
            header.extend(length.to_be_bytes());
            header.extend([number, 64]);
            header.extend(from.octets());
            header.extend(to.octets());
            header
        }
        _ => panic!("{from} and {to} are of two families"),
    };
    let at = bytes.len();
    bytes.extend(segment);
    let unsealed = Packet::from_bytes(bytes.clone()).unwrap();
    let pseudo = pseudo_header(from, to, &unsealed, bytes.len() - at);
    let checksum = !sum(&[&pseudo, &bytes[at..]].concat());
    bytes[at + checksum_at..at + checksum_at + 2].copy_from_slice(&checksum.to_be_bytes());
    Packet::from_bytes(bytes).unwrap()
}

/// What the transport's checksum covers beside its segment; nothing for ICMP over IPv4.
fn pseudo_header(from: IpAddr, to: IpAddr, packet: &Packet, length: usize) -> Vec<u8> {
    let number = match packet.protocol() {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
        Protocol::Icmp if packet.is_v4() => return Vec::new(),
        Protocol::Icmp => 58,
        Protocol::Other => panic!("nothing is known of its checksum"),
    };
    let mut header = match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => [from.octets(), to.octets()].concat(),
        (IpAddr::V6(from), IpAddr::V6(to)) => [from.octets(), to.octets()].concat(),
        _ => panic!("{from} and {to} are of two families"),
    };
    header.extend((length as u16).to_be_bytes());
    header.extend([0, number]);
    header
}

fn sum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| {
        u32::from(u16::from_be_bytes([
            pair[0],
            pair.get(1).copied().unwrap_or(0),
        ]))
    });
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

fn addresses() -> [(IpAddr, IpAddr); 2] {
    [
        ("192.0.2.1", "198.51.100.2"),
        ("2001:db8::1", "2001:db8::2"),
    ]
    .map(|(from, to)| (from.parse().unwrap(), to.parse().unwrap()))
}

#[test]
fn headers_are_read() {
    for (from, to) in addresses() {
        for (packet, protocol) in [
            (udp((from, 1000), (to, 2000), b"hello"), Protocol::Udp),
            (tcp((from, 1000), (to, 2000), b"hello"), Protocol::Tcp),
            (icmp_echo(from, to, false, 7), Protocol::Icmp),
        ] {
            assert_eq!(packet.protocol(), protocol);
            assert_eq!((packet.source(), packet.destination()), (from, to));
            assert!(checksums_are_right(&packet), "{packet:?}");
        }
    }
}

#[test]
fn the_protocol_is_found_behind_extension_headers() {
    let (from, to) = addresses()[1];
    let mut bytes = udp((from, 1), (to, 2), b"hello").bytes().to_vec();
    // Hop-by-hop options of 16 bytes, then a fragment header: not the first fragment.
    bytes[6] = 0;
    let mut extensions = vec![44, 1];
    extensions.extend([0; 14]);
    extensions.extend([17, 0, 0, 8, 0, 0, 0, 1]);
    bytes.splice(40..40, extensions);
    let packet = Packet::from_bytes(bytes.clone()).unwrap();
    assert_eq!(packet.protocol(), Protocol::Udp);
    assert_eq!(packet.transport(), Transport::Continued(64));
    // The first one.
    bytes[40 + 16 + 3] = 1;
    let packet = Packet::from_bytes(bytes).unwrap();
    assert_eq!(packet.transport(), Transport::Header(64));
}

#[test]
fn a_later_fragment_of_udp_is_udp() {
    let (from, to) = addresses()[0];
    let mut bytes = udp((from, 1), (to, 2), b"hello").bytes().to_vec();
    bytes[7] = 5;
    let packet = Packet::from_bytes(bytes).unwrap();
    assert_eq!(packet.protocol(), Protocol::Udp);
    assert_eq!(packet.transport(), Transport::Continued(20));
}

#[test]
fn a_bit_is_chosen_from_the_payload_or_else_from_the_header_before_it() {
    let (from, to) = addresses()[0];
    let whole = |bytes: usize| bytes * 8;
    for drawn in [0, 1, 39, 40, u64::MAX] {
        let chosen = |packet: Packet| packet.choose_bit(drawn).unwrap();
        let bit = chosen(udp((from, 1), (to, 2), b"hello"));
        assert!((whole(28)..whole(33)).contains(&bit), "{bit}");
        let bit = chosen(tcp((from, 1), (to, 2), b"hello"));
        assert!((whole(40)..whole(45)).contains(&bit), "{bit}");
        let bit = chosen(tcp((from, 1), (to, 2), b""));
        assert!((whole(20)..whole(40)).contains(&bit), "{bit}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..120), version in 4..=6u8, drawn: u64) {
        let mut bytes = bytes;
        if let Some(first) = bytes.first_mut() {
            *first = (version << 4) | (*first & 0xf);
        }
        if let Ok(mut packet) = Packet::from_bytes(bytes.clone())
            && let Some(bit) = packet.choose_bit(drawn)
        {
            prop_assert!(bit < bytes.len() * 8);
            packet.flip(bit);
            let differing: u32 = bytes.iter().zip(packet.bytes()).map(|(a, b)| (a ^ b).count_ones()).sum();
            prop_assert_eq!(differing, 1);
        }
    }
}
