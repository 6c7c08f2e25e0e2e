//! `[edge]` and `[backoff]`: where the client connects to, and how it tries again.

use std::time::Duration;

use relay::settings::{HostPort, Section, format_duration};
use relay::transport::TransportKind;

/// The keys of `[edge]`.
pub(super) const EDGE_KEYS: &[&str] = &["address", "transport", "edges"];

/// The keys of `[backoff]`.
pub(super) const BACKOFF_KEYS: &[&str] = &["initial", "max", "stable_after"];

/// `[edge]`: which edges are dialled, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeSettings {
    /// Where edges are; never empty, nothing twice. Port 443 unless one is stated.
    pub addresses: Vec<HostPort>,
    /// What carries sessions.
    pub transport: Transport,
    /// To how many edges sessions are kept, 1 to 8. Default 2; one is kept today.
    pub edges: u8,
}

/// What carries a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// Whatever leads to the edge first: QUIC, then frames of our own on TLS.
    Auto,
    /// QUIC, and nothing else.
    Quic,
    /// Frames of our own on TLS over TCP, and nothing else.
    Tls,
    /// yamux on TLS over TCP, and nothing else.
    Yamux,
    /// HTTP/2 on TLS over TCP, and nothing else.
    H2,
}

/// `[backoff]`: when a failed attempt is repeated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackoffSettings {
    /// The upper bound of the first random wait. Default 500 ms.
    pub initial: Duration,
    /// What the upper bound doubles up to. Default 30 s.
    pub max: Duration,
    /// How long a session must last for the bound to go back to `initial`. Default 10 s.
    pub stable_after: Duration,
}

const DEFAULT_PORT: u16 = 443;
const HOUR: Duration = Duration::from_secs(3600);
/// Below, a fleet of clients would be an attack on an edge that comes back.
const SHORTEST: Duration = Duration::from_millis(10);

impl EdgeSettings {
    pub(super) fn read(section: &Section<'_>) -> Option<Self> {
        let hint = "say where the edge is, e.g. address = \"edge.example.com\" below [edge]";
        let stated = section.some_with("address", hint, |text, _| {
            HostPort::parse(text, Some(DEFAULT_PORT))
        });
        section.unique(&stated, "dials");
        let transport = section.read_with("transport", |text, _| Transport::read(text));
        let edges = section.count("edges", 2, 1..=8);
        let addresses: Vec<_> = stated.into_iter().map(|stated| stated.value).collect();
        Some(Self {
            addresses: (!addresses.is_empty()).then_some(addresses)?,
            transport: transport.unwrap_or(Transport::Auto),
            edges: u8::try_from(edges).ok()?,
        })
    }
}

impl Transport {
    /// Everything that a configuration can state.
    pub const ALL: &[Self] = &[Self::Auto, Self::Quic, Self::Tls, Self::Yamux, Self::H2];

    /// Its name in a configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Quic => TransportKind::Quic.label(),
            Self::Tls => TransportKind::Tls.label(),
            Self::Yamux => TransportKind::Yamux.label(),
            Self::H2 => TransportKind::H2.label(),
        }
    }

    /// What is tried, the preferred one first.
    pub(crate) fn kinds(self) -> &'static [TransportKind] {
        match self {
            Self::Auto => &[TransportKind::Quic, TransportKind::Tls],
            Self::Quic => &[TransportKind::Quic],
            Self::Tls => &[TransportKind::Tls],
            Self::Yamux => &[TransportKind::Yamux],
            Self::H2 => &[TransportKind::H2],
        }
    }

    fn read(text: &str) -> Result<Self, String> {
        let stated = Self::ALL.iter().find(|it| it.name() == text);
        stated.copied().ok_or_else(|| {
            let all: Vec<_> = Self::ALL.iter().map(|it| it.name()).collect();
            let all = all.join(", ");
            format!("unknown value {text:?}; expected one of {all}")
        })
    }
}

impl BackoffSettings {
    pub(super) fn read(section: &Section<'_>) -> Self {
        let default = Self::default();
        let settings = Self {
            initial: section.duration("initial", default.initial, SHORTEST..=HOUR),
            max: section.duration("max", default.max, SHORTEST..=HOUR),
            stable_after: section.duration(
                "stable_after",
                default.stable_after,
                Duration::ZERO..=HOUR,
            ),
        };
        if settings.max < settings.initial {
            let initial = format_duration(settings.initial);
            let max = format_duration(settings.max);
            section.problem(
                "max",
                format!("{max} must not be less than initial, which is {initial}"),
            );
        }
        settings
    }
}

impl Default for BackoffSettings {
    fn default() -> Self {
        Self {
            initial: Duration::from_millis(500),
            max: Duration::from_secs(30),
            stable_after: Duration::from_secs(10),
        }
    }
}
