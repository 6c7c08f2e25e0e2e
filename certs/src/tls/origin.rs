//! Whom we trust to vouch for an origin with an `https://` target.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;

use crate::files::{FileError, read_certificates};

/// The authorities that may vouch for an origin. Cheap to clone.
#[derive(Clone)]
pub struct OriginTrust(Arc<RootCertStore>);

impl OriginTrust {
    /// Those in a PEM file, and no others: `ca = "…"` in a configuration.
    ///
    /// # Errors
    /// If the file cannot be read, holds no certificate, or holds one that is malformed.
    pub fn from_file(path: &Path) -> Result<Self, OriginTrustError> {
        let mut roots = RootCertStore::empty();
        for certificate in read_certificates(path)? {
            roots
                .add(certificate)
                .map_err(|source| OriginTrustError::UnusableAuthority {
                    path: path.to_owned(),
                    source,
                })?;
        }
        Ok(Self(Arc::new(roots)))
    }

    /// Those of the operating system; `SSL_CERT_FILE` and `SSL_CERT_DIR` name others. Reads some
    /// hundred kilobytes: call it once and keep the result.
    ///
    /// # Errors
    /// If there are none.
    pub fn system() -> Result<Self, OriginTrustError> {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        // A system's bundle often has one that is out of the ordinary; the others still count.
        let (usable, _unusable) = roots.add_parsable_certificates(found.certs);
        if usable == 0 {
            let reasons: Vec<_> = found.errors.iter().map(ToString::to_string).collect();
            return Err(OriginTrustError::NoSystemAuthorities(reasons.join("; ")));
        }
        Ok(Self(Arc::new(roots)))
    }

    pub(super) fn into_roots(self) -> Arc<RootCertStore> {
        self.0
    }
}

impl fmt::Debug for OriginTrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OriginTrust({} authorities)", self.0.len())
    }
}

/// Why there is nobody to vouch for an origin.
#[derive(Debug, thiserror::Error)]
pub enum OriginTrustError {
    /// The file is missing, unreadable or not PEM with certificates.
    #[error(transparent)]
    File(#[from] FileError),
    /// A certificate in the file cannot be used as a root of trust.
    #[error("{}: this cannot be used as an authority: {source}", path.display())]
    UnusableAuthority {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// The system has no bundle of authorities, or none that can be read.
    #[error(
        "this system has no certificate authorities for https:// targets; install the package \
         ca-certificates, point SSL_CERT_FILE at a bundle, or give the target its own `ca` ({0})"
    )]
    NoSystemAuthorities(String),
}
