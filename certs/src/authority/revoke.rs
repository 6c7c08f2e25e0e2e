//! Revoking: the list that an authority keeps beside its key.

use std::error::Error;
use std::fs::File;
use std::path::{Path, PathBuf};

use rcgen::{CertificateRevocationListParams, KeyIdMethod, RevokedCertParams, SerialNumber};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer};
use time::OffsetDateTime;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::Authority;
use crate::certificate::Serial;
use crate::files::{FileError, read_lists, write_list};
use crate::material::REVOCATIONS_FILE;
use crate::revocation::{ListError, ListNumber, Reason, RevocationList, Revoked};

impl Authority {
    /// The serial number of a certificate that this authority has issued.
    ///
    /// # Errors
    /// If it is another's, or the authority's own.
    pub fn serial_of(&self, certificate: &CertificateDer<'_>) -> Result<Serial, NotIssuedHere> {
        if *certificate == self.certificate {
            return Err(NotIssuedHere::Authority);
        }
        let (_, parsed) = X509Certificate::from_der(certificate.as_ref())
            .map_err(|_| NotIssuedHere::NotACertificate)?;
        let (_, own) = X509Certificate::from_der(self.certificate.as_ref())
            .map_err(|_| NotIssuedHere::NotACertificate)?;
        let is_own = parsed.issuer().as_raw() == own.subject().as_raw()
            && parsed.verify_signature(Some(own.public_key())).is_ok();
        match is_own {
            true => Ok(Serial::of_integer(parsed.raw_serial())),
            false => Err(NotIssuedHere::Another {
                issuer: parsed.issuer().to_string(),
                authority: own.subject().to_string(),
            }),
        }
    }

    /// Puts certificates on the list in the authority's directory, which is made if there is none, and
    /// says which of them were not on it before. Whoever is on it stays on it. If there is nothing to
    /// add, the list stays as it is.
    ///
    /// # Errors
    /// If the list that is there is not a whole one of this authority, and if writing fails; then
    /// nothing has changed.
    pub fn revoke(
        &self,
        dir: &Path,
        serials: &[Serial],
        reason: Option<Reason>,
    ) -> Result<Vec<Serial>, RevokeError> {
        let path = dir.join(REVOCATIONS_FILE);
        // Of two at a time, the second one has to read what the first one wrote.
        let _lock = lock(dir)?;
        let before = self.read(&path)?.map(|(_, list)| list);
        let number = before.as_ref().and_then(|list| list.number.clone());
        let mut entries = before.map_or_else(Vec::new, |list| list.revoked().to_vec());
        let now = OffsetDateTime::now_utc();
        let mut added = Vec::new();
        for serial in serials {
            if entries.iter().all(|entry| entry.serial != *serial) {
                added.push(serial.clone());
                entries.push(Revoked {
                    serial: serial.clone(),
                    at: now,
                    reason,
                    invalid_since: None,
                });
            }
        }
        if !added.is_empty() {
            let number = number.unwrap_or_else(|| ListNumber::of(&[])).next();
            write_list(&path, &self.sign(&entries, &number, now)?)?;
        }
        Ok(added)
    }

