//! `[[ingress]]`: listeners that turn callers into streams.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use certs::{ClusterId, ClusterIdError, Label};
use relay::ServiceName;
use relay::settings::{Reading, Section, Stated};

use super::callers::{Callers, Network};
use super::ip_address;
use crate::ingress::http::HostPattern;

/// The keys of `[[ingress]]`.
pub(super) const KEYS: &[&str] = &["kind", "name", "listen", "host", "to", "anonymous", "allow"];

/// `[[ingress]]`: a listener that turns callers into streams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ingress {
    /// Its name in metrics, logs and audits; `http-0` for an unnamed first one. No two have the same.
    pub name: Label,
    /// Where callers connect to, over TCP; never empty.
    pub listen: Vec<SocketAddr>,
    /// Who may call.
    pub callers: Callers,
    /// What it speaks, and where it leads.
    pub kind: IngressKind,
}

/// What an ingress speaks, and where it leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IngressKind {
    /// HTTP/1.1 and HTTP/2.
    Http(HttpRoute),
    /// Bytes, to one service.
    Tcp(ServiceAddress),
}

/// Where an http ingress leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HttpRoute {
    /// `host`: to whatever the host name says.
    Pattern(HostPattern),
    /// `to`: to one service, whatever the host name.
    Fixed(ServiceAddress),
}

/// A service of a cluster, written `acme/prod-1/db`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceAddress {
    /// Whose compute plane.
    pub cluster: ClusterId,
    /// Which of its services.
    pub service: ServiceName,
}

/// Why a text is no [`ServiceAddress`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServiceAddressError {
    /// Other than three parts.
    #[error(
        "\"{0}\" is no service of a cluster; write tenant/cluster/service, such as acme/prod-1/db"
    )]
    Shape(String),
    /// A tenant or cluster that is none.
    #[error(transparent)]
    Cluster(#[from] ClusterIdError),
    /// A service that is none.
    #[error(transparent)]
    Service(#[from] relay::proto::InvalidServiceName),
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
            Self::Http(HttpRoute::Pattern(pattern)) => pattern.to_string(),
            Self::Http(HttpRoute::Fixed(to)) | Self::Tcp(to) => to.to_string(),
        }
    }
}

impl FromStr for ServiceAddress {
    type Err = ServiceAddressError;

    fn from_str(text: &str) -> Result<Self, ServiceAddressError> {
        let shape = || ServiceAddressError::Shape(text.to_owned());
        if text.split('/').count() != 3 {
            return Err(shape());
        }
        let (cluster, service) = text.rsplit_once('/').ok_or_else(shape)?;
        Ok(Self {
            cluster: cluster.parse()?,
            service: service.parse()?,
        })
    }
}

impl fmt::Display for ServiceAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.cluster, self.service)
    }
}

/// The word of `kind`.
#[derive(Clone, Copy)]
enum Kind {
    Http,
    Tcp,
}

/// The ingresses, and everything that they listen on.
pub(super) fn read_all(reading: &Reading<'_>) -> (Vec<Ingress>, Vec<Stated<SocketAddr>>) {
    let mut names = Vec::new();
    let mut used = Vec::new();
    let ingresses = reading
        .sections("ingress")
        .iter()
        .enumerate()
        .filter_map(|(index, section)| read(index, section, &mut names, &mut used))
        .collect();
    reading.unique(&names, "is named");
    (ingresses, used)
}

fn read(
    index: usize,
    section: &Section<'_>,
    names: &mut Vec<Stated<Label>>,
    used: &mut Vec<Stated<SocketAddr>>,
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
    let kind = match kind? {
        Kind::Http => http(section).map(IngressKind::Http),
        Kind::Tcp => tcp(section).map(IngressKind::Tcp),
    };
    Some(Ingress {
        name: name?,
        listen: stated.into_iter().map(|stated| stated.value).collect(),
        callers: callers?,
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

fn http(section: &Section<'_>) -> Option<HttpRoute> {
    match (section.has("host"), section.has("to")) {
        (true, false) => section.parsed("host").map(HttpRoute::Pattern),
        (false, true) => section.parsed("to").map(HttpRoute::Fixed),
        (true, true) => {
            section.problem(
                "to",
                "stands beside host; keep host to route by name, or to for one service",
            );
            None
        }
        (false, false) => {
            section.require(
                "host",
                "an http ingress needs host = \"{service}--{cluster}--{tenant}.apps.example.com\", or to = \"tenant/cluster/service\"",
            );
            None
        }
    }
}

fn tcp(section: &Section<'_>) -> Option<ServiceAddress> {
    section.refuse(
        "host",
        "a tcp ingress sees no host names; say where it leads with to = \"tenant/cluster/service\"",
    );
    section.require("to", "say where it leads, e.g. to = \"acme/prod-1/db\"");
    section.parsed("to")
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
