//! `[session]`: liveness and limits, the same for both ends.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::section::Section;

/// The keys of `[session]` that both ends have.
pub const SESSION_KEYS: &[&str] = &[
    "ping_interval",
    "dead_after",
    "idle_ping_interval",
    "idle_dead_after",
    "handshake_timeout",
    "grace",
    "stream_base",
    "stream_window",
    "growth_budget",
    "max_streams",
    "drain",
];

/// How sessions are kept alive and what they may use.
///
/// What a peer can make this end hold for one session is at most `stream_base` for every stream of either end, plus
/// `growth_budget`: 608 MiB with the defaults, and only if every stream is open and every grant filled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionSettings {
    /// With open streams: how long nothing may be heard before a ping is sent, ±10 %. Default 5 s. Lower finds
    /// a dead path sooner and costs packets.
    pub ping_interval: Duration,
    /// With open streams: how long nothing may be heard before a connection is dead. Default 15 s.
    pub dead_after: Duration,
    /// Without streams: the client's interval between pings. Default 20 s, below what common NATs forget.
    pub idle_ping_interval: Duration,
    /// Without streams: how long nothing may be heard before a connection is dead. Default 50 s.
    pub idle_dead_after: Duration,
    /// One deadline over TLS, Hello and policy. Default 10 s.
    pub handshake_timeout: Duration,
    /// How long a session outlives its last connection, from the last authenticated byte. Default 120 s; the lower
    /// of both ends' holds.
    pub grace: Duration,
    /// Bytes that every stream may always have in flight, in each direction. Default 16 KiB. Worst case for a
    /// session: this × `max_streams`.
    pub stream_base: u64,
    /// The most bytes that one stream may have in flight in one direction. Default 4 MiB: 320 Mbit/s at 100 ms.
    pub stream_window: u64,
    /// What all streams of a session together may have in flight beyond their base. Default 64 MiB, which is also
    /// its worst case.
    pub growth_budget: u64,
    /// Streams that each end of a session may have open at once. Default 16384.
    pub max_streams: u64,
    /// How long a planned stop waits for the last stream. Default 300 s at the edge, 120 s at the client.
    pub drain: Duration,
}

impl SessionSettings {
    /// The defaults of an edge.
    pub fn edge() -> Self {
        Self::with_drain(Duration::from_secs(300))
    }

    /// The defaults of a client.
    pub fn client() -> Self {
        Self::with_drain(Duration::from_secs(120))
    }

    fn with_drain(drain: Duration) -> Self {
        Self {
            ping_interval: Duration::from_secs(5),
            dead_after: Duration::from_secs(15),
            idle_ping_interval: Duration::from_secs(20),
            idle_dead_after: Duration::from_secs(50),
            handshake_timeout: Duration::from_secs(10),
            grace: Duration::from_secs(120),
            stream_base: 16 * KIB,
            stream_window: 4 * MIB,
            growth_budget: 64 * MIB,
            max_streams: 16_384,
            drain,
        }
    }

    /// Reads `[session]`; what it does not state is as in `defaults`.
    pub fn read(section: &Section<'_>, defaults: Self) -> Self {
        let settings = Self {
            ping_interval: section.duration("ping_interval", defaults.ping_interval, INTERVAL),
            dead_after: section.duration("dead_after", defaults.dead_after, INTERVAL),
            idle_ping_interval: section.duration(
                "idle_ping_interval",
                defaults.idle_ping_interval,
                INTERVAL,
            ),
            idle_dead_after: section.duration(
                "idle_dead_after",
                defaults.idle_dead_after,
                INTERVAL,
            ),
            handshake_timeout: section.duration(
                "handshake_timeout",
                defaults.handshake_timeout,
                Duration::from_secs(1)..=Duration::from_secs(60),
            ),
            grace: section.duration("grace", defaults.grace, Duration::ZERO..=HOUR),
            stream_base: section.size("stream_base", defaults.stream_base, 4 * KIB..=MIB),
            stream_window: section.size(
                "stream_window",
                defaults.stream_window,
                4 * KIB..=256 * MIB,
            ),
            growth_budget: section.size("growth_budget", defaults.growth_budget, 0..=64 * GIB),
            max_streams: section.count("max_streams", defaults.max_streams, 1..=1 << 20),
            drain: section.duration("drain", defaults.drain, Duration::ZERO..=HOUR),
        };
        settings.check(section);
        settings
    }

    /// The numbers that only make sense together.
    fn check(&self, section: &Section<'_>) {
        let not_below = |key: &'static str, low: Duration, high: Duration, other: &str| {
            if low >= high {
                let low = super::format_duration(low);
                let high = super::format_duration(high);
                section.problem(
                    key,
                    format!("{high} must be longer than {other}, which is {low}"),
                );
            }
        };
        not_below(
            "dead_after",
            self.ping_interval,
            self.dead_after,
            "ping_interval",
        );
        not_below(
            "idle_dead_after",
            self.idle_ping_interval,
            self.idle_dead_after,
            "idle_ping_interval",
        );
        if self.stream_window < self.stream_base {
            let base = super::format_size(self.stream_base);
            let window = super::format_size(self.stream_window);
            let message = format!("{window} must not be less than stream_base, which is {base}");
            section.problem("stream_window", message);
        }
    }
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const HOUR: Duration = Duration::from_secs(3600);
/// Below, pings would be the traffic; above, nobody would notice a dead peer.
const INTERVAL: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(600);
