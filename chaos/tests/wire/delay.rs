//! How long packets take.

use std::{
    net::{TcpListener, TcpStream},
    time::{Duration, Instant},
};

use chaos::wire::{Link, Shape};

use crate::support::{Hosts, wait_for};

const THERE_AND_BACK: Duration = Duration::from_millis(100);

/// How much later the best of all attempts may be. On a busy machine it takes more of them.
const LATE: Duration = Duration::from_millis(50);

fn link() -> Link {
    Link::symmetric(Shape {
        delay: THERE_AND_BACK / 2,
        ..Shape::CLEAR
    })
}

/// How long each packet of ping took, by what it printed.
pub(crate) fn times(printed: &str) -> Vec<Duration> {
    printed.lines().filter_map(time).collect()
}

fn time(line: &str) -> Option<Duration> {
    let milliseconds = line.split_once("time=")?.1.strip_suffix(" ms")?;
    Some(Duration::from_secs_f64(
        milliseconds.parse::<f64>().unwrap() / 1e3,
    ))
}

#[test]
fn ping_sees_the_delay() {
    Hosts::for_each_family(|hosts, family| {
        let wire = hosts.wire(Shape::CLEAR);
        wire.set_link(link());
        // ping prints three digits.
        let least = THERE_AND_BACK - Duration::from_millis(1);
        wait_for("a ping that takes as long as the wire", || {
            let printed = hosts.ping(&format!("-c 5 -i 0.05 -w 20 {}", hosts.server(family)));
            let times = times(&printed);
            assert!(times.len() >= 5, "{printed}");
            assert!(times.iter().all(|time| *time >= least), "{printed}");
            times
                .iter()
                .any(|time| *time < THERE_AND_BACK + LATE)
                .then_some(())
        });
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
        wait_for("a connection that takes as long as the wire", || {
            let took = connect();
            assert!(took >= THERE_AND_BACK, "{took:?}");
            (took < THERE_AND_BACK + LATE).then_some(())
        });
    });
}
