use std::net::IpAddr;

use proptest::prelude::*;

use super::*;
use crate::wire::{
    packet::{tcp, udp},
    shape::{Bursts, Probability, Rate, Reorder},
};

const SEED: Seed = Seed(7);

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn at(millis: u64) -> Moment {
    Moment::after(ms(millis))
}

fn end() -> ((IpAddr, u16), (IpAddr, u16)) {
    (
        ("192.0.2.1".parse().unwrap(), 1000),
        ("192.0.2.2".parse().unwrap(), 2000),
    )
}

/// A UDP packet of so many bytes in all, which says its number.
fn numbered(number: u32, length: usize) -> Packet {
    let mut payload = vec![0; length - 28];
    payload[..4].copy_from_slice(&number.to_be_bytes());
    let (from, to) = end();
    udp(from, to, &payload)
}

fn number(packet: &Packet) -> u32 {
    u32::from_be_bytes(packet.bytes()[28..32].try_into().unwrap())
}

/// When what is on the way arrives, in that order: each is fetched when the direction says.
fn arrivals(direction: &mut Direction) -> Vec<(Moment, Packet)> {
    let mut arrived = Vec::new();
    while let Some(when) = direction.poll_timeout() {
        while let Some(packet) = direction.poll_deliver(when) {
            arrived.push((when, packet));
        }
    }
    arrived
}

fn decisions(shape: Shape, packets: u32) -> Vec<Decision> {
    let mut direction = Direction::new(shape, SEED);
    (0..packets)
        .map(|number| direction.handle_packet(at(u64::from(number)), numbered(number, 100)))
        .collect()
}

#[test]
fn everything_arrives_at_once_on_a_clear_link() {
    let mut direction = Direction::new(Shape::CLEAR, SEED);
    let packet = numbered(1, 100);
    direction.handle_packet(at(5), packet.clone());
    assert_eq!(direction.poll_deliver(at(5)), Some(packet));
    assert_eq!(direction.poll_timeout(), None);
}

#[test]
fn a_delayed_packet_arrives_when_it_is_due_and_not_before() {
    let shape = Shape {
        delay: ms(50),
        ..Shape::CLEAR
    };
    let mut direction = Direction::new(shape, SEED);
    direction.handle_packet(at(10), numbered(1, 100));
    assert_eq!(direction.poll_timeout(), Some(at(60)));
    assert_eq!(direction.poll_deliver(at(59)), None);
    assert_eq!(number(&direction.poll_deliver(at(60)).unwrap()), 1);
}

#[test]
fn the_rate_spaces_packets_and_the_queue_drops_at_its_tail() {
    let shape = Shape {
        rate: Rate::mbit(1),
        queue: 3000,
        delay: ms(5),
        ..Shape::CLEAR
    };
    let mut direction = Direction::new(shape, SEED);
    let fates: Vec<_> = (0..6)
        .map(|number| direction.handle_packet(at(0), numbered(number, 1250)).fate)
        .collect();
    // One is being sent and two wait: a third would be byte 3001 and more.
    for fate in &fates[..3] {
        assert!(matches!(fate, Fate::Carried(_)), "{fate:?}");
    }
    assert_eq!(fates[3..], [Fate::Dropped(Cause::QueueFull); 3]);
    let arrived: Vec<_> = arrivals(&mut direction)
        .into_iter()
        .map(|(when, packet)| (when, number(&packet)))
        .collect();
    assert_eq!(arrived, [(at(15), 0), (at(25), 1), (at(35), 2)]);
}

#[test]
fn a_queue_of_nothing_still_sends_one_packet_at_a_time() {
    let shape = Shape {
        rate: Rate::mbit(1),
        queue: 0,
        ..Shape::CLEAR
    };
    let mut direction = Direction::new(shape, SEED);
    let carried = |decision: Decision| matches!(decision.fate, Fate::Carried(_));
    assert!(carried(direction.handle_packet(at(0), numbered(0, 1250))));
    assert!(!carried(direction.handle_packet(at(9), numbered(1, 1250))));
    assert!(carried(direction.handle_packet(at(10), numbered(2, 1250))));
}

