//! Who a certificate speaks for: its one SPIFFE URI, read strictly.

use std::fmt;
use std::str::FromStr;

use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::oid_registry::OID_X509_EXT_SUBJECT_ALT_NAME;
use x509_parser::prelude::FromDer;

use crate::name::{ClusterId, Label, LabelError, TrustDomain, TrustDomainError};

/// The most bytes a SPIFFE URI may have (SPIFFE-ID, section 2.3).
const URI_MAX: usize = 2048;

/// What the holder of a certificate is allowed to be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// The client of one cluster: `/tenant/<tenant>/cluster/<cluster>`.
    Client(ClusterId),
    /// An edge: `/edge/<name>`.
    Edge(Label),
    /// A caller in the control plane: `/service/<name>`.
    Service(Label),
}

impl Role {
    /// The role without its name.
    #[must_use]
    pub fn kind(&self) -> RoleKind {
        match self {
            Self::Client(_) => RoleKind::Client,
            Self::Edge(_) => RoleKind::Edge,
            Self::Service(_) => RoleKind::Service,
        }
    }
}

/// The path of the URI, e.g. `/tenant/acme/cluster/prod-1`.
impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client(ClusterId { tenant, cluster }) => {
                write!(f, "/tenant/{tenant}/cluster/{cluster}")
            }
            Self::Edge(name) => write!(f, "/edge/{name}"),
            Self::Service(name) => write!(f, "/service/{name}"),
        }
    }
}

/// The kinds of [`Role`]; what a verifier asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RoleKind {
    /// The client of a cluster.
    Client,
    /// An edge.
    Edge,
    /// A caller in the control plane.
    Service,
}

impl fmt::Display for RoleKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Client => "client",
            Self::Edge => "edge",
            Self::Service => "service",
        })
    }
}

/// A role within a trust domain. Displayed as the URI that a certificate carries:
/// `spiffe://causeway.internal/tenant/acme/cluster/prod-1`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Identity {
    /// The domain that the role is unique in.
    pub trust_domain: TrustDomain,
    /// Who in that domain.
    pub role: Role,
}

impl Identity {
    /// Reads the identity that a certificate carries: its only URI among the subject alternative
    /// names. Nothing else of the certificate (subject, DNS names) says who its holder is, and
    /// whether anyone trusts it is decided by [`crate::tls`], not here.
    ///
    /// # Errors
    /// If the certificate cannot be parsed, has no URI or more than one, or if its URI is not one
    /// of the three that Causeway knows.
    pub fn from_certificate(certificate: &CertificateDer<'_>) -> Result<Self, IdentityError> {
        let (rest, parsed) = X509Certificate::from_der(certificate.as_ref())
            .map_err(|_| IdentityError::NotACertificate)?;
        if !rest.is_empty() {
            return Err(IdentityError::NotACertificate);
        }
        Self::from_x509(&parsed)
    }

    /// As [`Identity::from_certificate`], for a certificate that is parsed already.
    pub(crate) fn from_x509(certificate: &X509Certificate<'_>) -> Result<Self, IdentityError> {
        only_uri(certificate)?.parse()
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "spiffe://{}{}", self.trust_domain, self.role)
    }
}

impl FromStr for Identity {
    type Err = IdentityError;

    fn from_str(uri: &str) -> Result<Self, IdentityError> {
        if uri.len() > URI_MAX {
            return Err(IdentityError::TooLong(uri.len()));
        }
        let rest = uri
            .strip_prefix("spiffe://")
            .ok_or_else(|| IdentityError::NotSpiffe(uri.to_owned()))?;
        let (domain, path) = rest
            .split_once('/')
            .ok_or_else(|| IdentityError::UnknownPath(uri.to_owned()))?;
        let trust_domain = domain
            .parse()
            .map_err(|source| IdentityError::BadTrustDomain {
                uri: uri.to_owned(),
                source,
            })?;
        let label = |part: &str| {
            part.parse::<Label>()
                .map_err(|source| IdentityError::BadLabel {
                    uri: uri.to_owned(),
                    source,
                })
        };
        let parts: Vec<&str> = path.split('/').collect();
        let role = match parts[..] {
            ["tenant", tenant, "cluster", cluster] => Role::Client(ClusterId {
                tenant: label(tenant)?,
                cluster: label(cluster)?,
            }),
            ["edge", name] => Role::Edge(label(name)?),
            ["service", name] => Role::Service(label(name)?),
            _ => return Err(IdentityError::UnknownPath(uri.to_owned())),
        };
        Ok(Self { trust_domain, role })
    }
}

impl TryFrom<String> for Identity {
    type Error = IdentityError;

    fn try_from(uri: String) -> Result<Self, IdentityError> {
        uri.parse()
    }
}

impl From<Identity> for String {
    fn from(identity: Identity) -> Self {
        identity.to_string()
    }
}

