//! What is particular to an http ingress: where requests go, which proxies are believed, limits.

use std::net::IpAddr;
use std::time::Duration;

use http::uri::Authority;
use ipnet::IpNet;
use relay::settings::Section;

use super::super::host::HostPattern;
use super::connections::networks;
use super::route::{self, Route, StatedRoute, host_to_set};
use super::service::ServiceAddress;

/// The keys of `[[ingress]]` that mean nothing to a tcp ingress.
pub(super) const ONLY_HTTP: &[&str] = &[
    "set_host",
    "trusted_proxies",
    "forwarding_header",
    "forwarding_fields",
    "head_timeout",
    "body_timeout",
    "max_head",
    "max_headers",
];

/// What is particular to an http ingress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpSettings {
    /// `[[route]]`, the most specific first.
    pub routes: Vec<Route>,
    /// Where requests go that no route fits; `None` if nowhere. Never without routes.
    pub entry: Option<Entry>,
    /// Who may say whose a request is.
    pub trusted: TrustedProxies,
    /// How long callers may take, and how large heads may be.
    pub limits: HttpLimits,
}

/// Where an ingress leads by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// `host`: to whatever the host name says.
    Pattern(HostPattern),
    /// `to`: to one service, whatever the host name.
    Fixed {
        /// Which one.
        to: ServiceAddress,
        /// The host that the service is told, instead of the caller's.
        set_host: Option<Authority>,
    },
}

/// The proxies in front of an ingress that are believed about their callers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedProxies {
    /// Where they are. Default: nowhere.
    pub networks: Vec<IpNet>,
    /// Where they say it.
    pub header: ForwardingHeader,
    /// What of it they say themselves. Default: only who the caller is.
    pub fields: Vec<ForwardingField>,
}

/// The field in which trusted proxies name their callers. Only one is believed: a proxy that
/// writes one of them passes the other on as a stranger wrote it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ForwardingHeader {
    /// `X-Forwarded-For`, `-Proto`, `-Host` and others, as most proxies do.
    #[default]
    XForwarded,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// What a proxy may say of a request. Many say only whose it is, and pass the rest on as a stranger
/// wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardingField {
    /// Whose it is: `X-Forwarded-For`, or `for`.
    For,
    /// Whether it came over TLS: `X-Forwarded-Proto`, or `proto`.
    Proto,
    /// Which host it asked for: `X-Forwarded-Host`, or `host`.
    Host,
    /// Which port it asked: `X-Forwarded-Port`.
    Port,
    /// What the proxy took from the front of the path: `X-Forwarded-Prefix`.
    Prefix,
    /// Who has signed in at the proxy: `X-Forwarded-User` and its like.
    User,
}

/// How long callers may take, and how large the heads of their requests may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpLimits {
    /// How long a caller may take from the first byte of a request's head to its last, and from
    /// connecting to the first request. Whoever is slower is cut off. Default 15 s.
    pub head_timeout: Duration,
    /// How long a caller's connection may be open without a request. Default 75 s: longer than the
    /// 60 s after which common load balancers drop theirs, so that they never meet a connection
    /// just closed.
    pub idle_timeout: Duration,
    /// How long an origin that waits for the rest of a request's body may get not a single byte of
    /// it. Then the request is answered 408 or, if its answer has begun, broken off; otherwise
    /// callers that withhold bodies could hold all connections for good. Bounds a silence, not a
    /// rate: one byte a minute is slow, but it moves. gRPC and streaming Connect calls over HTTP/2
    /// may be silent for as long as they like: their callers are pinged. Default 60 s.
    pub body_timeout: Duration,
    /// The most bytes of a request's head (431 beyond), and what one HTTP/1.1 connection buffers
    /// at most in each direction. Default 64 KiB.
    pub max_head: usize,
    /// The most header fields of a request over HTTP/1.1 (431 beyond). Default 100.
    pub max_headers: usize,
}

impl HttpSettings {
    /// Everything by default, leading to `entry`.
    pub fn leading_to(entry: Entry) -> Self {
        Self {
            routes: Vec::new(),
            entry: Some(entry),
            trusted: TrustedProxies::default(),
            limits: HttpLimits::default(),
        }
    }

    pub(super) fn read(section: &Section<'_>, routes: Vec<StatedRoute>) -> Option<Self> {
        let trusted = TrustedProxies::read(section);
        let limits = HttpLimits::read(section);
        let entry = match entry(section, !routes.is_empty()) {
            None if routes.is_empty() || section.has("host") || section.has("to") => return None,
            entry => entry,
        };
        Some(Self {
            routes: route::in_order(section, routes),
            entry,
            trusted,
            limits,
        })
    }

    pub(super) fn leads_to(&self) -> String {
        let routes = self.routes.iter().map(Route::to_string);
        let entry = self.entry.iter().map(|entry| match entry {
            Entry::Pattern(pattern) => pattern.to_string(),
            Entry::Fixed { to, .. } => to.to_string(),
        });
        entry.chain(routes).collect::<Vec<_>>().join(", ")
    }
}