#[test]
fn a_new_shape_leaves_what_is_in_flight_and_speeds_up_what_waits() {
    let slow = Shape {
        rate: Rate::kbit(1),
        delay: ms(100),
        ..Shape::CLEAR
    };
    let mut direction = Direction::new(
        Shape {
            delay: ms(100),
            ..Shape::CLEAR
        },
        SEED,
    );
    direction.handle_packet(at(0), numbered(0, 1250));
    direction.set_shape(at(1), slow);
    direction.handle_packet(at(1), numbered(1, 1250));
    direction.handle_packet(at(1), numbered(2, 1250));
    let cut = Shape {
        cut: true,
        rate: Rate::mbit(1),
        ..slow
    };
    direction.set_shape(at(20), cut);
    let fate = direction.handle_packet(at(20), numbered(3, 1250)).fate;
    assert_eq!(fate, Fate::Dropped(Cause::Cut));
    let arrived: Vec<_> = arrivals(&mut direction)
        .into_iter()
        .map(|(when, packet)| (when, number(&packet)))
        .collect();
    assert_eq!(arrived, [(at(100), 0), (at(130), 1), (at(140), 2)]);
}

#[test]
fn what_is_blocked_or_too_long_does_not_enter() {
    let (from, to) = end();
    let fate = |shape: Shape, packet: Packet| {
        Direction::new(shape, SEED)
            .handle_packet(at(0), packet)
            .fate
    };
    let carried = |fate: Fate| matches!(fate, Fate::Carried(_));
    let no_udp = Shape {
        udp_blocked: true,
        ..Shape::CLEAR
    };
    assert_eq!(
        fate(no_udp, udp(from, to, b"x")),
        Fate::Dropped(Cause::UdpBlocked)
    );
    assert!(carried(fate(no_udp, tcp(from, to, b"x"))));
    let no_tcp = Shape {
        tcp_blocked: true,
        ..Shape::CLEAR
    };
    assert_eq!(
        fate(no_tcp, tcp(from, to, b"x")),
        Fate::Dropped(Cause::TcpBlocked)
    );
    assert!(carried(fate(no_tcp, udp(from, to, b"x"))));
    let narrow = Shape {
        mtu: 1280,
        ..Shape::CLEAR
    };
    assert!(carried(fate(narrow, numbered(0, 1280))));
    assert_eq!(
        fate(narrow, numbered(0, 1281)),
        Fate::Dropped(Cause::TooLong)
    );
}

#[test]
fn one_held_back_is_overtaken() {
    // Under this seed: which of the first few is held back is all that chance decides here.
    let shape = Shape {
        delay: ms(20),
        reorder: Reorder {
            probability: Probability::percent(20),
            held_back: ms(10),
        },
        ..Shape::CLEAR
    };
    let mut direction = Direction::new(shape, SEED);
    let mut expected = Vec::new();
    for packet in 0..100 {
        let sent = u64::from(packet);
        let Fate::Carried(carried) = direction
            .handle_packet(at(sent), numbered(packet, 100))
            .fate
        else {
            panic!("nothing is lost");
        };
        let late = if carried.held_back { 10 } else { 0 };
        expected.push((at(sent + 20 + late), packet));
    }
    expected.sort_by_key(|(when, packet)| (*when, *packet));
    let arrived: Vec<_> = arrivals(&mut direction)
        .into_iter()
        .map(|(when, packet)| (when, number(&packet)))
        .collect();
    assert_eq!(arrived, expected);
    let held_back = direction.tally().held_back;
    assert!((5..50).contains(&held_back), "{held_back}");
}

#[test]
fn bursts_are_as_long_and_as_many_as_the_model_says() {
    // 100 000 packets under one seed: no run differs from another. A tenth are lost, in bursts of ten.
    let bursts = Bursts {
        begin: Probability::per_million(11_111),
        end: Probability::percent(10),
        within: Probability::ALWAYS,
        between: Probability::NEVER,
        longest: Duration::MAX,
    };
    let shape = Shape {
        loss: Loss::Bursts(bursts),
        ..Shape::CLEAR
    };
    let lost: Vec<bool> = decisions(shape, 100_000)
        .into_iter()
        .map(|decision| decision.fate == Fate::Dropped(Cause::Lost))
        .collect();
    let total = lost.iter().filter(|lost| **lost).count();
    let runs = lost.chunk_by(|a, b| a == b).filter(|run| run[0]).count();
    assert!((9_000..11_000).contains(&total), "{total}");
    let mean = total as f64 / runs as f64;
    assert!((9.0..11.0).contains(&mean), "{mean}");
}

