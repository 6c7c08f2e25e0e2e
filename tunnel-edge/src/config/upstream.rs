//! `[[upstream]]`: services of the control plane that compute planes may call.

use std::fmt;
use std::str::FromStr;

use certs::{ClusterId, ClusterIdError, Label, LabelError};
use relay::ServiceName;
use relay::settings::{OriginOwner, OriginSettings, Reading, Section, Stated};

/// `[[upstream]]`: a service here that compute planes may call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// The name that clients forward to.
    pub service: ServiceName,
    /// Where it really is.
    pub origin: OriginSettings,
    /// Whose clients may call it; nobody if it is empty.
    pub allow: Vec<ClusterPattern>,
}

/// Some clusters: `acme/prod-1`, `acme/*` or `*`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ClusterPattern {
    /// `*`: all of them.
    Any,
    /// `acme/*`: those of one tenant.
    Tenant(Label),
    /// `acme/prod-1`: this one.
    Cluster(ClusterId),
}

/// Why a text is no [`ClusterPattern`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClusterPatternError {
    /// Neither of the three forms.
    #[error(
        "\"{0}\" names no clusters; write acme/prod-1, acme/* for all of a tenant, or * for all"
    )]
    Shape(String),
    /// A tenant that is none.
    #[error(transparent)]
    Tenant(#[from] LabelError),
    /// A cluster that is none.
    #[error(transparent)]
    Cluster(#[from] ClusterIdError),
}

impl Upstream {
    /// Whether clients of this cluster may call it.
    pub fn admits(&self, cluster: &ClusterId) -> bool {
        self.allow.iter().any(|pattern| pattern.matches(cluster))
    }
}

impl ClusterPattern {
    /// Whether this cluster is one of them.
    pub fn matches(&self, cluster: &ClusterId) -> bool {
        match self {
            Self::Any => true,
            Self::Tenant(tenant) => *tenant == cluster.tenant,
            Self::Cluster(only) => only == cluster,
        }
    }
}

impl FromStr for ClusterPattern {
    type Err = ClusterPatternError;

    fn from_str(text: &str) -> Result<Self, ClusterPatternError> {
        match text.split_once('/') {
            None if text == "*" => Ok(Self::Any),
            Some((tenant, "*")) if tenant != "*" => Ok(Self::Tenant(tenant.parse()?)),
            Some(_) if !text.contains('*') => Ok(Self::Cluster(text.parse()?)),
            Some(_) | None => Err(ClusterPatternError::Shape(text.to_owned())),
        }
    }
}

impl fmt::Display for ClusterPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Tenant(tenant) => write!(f, "{tenant}/*"),
            Self::Cluster(cluster) => write!(f, "{cluster}"),
        }
    }
}

pub(super) fn read_all(reading: &Reading<'_>) -> Vec<Upstream> {
    let mut names = Vec::new();
    let upstreams = reading
        .sections("upstream")
        .iter()
        .filter_map(|section| read(section, &mut names))
        .collect();
    reading.unique(&names, "serves");
    upstreams
}

fn read(section: &Section<'_>, names: &mut Vec<Stated<ServiceName>>) -> Option<Upstream> {
    section.require("service", "give it a name, e.g. service = \"state\"");
    let service = section.parsed::<ServiceName>("service");
    names.extend(
        service
            .iter()
            .map(|name| section.stated("service", name.clone())),
    );
    section.require(
        "allow",
        "say whose clients may call it, e.g. allow = [\"acme/*\"]; [] is nobody, [\"*\"] everybody",
    );
    let allow = section.each_with("allow", |text, _| text.parse::<ClusterPattern>());
    let origin = OriginSettings::read(section, OriginOwner::Edge);
    Some(Upstream {
        service: service?,
        origin: origin?,
        allow: allow.into_iter().map(|pattern| pattern.value).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_what_they_say() {
        for (pattern, cluster, expected) in [
            ("*", "acme/prod-1", true),
            ("acme/*", "acme/prod-1", true),
            ("acme/*", "acme-2/prod-1", false),
            ("acme/prod-1", "acme/prod-1", true),
            ("acme/prod-1", "acme/prod-2", false),
        ] {
            let parsed: ClusterPattern = pattern.parse().unwrap();
            assert_eq!(
                parsed.matches(&cluster.parse().unwrap()),
                expected,
                "{pattern} {cluster}"
            );
            assert_eq!(parsed.to_string(), pattern);
        }
        for text in ["", "acme", "*/prod-1", "*/*", "acme/prod-*", "ac*e/prod"] {
            let error = text.parse::<ClusterPattern>().unwrap_err();
            assert!(
                matches!(error, ClusterPatternError::Shape(_)),
                "{text}: {error}"
            );
        }
    }
}
