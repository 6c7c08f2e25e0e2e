//! Host names that say which service of which cluster is meant.

use std::fmt;
use std::str::FromStr;

use certs::{ClusterId, Label};
use relay::ServiceName;
use serde::{Deserialize, Serialize};

/// The most bytes one label of a host name may have (RFC 1035 §2.3.4).
const LABEL_MAX: usize = 63;

/// The most bytes a host name may have, without its final dot (RFC 1035 §2.3.4).
const NAME_MAX: usize = 253;

/// What stands between the three names of the first label. No name contains it.
const SEPARATOR: &str = "--";

/// A pattern such as `{service}--{cluster}--{tenant}.apps.example.com`.
///
/// The first label holds `{service}`, `{cluster}` and `{tenant}`, each once, in any order, with
/// `--` between them; a domain follows. All names share one label so that one wildcard
/// certificate serves every cluster. Since no name contains `--`, a host is read in one way only.
///
/// Hosts are compared without regard to case; a port and the final dot of a fully qualified name
/// are ignored (RFC 9110 §4.2.3, RFC 1034 §3.1).
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostPattern {
    order: [Name; 3],
    /// Lower case, without a dot at either end.
    domain: Box<str>,
}

impl HostPattern {
    /// The service and cluster that `host` names, or nothing if it does not fit the pattern.
    ///
    /// `host` is what a `Host` header or `:authority` holds: a name, perhaps with a port.
    #[must_use]
    pub fn matches(&self, host: &str) -> Option<(ServiceName, ClusterId)> {
        let host = without_port(host);
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        let (label, domain) = host.split_once('.')?;
        if domain != &*self.domain || label.len() > LABEL_MAX {
            return None;
        }
        let mut names = label.split(SEPARATOR);
        let (mut service, mut cluster, mut tenant) = (None, None, None);
        for name in self.order {
            let text = names.next()?;
            match name {
                Name::Service => service = Some(text.parse::<ServiceName>().ok()?),
                Name::Cluster => cluster = Some(text.parse::<Label>().ok()?),
                Name::Tenant => tenant = Some(text.parse::<Label>().ok()?),
            }
        }
        if names.next().is_some() {
            return None;
        }
        let (tenant, cluster) = (tenant?, cluster?);
        Some((service?, ClusterId { tenant, cluster }))
    }

    /// The host name of `service` in `cluster`.
    ///
    /// # Errors
    ///
    /// [`HostTooLong`] if the three names do not fit into one DNS label, or the whole not into a
    /// DNS name: no caller could ever look it up.
    pub fn render(
        &self,
        service: &ServiceName,
        cluster: &ClusterId,
    ) -> Result<String, HostTooLong> {
        let label = self
            .order
            .map(|name| match name {
                Name::Service => service.as_str(),
                Name::Cluster => cluster.cluster.as_str(),
                Name::Tenant => cluster.tenant.as_str(),
            })
            .join(SEPARATOR);
        let fits = label.len() <= LABEL_MAX && label.len() + 1 + self.domain.len() <= NAME_MAX;
        let host = format!("{label}.{}", self.domain);
        if fits {
            Ok(host)
        } else {
            Err(HostTooLong { host })
        }
    }

    /// The part after the first label, e.g. `apps.example.com`.
    #[must_use]
    pub fn domain(&self) -> &str {
        &self.domain
    }
}

impl FromStr for HostPattern {
    type Err = HostPatternError;

    fn from_str(text: &str) -> Result<Self, HostPatternError> {
        if text.contains('/') {
            return Err(HostPatternError::Url(text.to_owned()));
        }
        if text.contains(':') {
            return Err(HostPatternError::Port(text.to_owned()));
        }
        let (label, domain) = text
            .split_once('.')
            .ok_or_else(|| HostPatternError::NoDomain(text.to_owned()))?;
        let order = parse_order(label)?;
        let domain = parse_domain(domain)?;
        Ok(Self { order, domain })
    }
}

impl TryFrom<String> for HostPattern {
    type Error = HostPatternError;

    fn try_from(text: String) -> Result<Self, HostPatternError> {
        text.parse()
    }
}

impl From<HostPattern> for String {
    fn from(pattern: HostPattern) -> Self {
        pattern.to_string()
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, second, third] = self.order.map(Name::placeholder);
        write!(f, "{first}--{second}--{third}.{}", self.domain)
    }
}