fn entry(section: &Section<'_>, has_routes: bool) -> Option<Entry> {
    if !section.has("to") {
        section.refuse("set_host", "stands beside to, or in a [[route]]");
    }
    match (section.has("host"), section.has("to")) {
        (true, false) => section.parsed("host").map(Entry::Pattern),
        (false, true) => {
            let set_host = host_to_set(section);
            let to = section.parsed("to")?;
            Some(Entry::Fixed { to, set_host })
        }
        (true, true) => {
            section.problem(
                "to",
                "stands beside host; keep host to route by name, or to for one service",
            );
            None
        }
        (false, false) if has_routes => None,
        (false, false) => {
            section.require(
                "host",
                "an http ingress needs host = \"{service}--{cluster}--{tenant}.apps.example.com\", to = \"tenant/cluster/service\", or a [[route]]",
            );
            None
        }
    }
}

impl TrustedProxies {
    fn read(section: &Section<'_>) -> Self {
        let words = [
            ("x-forwarded", ForwardingHeader::XForwarded),
            ("forwarded", ForwardingHeader::Forwarded),
        ];
        let header = section.choice("forwarding_header", &words);
        let header = header.unwrap_or_default();
        if !section.has("trusted_proxies") {
            for key in ["forwarding_header", "forwarding_fields"] {
                section.refuse(
                    key,
                    "nobody is believed; say who with trusted_proxies = [\"10.0.0.0/8\"]",
                );
            }
        }
        Self {
            networks: networks(section, "trusted_proxies"),
            header,
            fields: ForwardingField::read(section, header),
        }
    }

    /// Whether what trusted proxies say of this is believed.
    pub fn believed(&self, field: ForwardingField) -> bool {
        self.fields.contains(&field)
    }

    /// Whether what comes from this address is believed.
    pub fn include(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.networks
            .iter()
            .any(|network| network.contains(&address))
    }
}

impl Default for TrustedProxies {
    fn default() -> Self {
        Self {
            networks: Vec::new(),
            header: ForwardingHeader::default(),
            fields: ForwardingField::DEFAULT.to_vec(),
        }
    }
}

impl ForwardingField {
    const DEFAULT: [Self; 1] = [Self::For];

    fn read(section: &Section<'_>, header: ForwardingHeader) -> Vec<Self> {
        if !section.has("forwarding_fields") {
            return Self::DEFAULT.to_vec();
        }
        let hint = "list some of \"for\", \"proto\", \"host\", \"port\", \"prefix\" and \"user\", or leave it out for \"for\"";
        let fields = section.some_with("forwarding_fields", hint, |text, _| {
            let field = match text {
                "for" => Self::For,
                "proto" => Self::Proto,
                "host" => Self::Host,
                "port" => Self::Port,
                "prefix" => Self::Prefix,
                "user" => Self::User,
                _ => {
                    return Err(format!(
                        "unknown value {text:?}; expected some of for, proto, host, port, prefix, user"
                    ));
                }
            };
            if header == ForwardingHeader::Forwarded && !field.is_in_forwarded() {
                return Err(format!(
                    "Forwarded does not say {text:?}; leave it out, or set forwarding_header = \"x-forwarded\""
                ));
            }
            Ok(field)
        });
        fields.into_iter().map(|field| field.value).collect()
    }

    /// Whether RFC 7239 has a parameter for it.
    fn is_in_forwarded(self) -> bool {
        match self {
            Self::For | Self::Proto | Self::Host => true,
            Self::Port | Self::Prefix | Self::User => false,
        }
    }
}

impl HttpLimits {
    pub(crate) const HEAD_TIMEOUT: Duration = Duration::from_secs(15);
    pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_secs(75);
    pub(crate) const BODY_TIMEOUT: Duration = Duration::from_secs(60);
    const MAX_HEAD: u64 = 64 * 1024;
    const MAX_HEADERS: u64 = 100;

    fn read(section: &Section<'_>) -> Self {
        let times = Duration::from_secs(1)..=Duration::from_secs(86_400);
        let head = section.size("max_head", Self::MAX_HEAD, 8 * 1024..=1024 * 1024);
        let headers = section.count("max_headers", Self::MAX_HEADERS, 10..=10_000);
        Self {
            head_timeout: section.duration("head_timeout", Self::HEAD_TIMEOUT, times.clone()),
            idle_timeout: section.duration("idle_timeout", Self::IDLE_TIMEOUT, times.clone()),
            body_timeout: section.duration("body_timeout", Self::BODY_TIMEOUT, times),
            max_head: head as usize,
            max_headers: headers as usize,
        }
    }
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            head_timeout: Self::HEAD_TIMEOUT,
            idle_timeout: Self::IDLE_TIMEOUT,
            body_timeout: Self::BODY_TIMEOUT,
            max_head: Self::MAX_HEAD as usize,
            max_headers: Self::MAX_HEADERS as usize,
        }
    }
}
