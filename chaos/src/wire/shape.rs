//! What a link does to packets: settings only.

use std::{num::NonZeroU64, time::Duration};

use thiserror::Error;

/// Both ways of a link between somebody and the server that they dial.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Link {
    /// From who dials to the server.
    pub up: Shape,
    /// From the server to who dials.
    pub down: Shape,
}

impl Link {
    /// One way of it.
    pub const fn shape(&self, way: Way) -> Shape {
        match way {
            Way::Up => self.up,
            Way::Down => self.down,
        }
    }

    /// The same both ways.
    pub const fn symmetric(shape: Shape) -> Self {
        Self {
            up: shape,
            down: shape,
        }
    }
}

/// A way along a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Way {
    /// From who dials to the server.
    Up,
    /// From the server to who dials.
    Down,
}

impl Way {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Up, Self::Down];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// What one way of a link does to packets. Lengths are those of IP packets: headers of a link
/// layer are not counted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shape {
    /// How long a packet is under way at least, apart from its time in the queue.
    pub delay: Duration,
    /// What is added to `delay`: evenly between nothing and so much, drawn for each packet. Packets
    /// keep their order nevertheless, because that is what the queues do which cause it: one that
    /// is late delays those behind it.
    pub jitter: Duration,
    /// Which packets vanish.
    pub loss: Loss,
    /// Which packets are overtaken.
    pub reorder: Reorder,
    /// How many packets arrive twice. The copy takes its place in the queue right behind.
    pub duplicate: Probability,
    /// How many packets have one bit of their payload flipped. Checksums stay as they are. The
    /// payload is what follows the TCP, UDP or ICMP header; of a packet without one, that header.
    pub corrupt: Probability,
    /// How fast packets leave the queue.
    pub rate: Rate,
    /// How many bytes may wait to be sent, without the packet that is just being sent. What is too
    /// much is dropped at the tail. Memory: so many bytes, and `rate` × `delay` beyond.
    pub queue: usize,
    /// The longest packet, in bytes, that arrives. A longer one vanishes without a word to the
    /// sender: a black hole.
    pub mtu: usize,
    /// Nothing enters the link. What is on it arrives.
    pub cut: bool,
    /// No UDP enters the link.
    pub udp_blocked: bool,
    /// No TCP enters the link.
    pub tcp_blocked: bool,
}

impl Shape {
    /// Everything arrives at once.
    pub const CLEAR: Self = Self {
        delay: Duration::ZERO,
        jitter: Duration::ZERO,
        loss: Loss::Never,
        reorder: Reorder::NEVER,
        duplicate: Probability::NEVER,
        corrupt: Probability::NEVER,
        rate: Rate::Unlimited,
        queue: 1024 * 1024,
        mtu: 65_535,
        cut: false,
        udp_blocked: false,
        tcp_blocked: false,
    };
}

impl Default for Shape {
    fn default() -> Self {
        Self::CLEAR
    }
}

/// Which packets vanish.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Loss {
    /// None.
    Never,
    /// Each on its own.
    Each(Probability),
    /// Many in a row.
    Bursts(Bursts),
}

/// The model of Gilbert and Elliott: a link is good or in a burst, and may change between the two
/// with every packet. It is `gemodel` of Linux' netem, whose names for the parameters are given.
///
/// Of all packets `within` × `begin` / (`begin` + `end`) + `between` × `end` / (`begin` + `end`)
/// are lost, and a burst lasts for 1 / `end` packets on average.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bursts {
    /// How probably a burst begins with a packet (p).
    pub begin: Probability,
    /// How probably it ends with a packet (r).
    pub end: Probability,
    /// How probably a packet of a burst is lost (1 − h).
    pub within: Probability,
    /// How probably any other packet is lost (1 − k).
    pub between: Probability,
    /// How long a burst lasts at most, which netem does not know. Real bursts pass with time;
    /// without a bound, one that hits somebody who sends little outlasts all their attempts.
    pub longest: Duration,
}

/// Which packets are overtaken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reorder {
    /// How many packets are held back.
    pub probability: Probability,
    /// For how long. Those that follow within this time overtake them.
    pub held_back: Duration,
}

impl Reorder {
    /// None.
    pub const NEVER: Self = Self {
        probability: Probability::NEVER,
        held_back: Duration::ZERO,
    };
}

/// How fast a link takes packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rate {
    /// As fast as they come: there is never a queue.
    Unlimited,
    /// So many bits in a second.
    BitsPerSecond(NonZeroU64),
}

impl Rate {
    /// So many thousand bits in a second; as little as can be for 0.
    pub const fn kbit(thousands: u32) -> Self {
        match NonZeroU64::new(thousands as u64 * 1000) {
            Some(bits) => Self::BitsPerSecond(bits),
            None => Self::BitsPerSecond(NonZeroU64::MIN),
        }
    }

    /// So many million bits in a second; as little as can be for 0.
    pub const fn mbit(millions: u32) -> Self {
        match NonZeroU64::new(millions as u64 * 1_000_000) {
            Some(bits) => Self::BitsPerSecond(bits),
            None => Self::BitsPerSecond(NonZeroU64::MIN),
        }
    }

    /// How long it takes to send so many bytes.
    pub fn time_for(self, bytes: usize) -> Duration {
        match self {
            Self::Unlimited => Duration::ZERO,
            Self::BitsPerSecond(bits) => {
                let nanos = bytes as u128 * 8 * 1_000_000_000 / u128::from(bits.get());
                Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
            }
        }
    }
}

/// How probable something is, exact to 1 / 2⁶⁴.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Probability(Threshold);

/// What a number drawn evenly among those of 64 bits has to be below.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Threshold {
    Below(u64),
    Always,
}

impl Probability {
    /// It does not happen.
    pub const NEVER: Self = Self(Threshold::Below(0));
    /// It happens every time.
    pub const ALWAYS: Self = Self(Threshold::Always);

    /// So many times in a million; always, if that is more than a million.
    pub const fn per_million(times: u32) -> Self {
        if times >= 1_000_000 {
            return Self::ALWAYS;
        }
        Self(Threshold::Below(
            (((times as u128) << 64) / 1_000_000) as u64,
        ))
    }

    /// So many times in a hundred; always, if that is more than a hundred.
    pub const fn percent(times: u32) -> Self {
        Self::per_million(times.saturating_mul(10_000))
    }

    /// How probable it is, from 0 to 1.
    pub fn get(self) -> f64 {
        match self.0 {
            Threshold::Below(threshold) => threshold as f64 / 2_f64.powi(64),
            Threshold::Always => 1.0,
        }
    }

    /// Whether it happens to who drew this number.
    pub(super) fn happens(self, drawn: u64) -> bool {
        match self.0 {
            Threshold::Below(threshold) => drawn < threshold,
            Threshold::Always => true,
        }
    }
}

/// A probability is from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Error)]
#[error("{0} is not a probability, which is a number from 0 to 1")]
pub struct NotAProbability(pub f64);

impl TryFrom<f64> for Probability {
    type Error = NotAProbability;

    fn try_from(share: f64) -> Result<Self, NotAProbability> {
        if !(0.0..=1.0).contains(&share) {
            return Err(NotAProbability(share));
        }
        if share == 1.0 {
            return Ok(Self::ALWAYS);
        }
        // 2⁶⁴ is a float, and a share below 1 of it fits.
        Ok(Self(Threshold::Below((share * 2_f64.powi(64)) as u64)))
    }
}
