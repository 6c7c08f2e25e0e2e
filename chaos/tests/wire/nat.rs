//! Who is behind an address.

use std::{
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, TcpStream},
    sync::Arc,
};

use chaos::{
    net::{Settings, Translation, Wire},
    wire::{PublicAddress, Way},
};

use crate::support::{Family, Hosts, Prober, wait_for};

const PUBLIC: PublicAddress = PublicAddress {
    v4: Ipv4Addr::new(203, 0, 113, 7),
    v6: Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 7),
};

fn public(family: Family) -> IpAddr {
    match family {
        Family::V4 => PUBLIC.v4.into(),
        Family::V6 => PUBLIC.v6.into(),
    }
}

fn translated(hosts: &Hosts) -> Arc<Wire> {
    hosts.lay(Settings {
        translation: Translation::Nat(PUBLIC),
        ..Settings::default()
    })
}

#[test]
fn the_server_sees_another_port_after_a_rebinding() {
    Hosts::for_each_family(|hosts, family| {
        let wire = translated(hosts);
        let mut prober = Prober::new(hosts, family);
        prober.send(&wire, 2);
        wire.rebind();
        prober.send(&wire, 2);
        let [before, again, after, still] = prober.sources[..] else {
            panic!("{:?}", prober.sources);
        };
        assert_eq!((before, after), (again, still));
        assert_ne!(before.port(), after.port());
        assert_eq!([before.ip(), after.ip()], [public(family); 2]);

        let delivered = wire.tally(Way::Down).delivered;
        prober.answer(before, b"to the old port");
        prober.answer(after, b"to the new port");
        assert_eq!(
            wait_for("an answer", || prober.answered()),
            b"to the new port"
        );
        assert_eq!(wire.tally(Way::Down).delivered, delivered + 2);
        assert_eq!(prober.answered(), None);
    });
}

#[test]
fn tcp_and_ping_pass() {
    Hosts::for_each_family(|hosts, family| {
        let _wire = translated(hosts);
        let address = hosts.server(family);
        let listener = hosts
            .server
            .within(|| TcpListener::bind((address, 0)))
            .unwrap();
        let address = listener.local_addr().unwrap();
        let mut near = hosts.client.within(|| TcpStream::connect(address)).unwrap();
        let (mut far, peer) = listener.accept().unwrap();
        assert_eq!(peer.ip(), public(family));
        let mut read = [0; 8];
        near.write_all(b"question").unwrap();
        far.read_exact(&mut read).unwrap();
        far.write_all(&read).unwrap();
        near.read_exact(&mut read).unwrap();
        assert_eq!(&read, b"question");
        let printed = hosts.ping(&format!("-c 2 -i 0.05 -W 20 {}", hosts.server(family)));
        assert!(printed.contains(" 2 received, 0% packet loss"), "{printed}");
    });
}
