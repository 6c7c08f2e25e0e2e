//! What is asked of DNS, and what comes of it.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

/// How many targets of one name are looked at.
pub(super) const MAX_TARGETS: usize = 64;

/// How many addresses of one name are looked at.
pub(super) const MAX_ADDRESSES: usize = 16;

/// What is asked of DNS.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Question {
    /// The SRV records of an owner name.
    Srv(String),
    /// The addresses of a host that the configuration names: the system may know it by a shorter
    /// name.
    Host(String),
    /// The addresses of the target of an SRV record.
    Target(String),
}

impl Question {
    /// For the label of a metric.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Srv(_) => "srv",
            Self::Host(_) | Self::Target(_) => "address",
        }
    }
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Srv(name) | Self::Host(name) | Self::Target(name) => f.write_str(name),
        }
    }
}

/// One SRV record (RFC 2782).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Target {
    pub(super) priority: u16,
    pub(super) weight: u16,
    pub(super) host: String,
    pub(super) port: u16,
}

/// What a question was answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Records {
    Targets(Vec<Target>),
    Addresses(Vec<IpAddr>),
}

/// Records, and for how long they hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) records: Records,
    pub(super) ttl: Duration,
    /// The family of addresses that nobody has said anything about, and why.
    pub(super) unanswered: Option<(Family, Failure)>,
}

/// A family of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

/// Why there are no records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// DNS says that there are none, for as long as the zone says.
    Denied {
        why: String,
        ttl: Option<Duration>,
        label: &'static str,
    },
    /// Nobody who knows has answered.
    Unanswered { why: String, label: &'static str },
}

impl Failure {
    /// For the label of a metric.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Denied { label, .. } | Self::Unanswered { label, .. } => label,
        }
    }
}
