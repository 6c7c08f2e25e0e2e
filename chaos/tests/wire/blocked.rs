//! What does not pass at all.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    process::Command,
    time::Duration,
};

use chaos::{
    net::Host,
    wire::{Shape, Way},
};

use crate::support::{Family, Hosts, Prober, wait_for};

const CUT: Shape = Shape {
    cut: true,
    ..Shape::CLEAR
};

#[test]
fn a_cut_of_one_way_is_of_that_way_only() {
    Hosts::for_each_family(|hosts, family| {
        let wire = hosts.wire(Shape::CLEAR);
        let mut prober = Prober::new(hosts, family);
        prober.send(&wire, 1);
        let client = prober.sources[0];

        wire.set(Way::Up, CUT);
        prober.send(&wire, 10);
        assert_eq!(prober.received, [0]);
        assert_eq!(wire.tally(Way::Up).cut, 10);
        prober.answer(client, b"down");
        assert_eq!(wait_for("the answer", || prober.answered()), b"down");

        wire.set(Way::Up, Shape::CLEAR);
        wire.set(Way::Down, CUT);
        prober.send(&wire, 10);
        assert_eq!(prober.received.len(), 11);
        prober.answer(client, b"lost");
        wait_for("the answer to be dropped", || {
            (wire.tally(Way::Down).cut == 1).then_some(())
        });
        wire.set(Way::Down, Shape::CLEAR);
        prober.answer(client, b"healed");
        assert_eq!(wait_for("the answer", || prober.answered()), b"healed");
    });
}

#[test]
fn udp_is_blocked_and_tcp_is_not() {
    Hosts::for_each_family(|hosts, family| {
        let wire = hosts.wire(Shape {
            udp_blocked: true,
            ..Shape::CLEAR
        });
        let mut prober = Prober::new(hosts, family);
        prober.send(&wire, 10);
        assert!(prober.received.is_empty());
        assert_eq!(wire.tally(Way::Up).udp_blocked, 10);
        assert!(tcp_connects(hosts, family, Duration::from_secs(20)));
    });
}

#[test]
fn tcp_is_blocked_and_udp_is_not() {
    Hosts::for_each_family(|hosts, family| {
        let wire = hosts.wire(Shape {
            tcp_blocked: true,
            ..Shape::CLEAR
        });
        assert!(!tcp_connects(hosts, family, Duration::from_millis(300)));
        let mut prober = Prober::new(hosts, family);
        prober.send(&wire, 10);
        assert_eq!(prober.received.len(), 10);
        assert_ne!(wire.tally(Way::Up).tcp_blocked, 0);
    });
}

#[test]
fn long_packets_vanish_without_a_word() {
    Hosts::for_each_family(|hosts, family| {
        let wire = hosts.wire(Shape {
            mtu: 1_000,
            ..Shape::CLEAR
        });
        let ping = |payload: usize, patience: u32| {
            let server = hosts.server(family);
            hosts.ping(&format!("-c 1 -M do -s {payload} -W {patience} {server}"))
        };
        let headers = match family {
            Family::V4 => 28,
            Family::V6 => 48,
        };
        let passes = ping(1_000 - headers, 20);
        assert!(passes.contains(" 1 received, 0% packet loss"), "{passes}");
        let vanishes = ping(1_001 - headers, 1);
        assert!(
            vanishes.contains("1 packets transmitted, 0 received, 100% packet loss"),
            "an error would be counted beside what was received: {vanishes}"
        );
        assert_eq!(wire.tally(Way::Up).too_long, 1);
    });
}

#[test]
fn a_wire_that_is_dropped_leaves_nothing_behind() {
    let Some(hosts) = Hosts::create() else {
        return;
    };
    let interfaces = || -> Vec<usize> {
        let list = |host: &Host| {
            let mut ip = Command::new("ip");
            let printed = host.run(ip.args(["-oneline", "link"]), "").unwrap();
            printed.lines().count()
        };
        [&hosts.client, &hosts.server]
            .map(|host| list(host))
            .to_vec()
    };
    for _ in 0..2 {
        let wire = hosts.wire(Shape::CLEAR);
        assert_eq!(interfaces(), [2, 2], "loopback and the wire");
        drop(wire);
        hosts.topology.take_wire("client", "server");
        // A process that another thread starts has our files until its program runs.
        wait_for("the interfaces to go", || {
            (interfaces() == [1, 1]).then_some(())
        });
    }
}

/// Whether a connection is there within so long, and carries something.
fn tcp_connects(hosts: &Hosts, family: Family, patience: Duration) -> bool {
    let address = hosts.server(family);
    let listener = hosts
        .server
        .within(|| TcpListener::bind((address, 0)))
        .unwrap();
    let address = listener.local_addr().unwrap();
    let connect = || TcpStream::connect_timeout(&address, patience);
    let Ok(mut near) = hosts.client.within(connect) else {
        return false;
    };
    let (mut far, _) = listener.accept().unwrap();
    near.write_all(b"through").unwrap();
    let mut read = [0; 7];
    far.read_exact(&mut read).unwrap();
    read == *b"through"
}
