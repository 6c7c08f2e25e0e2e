//! The key by which a restarted edge ends the connections of its former life.
//!
//! A peer that still sends on such a connection gets a stateless reset (RFC 9000 §10.3) and
//! connects anew at once, instead of waiting until it gives the silence up. For that the key, and
//! what makes our connection ids recognisable, must outlive the process.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use quinn::EndpointConfig;
use quinn_proto::HashedConnectionIdGenerator;

use crate::whole_file;

/// The file in the state directory.
const FILE: &str = "reset-key";

/// Why the key cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ResetKeyError {
    /// The file cannot be used.
    #[error("{}: {error}; the edge must be able to write its state directory", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The file holds something else.
    #[error("{}: has {length} bytes instead of 64; remove it to get a new key", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// How long it is.
        length: usize,
    },
}

/// The endpoint's configuration with the key of `state_dir`, which is made if there is none.
pub(crate) fn endpoint_config(state_dir: &Path) -> Result<EndpointConfig, ResetKeyError> {
    let key = read_or_make(&state_dir.join(FILE))?;
    let (reset, ids) = key.split_at(56);
    let ids = u64::from_be_bytes(ids.try_into().expect("8 bytes are left of 64"));
    let hmac = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, reset);
    let mut config = EndpointConfig::new(Arc::new(hmac));
    config.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(ids)));
    Ok(config)
}

fn read_or_make(path: &Path) -> Result<[u8; 64], ResetKeyError> {
    let failed = |error| ResetKeyError::Io {
        path: path.to_owned(),
        error,
    };
    match fs::read(path) {
        Ok(bytes) => bytes
            .try_into()
            .map_err(|bytes: Vec<u8>| ResetKeyError::Malformed {
                path: path.to_owned(),
                length: bytes.len(),
            }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let key: [u8; 64] = rand::random();
            write_new(path, &key).map_err(failed)?;
            Ok(key)
        }
        Err(error) => Err(failed(error)),
    }
}

/// For the owner only.
fn write_new(path: &Path, key: &[u8]) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    whole_file::replace(path, key, 0o600)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_made_once_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state").join(FILE);
        let key = read_or_make(&path).unwrap();
        assert_eq!(read_or_make(&path).unwrap(), key);
        fs::write(&path, b"short").unwrap();
        let error = read_or_make(&path).unwrap_err().to_string();
        assert!(error.ends_with("has 5 bytes instead of 64; remove it to get a new key"));
    }
}
