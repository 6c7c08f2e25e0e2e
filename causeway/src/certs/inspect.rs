//! What `causeway certs inspect` finds out, for people and as JSON.

mod list;

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use certs::authority::{AUTHORITY_FILE, AUTHORITY_KEY_FILE};
use certs::files::{FileError, read_certificates, read_lists};
use certs::material::{AUTHORITIES_FILE, CERTIFICATE_FILE, KEY_FILE, REVOCATIONS_FILE};
use certs::validity::{Moment, about, rfc3339};
use certs::{Authority, CertificateInfo, Chain, ClusterId, Identity, Revocations, Role};
use serde::Serialize;
use time::OffsetDateTime;

use list::List;

/// What lies at a path.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    kind: Kind,
    certificates: Vec<Certificate>,
    /// Who is revoked.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    revocation_lists: Vec<List>,
    /// What is wrong with the whole, beyond what is wrong with one certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    /// A directory that an edge or a client names as its identity.
    Identity,
    /// The directory of an authority.
    Authority,
    /// One PEM file.
    File,
}

#[derive(Debug, Serialize)]
struct Certificate {
    file: PathBuf,
    uri: Option<String>,
    /// In words whom it speaks for.
    holder: String,
    issuer: String,
    serial: String,
    not_before: String,
    not_after: String,
    /// Zero once it has expired.
    remaining_seconds: u64,
    sha256: String,
    key: String,
    #[serde(skip)]
    remaining: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

impl Report {
    /// Looks at a PEM file, the directory of an identity or that of an authority. What is wrong
    /// with it becomes part of the report; it is an error only if there is nothing to report on.
    pub(super) fn of(path: &Path) -> anyhow::Result<Self> {
        let now = OffsetDateTime::now_utc();
        path.metadata().context("there is nothing to look at")?;
        let kind = Kind::of(path);
        let files = match kind {
            Kind::File => vec![path.to_owned()],
            Kind::Authority => vec![path.join(AUTHORITY_FILE)],
            Kind::Identity => vec![path.join(CERTIFICATE_FILE), path.join(AUTHORITIES_FILE)],
        };
        let mut certificates = Vec::new();
        for file in files {
            match read_certificates(&file) {
                Ok(found) => {
                    for certificate in found {
                        let info = CertificateInfo::read(&certificate)
                            .with_context(|| file.display().to_string())?;
                        certificates.push(Certificate::new(file.clone(), &info, now));
                    }
                }
                Err(FileError::NoCertificate { .. }) if kind == Kind::File && holds_list(path) => {}
                Err(error) if kind == Kind::File => return Err(error.into()),
                // Loading the directory below finds the same and says it better.
                Err(_) => {}
            }
        }
        let revocation_lists = match kind {
            Kind::File if certificates.is_empty() => List::all_in(path)?,
            Kind::File => Vec::new(),
            // As above: what is wrong with it is found below.
            Kind::Identity | Kind::Authority => {
                List::all_in(&path.join(REVOCATIONS_FILE)).unwrap_or_default()
            }
        };
        let mut report = Self {
            kind,
            certificates,
            revocation_lists,
            problem: None,
        };
        if report.problems().next().is_none() {
            report.problem = kind.problem(path);
        }
        Ok(report)
    }

    /// Everything that is wrong.
    pub(super) fn problems(&self) -> impl Iterator<Item = &str> {
        let single = self
            .certificates
            .iter()
            .filter_map(|certificate| certificate.problem.as_deref());
        single.chain(self.problem.as_deref())
    }
}

impl Kind {
    fn of(path: &Path) -> Self {
        let has = |name: &str| path.join(name).exists();
        if !path.is_dir() {
            Self::File
        } else if has(AUTHORITY_KEY_FILE)
            || (has(AUTHORITY_FILE) && !has(KEY_FILE) && !has(CERTIFICATE_FILE))
        {
            Self::Authority
        } else {
            Self::Identity
        }
    }

