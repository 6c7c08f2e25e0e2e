//! Which copy this client is, among those that share its certificate's identity.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use relay::proto::ReplicaId;

/// The file in the state directory that holds the name and is locked while the client runs.
const FILE: &str = "replica";

/// The name, and the lock on it.
#[derive(Debug)]
pub(crate) struct Replica {
    pub(crate) id: ReplicaId,
    _lock: File,
}

/// Why the replica's name cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ReplicaError {
    /// Another client runs with the same state directory.
    #[error(
        "{} is locked: another client uses this state directory; give each its own with state_dir",
        .0.display()
    )]
    InUse(PathBuf),
    /// The file holds something else.
    #[error("{}: {problem}; remove the file to get a new name", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The file cannot be used.
    #[error("{}: {error}; the client must be able to write its state directory", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

impl Replica {
    /// Reads the name, or makes one, and locks it.
    pub(crate) fn acquire(state_dir: &Path) -> Result<Self, ReplicaError> {
        let path = state_dir.join(FILE);
        let failed = |error| ReplicaError::Io {
            path: path.clone(),
            error,
        };
        fs::create_dir_all(state_dir).map_err(failed)?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(ReplicaError::InUse(path)),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(failed)?;
        if text.trim().is_empty() {
            text = format!("r-{:016x}", rand::random::<u64>());
            file.rewind().map_err(failed)?;
            writeln!(file, "{text}").map_err(failed)?;
            file.sync_all().map_err(failed)?;
        }
        let id = text
            .trim()
            .parse()
            .map_err(|error| ReplicaError::Malformed {
                path: path.clone(),
                problem: format!("{error}"),
            })?;
        Ok(Self { id, _lock: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_stays_and_is_held_by_one() {
        let dir = tempfile::tempdir().unwrap();
        let first = Replica::acquire(dir.path()).unwrap();
        let error = Replica::acquire(dir.path()).unwrap_err().to_string();
        assert!(
            error.contains("another client uses this state directory"),
            "{error}"
        );
        let id = first.id.clone();
        drop(first);
        assert_eq!(Replica::acquire(dir.path()).unwrap().id, id);
    }

    #[test]
    fn a_file_with_something_else_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE), "not a name!").unwrap();
        let error = Replica::acquire(dir.path()).unwrap_err().to_string();
        assert!(error.contains("remove the file"), "{error}");
    }
}