#[test]
fn a_burst_passes_with_time() {
    let bursts = |begin| Shape {
        loss: Loss::Bursts(Bursts {
            begin,
            end: Probability::NEVER,
            within: Probability::ALWAYS,
            between: Probability::NEVER,
            longest: ms(10),
        }),
        ..Shape::CLEAR
    };
    let mut direction = Direction::new(bursts(Probability::ALWAYS), SEED);
    let is_lost = |direction: &mut Direction, millis| {
        let fate = direction.handle_packet(at(millis), numbered(0, 100)).fate;
        fate == Fate::Dropped(Cause::Lost)
    };
    assert!(is_lost(&mut direction, 5));
    direction.set_shape(at(5), bursts(Probability::NEVER));
    assert!(is_lost(&mut direction, 14));
    assert!(!is_lost(&mut direction, 15));
}

#[test]
fn probabilities_are_what_they_say() {
    assert_eq!(Probability::try_from(0.0), Ok(Probability::NEVER));
    assert_eq!(Probability::try_from(1.0), Ok(Probability::ALWAYS));
    assert_eq!(Probability::try_from(0.5), Ok(Probability::percent(50)));
    for wrong in [-0.1, 1.1, f64::NAN] {
        assert!(Probability::try_from(wrong).is_err(), "{wrong}");
    }
    assert!(Probability::ALWAYS.happens(u64::MAX));
    assert!(!Probability::NEVER.happens(0));
    assert!(Probability::percent(50).happens((1 << 63) - 1));
    assert!(!Probability::percent(50).happens(1 << 63));
}

fn shapes() -> impl Strategy<Value = Shape> {
    let probability = || (0..=100_u32).prop_map(Probability::percent);
    let loss = prop_oneof![
        Just(Loss::Never),
        probability().prop_map(Loss::Each),
        [probability(), probability(), probability(), probability()].prop_map(
            |[begin, end, within, between]| Loss::Bursts(Bursts {
                begin,
                end,
                within,
                between,
                longest: ms(100),
            })
        ),
    ];
    let rate = prop_oneof![Just(Rate::Unlimited), (1..10_000_u32).prop_map(Rate::kbit)];
    (
        (0..300_u64, 0..100_u64, 0..50_u64),
        (loss, probability(), probability(), probability()),
        (rate, 0..20_000_usize, 100..1600_usize),
        (proptest::bool::weighted(0.1), proptest::bool::weighted(0.1)),
    )
        .prop_map(
            |(
                (delay, jitter, held_back),
                (loss, reorder, duplicate, corrupt),
                (rate, queue, mtu),
                (cut, udp_blocked),
            )| {
                Shape {
                    delay: ms(delay),
                    jitter: ms(jitter),
                    loss,
                    reorder: Reorder {
                        probability: reorder,
                        held_back: ms(held_back),
                    },
                    duplicate,
                    corrupt,
                    rate,
                    queue,
                    mtu,
                    cut,
                    udp_blocked,
                    tcp_blocked: false,
                }
            },
        )
}

/// A change of the shape, or a packet of a length, so many milliseconds after what was before.
#[derive(Clone, Debug)]
enum Step {
    Shape(Shape),
    Packet(usize),
}

fn runs() -> impl Strategy<Value = Vec<(u64, Step)>> {
    let step = prop_oneof![
        1 => shapes().prop_map(Step::Shape),
        20 => (32..1600_usize).prop_map(Step::Packet),
    ];
    proptest::collection::vec((0..20_u64, step), 1..120)
}

/// What one run decided and delivered: each packet is fetched when it is due, or late.
fn run(
    steps: &[(u64, Step)],
    seed: Seed,
    is_late: bool,
) -> (Vec<Decision>, Vec<Packet>, Direction) {
    let mut direction = Direction::new(Shape::CLEAR, seed);
    let (mut decided, mut delivered) = (Vec::new(), Vec::new());
    let mut millis = 0;
    for (pause, step) in steps {
        millis += pause;
        if !is_late {
            while let Some(due) = direction.poll_timeout().filter(|due| *due <= at(millis)) {
                delivered.extend(direction.poll_deliver(due));
            }
        }
        match step {
            Step::Shape(shape) => direction.set_shape(at(millis), *shape),
            Step::Packet(length) => {
                let packet = numbered(decided.len() as u32, *length);
                decided.push(direction.handle_packet(at(millis), packet));
            }
        }
    }
    delivered.extend(
        arrivals(&mut direction)
            .into_iter()
            .map(|(_, packet)| packet),
    );
    (decided, delivered, direction)
}

