//! What a link decided about its packets.

use std::time::Duration;

use super::moment::Moment;

/// What happens to a packet. Those of two runs compare equal if their seed, settings and packets do;
/// but for a full queue and bursts that pass with time, the times of the packets do not matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// How many packets came before it.
    pub number: u64,
    /// What happens to it.
    pub fate: Fate,
}

/// Whether a packet arrives, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It arrives.
    Carried(Carried),
    /// It does not.
    Dropped(Cause),
}

/// How a packet arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Carried {
    /// What jitter adds to its delay.
    pub jitter: Duration,
    /// Whether it is held back so that others overtake it.
    pub held_back: bool,
    /// Whether a copy follows it, if the queue has room for that.
    pub duplicated: bool,
    /// Which bit of it is flipped, counted from its first byte's highest bit.
    pub flipped: Option<usize>,
}

/// Why a packet does not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The link is cut.
    Cut,
    /// It is UDP, which is blocked.
    UdpBlocked,
    /// It is TCP, which is blocked.
    TcpBlocked,
    /// It is longer than the link's MTU.
    TooLong,
    /// By chance.
    Lost,
    /// The queue is full.
    QueueFull,
}

/// What one way of a link has done so far, in packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// That came.
    pub offered: u64,
    /// Dropped for [`Cause::Cut`].
    pub cut: u64,
    /// Dropped for [`Cause::UdpBlocked`].
    pub udp_blocked: u64,
    /// Dropped for [`Cause::TcpBlocked`].
    pub tcp_blocked: u64,
    /// Dropped for [`Cause::TooLong`].
    pub too_long: u64,
    /// Dropped for [`Cause::Lost`].
    pub lost: u64,
    /// Dropped for [`Cause::QueueFull`], copies too.
    pub queue_full: u64,
    /// Copies that were made and had room.
    pub duplicated: u64,
    /// With a bit flipped, copies too.
    pub corrupted: u64,
    /// Held back, so that others overtook them.
    pub held_back: u64,
    /// That arrived.
    pub delivered: u64,
    /// The bytes of those that arrived.
    pub delivered_bytes: u64,
    /// When the first of them arrived by the wire's time.
    pub first_arrival: Option<Moment>,
    /// When the latest of them arrived by the wire's time, whenever it was fetched.
    pub latest_arrival: Moment,
}

impl Tally {
    pub(super) fn dropped(&mut self, cause: Cause) {
        match cause {
            Cause::Cut => self.cut += 1,
            Cause::UdpBlocked => self.udp_blocked += 1,
            Cause::TcpBlocked => self.tcp_blocked += 1,
            Cause::TooLong => self.too_long += 1,
            Cause::Lost => self.lost += 1,
            Cause::QueueFull => self.queue_full += 1,
        }
    }
}
