//! The authority: the one key that makes identities.
//!
//! An authority directory holds `ca-key.pem`, which only its owner may access, `ca.pem`, and `crl.pem`
//! once it has revoked something. The authority decides everything that a certificate says; a
//! requester contributes a key at most.

mod profile;
mod revoke;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{Issuer, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use time::OffsetDateTime;

use crate::certificate::CertificateInfo;
use crate::files::{FileError, Overwrite, check_free, create_dir, read_certificates, read_key};
use crate::files::{remove, write_certificate, write_key, write_list};
use crate::identity::{Identity, IdentityError, Role};
use crate::material::{AUTHORITIES_FILE, CERTIFICATE_FILE, KEY_FILE, REVOCATIONS_FILE};
use crate::material::{CertsError, Material, Origin};
use crate::name::TrustDomain;
use crate::validity::{Moment, Validity, rfc3339};

pub use revoke::{NotIssuedHere, RevokeError};

/// The authority's certificate within its directory.
pub const AUTHORITY_FILE: &str = "ca.pem";
/// The authority's private key within its directory; only its owner may access it.
pub const AUTHORITY_KEY_FILE: &str = "ca-key.pem";
/// How long a new authority lives unless something else is asked for: ten years.
pub const AUTHORITY_LIFE: Duration = Duration::from_secs(10 * 365 * 86_400);
/// How long a certificate lives that a person issues by hand, unless something else is asked for.
pub const ISSUED_LIFE: Duration = Duration::from_secs(90 * 86_400);

/// A certificate authority for one trust domain, able to sign.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    trust_domain: TrustDomain,
    validity: Validity,
}

impl Authority {
    /// Makes an authority that lives [`AUTHORITY_LIFE`] and is written nowhere.
    ///
    /// # Errors
    /// If the system gives no random bytes.
    pub fn in_memory(trust_domain: TrustDomain) -> Result<Self, AuthorityError> {
        Ok(Self::generate(trust_domain, Validity::from_now(AUTHORITY_LIFE))?.0)
    }

    /// Makes an authority and writes it to `dir`, which is created if necessary.
    ///
    /// # Errors
    /// If there is an authority already and it may not be replaced, or if writing fails.
    pub fn create(
        dir: &Path,
        trust_domain: TrustDomain,
        life: Duration,
        overwrite: Overwrite,
    ) -> Result<Self, AuthorityError> {
        let (key_path, path) = (dir.join(AUTHORITY_KEY_FILE), dir.join(AUTHORITY_FILE));
        let list = dir.join(REVOCATIONS_FILE);
        check_free(&[key_path.clone(), path.clone(), list.clone()], overwrite)?;
        let (authority, key_pem) = Self::generate(trust_domain, Validity::from_now(life))?;
        create_dir(dir)?;
        write_key(&key_path, &key_pem)?;
        write_certificate(&path, &authority.certificate)?;
        // Of an authority before it, and of no use to this one.
        remove(&list)?;
        Ok(authority)
    }

    /// Reads an authority from its directory.
    ///
    /// # Errors
    /// If a file is missing or unusable, if the key can be read by others or does not belong to
    /// the certificate, or if the certificate is not that of an authority.
    pub fn load(dir: &Path) -> Result<Self, AuthorityError> {
        let (key_path, path) = (dir.join(AUTHORITY_KEY_FILE), dir.join(AUTHORITY_FILE));
        if !path.exists() {
            return Err(AuthorityError::Missing {
                dir: dir.to_owned(),
            });
        }
        let certificate = read_certificates(&path)?.remove(0);
        let info =
            CertificateInfo::read(&certificate).map_err(|source| AuthorityError::Unreadable {
                path: path.clone(),
                source,
            })?;
        let trust_domain = info
            .uri
            .as_deref()
            .and_then(|uri| uri.strip_prefix("spiffe://"))
            .and_then(|domain| domain.parse().ok())
            .filter(|_| info.is_authority)
            .ok_or_else(|| AuthorityError::NotAnAuthority { path: path.clone() })?;
        let key =
            KeyPair::try_from(&read_key(&key_path)?).map_err(|source| AuthorityError::Key {
                path: key_path.clone(),
                source,
            })?;
        if !belongs(&key, &certificate) {
            return Err(AuthorityError::KeyMismatch {
                key: key_path,
                certificate: path,
            });
        }
        Ok(Self {
            issuer: Issuer::from_ca_cert_der(&certificate, key)?,
            certificate,
            trust_domain,
            validity: info.validity,
        })
    }

    /// Issues a certificate for a new key, valid for `ttl` from now and never longer than the
    /// authority's own certificate.
    ///
    /// # Errors
    /// If the authority's certificate is not valid now, or signing fails.
    pub fn issue(&self, role: Role, ttl: Duration) -> Result<Issued, AuthorityError> {
        let now = OffsetDateTime::now_utc();
        if self.validity.at(now) != Moment::Within {
            return Err(AuthorityError::NotValidNow {
                validity: self.validity,
            });
        }
        let mut validity = Validity::from_now(ttl);
        validity.not_after = validity.not_after.min(self.validity.not_after);
        self.issue_for(role, validity)
    }

    /// Issues a certificate for a new key and any period, be it past or future. This is for tests
    /// and for whoever knows better than [`Authority::issue`].
    ///
    /// # Errors
    /// If signing fails.
    pub fn issue_for(&self, role: Role, validity: Validity) -> Result<Issued, AuthorityError> {
        let identity = Identity {
            trust_domain: self.trust_domain.clone(),
            role,
        };
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let certificate = profile::leaf(&identity, validity)?.signed_by(&key, &self.issuer)?;
        Ok(Issued {
            identity,
            certificate: certificate.der().clone(),
            key_pem: key.serialize_pem(),
            authority: self.certificate.clone(),
            list: None,
        })
    }