impl fmt::Debug for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is not a [`HostPattern`]. Each message says what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostPatternError {
    /// A scheme or a path is there.
    #[error("host pattern {0:?} is a URL; write only the host name, without scheme and path")]
    Url(String),
    /// A port is there.
    #[error("host pattern {0:?} has a port; leave it out, hosts match whatever their port is")]
    Port(String),
    /// There is only one label.
    #[error(
        "host pattern {0:?} has no domain; write \
         \"{{service}}--{{cluster}}--{{tenant}}.\" and the domain that points to this ingress"
    )]
    NoDomain(String),
    /// The first label has something other than the three placeholders between `--`.
    #[error(
        "{found:?} in the host pattern's first label is none of {{service}}, {{cluster}} and \
         {{tenant}}; write them with \"--\" between them and nothing else"
    )]
    NotAPlaceholder {
        /// What stands there.
        found: String,
    },
    /// A placeholder is there twice.
    #[error("host pattern has {0} twice; each placeholder may appear only once")]
    Repeated(&'static str),
    /// A placeholder is missing.
    #[error("host pattern lacks {0} in its first label; callers could not say which they mean")]
    Missing(&'static str),
    /// A placeholder is behind the first label.
    #[error(
        "host pattern has {0:?} behind the first dot; all placeholders belong into the first \
         label, so that one wildcard certificate serves them"
    )]
    PlaceholderInDomain(String),
    /// A label of the domain is empty, too long, or has characters that host names cannot have.
    #[error(
        "{0:?} in the host pattern's domain is not a DNS label; use 1 to 63 letters, digits and \
         inner hyphens"
    )]
    DomainLabel(String),
    /// The domain leaves no room for a first label.
    #[error("the host pattern's domain has {0} characters; no host name has more than 253")]
    DomainTooLong(usize),
}

/// A service whose host name would be longer than DNS allows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "host name {host:?} is longer than DNS allows (63 characters before the first dot, 253 in \
     all); use shorter names for the service, the cluster or the tenant"
)]
pub struct HostTooLong {
    /// The name that DNS cannot hold.
    pub host: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Name {
    Service,
    Cluster,
    Tenant,
}

impl Name {
    const ALL: [Self; 3] = [Self::Service, Self::Cluster, Self::Tenant];

    fn placeholder(self) -> &'static str {
        match self {
            Self::Service => "{service}",
            Self::Cluster => "{cluster}",
            Self::Tenant => "{tenant}",
        }
    }
}

fn parse_order(label: &str) -> Result<[Name; 3], HostPatternError> {
    let mut order = Vec::with_capacity(3);
    for found in label.split(SEPARATOR) {
        let name = Name::ALL
            .into_iter()
            .find(|name| name.placeholder() == found)
            .ok_or_else(|| HostPatternError::NotAPlaceholder {
                found: found.to_owned(),
            })?;
        if order.contains(&name) {
            return Err(HostPatternError::Repeated(name.placeholder()));
        }
        order.push(name);
    }
    if let Some(missing) = Name::ALL.into_iter().find(|name| !order.contains(name)) {
        return Err(HostPatternError::Missing(missing.placeholder()));
    }
    Ok(order
        .try_into()
        .unwrap_or_else(|_| unreachable!("three different names, none missing")))
}

fn parse_domain(text: &str) -> Result<Box<str>, HostPatternError> {
    let domain = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    for label in domain.split('.') {
        if label.contains(['{', '}']) {
            return Err(HostPatternError::PlaceholderInDomain(label.to_owned()));
        }
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        let well_formed = (1..=LABEL_MAX).contains(&label.len())
            && label.bytes().all(allowed)
            && !label.starts_with('-')
            && !label.ends_with('-');
        if !well_formed {
            return Err(HostPatternError::DomainLabel(label.to_owned()));
        }
    }
    // The shortest first label is "a--b--c", and a dot.
    if domain.len() + "a--b--c.".len() > NAME_MAX {
        return Err(HostPatternError::DomainTooLong(domain.len()));
    }
    Ok(domain.into())
}

