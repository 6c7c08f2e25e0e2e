//! Whether the peer is alive: when to ping, and when to give up.

mod signs;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use crate::proto::{Echo, Opener};
use signs::{Acknowledged, Arrived};

/// When to ping and when to give up. The defaults are the protocol's recommendation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LivenessConfig {
    /// With open streams: ping after so long without a byte, ±10 %. Default 5 s.
    pub ping: Duration,
    /// With open streams: dead after so long without a byte; after at most twice as long while the
    /// transport itself hears acknowledgements. Default 15 s.
    pub dead: Duration,
    /// Without streams: the initiator pings after so long without a byte. Default 20 s.
    pub idle_ping: Duration,
    /// Without streams: dead after so long without a byte. Default 50 s.
    pub idle_dead: Duration,
    /// Whether the initiator's ping fills a packet while it is not known that such packets pass:
    /// first of all, and with the first ping due after payload has moved. For transports over which
    /// short messages may arrive where longer ones do not. Default false.
    pub full_size: bool,
}

impl Default for LivenessConfig {
    fn default() -> Self {
        Self {
            ping: Duration::from_secs(5),
            dead: Duration::from_secs(15),
            idle_ping: Duration::from_secs(20),
            idle_dead: Duration::from_secs(50),
            full_size: false,
        }
    }
}

/// More than any packet holds, so that whichever carries its beginning is full; and no more than the
/// two packets of 1200 bytes by which QUIC finds out that its path has become narrower.
const FULL_SIZE: usize = 1536;

/// Payload that hardly moves in short packets alone while a Ping is under way.
const BULK: u64 = 16 * 1024;

/// How much longer than two round trips the answer to a Ping may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// How late a timer may fire before we conclude that it was us who stood still.
const OVERSLEPT: Duration = Duration::from_secs(1);

/// What [`Liveness::check`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing to do before the next deadline.
    Alive,
    /// Send a Ping of this.
    Ping(Echo),
    /// The answer to the last one is overdue, which is said once.
    Suspect,
    /// Give the connection up.
    Dead,
}

/// Judges one connection by the times at which bytes were heard on it, whether or not anybody has read
/// them: a slow reader says nothing of the peer.
#[derive(Debug)]
pub struct Liveness {
    config: LivenessConfig,
    side: Opener,
    busy: bool,
    jitter: u64,
    /// What silence is measured from.
    heard_at: Instant,
    /// When a message came or payload was read: what else arrives may be of no use to anybody.
    understood_at: Instant,
    /// When a byte of the peer really arrived.
    last_heard: Instant,
    arrived: Arrived,
    acknowledged: Acknowledged,
    /// The first send after which nothing was heard.
    unanswered_since: Option<Instant>,
    /// The beginning, or the first payload since a full-size Ping was answered.
    unproven_since: Option<Instant>,
    ping: Option<SentPing>,
    /// It is to be asked at once, and to have so much time for its answer.
    doubted: Option<Duration>,
    next_nonce: u64,
    rtt: Option<Duration>,
}

#[derive(Clone, Copy, Debug)]
struct SentPing {
    echo: Echo,
    at: Instant,
    /// Payload that has moved since.
    moved: u64,
    /// How much longer than the round trip allows its answer may take, if there was reason to ask.
    doubted: Option<Duration>,
    told_overdue: bool,
}

impl Liveness {
    /// Begins with a ping of the initiator, which measures the round trip.
    pub fn new(config: LivenessConfig, side: Opener, seed: u64, now: Instant) -> Self {
        let proves = config.full_size && side == Opener::Initiator;
        Self {
            config,
            side,
            busy: false,
            jitter: seed,
            heard_at: now,
            understood_at: now,
            last_heard: now,
            arrived: Arrived::default(),
            acknowledged: Acknowledged::default(),
            unanswered_since: None,
            unproven_since: proves.then_some(now),
            ping: None,
            doubted: None,
            next_nonce: 1,
            rtt: None,
        }
    }

    /// The round trip as the last Ping measured it.
    pub fn rtt(&self) -> Option<Duration> {
        self.rtt
    }

    /// When a byte of the peer arrived last; before the first one, when it all began.
    pub fn last_heard(&self) -> Instant {
        self.last_heard
    }

    /// Whether there are open streams.
    pub fn set_busy(&mut self, busy: bool, now: Instant) {
        if busy && !self.busy {
            // The silence of an idle connection does not count against a busy one.
            let recently = now.checked_sub(self.config.ping).unwrap_or(now);
            self.heard_at = self.heard_at.max(recently);
            self.understood_at = self.understood_at.max(recently);
        }
        self.busy = busy;
    }

    /// A message of the peer arrived.
    pub fn heard(&mut self, now: Instant) {
        self.understood_at = now;
        self.something_arrived(now);
    }

    fn something_arrived(&mut self, now: Instant) {
        self.heard_at = now;
        self.last_heard = now;
        self.unanswered_since = None;
        self.acknowledged.since_heard = None;
    }

    /// So many bytes have arrived in all, now that a message came or payload is read: those are the last.
    pub fn arrived(&mut self, total: u64, now: Instant) {
        if self.arrived.grows_to(total) {
            self.something_arrived(now);
        }
        self.arrived.looked_at = Some(now);
    }

    /// The same, but it is looked at only because something is due: what nobody has read came behind the
    /// last look, who knows how soon.
    pub fn arrived_since(&mut self, total: u64, now: Instant) {
        if self.arrived.grows_to(total) {
            let before = self.heard_at;
            self.something_arrived(now);
            self.heard_at = self.arrived.looked_at.unwrap_or(now).max(before);
        }
        self.arrived.looked_at = Some(now);
    }

