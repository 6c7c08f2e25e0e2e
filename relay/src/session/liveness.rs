//! Whether the peer is alive: when to ping, and when to give up.

use std::time::{Duration, Instant};

use crate::proto::Opener;

/// When to ping and when to give up. The defaults are the protocol's recommendation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LivenessConfig {
    /// With open streams: ping after so long without a byte, ±10 %. Default 5 s.
    pub ping: Duration,
    /// With open streams: dead after so long without a byte. Default 15 s.
    pub dead: Duration,
    /// Without streams: the initiator pings after so long without a byte. Default 20 s.
    pub idle_ping: Duration,
    /// Without streams: dead after so long without a byte. Default 50 s.
    pub idle_dead: Duration,
}

impl Default for LivenessConfig {
    fn default() -> Self {
        Self {
            ping: Duration::from_secs(5),
            dead: Duration::from_secs(15),
            idle_ping: Duration::from_secs(20),
            idle_dead: Duration::from_secs(50),
        }
    }
}

/// How late a timer may fire before we conclude that it was us who stood still.
const OVERSLEPT: Duration = Duration::from_secs(1);

/// What [`Liveness::check`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing to do before the next deadline.
    Alive,
    /// Send a Ping with this number.
    Ping(u64),
    /// The answer to the last one is overdue, which is said once.
    Suspect,
    /// Give the connection up.
    Dead,
}

/// Judges one connection by the times at which bytes were heard on it.
#[derive(Debug)]
pub struct Liveness {
    config: LivenessConfig,
    side: Opener,
    busy: bool,
    jitter: u64,
    heard_at: Instant,
    /// The first send after which nothing was heard.
    unanswered_since: Option<Instant>,
    ping: Option<SentPing>,
    next_nonce: u64,
    rtt: Option<Duration>,
}

#[derive(Clone, Copy, Debug)]
struct SentPing {
    nonce: u64,
    at: Instant,
    told_overdue: bool,
}

impl Liveness {
    /// Begins with a ping of the initiator, which measures the round trip.
    pub fn new(config: LivenessConfig, side: Opener, seed: u64, now: Instant) -> Self {
        Self {
            config,
            side,
            busy: false,
            jitter: seed,
            heard_at: now,
            unanswered_since: None,
            ping: None,
            next_nonce: 1,
            rtt: None,
        }
    }

    /// The round trip as the last Ping measured it.
    pub fn rtt(&self) -> Option<Duration> {
        self.rtt
    }

    /// Whether there are open streams.
    pub fn set_busy(&mut self, busy: bool, now: Instant) {
        if busy && !self.busy {
            // The silence of an idle connection does not count against a busy one.
            self.heard_at = self
                .heard_at
                .max(now.checked_sub(self.config.ping).unwrap_or(now));
        }
        self.busy = busy;
    }

    /// A byte of the peer arrived.
    pub fn heard(&mut self, now: Instant) {
        self.heard_at = now;
        self.unanswered_since = None;
    }

    /// A byte was sent that the peer will have to say something about.
    pub fn sent(&mut self, now: Instant) {
        self.unanswered_since.get_or_insert(now);
    }

    /// The peer answered a Ping; the round trip, if it was the last one.
    pub fn pong(&mut self, nonce: u64, now: Instant) -> Option<Duration> {
        let ping = self.ping.take_if(|ping| ping.nonce == nonce)?;
        self.rtt = Some(now.saturating_duration_since(ping.at));
        self.rtt
    }

    /// Nothing was heard since a Ping, a second longer than the round trip allows.
    pub fn is_suspect(&self, now: Instant) -> bool {
        self.unheard_ping()
            .is_some_and(|ping| now >= self.overdue_at(ping))
    }

    /// The Ping since which nothing was heard. Its answer may be late behind much else, but then
    /// that is heard.
    fn unheard_ping(&self) -> Option<SentPing> {
        self.ping.filter(|ping| self.heard_at <= ping.at)
    }

    fn overdue_at(&self, ping: SentPing) -> Instant {
        ping.at + self.rtt.unwrap_or_default() * 2 + Duration::from_secs(1)
    }

    /// When there will be reason to say that the answer is overdue.
    fn suspect_at(&self) -> Option<Instant> {
        let ping = self.unheard_ping().filter(|ping| !ping.told_overdue)?;
        Some(self.overdue_at(ping))
    }

    /// When [`Self::check`] wants to be called.
    pub fn deadline(&self) -> Instant {
        [self.ping_due(), self.suspect_at()]
            .into_iter()
            .flatten()
            .fold(self.dead_at(), Instant::min)
    }

    /// Judges.
    pub fn check(&mut self, now: Instant) -> Verdict {
        let dead_at = self.dead_at();
        if now >= dead_at + OVERSLEPT {
            // Nobody looked at the clock for a while: suspended, stopped or starved. What the peer
            // sent meanwhile may not have been read yet, so it gets one more ping to answer.
            self.heard_at = now.checked_sub(self.interval()).unwrap_or(now);
            return self.send_ping(now);
        }
        if now >= dead_at {
            return Verdict::Dead;
        }
        if self.suspect_at().is_some_and(|due| now >= due)
            && let Some(ping) = &mut self.ping
        {
            ping.told_overdue = true;
            return Verdict::Suspect;
        }
        match self.ping_due() {
            Some(due) if now >= due => self.send_ping(now),
            Some(_) | None => Verdict::Alive,
        }
    }

