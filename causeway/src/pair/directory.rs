//! The directory of an edge and a client, which a quickstart uses again when it is run again:
//!
//! ```text
//! authority/    ca.pem and ca-key.pem, which issued both identities
//! edge/         the edge's identity and state
//! client/       the client's identity and state
//! edge.toml     client.toml
//! edge.log      client.log     of the last run
//! .written/     the configuration files as they were written, to tell whether somebody changed them
//! .lock         held while the demo runs
//! ```

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use certs::authority::{AUTHORITY_LIFE, ISSUED_LIFE};
use certs::{Authority, AuthorityError, CertsError, ClusterId, FileError, Overwrite, Role};
use time::OffsetDateTime;

use crate::config::Kind;

/// The tenant of the client.
pub(crate) const TENANT: &str = "acme";
/// Its cluster.
pub(crate) const CLUSTER: &str = "demo";
/// The name of the edge.
const EDGE: &str = "demo";

/// Where copies of the configuration files are kept, as they were written.
const WRITTEN: &str = ".written";

const TRUST_DOMAIN: &str = "causeway.internal";

/// An identity that ends sooner than this is issued anew, so that it does not end while it is used.
const RENEWED_BELOW: Duration = Duration::from_secs(7 * 86_400);

/// The directory of a demo, held against other runs for as long as this lives.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    _lock: File,
}

/// Who vouches for the edge and the client.
#[derive(Debug)]
pub(crate) struct Vouched {
    pub(crate) trust_domain: String,
    pub(crate) authority: PathBuf,
    /// Whether it was there already.
    pub(crate) authority_kept: bool,
    /// Until when the sooner ending one of both identities can be used.
    pub(crate) until: OffsetDateTime,
    /// The identities that were there and were issued anew, since they were about to end.
    pub(crate) renewed: Vec<Kind>,
}

/// Whose a configuration file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Author {
    /// It was written from the arguments.
    Quickstart,
    /// Somebody changed or made it, so it was left as it is.
    User,
}

