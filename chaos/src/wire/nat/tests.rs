use super::*;
use crate::wire::packet::{checksums_are_right, icmp_echo, tcp, udp};

fn nat() -> Nat {
    Nat::new(PublicAddress {
        v4: Ipv4Addr::new(203, 0, 113, 1),
        v6: "2001:db8:ffff::1".parse().unwrap(),
    })
}

/// Inside, the server and the public address of either family.
fn families() -> [(IpAddr, IpAddr, IpAddr); 2] {
    [
        ("10.0.0.2", "192.0.2.1", "203.0.113.1"),
        ("fd00::2", "2001:db8::1", "2001:db8:ffff::1"),
    ]
    .map(|(inside, server, public)| {
        let parsed = |text: &str| text.parse::<IpAddr>().unwrap();
        (parsed(inside), parsed(server), parsed(public))
    })
}

fn ports(packet: &Packet) -> (u16, u16) {
    let Transport::Header(at) = packet.transport() else {
        panic!("{packet:?} has no ports");
    };
    (word(packet.bytes(), at), word(packet.bytes(), at + 2))
}

#[test]
fn what_leaves_comes_from_the_public_address_and_answers_find_back() {
    for (inside, server, public) in families() {
        for segment in [udp, tcp] {
            let mut nat = nat();
            let out = nat
                .outbound(segment((inside, 5000), (server, 443), b"question"))
                .unwrap();
            assert!(checksums_are_right(&out), "{out:?}");
            assert_eq!((out.source(), out.destination()), (public, server));
            let (port, to) = ports(&out);
            assert_eq!(to, 443);
            let again = segment((inside, 5000), (server, 80), b"question");
            let again = nat.outbound(again).unwrap();
            assert_eq!(ports(&again).0, port, "one public port for an inside port");
            let other = segment((inside, 5001), (server, 443), b"question");
            assert_ne!(ports(&nat.outbound(other).unwrap()).0, port);

            let answer = segment((server, 443), (public, port), b"answer");
            let answer = nat.inbound(answer).unwrap();
            assert!(checksums_are_right(&answer), "{answer:?}");
            assert_eq!((answer.source(), answer.destination()), (server, inside));
            assert_eq!(ports(&answer), (443, 5000));
        }
    }
}

#[test]
fn ping_passes_outwards_only() {
    for (inside, server, public) in families() {
        let mut nat = nat();
        let out = nat.outbound(icmp_echo(inside, server, false, 77)).unwrap();
        assert!(checksums_are_right(&out), "{out:?}");
        let Transport::Header(at) = out.transport() else {
            panic!("{out:?}");
        };
        let id = word(out.bytes(), at + 4);
        assert_ne!(id, 77);
        let reply = nat.inbound(icmp_echo(server, public, true, id)).unwrap();
        assert!(checksums_are_right(&reply), "{reply:?}");
        assert_eq!(reply, icmp_echo(server, inside, true, 77));
        assert_eq!(nat.inbound(icmp_echo(server, public, false, id)), None);
    }
}

#[test]
fn what_nobody_asked_for_does_not_come_in() {
    for (inside, server, public) in families() {
        let mut nat = nat();
        let out = nat
            .outbound(udp((inside, 5000), (server, 443), b"x"))
            .unwrap();
        let port = ports(&out).0;
        assert_eq!(
            nat.inbound(udp((server, 443), (public, port + 1), b"x")),
            None
        );
        assert_eq!(nat.inbound(tcp((server, 443), (public, port), b"x")), None);
    }
}

#[test]
fn a_rebinding_gives_everyone_a_new_port_and_loses_the_old_one() {
    for (inside, server, public) in families() {
        for segment in [udp, tcp] {
            let mut nat = nat();
            let mut port = || {
                let out = nat.outbound(segment((inside, 5000), (server, 443), b"x"));
                let port = ports(&out.unwrap()).0;
                nat.rebind();
                port
            };
            let (before, after) = (port(), port());
            assert_ne!(before, after);
            for lost in [before, after] {
                let answer = segment((server, 443), (public, lost), b"x");
                assert_eq!(nat.inbound(answer), None);
            }
        }
    }
}

#[test]
fn when_ports_run_out_the_oldest_is_lost() {
    let (inside, server, public) = families()[0];
    let mut nat = nat();
    let send = |nat: &mut Nat, number: u32| {
        let address = Ipv4Addr::from(0x0a00_0000 + number).into();
        ports(
            &nat.outbound(udp((address, 5000), (server, 443), b"x"))
                .unwrap(),
        )
        .0
    };
    let first = send(&mut nat, 0);
    for number in 1..PORTS {
        assert_ne!(send(&mut nat, number), first);
    }
    assert_eq!(send(&mut nat, PORTS), first);
    let answer = nat.inbound(udp((server, 443), (public, first), b"x"));
    let newest = IpAddr::from(Ipv4Addr::from(0x0a00_0000 + PORTS));
    assert_eq!(answer.unwrap().destination(), newest);
    assert_ne!(send(&mut nat, 0), first, "{inside} has to begin anew");
}

#[test]
fn wrong_checksums_stay_wrong_and_absent_ones_absent() {
    for (inside, server, _) in families() {
        for segment in [udp, tcp] {
            let mut packet = segment((inside, 5000), (server, 443), b"question");
            let bit = packet.choose_bit(11).unwrap();
            packet.flip(bit);
            let out = nat().outbound(packet).unwrap();
            assert!(!checksums_are_right(&out), "{out:?}");
        }
    }
    let (inside, server, _) = families()[0];
    let mut absent = udp((inside, 5000), (server, 443), b"question");
    absent.bytes_mut()[26..28].copy_from_slice(&[0, 0]);
    let out = nat().outbound(absent).unwrap();
    assert_eq!(word(out.bytes(), 26), 0);
}

#[test]
fn what_has_no_ports_does_not_pass() {
    let (inside, server, _) = families()[0];
    let mut fragment = udp((inside, 5000), (server, 443), b"question")
        .bytes()
        .to_vec();
    fragment[7] = 5;
    let fragment = Packet::from_bytes(fragment).unwrap();
    assert_eq!(nat().outbound(fragment), None);
    let mut truncated = udp((inside, 5000), (server, 443), b"").bytes().to_vec();
    truncated.truncate(25);
    let truncated = Packet::from_bytes(truncated).unwrap();
    assert_eq!(nat().outbound(truncated), None);
}
