use std::io::Read;

use super::*;
use crate::bench::origin::Part;

/// Short, since only what is counted is looked at.
const SHORT: Duration = Duration::from_millis(20);

#[test]
fn bulk_is_counted_both_ways_through_a_hop() {
    let origin = Part::Origin.start().unwrap();
    let hop = Part::Hop(origin).start().unwrap();
    for path in [origin, hop] {
        for way in [Way::ToCompute, Way::ToControl] {
            let moved = bulk(path, way, 3, SHORT).unwrap();
            assert!(moved.bytes > 0 && moved.took >= SHORT, "{moved:?}");
            assert!(moved.gbit_per_second() > 0.0);
        }
    }
}

#[test]
fn connections_and_pings_are_counted() {
    let origin = Part::Origin.start().unwrap();
    assert!(connections(origin, SHORT).unwrap() > 0.0);
    let latency = ping(origin, SHORT).unwrap();
    assert!(latency.p50 <= latency.p99 && !latency.p50.is_zero());
    let (_, moved) = ping_beside_bulk(origin, SHORT).unwrap();
    assert!(moved.bytes > 0);
    let latency = ping_beside_stalled(origin, &[], SHORT).unwrap();
    assert!(latency.p50 <= latency.p99 && !latency.p50.is_zero());
}

#[test]
fn idle_streams_are_as_many_as_asked_for() {
    let origin = Part::Origin.start().unwrap();
    let streams = open_idle(origin, 21).unwrap();
    assert_eq!(streams.len(), 21);
    for mut stream in streams {
        stream.set_nonblocking(true).unwrap();
        let open = stream.read(&mut [0]).unwrap_err();
        assert_eq!(open.kind(), io::ErrorKind::WouldBlock);
    }
}

#[test]
fn what_breaks_off_is_no_figure() {
    // Takes connections, and ends each at once.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let path = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            drop(stream);
        }
    });
    assert!(bulk(path, Way::ToCompute, 1, SHORT).is_err());
    assert!(bulk(path, Way::ToControl, 2, SHORT).is_err());
    assert!(connections(path, SHORT).is_err());
    assert!(ping(path, SHORT).is_err());
    assert!(ping_beside_bulk(path, SHORT).is_err());
    assert!(open_idle(path, 1).is_err());
}

#[test]
fn percentiles_are_of_the_nearest_rank() {
    let micros = |all: &[u64]| all.iter().copied().map(Duration::from_micros).collect();
    let of = |all: &[u64]| {
        let latency = Latency::of(micros(all));
        (latency.p50.as_micros(), latency.p99.as_micros())
    };
    assert_eq!(of(&[7]), (7, 7));
    assert_eq!(of(&[9, 1, 5]), (5, 9));
    let hundred: Vec<u64> = (1..=100).rev().collect();
    assert_eq!(of(&hundred), (50, 99));
}