/// Why a directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DirectoryError {
    #[error(
        "--dir {}: there are files in it, and no quickstart has made them; take a new directory",
        path.display()
    )]
    Foreign { path: PathBuf },
    #[error("--dir {}: another quickstart is running there; stop it, or take another directory", path.display())]
    Running { path: PathBuf },
    #[error("cannot {what} {}: {error}; take another directory with --dir", path.display())]
    System {
        what: &'static str,
        path: PathBuf,
        error: io::Error,
    },
    #[error("{0}")]
    Authority(#[from] AuthorityError),
    #[error("{error}\nto have everything made anew, delete {}", dir.display())]
    Identity {
        dir: PathBuf,
        error: Box<CertsError>,
    },
    #[error(transparent)]
    File(#[from] FileError),
}

impl Directory {
    /// Makes the directory, or takes it as a quickstart made it: nothing else is ever written over.
    pub(crate) fn open(path: &Path) -> Result<Self, DirectoryError> {
        fs::create_dir_all(path).map_err(system("make", path))?;
        let written = path.join(WRITTEN);
        let mut files = fs::read_dir(path).map_err(system("read", path))?;
        if !written.exists() && files.next().is_some() {
            return Err(DirectoryError::Foreign {
                path: path.to_owned(),
            });
        }
        fs::create_dir_all(&written).map_err(system("make", &written))?;
        let at = path.join(".lock");
        let lock = File::create(&at).map_err(system("write", &at))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(DirectoryError::Running {
                    path: path.to_owned(),
                });
            }
            Err(TryLockError::Error(error)) => return Err(system("lock", &at)(error)),
        }
        // Keys are in here, and people try things out within their repositories.
        let ignore = path.join(".gitignore");
        if !ignore.exists() {
            fs::write(&ignore, "*\n").map_err(system("write", &ignore))?;
        }
        Ok(Self {
            path: path.to_owned(),
            _lock: lock,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Where the configuration file of one process is.
    pub(crate) fn config(&self, kind: Kind) -> PathBuf {
        self.path.join(file_name(kind))
    }

    /// Where one process writes its log.
    pub(crate) fn log(&self, kind: Kind) -> PathBuf {
        self.path.join(format!("{}.log", kind.as_str()))
    }

    /// Makes the authority and both identities, as far as they are not there already.
    pub(crate) fn vouch(&self) -> Result<Vouched, DirectoryError> {
        let at = self.path.join("authority");
        let (authority, authority_kept) = match Authority::load(&at) {
            Ok(authority) => (authority, true),
            Err(AuthorityError::Missing { .. }) => {
                let domain = TRUST_DOMAIN
                    .parse()
                    .expect("a trust domain is written here");
                (
                    Authority::create(&at, domain, AUTHORITY_LIFE, Overwrite::Refuse)?,
                    false,
                )
            }
            Err(error) => return Err(error.into()),
        };
        let edge = self.identity(&authority, authority_kept, Kind::Edge)?;
        let client = self.identity(&authority, authority_kept, Kind::Client)?;
        let all = [(Kind::Edge, &edge), (Kind::Client, &client)];
        Ok(Vouched {
            trust_domain: authority.trust_domain().to_string(),
            authority: at,
            authority_kept,
            until: edge.until.min(client.until),
            renewed: all
                .iter()
                .filter(|(_, it)| it.renewed)
                .map(|(kind, _)| *kind)
                .collect(),
        })
    }

    /// The identity that is there, or a new one if there is none that its peer would accept.
    fn identity(
        &self,
        authority: &Authority,
        authority_kept: bool,
        kind: Kind,
    ) -> Result<Identity, DirectoryError> {
        let dir = self.path.join(identity_name(kind));
        let renewed = match certs::load(&dir) {
            // Somebody deleted the authority to have a new one.
            Ok(_) if !authority_kept => false,
            Ok(material) if material.remaining(OffsetDateTime::now_utc()) > RENEWED_BELOW => {
                return Ok(Identity {
                    until: material.not_after(),
                    renewed: false,
                });
            }
            Ok(_) | Err(CertsError::Expired { .. }) => true,
            // Made for the first time, or interrupted while it was.
            Err(CertsError::Missing { .. } | CertsError::Untrusted { .. }) => false,
            Err(
                error @ (CertsError::File(_)
                | CertsError::Nobody { .. }
                | CertsError::UnusableKey { .. }
                | CertsError::KeyMismatch { .. }
                | CertsError::UnusableAuthority { .. }
                | CertsError::NotYetValid { .. }),
            ) => {
                let error = Box::new(error);
                return Err(DirectoryError::Identity { dir, error });
            }
        };
        let issued = authority.issue(role(kind), ISSUED_LIFE)?;
        issued.write(&dir, Overwrite::Replace)?;
        Ok(Identity {
            until: authority
                .validity()
                .not_after
                .min(OffsetDateTime::now_utc() + ISSUED_LIFE),
            renewed,
        })
    }

    /// Whose the configuration file of one process is, before it is written.
    pub(crate) fn author(&self, kind: Kind) -> Author {
        match (fs::read(self.config(kind)), fs::read(self.written(kind))) {
            (Err(error), _) if error.kind() == io::ErrorKind::NotFound => Author::Quickstart,
            (Ok(found), Ok(written)) if found == written => Author::Quickstart,
            (Ok(_) | Err(_), _) => Author::User,
        }
    }

    /// Writes the configuration file of one process, unless somebody changed it.
    pub(crate) fn write(&self, kind: Kind, text: &str) -> Result<Author, DirectoryError> {
        let author = self.author(kind);
        match author {
            Author::User => {}
            Author::Quickstart => {
                for file in [self.written(kind), self.config(kind)] {
                    fs::write(&file, text).map_err(system("write", &file))?;
                }
            }
        }
        Ok(author)
    }

    fn written(&self, kind: Kind) -> PathBuf {
        self.path.join(WRITTEN).join(file_name(kind))
    }
}

#[derive(Debug)]
struct Identity {
    until: OffsetDateTime,
    renewed: bool,
}

/// The name of a configuration file within the directory.
fn file_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Edge => "edge.toml",
        Kind::Client => "client.toml",
    }
}

/// The name of an identity's directory within the directory.
pub(crate) fn identity_name(kind: Kind) -> &'static str {
    kind.as_str()
}

fn role(kind: Kind) -> Role {
    let label = |text: &str| text.parse().expect("the demo's names are labels");
    match kind {
        Kind::Edge => Role::Edge(label(EDGE)),
        Kind::Client => Role::Client(ClusterId {
            tenant: label(TENANT),
            cluster: label(CLUSTER),
        }),
    }
}