    /// So much payload was read. What had arrived before the last Ping does not speak for the path.
    pub fn read(&mut self, bytes: u64, now: Instant) {
        let moved = bytes.min(self.arrived.fresh);
        self.arrived.fresh -= moved;
        if moved > 0 {
            self.understood_at = now;
        }
        self.moved(moved, now);
    }

    /// The transport has had so many acknowledgements of its own from the peer. They say nothing of
    /// what is under way, but that somebody is there.
    pub fn acknowledged(&mut self, count: u64, now: Instant) {
        self.acknowledged.counted(count, now);
    }

    /// A byte was sent that the peer will have to say something about.
    pub fn sent(&mut self, now: Instant) {
        self.unanswered_since.get_or_insert(now);
        self.moved(0, now);
    }

    /// A stream was opened: payload is about to come, and it may be the first.
    pub fn opened(&mut self, now: Instant) {
        self.moved(0, now);
    }

    /// So much payload has come through, in either direction.
    pub fn moved(&mut self, bytes: u64, now: Instant) {
        if self.config.full_size && self.side == Opener::Initiator {
            self.unproven_since.get_or_insert(now);
        }
        if let Some(ping) = &mut self.ping {
            ping.moved += bytes;
        }
    }

    /// The peer answered a Ping; the round trip, if it was the last one. One that knows nothing of
    /// padding leaves it out, and has proved what it can.
    pub fn pong(&mut self, echo: Echo, now: Instant) -> Option<Duration> {
        let ping = self.ping.take_if(|ping| ping.echo.nonce == echo.nonce)?;
        if ping.is_full_size() {
            self.unproven_since = None;
        }
        self.rtt = Some(now.saturating_duration_since(ping.at));
        self.rtt
    }

    /// There is reason to think that the path is gone: a Ping asks at once, and the connection is suspect
    /// once nothing was heard for two round trips and `patience`.
    pub fn doubt(&mut self, patience: Duration) {
        self.doubted = Some(patience);
        self.ping = None;
    }

    /// The answer to a Ping is missing, a second longer than the round trip allows, and nothing else
    /// explains it.
    pub fn is_suspect(&self, now: Instant) -> bool {
        self.overdue_at().is_some_and(|due| now >= due)
    }

    /// When the answer to the Ping under way is overdue. It may be late behind much else: then that
    /// is heard. Where a full-size one is missing, short messages may well be heard, so nothing
    /// less than much payload excuses it, and not for ever, since that may flow the other way.
    fn overdue_at(&self) -> Option<Instant> {
        let ping = self.ping?;
        let round_trips = self.rtt.unwrap_or_default() * 2;
        let allowed = ping.at + round_trips + PATIENCE;
        if !ping.is_full_size() {
            if let Some(patience) = ping.doubted {
                // What is heard may have been under way already.
                return Some(ping.at.max(self.heard_at) + round_trips + patience);
            }
            return Some(allowed.max(self.last_heard + round_trips + PATIENCE));
        }
        Some(if ping.moved < BULK {
            allowed
        } else {
            allowed.max(ping.at + self.config.dead)
        })
    }

    /// When there will be reason to say that the answer is overdue.
    fn suspect_at(&self) -> Option<Instant> {
        let told = self.ping.is_some_and(|ping| ping.told_overdue);
        self.overdue_at().filter(|_| !told)
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
        self.arrived.fresh = 0;
        let nonce = self.next_nonce;
        self.next_nonce += 1;
        self.jitter = next_random(self.jitter);
        let padding = self.unproven_since.map_or(0, |_| FULL_SIZE);
        let echo = Echo { nonce, padding };
        self.ping = Some(SentPing {
            echo,
            at: now,
            moved: 0,
            doubted: self.doubted.take(),
            told_overdue: false,
        });
        Verdict::Ping(echo)
    }

    fn ping_due(&self) -> Option<Instant> {
        let initiator = self.side == Opener::Initiator;
        if self.ping.is_some() {
            return None;
        }
        if self.doubted.is_some() {
            return Some(self.heard_at);
        }
        if initiator && self.next_nonce == 1 {
            return Some(self.heard_at);
        }
        if !self.busy && !initiator {
            return None;
        }
        let tenths_of_percent = 900 + (self.jitter % 201) as u32;
        let interval = self.interval() * tenths_of_percent / 1000;
        let regular = self.understood_at + interval;
        let unanswered = self
            .unanswered_since
            .map(|since| since + self.rtt.unwrap_or_default() * 3 + PATIENCE);
        let unproven = self.unproven_since.map(|since| since + interval);
        let early = [unanswered, unproven].into_iter().flatten();
        Some(early.fold(regular, Instant::min))
    }

    fn interval(&self) -> Duration {
        if self.busy {
            self.config.ping
        } else {
            self.config.idle_ping
        }
    }

    /// While the transport itself hears acknowledgements, it is given twice the time: where the path
    /// has become narrower, QUIC has to lose packets four times before it sends shorter ones, and
    /// each time takes longer than the round trip.
    fn dead_at(&self) -> Instant {
        let silence = if self.busy {
            self.config.dead
        } else {
            self.config.idle_dead
        };
        let dead_at = self.heard_at + silence;
        match self.acknowledged.at {
            Some(at) => dead_at.max(at + silence).min(dead_at + silence),
            None => dead_at,
        }
    }
}

impl SentPing {
    fn is_full_size(&self) -> bool {
        self.echo.padding > 0
    }
}

/// One step of SplitMix64 (Steele, Lea, Flood 2014): enough to keep pings of many apart.
fn next_random(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
