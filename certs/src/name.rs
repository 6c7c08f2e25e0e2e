//! The names that identities are made of: labels, clusters and trust domains.
//!
//! Each is checked once, when it is parsed; what holds one of these types never checks again.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The most bytes a [`Label`] may have (RFC 1035, section 2.3.4).
const LABEL_MAX: usize = 63;

/// The most bytes a [`TrustDomain`] may have (SPIFFE-ID, section 2.1).
const TRUST_DOMAIN_MAX: usize = 255;

/// A lower-case DNS label: the name of a tenant, a cluster, an edge or a service.
///
/// Letters `a`-`z`, digits and single hyphens, 1 to 63 bytes, neither beginning nor ending with a
/// hyphen. Two hyphens in a row are refused because `--` separates labels in host names such as
/// `web--prod-1--acme.apps.example.com`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Label(Box<str>);

impl Label {
    /// The label as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Label {
    type Err = LabelError;

    fn from_str(text: &str) -> Result<Self, LabelError> {
        check_label(text).map_err(|fault| LabelError {
            text: excerpt(text),
            fault,
        })?;
        Ok(Self(text.into()))
    }
}

impl TryFrom<String> for Label {
    type Error = LabelError;

    fn try_from(text: String) -> Result<Self, LabelError> {
        text.parse()
    }
}

impl From<Label> for String {
    fn from(label: Label) -> Self {
        label.0.into()
    }
}

impl AsRef<str> for Label {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// Whose compute plane it is: a tenant and one of its clusters, written `acme/prod-1`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClusterId {
    /// The customer.
    pub tenant: Label,
    /// One of the customer's clusters.
    pub cluster: Label,
}

impl FromStr for ClusterId {
    type Err = ClusterIdError;

    fn from_str(text: &str) -> Result<Self, ClusterIdError> {
        let (tenant, cluster) = text
            .split_once('/')
            .ok_or_else(|| ClusterIdError::NoSlash(excerpt(text)))?;
        Ok(Self {
            tenant: tenant.parse().map_err(ClusterIdError::Tenant)?,
            cluster: cluster.parse().map_err(ClusterIdError::Cluster)?,
        })
    }
}

impl TryFrom<String> for ClusterId {
    type Error = ClusterIdError;

    fn try_from(text: String) -> Result<Self, ClusterIdError> {
        text.parse()
    }
}

impl From<ClusterId> for String {
    fn from(id: ClusterId) -> Self {
        id.to_string()
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.tenant, self.cluster)
    }
}

impl fmt::Debug for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The domain within which identities are unique, e.g. `causeway.internal`.
///
/// Lower-case letters, digits, `.`, `-` and `_`, 1 to 255 bytes (SPIFFE-ID, section 2.1); no empty
/// label between dots. It is a name only: nothing ever resolves it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TrustDomain(Box<str>);

impl TrustDomain {
    /// The trust domain as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TrustDomain {
    type Err = TrustDomainError;

    fn from_str(text: &str) -> Result<Self, TrustDomainError> {
        let allowed = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.');
        let well_formed = text.len() <= TRUST_DOMAIN_MAX
            && text.bytes().all(allowed)
            && text.split('.').all(|label| !label.is_empty());
        if !well_formed {
            return Err(TrustDomainError(excerpt(text)));
        }
        Ok(Self(text.into()))
    }
}

impl TryFrom<String> for TrustDomain {
    type Error = TrustDomainError;

    fn try_from(text: String) -> Result<Self, TrustDomainError> {
        text.parse()
    }
}

impl From<TrustDomain> for String {
    fn from(domain: TrustDomain) -> Self {
        domain.0.into()
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// A text that is not a [`Label`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a valid name: {fault}")]
pub struct LabelError {
    text: String,
    fault: LabelFault,
}

impl LabelError {
    /// What is wrong with the text.
    #[must_use]
    pub fn fault(&self) -> LabelFault {
        self.fault
    }
}

/// What keeps a text from being a [`Label`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LabelFault {
    /// Nothing is there.
    #[error("it is empty")]
    Empty,
    /// More than 63 bytes.
    #[error("it has more than 63 characters")]
    TooLong,
    /// Something other than `a`-`z`, `0`-`9` and `-`.
    #[error("{0:?} is not allowed; use lower-case letters, digits and hyphens")]
    Character(char),
    /// A hyphen at either end.
    #[error("it must begin and end with a letter or a digit")]
    OuterHyphen,
    /// Two hyphens in a row.
    #[error("two hyphens in a row are not allowed, they separate names in host names")]
    DoubleHyphen,
}

/// A text that is not a [`ClusterId`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClusterIdError {
    /// There is no slash between tenant and cluster.
    #[error("{0:?} does not name a cluster; write tenant/cluster, e.g. acme/prod-1")]
    NoSlash(String),
    /// What stands before the slash is not a label.
    #[error("bad tenant in tenant/cluster: {0}")]
    Tenant(#[source] LabelError),
    /// What stands after the slash is not a label.
    #[error("bad cluster in tenant/cluster: {0}")]
    Cluster(#[source] LabelError),
}

/// A text that is not a [`TrustDomain`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a trust domain; use lower-case letters, digits, '-', '_' and single dots, \
     e.g. causeway.internal"
)]
pub struct TrustDomainError(String);