    /// The domain that its identities are unique in.
    #[must_use]
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// Its own certificate.
    #[must_use]
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// From when until when it may issue.
    #[must_use]
    pub fn validity(&self) -> Validity {
        self.validity
    }

    fn generate(
        trust_domain: TrustDomain,
        validity: Validity,
    ) -> Result<(Self, String), AuthorityError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let key_pem = key.serialize_pem();
        let certificate = profile::root(&trust_domain, validity)?
            .self_signed(&key)?
            .der()
            .clone();
        let authority = Self {
            issuer: Issuer::from_ca_cert_der(&certificate, key)?,
            certificate,
            trust_domain,
            validity,
        };
        Ok((authority, key_pem))
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("trust_domain", &self.trust_domain)
            .field("validity", &self.validity)
            .finish_non_exhaustive()
    }
}

/// A new certificate with its key.
pub struct Issued {
    identity: Identity,
    certificate: CertificateDer<'static>,
    key_pem: String,
    authority: CertificateDer<'static>,
    list: Option<CertificateRevocationListDer<'static>>,
}

impl Issued {
    /// Whom it speaks for.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The certificate.
    #[must_use]
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The same, to be written together with who is revoked ([`Authority::list`]).
    #[must_use]
    pub fn with_list(mut self, list: Option<CertificateRevocationListDer<'static>>) -> Self {
        self.list = list;
        self
    }

    /// Writes an identity directory that [`crate::load`] reads; it is created if necessary. The
    /// certificate is written last, so whoever watches it finds everything in place.
    ///
    /// # Errors
    /// If there is an identity already and it may not be replaced, or if writing fails.
    pub fn write(&self, dir: &Path, overwrite: Overwrite) -> Result<(), FileError> {
        let file = |name: &str| dir.join(name);
        let (key, certificate) = (file(KEY_FILE), file(CERTIFICATE_FILE));
        let authorities = file(AUTHORITIES_FILE);
        check_free(
            &[key.clone(), certificate.clone(), authorities.clone()],
            overwrite,
        )?;
        create_dir(dir)?;
        write_certificate(&authorities, &self.authority)?;
        if let Some(list) = &self.list {
            write_list(&file(REVOCATIONS_FILE), list)?;
        } else {
            // Of an identity before it, perhaps another authority's.
            remove(&file(REVOCATIONS_FILE))?;
        }
        write_key(&key, &self.key_pem)?;
        write_certificate(&certificate, &self.certificate)
    }

    /// The identity as a process uses it, without a detour over files. The clock is not looked
    /// at: an expired certificate is refused by the peer that it is shown to.
    ///
    /// # Errors
    /// Not for what [`Authority`] issues.
    pub fn material(&self) -> Result<Material, CertsError> {
        let key = PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes())
            .expect("a key that was just written as PEM can be read");
        let chain = vec![self.certificate.clone()];
        Material::new(
            chain,
            key,
            std::slice::from_ref(&self.authority),
            Origin::Memory,
        )
    }
}

impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issued")
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}

/// Why an authority cannot be made, read or used.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// There is none.
    #[error("there is no authority in {}; make one with `causeway certs init`", dir.display())]
    Missing {
        /// Where it was looked for.
        dir: PathBuf,
    },
    /// A file is missing, unreadable, too open, there already or not what it should be.
    #[error(transparent)]
    File(#[from] FileError),
    /// The authority's certificate cannot be parsed.
    #[error("{}: {source}", path.display())]
    Unreadable {
        /// The certificate's file.
        path: PathBuf,
        /// What is wrong.
        source: IdentityError,
    },
    /// The certificate may not issue others, or does not name a trust domain.
    #[error(
        "{} is not the certificate of an authority made by `causeway certs init`: it must be a CA \
         and carry one URI spiffe://<trust-domain>", path.display()
    )]
    NotAnAuthority {
        /// The certificate's file.
        path: PathBuf,
    },
    /// The key cannot be used.
    #[error("{}: the private key cannot be used: {source}", path.display())]
    Key {
        /// The key's file.
        path: PathBuf,
        /// Why.
        source: rcgen::Error,
    },
    /// The key does not belong to the certificate.
    #[error(
        "the private key in {} does not belong to the certificate in {}", key.display(),
        certificate.display()
    )]
    KeyMismatch {
        /// The key's file.
        key: PathBuf,
        /// The certificate's file.
        certificate: PathBuf,
    },
    /// The authority's certificate is not valid at this moment.
    #[error(
        "the authority may issue from {validity} only; correct the clock, or make a new \
         authority with `causeway certs init`"
    )]
    NotValidNow {
        /// From when until when it may issue.
        validity: Validity,
    },
    /// The system gave no random bytes.
    #[error("the system gave no random bytes for a serial number")]
    NoRandomness,
    /// Generating a key or signing failed.
    #[error("cannot make the certificate: {0}")]
    Signing(#[from] rcgen::Error),
    /// The period cannot be written into a certificate.
    #[error("a certificate cannot be valid until {}", rfc3339(*.0))]
    BeyondCalendar(OffsetDateTime),
}

fn belongs(key: &KeyPair, certificate: &CertificateDer<'_>) -> bool {
    rustls::server::ParsedCertificate::try_from(certificate).is_ok_and(|parsed| {
        parsed.subject_public_key_info().as_ref()
            == rcgen::PublicKeyData::subject_public_key_info(key)
    })
}
