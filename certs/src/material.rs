//! An identity as a process uses it: certificate chain, key and trusted authorities, read from a
//! directory and found to fit together.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use time::OffsetDateTime;

use crate::certificate::{CertificateInfo, Fingerprint, Serial};
use crate::files::{FileError, read_certificates, read_key};
use crate::identity::{Identity, IdentityError};
use crate::tls;
use crate::validity::{Moment, Validity, about, rfc3339};

/// The private key within an identity directory; only its owner may access it.
pub const KEY_FILE: &str = "key.pem";
/// The certificate within an identity directory, followed by intermediate ones if there are any.
pub const CERTIFICATE_FILE: &str = "cert.pem";
/// The authorities whose certificates are accepted, within an identity directory.
pub const AUTHORITIES_FILE: &str = "ca.pem";

/// Who is revoked by those authorities, within an identity directory; it need not be there.
pub const REVOCATIONS_FILE: &str = "crl.pem";

/// The files of an identity directory.
pub fn files_in(dir: &Path) -> [PathBuf; 4] {
    [
        KEY_FILE,
        CERTIFICATE_FILE,
        AUTHORITIES_FILE,
        REVOCATIONS_FILE,
    ]
    .map(|name| dir.join(name))
}

/// An identity with everything that it takes to prove it and to check a peer's.
///
/// Cheap to clone. It never reveals the key, not even to `Debug`.
#[derive(Clone)]
pub struct Material {
    identity: Identity,
    certified: Arc<CertifiedKey>,
    roots: Arc<RootCertStore>,
    authorities: Arc<[CertificateDer<'static>]>,
    validity: Validity,
    serial: Serial,
    fingerprint: Fingerprint,
}

/// Reads an identity directory: [`KEY_FILE`], [`CERTIFICATE_FILE`] and [`AUTHORITIES_FILE`].
///
/// # Errors
/// If a file is missing or unusable, if the key can be read by others, does not belong to the
/// certificate, or if the certificate is nobody's identity, not valid now, or not issued by one
/// of the authorities.
pub fn load(dir: &Path) -> Result<Material, CertsError> {
    let key = read_key(&dir.join(KEY_FILE))?;
    let chain = read_certificates(&dir.join(CERTIFICATE_FILE))?;
    let authorities = read_certificates(&dir.join(AUTHORITIES_FILE))?;
    let material = Material::new(chain, key, &authorities, Origin::Directory(dir))?;
    material.check(OffsetDateTime::now_utc(), Origin::Directory(dir))?;
    Ok(material)
}

impl Material {
    /// Puts the parts together and checks that they belong together, whatever the time is.
    pub(crate) fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        authorities: &[CertificateDer<'static>],
        origin: Origin<'_>,
    ) -> Result<Self, CertsError> {
        let certificate = chain.first().ok_or_else(|| FileError::NoCertificate {
            path: origin.file(CERTIFICATE_FILE),
        })?;
        let nobody = |source| CertsError::Nobody {
            path: origin.file(CERTIFICATE_FILE),
            source,
        };
        let info = CertificateInfo::read(certificate).map_err(nobody)?;
        let identity = info.identity.map_err(nobody)?;

        let key = default_provider()
            .key_provider
            .load_private_key(key)
            .map_err(|source| CertsError::UnusableKey {
                path: origin.file(KEY_FILE),
                source,
            })?;
        let certified = CertifiedKey::new(chain, key);
        if certified.keys_match().is_err() {
            return Err(CertsError::KeyMismatch {
                key: origin.file(KEY_FILE),
                certificate: origin.file(CERTIFICATE_FILE),
            });
        }

        let mut roots = RootCertStore::empty();
        for authority in authorities {
            roots
                .add(authority.clone())
                .map_err(|source| CertsError::UnusableAuthority {
                    path: origin.file(AUTHORITIES_FILE),
                    source,
                })?;
        }
        Ok(Self {
            identity,
            certified: Arc::new(certified),
            roots: Arc::new(roots),
            authorities: authorities.into(),
            validity: info.validity,
            serial: info.serial,
            fingerprint: info.fingerprint,
        })
    }

    /// Whether a peer that trusts the same authorities would accept it at `now`.
    pub(crate) fn check(&self, now: OffsetDateTime, origin: Origin<'_>) -> Result<(), CertsError> {
        let path = || origin.file(CERTIFICATE_FILE);
        match self.validity.at(now) {
            Moment::Within => {}
            Moment::Before => {
                return Err(CertsError::NotYetValid {
                    path: path(),
                    validity: self.validity,
                    now,
                });
            }
            Moment::After => {
                return Err(CertsError::Expired {
                    path: path(),
                    validity: self.validity,
                    now,
                });
            }
        }
        tls::check_own_chain(self, now).map_err(|source| CertsError::Untrusted {
            path: path(),
            authorities: origin.file(AUTHORITIES_FILE),
            source,
        })
    }

    /// Whom the certificate speaks for.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The certificate, then the intermediate ones.
    #[must_use]
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.certified.cert
    }