    fn send_ping(&mut self, now: Instant) -> Verdict {
        let nonce = self.next_nonce;
        self.next_nonce += 1;
        self.jitter = next_random(self.jitter);
        self.ping = Some(SentPing {
            nonce,
            at: now,
            told_overdue: false,
        });
        Verdict::Ping(nonce)
    }

    fn ping_due(&self) -> Option<Instant> {
        let initiator = self.side == Opener::Initiator;
        if self.ping.is_some() {
            return None;
        }
        if initiator && self.next_nonce == 1 {
            return Some(self.heard_at);
        }
        if !self.busy && !initiator {
            return None;
        }
        let tenths_of_percent = 900 + (self.jitter % 201) as u32;
        let regular = self.heard_at + self.interval() * tenths_of_percent / 1000;
        let unanswered = self
            .unanswered_since
            .map(|since| since + self.rtt.unwrap_or_default() * 3 + Duration::from_secs(1));
        Some(unanswered.map_or(regular, |early| early.min(regular)))
    }

    fn interval(&self) -> Duration {
        if self.busy {
            self.config.ping
        } else {
            self.config.idle_ping
        }
    }

    fn dead_at(&self) -> Instant {
        self.heard_at
            + if self.busy {
                self.config.dead
            } else {
                self.config.idle_dead
            }
    }
}

/// One step of SplitMix64 (Steele, Lea, Flood 2014): enough to keep pings of many apart.
fn next_random(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// A connection that answered its first ping within 10 ms of `start`.
    fn answered(side: Opener, busy: bool) -> (Liveness, Instant) {
        let start = Instant::now();
        let mut liveness = Liveness::new(LivenessConfig::default(), side, 7, start);
        if side == Opener::Initiator {
            assert_eq!(liveness.check(start), Verdict::Ping(1));
            let now = start + SECOND / 100;
            liveness.heard(now);
            assert_eq!(liveness.pong(1, now), Some(SECOND / 100));
        } else {
            liveness.heard(start + SECOND / 100);
        }
        liveness.set_busy(busy, start + SECOND / 100);
        (liveness, start + SECOND / 100)
    }

    #[test]
    fn a_busy_connection_pings_after_five_seconds_and_dies_after_fifteen() {
        for side in [Opener::Initiator, Opener::Responder] {
            let (mut liveness, start) = answered(side, true);
            assert_eq!(liveness.check(start + SECOND * 4), Verdict::Alive);
            let due = liveness.deadline();
            assert!((start + SECOND * 9 / 2..=start + SECOND * 11 / 2).contains(&due));
            assert!(matches!(liveness.check(due), Verdict::Ping(_)));
            let overdue = liveness.deadline();
            assert!((due + SECOND..due + SECOND * 2).contains(&overdue));
            assert!(!liveness.is_suspect(overdue - SECOND / 1000));
            assert!(liveness.is_suspect(overdue));
            assert_eq!(liveness.check(overdue), Verdict::Suspect);
            assert_eq!(liveness.check(overdue), Verdict::Alive, "it is said once");
            assert_eq!(liveness.deadline(), start + SECOND * 15);
            assert_eq!(liveness.check(start + SECOND * 15), Verdict::Dead);
        }
    }

    #[test]
    fn a_peer_that_is_heard_is_not_suspect_however_late_its_answer() {
        let (mut liveness, _) = answered(Opener::Initiator, true);
        let due = liveness.deadline();
        assert!(matches!(liveness.check(due), Verdict::Ping(_)));
        liveness.heard(due + SECOND / 2);
        assert!(!liveness.is_suspect(due + SECOND * 5));
        assert_eq!(liveness.check(due + SECOND * 5), Verdict::Alive);
    }

    #[test]
    fn only_the_initiator_pings_when_idle() {
        let (mut client, start) = answered(Opener::Initiator, false);
        assert!(matches!(
            client.check(start + SECOND * 22),
            Verdict::Ping(_)
        ));
        let (mut edge, start) = answered(Opener::Responder, false);
        assert_eq!(edge.check(start + SECOND * 49), Verdict::Alive);
        assert_eq!(edge.check(start + SECOND * 50), Verdict::Dead);
    }

    #[test]
    fn what_stays_unanswered_brings_the_ping_forward() {
        let (mut liveness, start) = answered(Opener::Responder, true);
        liveness.sent(start + SECOND / 10);
        assert_eq!(liveness.deadline(), start + SECOND * 11 / 10);
        liveness.heard(start + SECOND / 5);
        assert!(liveness.deadline() > start + SECOND * 4);
    }

    #[test]
    fn a_process_that_stood_still_asks_once_more_before_it_gives_up() {
        let (mut liveness, start) = answered(Opener::Initiator, true);
        let woken = start + SECOND * 300;
        assert!(matches!(liveness.check(woken), Verdict::Ping(_)));
        assert_eq!(liveness.check(woken + SECOND * 9), Verdict::Suspect);
        assert_eq!(liveness.check(woken + SECOND * 9), Verdict::Alive);
        assert_eq!(liveness.check(woken + SECOND * 10), Verdict::Dead);
    }

    #[test]
    fn an_idle_silence_does_not_kill_the_first_stream() {
        let (mut liveness, start) = answered(Opener::Responder, false);
        liveness.set_busy(true, start + SECOND * 30);
        assert!(matches!(
            liveness.check(start + SECOND * 31),
            Verdict::Ping(_)
        ));
        assert_eq!(liveness.check(start + SECOND * 39), Verdict::Suspect);
        assert_eq!(liveness.check(start + SECOND * 39), Verdict::Alive);
        assert_eq!(liveness.check(start + SECOND * 40), Verdict::Dead);
    }
}