    /// The list in the authority's directory, for whoever is to know of it; `None` if nobody was ever
    /// revoked.
    ///
    /// # Errors
    /// If it is not a whole one of this authority.
    pub fn list(
        &self,
        dir: &Path,
    ) -> Result<Option<CertificateRevocationListDer<'static>>, RevokeError> {
        let read = self.read(&dir.join(REVOCATIONS_FILE))?;
        Ok(read.map(|(der, _)| der))
    }

    fn read(
        &self,
        path: &Path,
    ) -> Result<Option<(CertificateRevocationListDer<'static>, RevocationList)>, RevokeError> {
        let unusable = |source: Box<dyn Error + Send + Sync>| RevokeError::Unusable { source };
        let mut lists = match read_lists(path) {
            Err(FileError::Missing { .. }) => return Ok(None),
            read => read.map_err(|error| unusable(error.into()))?,
        };
        let (Some(der), true) = (lists.pop(), lists.is_empty()) else {
            return Err(RevokeError::Several {
                path: path.to_owned(),
            });
        };
        match RevocationList::verified(&der, std::slice::from_ref(&self.certificate)) {
            Ok(list) => Ok(Some((der, list))),
            Err(ListError::Foreign { issuer }) => Err(RevokeError::Foreign {
                path: path.to_owned(),
                issuer,
            }),
            Err(error) => Err(unusable(format!("{}: {error}", path.display()).into())),
        }
    }

    /// Distribution is by hand, so no date is promised for the next list but the end of the authority.
    fn sign(
        &self,
        entries: &[Revoked],
        number: &ListNumber,
        now: OffsetDateTime,
    ) -> Result<CertificateRevocationListDer<'static>, RevokeError> {
        let params = CertificateRevocationListParams {
            this_update: now,
            next_update: self.validity.not_after.max(now + time::Duration::DAY),
            crl_number: SerialNumber::from_slice(number.as_bytes()),
            issuing_distribution_point: None,
            revoked_certs: entries.iter().map(entry).collect(),
            // As the authority's certificate has it (RFC 5280, section 5.2.1).
            key_identifier_method: KeyIdMethod::Sha256,
        };
        Ok(params.signed_by(&self.issuer)?.into())
    }
}

fn entry(revoked: &Revoked) -> RevokedCertParams {
    RevokedCertParams {
        serial_number: SerialNumber::from_slice(revoked.serial.as_bytes()),
        revocation_time: revoked.at,
        reason_code: revoked.reason.map(Into::into),
        invalidity_date: revoked.invalid_since,
    }
}

fn lock(dir: &Path) -> Result<File, RevokeError> {
    let locked = File::open(dir).and_then(|dir| dir.lock().map(|()| dir));
    locked.map_err(|source| RevokeError::Lock {
        dir: dir.to_owned(),
        source,
    })
}

/// Why a certificate is not the authority's to revoke.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotIssuedHere {
    /// It is none.
    #[error("this is not a certificate")]
    NotACertificate,
    /// It is the authority's own.
    #[error(
        "this is the authority's own certificate, which no list can revoke; take it out of every \
         ca.pem instead"
    )]
    Authority,
    /// Somebody else has issued it.
    #[error(
        "this certificate was issued by {issuer}, not by this authority ({authority}); revoke it \
         with --authority and the directory of that one"
    )]
    Another {
        /// Who says to have issued it.
        issuer: String,
        /// Who was asked to revoke it.
        authority: String,
    },
}

/// Why nothing was revoked.
#[derive(Debug, thiserror::Error)]
pub enum RevokeError {
    /// The list is torn, or is none.
    #[error(
        "who is revoked cannot be read, and another list without them would set them free: \
         {source}; put a copy of it back, from a backup or from where it was copied to"
    )]
    Unusable {
        /// Which file it is, and what is wrong with it.
        source: Box<dyn Error + Send + Sync>,
    },
    /// Another authority made it.
    #[error(
        "{} was made by {issuer}, or not with the key of this authority; put the list of this \
         authority back, or move that file away if there never was one", path.display()
    )]
    Foreign {
        /// The list's file.
        path: PathBuf,
        /// Who says to have made it.
        issuer: String,
    },
    /// There is more than one.
    #[error("{} has several lists; keep that of this authority and no other", path.display())]
    Several {
        /// The list's file.
        path: PathBuf,
    },
    /// The directory cannot be locked.
    #[error("cannot lock {}: {source}", dir.display())]
    Lock {
        /// The authority's directory.
        dir: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The list cannot be written.
    #[error(transparent)]
    File(#[from] FileError),
    /// Signing failed.
    #[error("cannot make the list: {0}")]
    Signing(#[from] rcgen::Error),
}
