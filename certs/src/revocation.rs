//! Who is revoked, as a process knows it: the lists beside its identity, judged against what a peer
//! has shown.
//!
//! ```text
//! crl.pem ──load, reread──▶ Revocations ──of(Chain)──▶ the entry of whoever is revoked
//! ```
//!
//! TLS does not look at them: a peer is judged when its handshake is done, and again whenever the
//! lists change, so that one answer serves connections that begin and sessions that live.

mod list;

use std::path::{Path, PathBuf};

use rustls_pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use crate::certificate::Serial;
use crate::files::{FileError, read_lists};
use crate::material::{AUTHORITIES_FILE, Material, REVOCATIONS_FILE};

pub use list::{ListError, ListNumber, Reason, RevocationList, Revoked};

/// Who is revoked by the authorities of an identity directory. Without a list, nobody is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Revocations {
    lists: Vec<RevocationList>,
}

impl Revocations {
    /// Reads [`REVOCATIONS_FILE`] of an identity directory, if it is there. It may hold a list of each of
    /// the directory's authorities.
    ///
    /// # Errors
    /// If the file cannot be read, or if a list in it is no list, is none of an authority of
    /// `material`, or has parts that must be understood and are not.
    pub fn load(dir: &Path, material: &Material) -> Result<Self, RevocationsError> {
        let path = dir.join(REVOCATIONS_FILE);
        match Self::read(&path, material.authorities()) {
            Err(RevocationsError::File(FileError::Missing { .. })) => Ok(Self::default()),
            read => read,
        }
    }

    /// Reads the file again; `None` if there was none and still is none.
    ///
    /// # Errors
    /// As [`Revocations::load`]; and if the file has gone, or if it says less than before: a list is missing
    /// or is older. Who is revoked stays revoked by mistakes.
    pub fn reread(
        &self,
        dir: &Path,
        material: &Material,
    ) -> Result<Option<Self>, RevocationsError> {
        let path = dir.join(REVOCATIONS_FILE);
        let read = match Self::read(&path, material.authorities()) {
            Err(RevocationsError::File(FileError::Missing { .. })) if self.lists.is_empty() => {
                return Ok(None);
            }
            Err(RevocationsError::File(FileError::Missing { path })) => {
                return Err(RevocationsError::Gone { path });
            }
            read => read?,
        };
        for old in &self.lists {
            let mut same = read.lists.iter().filter(|new| new.has_issuer_of(old));
            let Some(new) = same.next() else {
                return Err(RevocationsError::ListGone {
                    path,
                    issuer: old.issuer.clone(),
                });
            };
            match (&old.number, &new.number) {
                (Some(was), Some(is)) if is < was => {
                    return Err(RevocationsError::Older {
                        path,
                        is: is.clone(),
                        was: was.clone(),
                    });
                }
                (Some(was), Some(is)) if is == was && new != old => {
                    let was = was.clone();
                    return Err(RevocationsError::NotLater { path, was });
                }
                (Some(was), None) => {
                    let was = was.clone();
                    return Err(RevocationsError::NotLater { path, was });
                }
                (Some(_), Some(_)) | (None, _) => {}
            }
        }
        Ok(Some(read))
    }

    /// The entry of whoever has shown this, if they are revoked: by their own certificate or by one
    /// between it and the authority.
    #[must_use]
    pub fn of(&self, chain: &Chain) -> Option<&Revoked> {
        chain.0.iter().find_map(|(issuer, serial)| {
            let of_issuer = self.lists.iter().filter(|list| list.is_by(issuer));
            of_issuer.filter_map(|list| list.entry(serial)).next()
        })
    }