/// Why a certificate or a URI is nobody's identity. It is always the fault of who issued it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// The bytes are not one X.509 certificate.
    #[error("this is not an X.509 certificate")]
    NotACertificate,
    /// A subject alternative name is malformed, so that what it says is open to interpretation.
    #[error("the certificate's subject alternative names are malformed")]
    MalformedNames,
    /// The subject alternative names are missing or hold no URI.
    #[error(
        "the certificate has no URI among its subject alternative names, so it is nobody's \
         identity; issue one with `causeway certs issue`"
    )]
    NoUri,
    /// More than one URI, whatever they say.
    #[error(
        "the certificate has {0} URIs among its subject alternative names; an identity has \
         exactly one"
    )]
    SeveralUris(usize),
    /// The URI has another scheme.
    #[error("{0:?} is not a spiffe:// URI")]
    NotSpiffe(String),
    /// The URI is longer than SPIFFE allows.
    #[error("the URI has {0} bytes; 2048 are allowed")]
    TooLong(usize),
    /// The path is none of the three known ones.
    #[error(
        "{0:?} names no role; the path must be /tenant/<tenant>/cluster/<cluster>, /edge/<name> \
         or /service/<name>"
    )]
    UnknownPath(String),
    /// The trust domain is not well-formed.
    #[error("{uri:?}: {source}")]
    BadTrustDomain {
        /// The whole URI.
        uri: String,
        /// What is wrong with its trust domain.
        source: TrustDomainError,
    },
    /// A tenant, cluster, edge or service in the path is not well-formed.
    #[error("{uri:?}: {source}")]
    BadLabel {
        /// The whole URI.
        uri: String,
        /// What is wrong with the name.
        source: LabelError,
    },
}

pub(crate) fn only_uri<'a>(certificate: &'a X509Certificate<'_>) -> Result<&'a str, IdentityError> {
    // Two extensions of the same kind are forbidden (RFC 5280, section 4.2), but what a parser
    // makes of them differs: counting URIs over all of them leaves no room for a second reading.
    let mut uris = Vec::new();
    for extension in certificate.extensions() {
        if extension.oid != OID_X509_EXT_SUBJECT_ALT_NAME {
            continue;
        }
        let ParsedExtension::SubjectAlternativeName(names) = extension.parsed_extension() else {
            return Err(IdentityError::MalformedNames);
        };
        for name in &names.general_names {
            if let GeneralName::Invalid(..) = name {
                return Err(IdentityError::MalformedNames);
            }
            if let GeneralName::URI(uri) = name {
                uris.push(*uri);
            }
        }
    }
    match uris[..] {
        [] => Err(IdentityError::NoUri),
        [uri] => Ok(uri),
        [..] => Err(IdentityError::SeveralUris(uris.len())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_role_has_its_uri() {
        for uri in [
            "spiffe://causeway.internal/tenant/acme/cluster/prod-1",
            "spiffe://causeway.internal/edge/eu-1",
            "spiffe://causeway.internal/service/queue",
        ] {
            assert_eq!(uri.parse::<Identity>().unwrap().to_string(), uri);
        }
    }

    #[test]
    fn uris_that_name_nobody_say_why() {
        let error = |uri: &str| uri.parse::<Identity>().unwrap_err();
        assert!(matches!(
            error("https://a/edge/b"),
            IdentityError::NotSpiffe(_)
        ));
        assert!(matches!(
            error("SPIFFE://a/edge/b"),
            IdentityError::NotSpiffe(_)
        ));
        assert!(matches!(
            error("spiffe:///edge/b"),
            IdentityError::BadTrustDomain { .. }
        ));
        assert!(matches!(
            error("spiffe://u@a:1/edge/b"),
            IdentityError::BadTrustDomain { .. }
        ));
        for wrong_path in [
            "spiffe://a",
            "spiffe://a/",
            "spiffe://a/edge",
            "spiffe://a/edge/b/",
            "spiffe://a//edge/b",
            "spiffe://a/tenant/t",
            "spiffe://a/tenant/t/cluster/c/more",
            "spiffe://a/Edge/b",
        ] {
            assert!(
                matches!(error(wrong_path), IdentityError::UnknownPath(_)),
                "{wrong_path}"
            );
        }
        for bad_label in [
            "spiffe://a/edge/",
            "spiffe://a/edge/B",
            "spiffe://a/edge/b?x",
            "spiffe://a/edge/b#x",
            "spiffe://a/edge/%62",
            "spiffe://a/tenant/a--b/cluster/c",
            "spiffe://a/tenant/t/cluster/..",
        ] {
            assert!(
                matches!(error(bad_label), IdentityError::BadLabel { .. }),
                "{bad_label}"
            );
        }
        let long = format!("spiffe://a/edge/{}", "b".repeat(URI_MAX));
        assert!(matches!(error(&long), IdentityError::TooLong(_)));
    }

    fn any_label() -> impl Strategy<Value = Label> {
        "[a-z0-9](-?[a-z0-9]){0,31}".prop_map(|text| text.parse().unwrap())
    }

    fn any_identity() -> impl Strategy<Value = Identity> {
        let role = prop_oneof![
            (any_label(), any_label())
                .prop_map(|(tenant, cluster)| Role::Client(ClusterId { tenant, cluster })),
            any_label().prop_map(Role::Edge),
            any_label().prop_map(Role::Service),
        ];
        let domain = "[a-z0-9_-]{1,20}(\\.[a-z0-9_-]{1,20}){0,3}";
        (domain, role).prop_map(|(domain, role)| Identity {
            trust_domain: domain.parse().unwrap(),
            role,
        })
    }

    proptest! {
        #[test]
        fn identities_round_trip(identity in any_identity()) {
            prop_assert_eq!(identity.to_string().parse::<Identity>().unwrap(), identity);
        }

        #[test]
        fn any_text_is_refused_or_printed_unchanged(text in "(spiffe://)?[a-z/.-]{0,60}|.{0,60}") {
            if let Ok(identity) = text.parse::<Identity>() {
                prop_assert_eq!(identity.to_string(), text);
            }
        }

        #[test]
        fn garbage_is_no_certificate(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
            prop_assert!(Identity::from_certificate(&CertificateDer::from(bytes)).is_err());
        }
    }
}
