//! Links that people have, from the best to one that hardly works.
//!
//! Delays are one way and half of a round trip; what a source gives as a spread of round trips is
//! jitter, half of it each way. None of these corrupts: real links drop what they damage.

use std::time::Duration;

use super::shape::{Bursts, Link, Loss, Probability, Rate, Reorder, Shape};

/// A link of the ladder.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rung {
    /// What it is called on a command line.
    pub name: &'static str,
    /// What it does.
    pub link: Link,
}

/// All of them, the best first.
pub const LADDER: [Rung; 6] = [
    rung("datacentre", DATACENTRE),
    rung("home-wifi", HOME_WIFI),
    rung("4g", MOBILE_4G),
    rung("transatlantic", TRANSATLANTIC),
    rung("satellite", SATELLITE),
    rung("dying", DYING),
];

/// The link of that name.
pub fn find(name: &str) -> Option<Link> {
    let rung = LADDER.iter().find(|rung| rung.name == name)?;
    Some(rung.link)
}

/// Two machines of one data centre: a round trip of 0.5 ms (Jeff Dean's "numbers everyone should
/// know"), no loss. As fast as the machine that emulates it: the speed of a data centre's network is
/// none that this could hold back.
pub const DATACENTRE: Link = Link::symmetric(Shape {
    delay: Duration::from_micros(250),
    queue: 4 * MIB,
    ..Shape::CLEAR
});

/// A household's cable line behind Wi-Fi: 100 Mbit/s down and 20 up, the least that the FCC calls
/// broadband (report of March 2024, FCC 24-27). The queue of a quarter of a second is bloated as in
/// "Bufferbloat: Dark Buffers in the Internet" (Gettys and Nichols, ACM Queue 2011). The round trip of
/// 20 to 40 ms and 0.5 % loss in short bursts are our choice.
pub const HOME_WIFI: Link = Link {
    up: Shape {
        rate: Rate::mbit(20),
        queue: quarter_second(20),
        ..WIFI
    },
    down: Shape {
        rate: Rate::mbit(100),
        queue: quarter_second(100),
        ..WIFI
    },
};

/// LTE in a city: 30 Mbit/s down and 10 up, a round trip of 50 to 90 ms, half a second of queue and only
/// 0.1 % loss, because a base station repeats and buffers rather than drops ("Tackling Bufferbloat in
/// 3G/4G Networks", Jiang et al., IMC 2012). The numbers are our choice.
pub const MOBILE_4G: Link = Link {
    up: Shape {
        rate: Rate::mbit(10),
        queue: 2 * quarter_second(10),
        ..LTE
    },
    down: Shape {
        rate: Rate::mbit(30),
        queue: 2 * quarter_second(30),
        ..LTE
    },
};

/// Frankfurt to Virginia: 6500 km, for which light in glass needs 65 ms there and back. The round trip of
/// 88 to 90 ms, 1 Gbit/s and 0.01 % loss are our choice.
pub const TRANSATLANTIC: Link = Link::symmetric(Shape {
    delay: Duration::from_millis(44),
    jitter: Duration::from_millis(1),
    loss: Loss::Each(Probability::per_million(100)),
    rate: Rate::mbit(1000),
    queue: quarter_second(1000),
    ..Shape::CLEAR
});

/// A geostationary satellite: 239.6 ms up and down again where it stands overhead and 279.0 ms at the rim
/// (RFC 2488 §2). 25 Mbit/s down, 3 up and 0.5 % loss in bursts, by rain, are our choice.
pub const SATELLITE: Link = Link {
    up: Shape {
        rate: Rate::mbit(3),
        queue: 2 * quarter_second(3),
        ..GEOSTATIONARY
    },
    down: Shape {
        rate: Rate::mbit(25),
        queue: 2 * quarter_second(25),
        ..GEOSTATIONARY
    },
};

/// What is left of a mobile network at the edge of its cell: our choice. A quarter of a second to one
/// way, 10 % lost in bursts of five, some reordered and copied, and 500 kbit/s.
pub const DYING: Link = Link::symmetric(Shape {
    delay: Duration::from_millis(150),
    jitter: Duration::from_millis(100),
    loss: bursts(10_000, 5, Duration::from_secs(1)),
    reorder: Reorder {
        probability: Probability::percent(2),
        held_back: Duration::from_millis(30),
    },
    duplicate: Probability::per_million(2_000),
    rate: Rate::kbit(500),
    queue: 64 * 1024,
    ..Shape::CLEAR
});

const WIFI: Shape = Shape {
    delay: Duration::from_millis(10),
    jitter: Duration::from_millis(10),
    loss: bursts(500, 3, Duration::from_millis(50)),
    ..Shape::CLEAR
};

const LTE: Shape = Shape {
    delay: Duration::from_millis(25),
    jitter: Duration::from_millis(20),
    loss: Loss::Each(Probability::per_million(1_000)),
    ..Shape::CLEAR
};

const GEOSTATIONARY: Shape = Shape {
    delay: Duration::from_millis(255),
    jitter: Duration::from_millis(15),
    loss: bursts(500, 4, Duration::from_millis(500)),
    ..Shape::CLEAR
};

const MIB: usize = 1024 * 1024;

const fn rung(name: &'static str, link: Link) -> Rung {
    Rung { name, link }
}

/// The bytes that so many Mbit/s take a quarter of a second for.
const fn quarter_second(mbit: usize) -> usize {
    mbit * 1_000_000 / 8 / 4
}

/// Bursts of a mean `length` in packets, all of them lost, which are `lost` of 100 000 packets in all, if
/// those come so fast that none lasts longer than it may.
const fn bursts(lost: u32, length: u32, longest: Duration) -> Loss {
    const ALL: u64 = 100_000;
    let (lost, length) = (lost as u64, length as u64);
    // Of begin / (begin + end) = lost / all, with end = 1 / length.
    let begin = 1_000_000 * lost / ((ALL - lost) * length);
    Loss::Bursts(Bursts {
        begin: Probability::per_million(begin as u32),
        end: Probability::per_million((1_000_000 / length) as u32),
        within: Probability::ALWAYS,
        between: Probability::NEVER,
        longest,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rung_is_found_by_its_name() {
        for rung in LADDER {
            assert_eq!(find(rung.name), Some(rung.link));
        }
        assert_eq!(find("carrier pigeon"), None);
    }

    #[test]
    fn bursts_lose_the_share_that_was_asked_for() {
        let Loss::Bursts(found) = bursts(10_000, 5, Duration::MAX) else {
            panic!("they are bursts");
        };
        // 0.1 = begin / (begin + 0.2)
        assert_eq!(found.begin, Probability::per_million(22_222));
        assert_eq!(found.end, Probability::percent(20));
    }
}
