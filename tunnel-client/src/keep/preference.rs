//! Which transport is preferred, and when the preferred one is left alone for a while.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use tokio::time::Instant;

/// How soon after a move the loss of its connection makes the move a mistake.
const TRIAL: Duration = Duration::from_secs(60);

/// How long the preferred transport is left alone after a mistake, at first and at most.
const FIRST_HOLD_OFF: Duration = Duration::from_secs(60);
const LONGEST_HOLD_OFF: Duration = Duration::from_secs(3600);

/// How much longer a round trip over the preferred transport may be: it has other merits.
const RTT_FACTOR: u32 = 2;
const RTT_SLACK: Duration = Duration::from_millis(20);

/// What moves to the preferred transport have taught.
#[derive(Debug, Default)]
pub(super) struct Preference {
    hold_off: Duration,
    held_until: Option<Instant>,
    moved_at: Option<Instant>,
    source: Option<IpAddr>,
}

impl Preference {
    /// A session has moved to the preferred transport.
    pub(super) fn moved(&mut self, now: Instant) {
        self.moved_at = Some(now);
    }

    /// The connection over the preferred transport was lost, or may be.
    pub(super) fn lost(&mut self, now: Instant) {
        let Some(moved) = self.moved_at.take() else {
            return;
        };
        if now.duration_since(moved) >= TRIAL {
            self.hold_off = Duration::ZERO;
            return;
        }
        self.hold_off = (self.hold_off * 2).clamp(FIRST_HOLD_OFF, LONGEST_HOLD_OFF);
        self.held_until = Some(now + self.hold_off);
    }

    /// Packets to the edge come from this address now. Of another network nothing is known yet.
    pub(super) fn now_from(&mut self, source: Option<IpAddr>) {
        if let (Some(before), Some(now)) = (self.source, source)
            && before != now
        {
            *self = Self::default();
        }
        self.source = source.or(self.source);
    }

    /// A way that was tried is worse than the one that there is.
    pub(super) fn worse(&mut self, now: Instant) {
        self.moved_at = Some(now);
        self.lost(now);
    }

    /// Until when the preferred transport is left alone.
    pub(super) fn held_until(&self, now: Instant) -> Option<Instant> {
        self.held_until.filter(|until| *until > now)
    }
}

/// Whether the preferred transport is good enough, by the round trips over it and over the other.
pub(super) fn is_good_enough(preferred: Duration, other: Duration) -> bool {
    preferred <= other * RTT_FACTOR + RTT_SLACK
}

/// Where packets to an edge come from: another network has another address for this machine, as a
/// rule. Nothing is sent.
pub(super) fn source_towards(edge: SocketAddr) -> Option<IpAddr> {
    let any: IpAddr = match edge {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect(edge).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mistake_doubles_the_time_to_the_next_try_and_success_forgets_them() {
        let mut preference = Preference::default();
        let mut now = Instant::now();
        assert_eq!(preference.held_until(now), None);
        for expected in [60, 120, 240, 480, 960, 1920, 3600, 3600] {
            preference.moved(now);
            now += Duration::from_secs(10);
            preference.lost(now);
            let until = now + Duration::from_secs(expected);
            assert_eq!(preference.held_until(now), Some(until));
            now = until;
            assert_eq!(preference.held_until(now), None);
        }
        preference.moved(now);
        now += TRIAL;
        preference.lost(now);
        assert_eq!(preference.held_until(now), None);
        preference.moved(now);
        preference.lost(now);
        assert_eq!(preference.held_until(now), Some(now + FIRST_HOLD_OFF));
    }

    #[test]
    fn mistakes_are_forgotten_on_another_network() {
        let [here, there]: [Option<IpAddr>; 2] =
            ["192.0.2.1", "198.51.100.1"].map(|address| address.parse().ok());
        let mut preference = Preference::default();
        let now = Instant::now();
        preference.now_from(here);
        preference.worse(now);
        preference.worse(now);
        for still_here in [here, None, here] {
            preference.now_from(still_here);
            let until = now + FIRST_HOLD_OFF * 2;
            assert_eq!(preference.held_until(now), Some(until));
        }
        preference.now_from(there);
        assert_eq!(preference.held_until(now), None);
        preference.worse(now);
        assert_eq!(preference.held_until(now), Some(now + FIRST_HOLD_OFF));
    }

    #[test]
    fn what_began_there_is_no_move() {
        let mut preference = Preference::default();
        let now = Instant::now();
        preference.lost(now);
        assert_eq!(preference.held_until(now), None);
    }

    #[test]
    fn a_longer_round_trip_is_forgiven_within_bounds() {
        let ms = Duration::from_millis;
        assert!(is_good_enough(ms(20), ms(0)));
        assert!(is_good_enough(ms(220), ms(100)));
        assert!(!is_good_enough(ms(221), ms(100)));
    }
}
