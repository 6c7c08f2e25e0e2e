//! What happens to packets by chance.

use std::{fs, time::Duration};

use chaos::wire::{Bursts, Loss, Probability, Reorder, Shape, Way};

use crate::support::{Family, Hosts, Prober, carried, wait_for};

#[test]
fn one_packet_in_twenty_is_lost() {
    let Some(hosts) = Hosts::create() else {
        return;
    };
    const SENT: u32 = 10_000;
    let wire = hosts.wire(Shape {
        loss: Loss::Each(Probability::percent(5)),
        ..Shape::CLEAR
    });
    let mut prober = Prober::new(&hosts, Family::V4);
    prober.send(&wire, SENT);
    // Chernoff: of n with probability p, more than (1 + d)np happen less often than
    // exp(-d²np / (2 + d)), and fewer than (1 - d)np less often than exp(-d²np / 2). Here np = 500;
    // with d = 0.32 these are 2.6e-10 and 7.6e-12: together less than 1e-9, whatever the seed.
    let lost = SENT - prober.received.len() as u32;
    assert!((340..=660).contains(&lost), "{lost}");
    assert_eq!(prober.received, carried(&wire.trace(Way::Up), |_| true));
    assert_eq!(wire.tally(Way::Down).lost, 0);
}

#[test]
fn packets_are_lost_in_bursts() {
    let Some(hosts) = Hosts::create() else {
        return;
    };
    let wire = hosts.wire(Shape {
        loss: Loss::Bursts(Bursts {
            begin: Probability::percent(1),
            end: Probability::percent(20),
            within: Probability::ALWAYS,
            between: Probability::NEVER,
            longest: Duration::MAX,
        }),
        ..Shape::CLEAR
    });
    let mut prober = Prober::new(&hosts, Family::V4);
    prober.send(&wire, 10_000);
    assert_eq!(prober.received, carried(&wire.trace(Way::Up), |_| true));
    let gaps: Vec<u32> = prober
        .received
        .windows(2)
        .map(|pair| pair[1] - pair[0] - 1)
        .filter(|gap| *gap > 0)
        .collect();
    let mean = f64::from(gaps.iter().sum::<u32>()) / gaps.len() as f64;
    // About 475 bursts, whose lengths are geometric with mean 5 and deviation 4.5: that of the mean
    // is 0.21, and this is seven times as far off. Losses that know nothing of each other would
    // have a mean of 1.05.
    assert!((3.5..6.5).contains(&mean), "{mean} over {}", gaps.len());
}

#[test]
fn copies_arrive_twice() {
    let Some(hosts) = Hosts::create() else {
        return;
    };
    let wire = hosts.wire(Shape {
        duplicate: Probability::percent(10),
        ..Shape::CLEAR
    });
    let mut prober = Prober::new(&hosts, Family::V4);
    prober.send(&wire, 2_000);
    let trace = wire.trace(Way::Up);
    let twice = carried(&trace, |carried| carried.duplicated);
    assert!(!twice.is_empty());
    for (number, count) in prober.counts() {
        assert_eq!(count, 1 + usize::from(twice.contains(&number)), "{number}");
    }
    assert_eq!(prober.counts().len(), 2_000);
}

#[test]
fn packets_that_are_held_back_are_overtaken() {
    let Some(hosts) = Hosts::create() else {
        return;
    };
    // Long enough for the whole burst to be sent meanwhile, also by a machine with too much to do.
    let wire = hosts.wire(Shape {
        reorder: Reorder {
            probability: Probability::percent(10),
            held_back: Duration::from_secs(3),
        },
        ..Shape::CLEAR
    });
    let mut prober = Prober::new(&hosts, Family::V4);
    prober.send(&wire, 100);
    let trace = wire.trace(Way::Up);
    let late = carried(&trace, |carried| carried.held_back);
    assert!(!late.is_empty());
    let in_time = carried(&trace, |carried| !carried.held_back);
    assert_eq!(prober.received, [in_time, late].concat());
}

#[test]
fn checksums_find_every_corrupted_packet() {
    Hosts::for_each_family(|hosts, family| {
        let wire = hosts.wire(Shape {
            corrupt: Probability::percent(10),
            ..Shape::CLEAR
        });
        let mut prober = Prober::new(hosts, family);
        let before = checksum_errors(hosts, family);
        prober.send(&wire, 1_000);
        let trace = wire.trace(Way::Up);
        let corrupted = carried(&trace, |carried| carried.flipped.is_some()).len() as u64;
        assert_ne!(corrupted, 0);
        wait_for("the kernel to have seen them all", || {
            (checksum_errors(hosts, family) - before == corrupted).then_some(())
        });
        let intact = carried(&trace, |carried| carried.flipped.is_none());
        assert_eq!(prober.received, intact);
    });
}

#[test]
fn the_same_seed_decides_the_same_for_the_same_packets() {
    let shape = Shape {
        jitter: Duration::from_millis(2),
        loss: Loss::Each(Probability::percent(20)),
        duplicate: Probability::percent(20),
        corrupt: Probability::percent(20),
        ..Shape::CLEAR
    };
    let run = || {
        let hosts = Hosts::create()?;
        let wire = hosts.wire(shape);
        Prober::new(&hosts, Family::V4).send(&wire, 500);
        Some(wire.trace(Way::Up))
    };
    let Some(first) = run() else {
        return;
    };
    assert_eq!(first.len(), 500);
    assert_eq!(Some(first), run());
}

/// How many datagrams the server's kernel found to be damaged.
fn checksum_errors(hosts: &Hosts, family: Family) -> u64 {
    let file = match family {
        Family::V4 => "/proc/thread-self/net/snmp",
        Family::V6 => "/proc/thread-self/net/snmp6",
    };
    let text = hosts.server.within(|| fs::read_to_string(file)).unwrap();
    let found = match family {
        // A line of names, and below it one of numbers.
        Family::V4 => {
            let mut lines = text.lines().filter_map(|line| line.strip_prefix("Udp: "));
            let (names, numbers) = (lines.next().unwrap(), lines.next().unwrap());
            let mut pairs = names.split(' ').zip(numbers.split(' '));
            pairs.find(|(name, _)| *name == "InCsumErrors").unwrap().1
        }
        Family::V6 => {
            let mut lines = text.lines();
            lines
                .find_map(|line| line.strip_prefix("Udp6InCsumErrors"))
                .unwrap()
        }
    };
    found.trim().parse().unwrap()
}
