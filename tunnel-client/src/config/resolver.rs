//! `[resolver]`: who is asked where edges are, and how long an answer serves.

use std::net::SocketAddr;
use std::time::Duration;

use relay::settings::{Host, HostPort, Section, format_duration};

/// The keys of `[resolver]`.
pub(super) const RESOLVER_KEYS: &[&str] =
    &["servers", "timeout", "min_ttl", "max_ttl", "stale_for"];

/// `[resolver]`: how names of edges are resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolverSettings {
    /// The name servers that are asked, by UDP, and by TCP where that does not do. Empty, the
    /// default: what the system is configured with.
    pub servers: Vec<SocketAddr>,
    /// How long one name may take. Default 5 s.
    pub timeout: Duration,
    /// Answers are used at least this long, and names asked for at most this often. Default 5 s.
    pub min_ttl: Duration,
    /// Answers are used at most this long before they are asked for again. Default 1 h.
    pub max_ttl: Duration,
    /// How long beyond its time an answer serves while nobody answers. Default 24 h.
    pub stale_for: Duration,
}

const DEFAULT_PORT: u16 = 53;
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
/// Below, a fleet of clients would be an attack on its name servers.
const SHORTEST: Duration = Duration::from_millis(100);

impl ResolverSettings {
    pub(super) fn read(section: &Section<'_>) -> Self {
        let default = Self::default();
        let servers = section.each_with("servers", |text, _| read_server(text));
        section.unique(&servers, "asks");
        let settings = Self {
            servers: servers.into_iter().map(|stated| stated.value).collect(),
            timeout: section.duration("timeout", default.timeout, SHORTEST..=HOUR / 60),
            min_ttl: section.duration("min_ttl", default.min_ttl, SHORTEST..=HOUR),
            max_ttl: section.duration("max_ttl", default.max_ttl, SHORTEST..=DAY),
            stale_for: section.duration("stale_for", default.stale_for, Duration::ZERO..=30 * DAY),
        };
        if settings.max_ttl < settings.min_ttl {
            let shortest = format_duration(settings.min_ttl);
            let longest = format_duration(settings.max_ttl);
            let message = format!("{longest} must not be less than min_ttl, which is {shortest}");
            section.problem("max_ttl", message);
        }
        settings
    }
}

impl Default for ResolverSettings {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            timeout: Duration::from_secs(5),
            min_ttl: Duration::from_secs(5),
            max_ttl: HOUR,
            stale_for: DAY,
        }
    }
}

fn read_server(text: &str) -> Result<SocketAddr, String> {
    let stated = HostPort::parse(text, Some(DEFAULT_PORT)).map_err(|error| error.to_string())?;
    match stated.host {
        Host::Ip(ip) => Ok((ip, stated.port).into()),
        Host::Name(name) => Err(format!(
            "{name:?} is a name, and there is nobody yet to ask for it; write the name server's IP address, such as 10.0.0.53 or [2001:db8::53]:5353"
        )),
    }
}