fn system(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DirectoryError {
    let path = path.to_owned();
    move |error| DirectoryError::System { what, path, error }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(directory: &Directory, kind: Kind) -> Vec<u8> {
        fs::read(directory.path.join(identity_name(kind)).join("cert.pem")).unwrap()
    }

    #[test]
    fn identities_are_made_once_and_renewed_before_they_end() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = Directory::open(&temporary.path().join("a/b")).unwrap();
        let first = directory.vouch().unwrap();
        assert!(!first.authority_kept);
        assert_eq!(first.trust_domain, "causeway.internal");
        let edge = bytes(&directory, Kind::Edge);
        let client = bytes(&directory, Kind::Client);

        let short = Authority::load(&first.authority).unwrap();
        let short = short.issue(role(Kind::Client), RENEWED_BELOW / 2).unwrap();
        let dir = directory.path.join(identity_name(Kind::Client));
        short.write(&dir, Overwrite::Replace).unwrap();

        let second = directory.vouch().unwrap();
        assert!(second.authority_kept);
        assert_eq!(second.renewed, [Kind::Client]);
        assert_eq!(bytes(&directory, Kind::Edge), edge);
        assert_ne!(bytes(&directory, Kind::Client), client);
        let material = certs::load(&dir).unwrap();
        assert_eq!(
            material.identity().to_string(),
            "spiffe://causeway.internal/tenant/acme/cluster/demo"
        );
    }

    #[test]
    fn a_new_authority_issues_new_identities() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = Directory::open(temporary.path()).unwrap();
        let first = directory.vouch().unwrap();
        let edge = bytes(&directory, Kind::Edge);
        fs::remove_dir_all(first.authority).unwrap();
        directory.vouch().unwrap();
        assert_ne!(bytes(&directory, Kind::Edge), edge);
    }

    #[test]
    fn a_key_that_others_can_read_is_told_and_not_replaced() {
        use std::os::unix::fs::PermissionsExt;
        let temporary = tempfile::tempdir().unwrap();
        let directory = Directory::open(temporary.path()).unwrap();
        directory.vouch().unwrap();
        let key = temporary.path().join("edge/key.pem");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
        let error = directory.vouch().unwrap_err().to_string();
        assert!(error.contains("chmod 600"), "{error}");
    }

    #[test]
    fn changed_files_are_never_written_over() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = Directory::open(temporary.path()).unwrap();
        let write = |text: &str| directory.write(Kind::Edge, text).unwrap();
        let read = || fs::read_to_string(directory.config(Kind::Edge)).unwrap();
        assert_eq!(write("a"), Author::Quickstart);
        assert_eq!(write("b"), Author::Quickstart);
        assert_eq!(read(), "b");
        fs::write(directory.config(Kind::Edge), "mine").unwrap();
        assert_eq!(write("c"), Author::User);
        assert_eq!(read(), "mine");
        fs::remove_file(directory.config(Kind::Edge)).unwrap();
        assert_eq!(write("d"), Author::Quickstart);
        assert_eq!(read(), "d");
    }

    #[test]
    fn a_file_that_was_never_written_is_somebodys() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = Directory::open(temporary.path()).unwrap();
        fs::write(temporary.path().join("client.toml"), "mine").unwrap();
        assert_eq!(directory.write(Kind::Client, "x").unwrap(), Author::User);
    }

    #[test]
    fn a_directory_is_used_by_one_run_at_a_time() {
        let temporary = tempfile::tempdir().unwrap();
        let first = Directory::open(temporary.path()).unwrap();
        let error = Directory::open(temporary.path()).unwrap_err().to_string();
        assert!(
            error.contains("another quickstart is running there"),
            "{error}"
        );
        drop(first);
        Directory::open(temporary.path()).unwrap();
    }

    #[test]
    fn a_directory_with_other_things_in_it_is_left_alone() {
        let temporary = tempfile::tempdir().unwrap();
        fs::write(temporary.path().join("thesis.tex"), "").unwrap();
        let error = Directory::open(temporary.path()).unwrap_err().to_string();
        assert!(error.contains("no quickstart has made them"), "{error}");
        assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_directory_that_is_a_file_is_told() {
        let temporary = tempfile::tempdir().unwrap();
        let file = temporary.path().join("file");
        fs::write(&file, "").unwrap();
        let error = Directory::open(&file).unwrap_err().to_string();
        assert!(
            error.ends_with("take another directory with --dir"),
            "{error}"
        );
    }
}