    /// Why it cannot be used as what it is.
    fn problem(self, path: &Path) -> Option<String> {
        match self {
            Self::File => None,
            Self::Authority => match Authority::load(path) {
                Ok(authority) => authority.list(path).err().map(|error| error.to_string()),
                Err(error) => Some(error.to_string()),
            },
            Self::Identity => match certs::load(path) {
                Ok(material) => match Revocations::load(path, &material) {
                    Ok(revocations) => revocations
                        .of(&Chain::of(material.chain()))
                        .map(|entry| format!("it is revoked: {entry}")),
                    Err(error) => Some(error.to_string()),
                },
                Err(error) => Some(error.to_string()),
            },
        }
    }
}

/// Whether a file without a certificate is one of the other kind that is shown.
fn holds_list(path: &Path) -> bool {
    !matches!(read_lists(path), Err(FileError::NoList { .. }))
}

impl Certificate {
    fn new(file: PathBuf, info: &CertificateInfo, now: OffsetDateTime) -> Self {
        let validity = info.validity;
        let left = (validity.not_after - now)
            .max(time::Duration::ZERO)
            .unsigned_abs();
        let ago = |moment: OffsetDateTime| about((now - moment).unsigned_abs());
        let (remaining, out_of_time) = match validity.at(now) {
            Moment::Within => (format!("{} left", about(left)), None),
            Moment::Before => {
                let problem = format!("it is not valid before {}", rfc3339(validity.not_before));
                (
                    format!("begins in {}", ago(validity.not_before)),
                    Some(problem),
                )
            }
            Moment::After => {
                let problem = format!("it expired at {}", rfc3339(validity.not_after));
                (
                    format!("expired {} ago", ago(validity.not_after)),
                    Some(problem),
                )
            }
        };
        let nobody = match &info.identity {
            Err(error) if !info.is_authority => Some(error.to_string()),
            Ok(_) | Err(_) => None,
        };
        Self {
            file,
            uri: info.uri.clone(),
            holder: holder(info),
            issuer: info.issuer.clone(),
            serial: info.serial.to_string(),
            not_before: rfc3339(validity.not_before),
            not_after: rfc3339(validity.not_after),
            remaining_seconds: left.as_secs(),
            sha256: info.fingerprint.to_string(),
            key: info.key.clone(),
            remaining,
            problem: nobody.or(out_of_time),
        }
    }
}

fn holder(info: &CertificateInfo) -> String {
    if info.is_authority {
        return format!("authority ({})", info.subject);
    }
    match &info.identity {
        Ok(Identity {
            role: Role::Client(ClusterId { tenant, cluster }),
            ..
        }) => {
            format!("client of cluster {cluster} of tenant {tenant}")
        }
        Ok(Identity {
            role: Role::Edge(name),
            ..
        }) => format!("edge {name}"),
        Ok(Identity {
            role: Role::Service(name),
            ..
        }) => format!("service {name}"),
        Err(_) => "nobody".to_owned(),
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for certificate in &self.certificates {
            certificate.fmt(f)?;
        }
        for list in &self.revocation_lists {
            list.fmt(f)?;
        }
        match &self.problem {
            Some(problem) => writeln!(f, "problem: {problem}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.file.display())?;
        let mut line = |name: &str, value: &str| writeln!(f, "  {name:<9}{value}");
        line(
            "URI",
            self.uri.as_deref().unwrap_or("none, or more than one"),
        )?;
        line("holder", &self.holder)?;
        line("issuer", &self.issuer)?;
        line("serial", &self.serial)?;
        line(
            "valid",
            &format!(
                "{} to {} ({})",
                self.not_before, self.not_after, self.remaining
            ),
        )?;
        line("SHA-256", &self.sha256)?;
        line("key", &self.key)?;
        match &self.problem {
            Some(problem) => line("problem", problem),
            None => Ok(()),
        }
    }
}