proptest! {
    #[test]
    fn the_same_seed_decides_the_same_however_late_packets_are_fetched(steps in runs(), seed: u64) {
        let (decided, delivered, first) = run(&steps, Seed(seed), false);
        let (again, delivered_again, second) = run(&steps, Seed(seed), true);
        prop_assert_eq!(decided, again);
        prop_assert_eq!(delivered, delivered_again);
        prop_assert_eq!(first.tally(), second.tally());
    }

    #[test]
    fn every_packet_is_delivered_or_dropped_for_a_reason(steps in runs(), seed: u64) {
        let (decided, delivered, direction) = run(&steps, Seed(seed), false);
        let tally = *direction.tally();
        prop_assert_eq!(direction.on_the_way(), 0);
        prop_assert_eq!(direction.waiting, 0);
        prop_assert_eq!(tally.offered, decided.len() as u64);
        prop_assert_eq!(tally.delivered, delivered.len() as u64);
        let carried = decided.iter().filter(|decision| matches!(decision.fate, Fate::Carried(_))).count() as u64;
        prop_assert_eq!(tally.delivered, carried + tally.duplicated);
        let copies_without_room = decided.iter().filter(|decision| matches!(decision.fate, Fate::Carried(Carried { duplicated: true, .. }))).count() as u64 - tally.duplicated;
        let dropped = tally.cut + tally.udp_blocked + tally.tcp_blocked + tally.too_long + tally.lost + tally.queue_full;
        prop_assert_eq!(tally.offered, carried + dropped - copies_without_room);
    }

    #[test]
    fn a_setting_changes_no_decision_but_its_own(shape in shapes(), other in shapes(), which in 0..4_u8) {
        // A full queue depends on all of them, so there is none here.
        let shape = Shape { rate: Rate::Unlimited, ..shape };
        let mut changed = shape;
        match which {
            0 => changed.jitter = other.jitter,
            1 => changed.reorder = other.reorder,
            2 => changed.duplicate = other.duplicate,
            _ => changed.corrupt = other.corrupt,
        }
        for (before, after) in decisions(shape, 200).into_iter().zip(decisions(changed, 200)) {
            match (before.fate, after.fate) {
                (Fate::Carried(before), Fate::Carried(after)) => {
                    prop_assert!(which == 0 || before.jitter == after.jitter);
                    prop_assert!(which == 1 || before.held_back == after.held_back);
                    prop_assert!(which == 2 || before.duplicated == after.duplicated);
                    prop_assert!(which == 3 || before.flipped == after.flipped);
                }
                (before, after) => prop_assert_eq!(before, after),
            }
        }
    }

    #[test]
    fn a_larger_loss_loses_what_a_smaller_one_does_and_more(smaller in 0..=100_u32, more in 0..=100_u32) {
        let lost = |percent| -> Vec<u64> {
            let shape = Shape { loss: Loss::Each(Probability::percent(percent)), ..Shape::CLEAR };
            let decided = decisions(shape, 200).into_iter();
            decided.filter(|decision| decision.fate == Fate::Dropped(Cause::Lost)).map(|decision| decision.number).collect()
        };
        let many = lost(smaller + more);
        prop_assert!(lost(smaller).iter().all(|number| many.contains(number)));
    }

    #[test]
    fn packets_keep_their_order_and_their_delay_unless_held_back(shape in shapes(), pauses in proptest::collection::vec(0..20_u64, 1..100)) {
        let shape = Shape { duplicate: Probability::NEVER, corrupt: Probability::NEVER, ..shape };
        let mut direction = Direction::new(shape, SEED);
        let (mut millis, mut sent) = (0, Vec::new());
        for pause in pauses {
            millis += pause;
            let decision = direction.handle_packet(at(millis), numbered(sent.len() as u32, 100));
            sent.push((at(millis), decision));
        }
        let mut last = None;
        for (when, packet) in arrivals(&mut direction) {
            let number = number(&packet);
            let (left, decision) = sent[number as usize];
            let Fate::Carried(carried) = decision.fate else {
                panic!("{decision:?} arrived");
            };
            prop_assert!(when >= left + shape.delay + carried.jitter);
            if !carried.held_back {
                prop_assert!(last < Some(number));
                last = Some(number);
            }
        }
    }

    #[test]
    fn no_more_arrives_than_the_rate_allows(kbit in 1..100_000_u32, lengths in proptest::collection::vec(32..1600_usize, 2..60)) {
        let rate = Rate::kbit(kbit);
        let shape = Shape { rate, ..Shape::CLEAR };
        let mut direction = Direction::new(shape, SEED);
        for (number, length) in lengths.iter().enumerate() {
            direction.handle_packet(at(0), numbered(number as u32, *length));
        }
        let mut expected = at(0);
        for (when, packet) in arrivals(&mut direction) {
            expected = expected + rate.time_for(packet.length());
            prop_assert_eq!(when, expected);
        }
    }
}