    /// How many certificates are revoked.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lists.iter().map(|list| list.revoked().len()).sum()
    }

    /// Whether no certificate is revoked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The lists, in the order of the file.
    #[must_use]
    pub fn lists(&self) -> &[RevocationList] {
        &self.lists
    }

    fn read(path: &Path, authorities: &[CertificateDer<'_>]) -> Result<Self, RevocationsError> {
        let mut lists: Vec<RevocationList> = Vec::new();
        for der in read_lists(path)? {
            let list = RevocationList::verified(&der, authorities).map_err(|source| {
                let path = path.to_owned();
                match source {
                    ListError::Foreign { issuer } => RevocationsError::Foreign { path, issuer },
                    source @ (ListError::NoList | ListError::Critical(_)) => {
                        RevocationsError::List { path, source }
                    }
                }
            })?;
            if lists.iter().any(|other| other.has_issuer_of(&list)) {
                return Err(RevocationsError::Twice {
                    path: path.to_owned(),
                    issuer: list.issuer,
                });
            }
            lists.push(list);
        }
        Ok(Self { lists })
    }
}

/// What names the certificates that a peer has shown: who issued each, and its serial number.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chain(Vec<(Box<[u8]>, Serial)>);

impl Chain {
    /// Reads what TLS has verified. What cannot be read there has proved nothing, and is left out.
    #[must_use]
    pub fn of(certificates: &[CertificateDer<'_>]) -> Self {
        let names = certificates.iter().filter_map(|certificate| {
            let (_, parsed) = X509Certificate::from_der(certificate.as_ref()).ok()?;
            let issuer = parsed.issuer().as_raw().into();
            Some((issuer, Serial::of_integer(parsed.raw_serial())))
        });
        Self(names.collect())
    }

    /// The serial number of the peer's own certificate.
    #[must_use]
    pub fn serial(&self) -> Option<&Serial> {
        self.0.first().map(|(_, serial)| serial)
    }
}

/// Why who is revoked cannot be known. It is always the fault of what lies in the directory.
#[derive(Debug, thiserror::Error)]
pub enum RevocationsError {
    /// The file cannot be read, or is torn.
    #[error(
        "{0}; copy crl.pem of the authority again, whole: to another name first, then move it in \
         its place"
    )]
    File(#[from] FileError),
    /// There is no list in it that can be understood.
    #[error("{}: {source}; copy crl.pem of the authority again", path.display())]
    List {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: ListError,
    },
    /// No authority of the directory has signed it.
    #[error(
        "{}: the list of {issuer} is not signed by an authority in {}; copy crl.pem of the \
         authority that issued these identities", path.display(),
        path.with_file_name(AUTHORITIES_FILE).display()
    )]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Who says to have made the list.
        issuer: String,
    },
    /// There are two of the same authority.
    #[error("{} has two lists of {issuer}; keep the newer one", path.display())]
    Twice {
        /// The file.
        path: PathBuf,
        /// Whose.
        issuer: String,
    },
    /// It may be another after the one in force, or before it.
    #[error(
        "{}: a list with the number {was} is in force, and this is another one that does not come \
         after it; was the authority's directory restored? revoke there whoever this list lacks \
         until its number is higher", path.display()
    )]
    NotLater {
        /// The file.
        path: PathBuf,
        /// The number of the list in force.
        was: ListNumber,
    },
    /// The file was there before.
    #[error(
        "{} is gone; whoever it revoked stays revoked until a restart, so put it back",
        path.display()
    )]
    Gone {
        /// The file.
        path: PathBuf,
    },
    /// A list was there before.
    #[error(
        "{} has no list of {issuer} any more; whoever that revoked stays revoked until a restart, \
         so put it back", path.display()
    )]
    ListGone {
        /// The file.
        path: PathBuf,
        /// Whose list.
        issuer: String,
    },
    /// A later list was there before.
    #[error(
        "{} is an older list, number {is} after number {was}; copy the newest crl.pem of the \
         authority", path.display()
    )]
    Older {
        /// The file.
        path: PathBuf,
        /// Its number.
        is: ListNumber,
        /// That of the list before.
        was: ListNumber,
    },
}
