//! `[edge]` and `[backoff]`: where the client connects to, and how it tries again.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use relay::settings::{Host, HostPort, Section, Stated, format_duration};
use relay::transport::TransportKind;

/// The keys of `[edge]`.
pub(super) const EDGE_KEYS: &[&str] = &[
    "address",
    "srv",
    "connect_to",
    "suffix",
    "transport",
    "edges",
];

/// The keys of `[backoff]`.
pub(super) const BACKOFF_KEYS: &[&str] = &["initial", "max", "stable_after"];

/// `[edge]`: which edges are dialled, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeSettings {
    /// Where edges are, in the order in which they are tried; nothing twice. Port 443 unless one is
    /// stated.
    pub addresses: Vec<HostPort>,
    /// Whose SRV records name edges (RFC 2782), which are tried before the addresses; nothing twice.
    /// In lower case, without a trailing dot. Never empty where there are no addresses.
    pub srv: Vec<String>,
    /// Where sockets go instead of where the names lead. Empty, the default: where they lead.
    pub connect_to: Vec<ConnectTo>,
    /// Which of the names that an edge tells are believed.
    pub suffix: Suffix,
    /// What carries sessions.
    pub transport: Transport,
    /// To how many different edges sessions are kept, 1 to 8. Default 2.
    pub edges: u8,
}

/// An address that sockets go to instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectTo {
    /// The address.
    pub ip: IpAddr,
    /// The port; `None`: the port that belongs to the name.
    pub port: Option<u16>,
}

/// Which of the edges that an edge tells of are believed. Whoever they turn out to be must prove by a
/// certificate to be an edge; this bounds whom the client speaks to before that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Suffix {
    /// Names within the domains of those that are configured; literal addresses only where no name is
    /// configured at all.
    OfNames,
    /// This name and names below it.
    Stated(String),
    /// None.
    Off,
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
        let hint = "say whose SRV records name the edges, e.g. srv = \"apps.example.com\"";
        let srv = match section.has("srv") {
            true => section.some_with("srv", hint, |text, _| srv_owner(text)),
            false => Vec::new(),
        };
        section.unique(&srv, "asks for");
        let hint = "say where the edge is, e.g. address = \"edge.example.com\" below [edge]";
        let read = |text: &str, _: &_| HostPort::parse(text, Some(DEFAULT_PORT));
        let addresses = match section.has("address") || !section.has("srv") {
            true => section.some_with("address", hint, read),
            false => Vec::new(),
        };
        section.unique(&addresses, "dials");
        let connect_to = section.each_with("connect_to", |text, _| ConnectTo::read(text));
        section.unique(&connect_to, "connects to");
        let suffix = section.read_with("suffix", |text, _| Suffix::read(text));
        let transport = section.read_with("transport", |text, _| Transport::read(text));
        let edges = section.count("edges", 2, 1..=8);
        let nowhere = addresses.is_empty() && srv.is_empty();
        Some(Self {
            addresses: (!nowhere).then(|| values(addresses))?,
            srv: values(srv),
            connect_to: values(connect_to),
            suffix: suffix.unwrap_or(Suffix::OfNames),
            transport: transport.unwrap_or(Transport::Auto),
            edges: u8::try_from(edges).ok()?,
        })
    }
}

fn values<T>(stated: Vec<Stated<T>>) -> Vec<T> {
    stated.into_iter().map(|stated| stated.value).collect()
}

impl Suffix {
    fn read(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self::Off);
        }
        let stated = text.strip_prefix('.').unwrap_or(text);
        match stated.parse() {
            Ok(Host::Name(name)) => Ok(Self::Stated(name)),
            Ok(Host::Ip(_)) | Err(_) => Err(format!(
                "{text:?} is no domain; write it like edges.example.com, or \"off\""
            )),
        }
    }
}

/// `_causeway._tcp` in front, unless a service is stated.
fn srv_owner(text: &str) -> Result<String, String> {
    let stated: Host = text.parse().map_err(|_| {
        format!("{text:?} is no name with SRV records; write it like apps.example.com or _causeway._tcp.apps.example.com")
    })?;
    match stated {
        Host::Name(name) if name.starts_with('_') => Ok(name),
        Host::Name(name) => Ok(format!("_causeway._tcp.{name}")),
        Host::Ip(ip) => Err(format!(
            "{ip} is an address, which has no SRV records; write address = \"{ip}\""
        )),
    }
}

impl ConnectTo {
    fn read(text: &str) -> Result<Self, String> {
        // Nobody can state port 0, so that it says that none was stated.
        let stated = HostPort::parse(text, Some(0)).map_err(|error| error.to_string())?;
        match stated.host {
            Host::Ip(ip) => Ok(Self {
                ip,
                port: (stated.port != 0).then_some(stated.port),
            }),
            Host::Name(name) => Err(format!(
                "{name:?} is a name; connect_to takes IP addresses, such as 10.1.2.3 or [2001:db8::1]:7443, and address the names"
            )),
        }
    }
}

impl fmt::Display for ConnectTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = Host::Ip(self.ip);
        match self.port {
            Some(port) => write!(f, "{host}:{port}"),
            None => write!(f, "{host}"),
        }
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
