//! How much passes.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use chaos::wire::{Rate, Shape, Tally, Way};

use crate::support::{Family, Hosts, Prober, wait_for};

const TEN_MBIT: Shape = Shape {
    rate: Rate::mbit(10),
    ..Shape::CLEAR
};

#[test]
fn tcp_gets_no_more_than_the_rate() {
    let Some(hosts) = Hosts::create() else {
        return;
    };
    let _wire = hosts.wire(TEN_MBIT);
    const BYTES: usize = 1_000_000;
    let listener = hosts
        .server
        .within(|| TcpListener::bind((hosts.server.v4(), 0)))
        .unwrap();
    let address = listener.local_addr().unwrap();
    let mut sender = hosts.client.within(|| TcpStream::connect(address)).unwrap();
    let began = Instant::now();
    let sending = thread::spawn(move || sender.write_all(&vec![7; BYTES]));
    let mut received = Vec::new();
    listener
        .accept()
        .unwrap()
        .0
        .read_to_end(&mut received)
        .unwrap();
    let took = began.elapsed();
    sending.join().unwrap().unwrap();
    assert_eq!(received.len(), BYTES);
    // Headers come on top, so it takes longer than this by 3 % and more.
    let least = TEN_MBIT.rate.time_for(BYTES);
    assert!(took >= least, "{took:?} for what takes {least:?}");
}

/// By the wire's own clock: when it had delivered, not when a busy machine noticed.
#[test]
fn a_full_queue_is_sent_at_the_rate() {
    let Some(hosts) = Hosts::create() else {
        return;
    };
    let stopped = Shape {
        rate: Rate::kbit(1),
        ..Shape::CLEAR
    };
    let wire = hosts.wire(stopped);
    let prober = Prober::new(&hosts, Family::V4);
    const DATAGRAMS: u64 = 500;
    const LENGTH: u64 = 1_028;
    for _ in 0..DATAGRAMS {
        prober.send_bytes(&[0; 1_000]);
    }
    let all_wait = |tally: &Tally| tally.offered == DATAGRAMS;
    wait_for("all to wait", || Some(wire.tally(Way::Up)).filter(all_wait));
    let began = Instant::now();
    wire.set(Way::Up, TEN_MBIT);
    let all_there = |tally: &Tally| tally.delivered == DATAGRAMS;
    let tally = wait_for("all to be there", || {
        Some(wire.tally(Way::Up)).filter(all_there)
    });
    let took = began.elapsed();
    assert_eq!(tally.delivered_bytes, DATAGRAMS * LENGTH);
    let first = tally.first_arrival.unwrap();
    let between = tally.latest_arrival.since(first).as_secs_f64();
    let bits = ((DATAGRAMS - 1) * LENGTH * 8) as f64;
    let mbit = bits / between / 1e6;
    assert!((9.5..10.5).contains(&mbit), "{mbit} Mbit/s");
    let least = Duration::from_secs_f64(bits / 10e6);
    assert!(took >= least, "{took:?} for what takes {least:?}");
}

#[test]
fn what_the_queue_does_not_hold_is_dropped() {
    let Some(hosts) = Hosts::create() else {
        return;
    };
    let wire = hosts.wire(Shape {
        rate: Rate::kbit(1),
        queue: 10 * 1_028,
        ..Shape::CLEAR
    });
    let prober = Prober::new(&hosts, Family::V4);
    for _ in 0..50 {
        prober.send_bytes(&[0; 1_000]);
    }
    // The first is being sent for eight seconds, so nothing else leaves the queue.
    let tally = wait_for("all to be dealt with", || {
        Some(wire.tally(Way::Up)).filter(|tally| tally.offered == 50)
    });
    assert_eq!(tally.queue_full, 50 - 1 - 10);
    assert_eq!(wire.on_the_way(Way::Up), 11);
}
