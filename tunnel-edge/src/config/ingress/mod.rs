//! `[[ingress]]`: listeners that turn callers into streams.
//!
//! * `connections`: what holds for callers' connections, whatever they speak.
//! * `http`: trusted proxies and limits of http ingresses. `route`: `[[route]]`, by host and path.
//! * `service`: the service that one leads to.

mod connections;
mod http;
mod route;
mod service;

use std::net::SocketAddr;
use std::time::Duration;

use certs::Label;
use relay::settings::{Reading, Section, Stated, idle_timeout};

use super::callers::{Callers, Network};
use super::ip_address;

pub use connections::Connections;
pub use http::{
    Entry, ForwardingField, ForwardingHeader, HttpLimits, HttpSettings, TrustedProxies,
};
pub use route::{HostMatch, PathPrefix, Route};
pub use service::{ServiceAddress, ServiceAddressError};

pub(super) use route::KEYS as ROUTE_KEYS;

use route::StatedRoute;

/// The keys of `[[ingress]]`.
pub(super) const KEYS: &[&str] = &[
    "kind",
    "name",
    "listen",
    "host",
    "to",
    "set_host",
    "anonymous",
    "allow",
    "proxy_protocol_from",
    "trusted_proxies",
    "forwarding_header",
    "forwarding_fields",
    "max_connections",
    "max_connections_per_address",
    "keepalive",
    "idle_timeout",
    "head_timeout",
    "body_timeout",
    "max_head",
    "max_headers",
];

/// `[[ingress]]`: a listener that turns callers into streams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ingress {
    /// Its name in metrics, logs and audits; `http-0` for an unnamed first one. No two have the same.
    pub name: Label,
    /// Where callers connect to, over TCP; never empty.
    pub listen: Vec<SocketAddr>,
    /// Who may call.
    pub callers: Callers,
    /// What holds for their connections.
    pub connections: Connections,
    /// What it speaks, and where it leads.
    pub kind: IngressKind,
}

/// What an ingress speaks, and where it leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IngressKind {
    /// HTTP/1.1 and HTTP/2.
    Http(HttpSettings),
    /// Bytes, to one service.
    Tcp(TcpSettings),
}

/// What is particular to a tcp ingress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpSettings {
    /// Where it leads.
    pub to: ServiceAddress,
    /// How long a stream may move nothing either way before it is reset; `None`, the default, if it may for good.
    pub idle_timeout: Option<Duration>,
}

impl IngressKind {
    /// The word for it: `http`, `tcp`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Http(_) => "http",
            Self::Tcp(_) => "tcp",
        }
    }

    /// Where it leads, as the file says it.
    pub fn leads_to(&self) -> String {
        match self {
            Self::Http(http) => http.leads_to(),
            Self::Tcp(tcp) => tcp.to.to_string(),
        }
    }
}

/// The word of `kind`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Http,
    Tcp,
}

/// The ingresses, and everything that they listen on.
pub(super) fn read_all(reading: &Reading<'_>) -> (Vec<Ingress>, Vec<Stated<SocketAddr>>) {
    let mut names = Vec::new();
    let mut used = Vec::new();
    let mut routes = route::read_all(reading);
    let ingresses: Vec<Ingress> = reading
        .sections("ingress")
        .iter()
        .enumerate()
        .filter_map(|(index, section)| read(index, section, &mut names, &mut used, &mut routes))
        .collect();
    reading.unique(&names, "is named");
    for StatedRoute { ingress, .. } in routes {
        if !names.iter().any(|name| name.value == ingress.value) {
            let name = &ingress.value;
            let message =
                format!("there is no ingress \"{name}\"; give the one that is meant this name");
            reading.reject(&ingress, message);
        } else if ingresses.iter().any(|read| read.name == ingress.value) {
            reading.reject(
                &ingress,
                "is no http ingress; only those route by host and path",
            );
        }
    }
    (ingresses, used)
}

fn read(
    index: usize,
    section: &Section<'_>,
    names: &mut Vec<Stated<Label>>,
    used: &mut Vec<Stated<SocketAddr>>,
    routes: &mut Vec<StatedRoute>,
) -> Option<Ingress> {
    section.require("kind", "expected one of http, tcp");
    let kind = section.choice("kind", &[("http", Kind::Http), ("tcp", Kind::Tcp)]);
    let hint = "say where callers connect to, e.g. listen = \"127.0.0.1:8080\"";
    let stated = section.some_with("listen", hint, ip_address);
    used.extend(stated.iter().cloned());
    let callers = callers(section);
    let name = match (section.has("name"), kind) {
        (true, _) => section.parsed::<Label>("name"),
        (false, Some(kind)) => default_name(kind, index),
        (false, None) => None,
    };
    names.extend(name.iter().map(|name| section.stated("name", name.clone())));
    let connections = Connections::read(section, kind.map_or(MAX_CONNECTIONS_TCP, max_connections));
    let kind = match kind? {
        Kind::Http => {
            let name = name.clone()?;
            let own = routes.extract_if(.., |route| route.ingress.value == name);
            HttpSettings::read(section, own.collect()).map(IngressKind::Http)
        }
        Kind::Tcp => tcp(section).map(IngressKind::Tcp),
    };
    Some(Ingress {
        name: name?,
        listen: stated.into_iter().map(|stated| stated.value).collect(),
        callers: callers?,
        connections,
        kind: kind?,
    })
}

fn default_name(kind: Kind, index: usize) -> Option<Label> {
    let word = match kind {
        Kind::Http => "http",
        Kind::Tcp => "tcp",
    };
    format!("{word}-{index}").parse().ok()
}

const MAX_CONNECTIONS_TCP: u64 = 16_384;

/// An http caller may cost more than a tcp one, whose memory the stream's credit bounds.
fn max_connections(kind: Kind) -> u64 {
    match kind {
        Kind::Http => 8192,
        Kind::Tcp => MAX_CONNECTIONS_TCP,
    }
}

fn tcp(section: &Section<'_>) -> Option<TcpSettings> {
    section.refuse(
        "host",
        "a tcp ingress sees no host names; say where it leads with to = \"tenant/cluster/service\"",
    );
    for key in http::ONLY_HTTP {
        section.refuse(key, "only an http ingress takes it, this one is tcp");
    }
    section.require("to", "say where it leads, e.g. to = \"acme/prod-1/db\"");
    let idle_timeout = idle_timeout(section);
    Some(TcpSettings {
        to: section.parsed("to")?,
        idle_timeout,
    })
}

fn callers(section: &Section<'_>) -> Option<Callers> {
    let networks = section.each_with("allow", |text, _| text.parse::<Network>());
    let anonymous = section.flag("anonymous");
    match (section.has("allow"), section.has("anonymous"), anonymous) {
        (false, true, Some(true)) => Some(Callers::Anonymous),
        (true, false, _) => Some(Callers::Networks(
            networks
                .into_iter()
                .map(|network| network.value.0)
                .collect(),
        )),
        (true, true, Some(true)) => {
            section.problem(
                "anonymous",
                "admits everyone, and allow only some; keep one of the two",
            );
            None
        }
        (_, true, Some(false)) => {
            section.problem(
                "anonymous",
                "false says nothing; leave it out and list who may call with allow",
            );
            None
        }
        // What is not a boolean was already recorded.
        (_, true, None) => None,
        (false, false, _) => {
            section.problem_here(
                "says not who may call; write allow = [\"10.0.0.0/8\"], or anonymous = true for everyone who can reach it",
            );
            None
        }
    }
}
