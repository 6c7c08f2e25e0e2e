//! How long packets take.

use std::{
    net::{TcpListener, TcpStream},
    time::{Duration, Instant},
};

use chaos::wire::{Link, Shape};

use crate::support::Hosts;

const THERE_AND_BACK: Duration = Duration::from_millis(100);

/// How much later the best of many attempts may be on a machine with too much to do.
const LATE: Duration = Duration::from_millis(100);

fn link() -> Link {
    Link::symmetric(Shape {
        delay: THERE_AND_BACK / 2,
        ..Shape::CLEAR
    })
}

#[test]
fn ping_sees_the_delay() {
    Hosts::for_each_family(|hosts, family| {
        let wire = hosts.wire(Shape::CLEAR);
        wire.set_link(link());
        let printed = hosts.ping(&format!("-c 10 -i 0.05 -W 10 {}", hosts.server(family)));
        let times: Vec<f64> = printed
            .lines()
            .filter_map(|line| line.split_once("time=")?.1.strip_suffix(" ms"))
            .map(|time| time.parse().unwrap())
            .collect();
        assert_eq!(times.len(), 10, "{printed}");
        let fastest = times.iter().copied().fold(f64::INFINITY, f64::min);
        let fastest = Duration::from_secs_f64(fastest / 1e3);
        // ping prints three digits.
        let least = THERE_AND_BACK - Duration::from_millis(1);
        assert!(
            (least..THERE_AND_BACK + LATE).contains(&fastest),
            "{printed}"
        );
    });
}

#[test]
fn a_tcp_connection_sees_the_delay() {
    Hosts::for_each_family(|hosts, family| {
        let wire = hosts.wire(Shape::CLEAR);
        wire.set_link(link());
        let address = hosts.server(family);
        let listener = hosts
            .server
            .within(|| TcpListener::bind((address, 0)))
            .unwrap();
        let address = listener.local_addr().unwrap();
        let connect = || {
            let began = Instant::now();
            hosts.client.within(|| TcpStream::connect(address)).unwrap();
            began.elapsed()
        };
        let times: Vec<_> = (0..10).map(|_| connect()).collect();
        let fastest = *times.iter().min().unwrap();
        assert!(
            (THERE_AND_BACK..THERE_AND_BACK + LATE).contains(&fastest),
            "{times:?}"
        );
    });
}