    /// The chain with its private key, as rustls uses it.
    #[must_use]
    pub fn certified_key(&self) -> &Arc<CertifiedKey> {
        &self.certified
    }

    /// The authorities whose certificates are accepted.
    #[must_use]
    pub fn roots(&self) -> &Arc<RootCertStore> {
        &self.roots
    }

    /// The same, as their certificates.
    #[must_use]
    pub fn authorities(&self) -> &[CertificateDer<'static>] {
        &self.authorities
    }

    /// From when until when the certificate may be used.
    #[must_use]
    pub fn validity(&self) -> Validity {
        self.validity
    }

    /// The first second in which the certificate may be used.
    #[must_use]
    pub fn not_before(&self) -> OffsetDateTime {
        self.validity.not_before
    }

    /// The last second in which the certificate may be used.
    #[must_use]
    pub fn not_after(&self) -> OffsetDateTime {
        self.validity.not_after
    }

    /// How long the certificate may still be used; zero once it has expired.
    #[must_use]
    pub fn remaining(&self, now: OffsetDateTime) -> Duration {
        Duration::try_from(self.validity.not_after - now).unwrap_or_default()
    }

    /// The certificate's serial number.
    #[must_use]
    pub fn serial(&self) -> &Serial {
        &self.serial
    }

    /// The certificate's SHA-256 digest.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }
}

impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Material")
            .field("identity", &self.identity)
            .field("validity", &self.validity)
            .field("serial", &self.serial)
            .field("fingerprint", &self.fingerprint)
            .finish_non_exhaustive()
    }
}

/// Where the parts of an identity come from, for messages.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Origin<'a> {
    /// An identity directory.
    Directory(&'a Path),
    /// They have just been made and were never written.
    Memory,
}

impl Origin<'_> {
    fn file(self, name: &str) -> PathBuf {
        match self {
            Self::Directory(dir) => dir.join(name),
            Self::Memory => Path::new("(in memory)").join(name),
        }
    }
}

/// Why an identity cannot be used. Except for the clock, it is always the fault of what lies in
/// the directory.
#[derive(Debug, thiserror::Error)]
pub enum CertsError {
    /// A file of the directory is missing.
    #[error(
        "{} does not exist; an identity is a directory with key.pem, cert.pem and ca.pem, as \
         `causeway certs issue` writes it", path.display()
    )]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// A file is unreadable, too open or not what it should be.
    #[error(transparent)]
    File(FileError),
    /// The certificate is nobody's identity.
    #[error("{}: {source}", path.display())]
    Nobody {
        /// The certificate's file.
        path: PathBuf,
        /// Why it is nobody's.
        source: IdentityError,
    },
    /// The key is of a kind that is not supported.
    #[error("{}: the private key cannot be used: {source}", path.display())]
    UnusableKey {
        /// The key's file.
        path: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// The key is not the one that the certificate was issued for.
    #[error(
        "the private key in {} does not belong to the certificate in {}; issue both anew with \
         `causeway certs issue`", key.display(), certificate.display()
    )]
    KeyMismatch {
        /// The key's file.
        key: PathBuf,
        /// The certificate's file.
        certificate: PathBuf,
    },
    /// An authority's certificate cannot be used as a root of trust.
    #[error("{}: this cannot be used as an authority: {source}", path.display())]
    UnusableAuthority {
        /// The authorities' file.
        path: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// The certificate has expired.
    #[error(
        "the certificate in {} expired at {}, {} ago by the clock of this machine; issue a new \
         one with `causeway certs issue`, or correct the clock", path.display(),
        rfc3339(validity.not_after), about((*now - validity.not_after).unsigned_abs())
    )]
    Expired {
        /// The certificate's file.
        path: PathBuf,
        /// From when until when it could be used.
        validity: Validity,
        /// What the clock said.
        now: OffsetDateTime,
    },
    /// The certificate's time has not come.
    #[error(
        "the certificate in {} is not valid before {}, {} from now by the clock of this machine; \
         correct the clock, or issue a new one with `causeway certs issue`", path.display(),
        rfc3339(validity.not_before), about((validity.not_before - *now).unsigned_abs())
    )]
    NotYetValid {
        /// The certificate's file.
        path: PathBuf,
        /// From when until when it can be used.
        validity: Validity,
        /// What the clock said.
        now: OffsetDateTime,
    },
    /// None of the authorities issued the certificate.
    #[error(
        "the certificate in {} was not issued by an authority in {} ({source}); take both from \
         the same `causeway certs issue`", path.display(), authorities.display()
    )]
    Untrusted {
        /// The certificate's file.
        path: PathBuf,
        /// The authorities' file.
        authorities: PathBuf,
        /// What the chain's verification said.
        source: rustls::Error,
    },
}

impl From<FileError> for CertsError {
    fn from(error: FileError) -> Self {
        if let FileError::Missing { path } = error {
            Self::Missing { path }
        } else {
            Self::File(error)
        }
    }
}