fn check_label(text: &str) -> Result<(), LabelFault> {
    if text.is_empty() {
        return Err(LabelFault::Empty);
    }
    if text.len() > LABEL_MAX {
        return Err(LabelFault::TooLong);
    }
    let allowed = |c: &char| matches!(c, 'a'..='z' | '0'..='9' | '-');
    if let Some(character) = text.chars().find(|c| !allowed(c)) {
        return Err(LabelFault::Character(character));
    }
    if text.starts_with('-') || text.ends_with('-') {
        return Err(LabelFault::OuterHyphen);
    }
    if text.contains("--") {
        return Err(LabelFault::DoubleHyphen);
    }
    Ok(())
}

/// The beginning of a text that may come from a stranger, short enough for an error message.
fn excerpt(text: &str) -> String {
    const SHOWN: usize = 80;
    if text.chars().nth(SHOWN).is_none() {
        return text.to_owned();
    }
    text.chars().take(SHOWN).chain("...".chars()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn labels_that_are_refused_say_why() {
        let fault = |text: &str| text.parse::<Label>().unwrap_err().fault();
        assert_eq!(fault(""), LabelFault::Empty);
        assert_eq!(fault(&"a".repeat(64)), LabelFault::TooLong);
        assert_eq!(fault("Acme"), LabelFault::Character('A'));
        assert_eq!(fault("a.b"), LabelFault::Character('.'));
        assert_eq!(fault("a/b"), LabelFault::Character('/'));
        assert_eq!(fault("-a"), LabelFault::OuterHyphen);
        assert_eq!(fault("a-"), LabelFault::OuterHyphen);
        assert_eq!(fault("a--b"), LabelFault::DoubleHyphen);
    }

    #[test]
    fn longest_label_is_accepted() {
        let text = "a".repeat(LABEL_MAX);
        assert_eq!(text.parse::<Label>().unwrap().as_str(), text);
    }

    #[test]
    fn cluster_ids_name_the_bad_half() {
        assert!(matches!(
            "acme".parse::<ClusterId>(),
            Err(ClusterIdError::NoSlash(_))
        ));
        assert!(matches!(
            "A/b".parse::<ClusterId>(),
            Err(ClusterIdError::Tenant(_))
        ));
        assert!(matches!(
            "a/b/c".parse::<ClusterId>(),
            Err(ClusterIdError::Cluster(_))
        ));
        assert_eq!(
            "acme/prod-1".parse::<ClusterId>().unwrap().to_string(),
            "acme/prod-1"
        );
    }

    #[test]
    fn trust_domains_follow_the_spiffe_rule() {
        for good in ["causeway.internal", "a", "a_b-c.d1"] {
            assert_eq!(good.parse::<TrustDomain>().unwrap().as_str(), good);
        }
        for bad in ["", ".", "a..b", "Causeway", "a/b", "a:1", "a@b", "a%20"] {
            assert!(bad.parse::<TrustDomain>().is_err(), "{bad}");
        }
    }

    #[test]
    fn error_messages_quote_only_the_beginning_of_a_long_text() {
        let error = "é".repeat(10_000).parse::<Label>().unwrap_err();
        assert!(error.to_string().len() < 400);
    }

    proptest! {
        #[test]
        fn labels_round_trip(text in "[a-z0-9](-?[a-z0-9]){0,31}") {
            let label: Label = text.parse().unwrap();
            prop_assert_eq!(label.to_string(), text);
        }

        #[test]
        fn what_is_accepted_is_printed_unchanged(text in ".{0,80}") {
            if let Ok(label) = text.parse::<Label>() {
                prop_assert_eq!(label.to_string(), text.clone());
            }
            if let Ok(id) = text.parse::<ClusterId>() {
                prop_assert_eq!(id.to_string(), text.clone());
            }
            if let Ok(domain) = text.parse::<TrustDomain>() {
                prop_assert_eq!(domain.to_string(), text);
            }
        }
    }
}