pub(super) fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        Some(_) | None => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATTERN: &str = "{service}--{cluster}--{tenant}.apps.example.com";

    fn parse(text: &str) -> HostPattern {
        text.parse().unwrap()
    }

    fn matched(pattern: &str, host: &str) -> Option<String> {
        let (service, cluster) = parse(pattern).matches(host)?;
        Some(format!("{cluster}/{service}"))
    }

    #[test]
    fn a_host_names_service_and_cluster() {
        let expected = Some("acme/prod-1/web".to_owned());
        for host in [
            "web--prod-1--acme.apps.example.com",
            "web--prod-1--acme.apps.example.com:8080",
            "web--prod-1--acme.apps.example.com.",
            "web--prod-1--acme.apps.example.com.:443",
            "WEB--Prod-1--ACME.Apps.Example.COM",
        ] {
            assert_eq!(matched(PATTERN, host), expected, "{host}");
        }
    }

    #[test]
    fn other_hosts_do_not_match() {
        for host in [
            "",
            ".",
            "apps.example.com",
            "web.apps.example.com",
            "web--prod-1.apps.example.com",
            "web--prod-1--acme--x.apps.example.com",
            "web--prod-1--acme.apps.example.org",
            "web--prod-1--acme.x.apps.example.com",
            "x.web--prod-1--acme.apps.example.com",
            "web--prod-1--acme.apps.example.com..",
            "web---prod-1--acme.apps.example.com",
            "-web--prod-1--acme.apps.example.com",
            "web--prod_1--acme.apps.example.com",
            "web--prod-1--.apps.example.com",
            "web--prod-1--acme.apps.example.com:80:80",
            "[::1]:8080",
            "127.0.0.1:8080",
            &format!("{}--b--c.apps.example.com", "a".repeat(60)),
        ] {
            assert_eq!(matched(PATTERN, host), None, "{host}");
        }
    }

    #[test]
    fn the_order_is_the_patterns() {
        let pattern = "{tenant}--{service}--{cluster}.localhost";
        assert_eq!(
            matched(pattern, "a--b--c.localhost:1"),
            Some("a/c/b".to_owned())
        );
    }

    #[test]
    fn what_is_rendered_is_matched_again() {
        let pattern = parse(PATTERN);
        let (service, cluster) = ("web".parse().unwrap(), "acme/prod-1".parse().unwrap());
        let host = pattern.render(&service, &cluster).unwrap();
        assert_eq!(host, "web--prod-1--acme.apps.example.com");
        assert_eq!(pattern.matches(&host), Some((service, cluster)));
    }

    #[test]
    fn a_host_that_dns_cannot_hold_is_not_rendered() {
        let long = "a".repeat(60).parse().unwrap();
        let error = parse(PATTERN).render(&long, &"acme/prod-1".parse().unwrap());
        assert!(error.unwrap_err().to_string().contains("shorter names"));
    }

    #[test]
    fn a_pattern_is_shown_as_it_was_written() {
        let written = "{service}--{cluster}--{tenant}.Apps.Example.com.";
        assert_eq!(parse(written).to_string(), PATTERN);
        let json = serde_json::to_string(&parse(PATTERN)).unwrap();
        assert_eq!(
            serde_json::from_str::<HostPattern>(&json).unwrap(),
            parse(PATTERN)
        );
    }

    #[test]
    fn a_bad_pattern_is_refused_with_its_fault() {
        use HostPatternError as E;
        let text = str::to_owned;
        let cases = [
            ("http://x", E::Url(text("http://x"))),
            (
                "{service}--{cluster}--{tenant}.x:80",
                E::Port(text("{service}--{cluster}--{tenant}.x:80")),
            ),
            ("", E::NoDomain(text(""))),
            (
                "{service}--{cluster}--{tenant}",
                E::NoDomain(text("{service}--{cluster}--{tenant}")),
            ),
            ("{service}--{cluster}.x", E::Missing("{tenant}")),
            ("{service}--{service}--{tenant}.x", E::Repeated("{service}")),
            (
                "{service}-{cluster}--{tenant}.x",
                E::NotAPlaceholder {
                    found: text("{service}-{cluster}"),
                },
            ),
            (
                "{svc}--{cluster}--{tenant}.x",
                E::NotAPlaceholder {
                    found: text("{svc}"),
                },
            ),
            ("{service}.{cluster}.{tenant}.x", E::Missing("{cluster}")),
            (
                "{service}--{cluster}--{tenant}.{tenant}.x",
                E::PlaceholderInDomain(text("{tenant}")),
            ),
            (
                "{service}--{cluster}--{tenant}.a..b",
                E::DomainLabel(text("")),
            ),
            (
                "{service}--{cluster}--{tenant}.a_b",
                E::DomainLabel(text("a_b")),
            ),
            ("{service}--{cluster}--{tenant}.", E::DomainLabel(text(""))),
        ];
        for (pattern, expected) in cases {
            assert_eq!(pattern.parse::<HostPattern>(), Err(expected), "{pattern}");
        }
        let long = format!(
            "{{service}}--{{cluster}}--{{tenant}}.{}",
            ["a"; 130].join(".")
        );
        assert_eq!(long.parse::<HostPattern>(), Err(E::DomainTooLong(259)));
    }
}
