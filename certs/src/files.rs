//! Keys and certificates on disk: written so that a crash never leaves half a file, and keys
//! read only where nobody else can.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use ::pem::{EncodeConfig, LineEnding, Pem};
use aws_lc_rs::rand;
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

const MIB: u64 = 1024 * 1024;
/// The most that is read of a file with keys or certificates; the bundles of public authorities have
/// a quarter of it.
const FILE_MAX: u64 = MIB;
/// The most that is read of a file with revocation lists: 200,000 entries and more.
const LISTS_MAX: u64 = 16 * MIB;

/// Whether writing may replace what is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overwrite {
    /// Fail with [`FileError::Exists`].
    Refuse,
    /// Replace it.
    Replace,
}

/// What went wrong with a file that holds a key or certificates.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It is not there.
    #[error("{} does not exist", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// It cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A key is accessible to others than its owner.
    #[error(
        "{} holds a private key, but its mode {mode:04o} lets others than its owner at it; run: \
         chmod 600 {}", path.display(), path.display()
    )]
    TooOpen {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It is larger than anything that it could rightly be.
    #[error("{} has more than {} MiB, which is more than is read of such a file", path.display(), most / MIB)]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The most that is read of it, in bytes.
        most: u64,
    },
    /// It is not PEM.
    #[error("{} is not valid PEM: {source}", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: pem::Error,
    },
    /// It is PEM without a certificate.
    #[error("{} holds no certificate (no BEGIN CERTIFICATE)", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// It is PEM without a revocation list, or the beginning of one.
    #[error("{} holds no revocation list (no BEGIN X509 CRL)", path.display())]
    NoList {
        /// The file.
        path: PathBuf,
    },
    /// It is PEM without a private key.
    #[error("{} holds no private key (no BEGIN PRIVATE KEY)", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// It is there already.
    #[error("{} exists already and was left as it is; --force replaces it", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// It cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The certificates in a PEM file, in their order; at least one.
///
/// # Errors
/// If the file cannot be read, is not PEM or holds no certificate.
pub fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, FileError> {
    let (file, _) = open(path)?;
    let bytes = read(file, path, FILE_MAX)?;
    let certificates = CertificateDer::pem_slice_iter(&bytes)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|source| FileError::Pem {
            path: path.to_owned(),
            source,
        })?;
    if certificates.is_empty() {
        return Err(FileError::NoCertificate {
            path: path.to_owned(),
        });
    }
    Ok(certificates)
}

/// The revocation lists in a PEM file, in their order; at least one. Nothing of them is verified.
///
/// # Errors
/// If the file cannot be read, is not PEM or holds no revocation list.
pub fn read_lists(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, FileError> {
    let (file, _) = open(path)?;
    let bytes = read(file, path, LISTS_MAX)?;
    let lists = CertificateRevocationListDer::pem_slice_iter(&bytes)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|source| FileError::Pem {
            path: path.to_owned(),
            source,
        })?;
    if lists.is_empty() {
        return Err(FileError::NoList {
            path: path.to_owned(),
        });
    }
    Ok(lists)
}

/// The private key in a PEM file that only its owner may access.
pub(crate) fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, FileError> {
    let (file, mode) = open(path)?;
    if mode & 0o077 != 0 {
        return Err(FileError::TooOpen {
            path: path.to_owned(),
            mode,
        });
    }
    let bytes = read(file, path, FILE_MAX)?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| {
        if let pem::Error::NoItemsFound = error {
            FileError::NoKey {
                path: path.to_owned(),
            }
        } else {
            FileError::Pem {
                path: path.to_owned(),
                source: error,
            }
        }
    })
}

/// Makes a directory that only its owner may enter, and those above it that are missing. One that
/// exists stays as it is.
pub(crate) fn create_dir(dir: &Path) -> Result<(), FileError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|source| FileError::Write {
            path: dir.to_owned(),
            source,
        })
}

/// Fails if any of the files exists and may not be replaced.
pub(crate) fn check_free(paths: &[PathBuf], overwrite: Overwrite) -> Result<(), FileError> {
    let taken = || paths.iter().find(|path| path.symlink_metadata().is_ok());
    match overwrite {
        Overwrite::Replace => Ok(()),
        Overwrite::Refuse => match taken() {
            Some(path) => Err(FileError::Exists { path: path.clone() }),
            None => Ok(()),
        },
    }
}

/// Writes a private key that only its owner may access.
pub(crate) fn write_key(path: &Path, pem: &str) -> Result<(), FileError> {
    write(path, pem.as_bytes(), Readers::Owner)
}

/// Writes a certificate that everybody may read.
pub(crate) fn write_certificate(
    path: &Path,
    certificate: &CertificateDer<'_>,
) -> Result<(), FileError> {
    write_public(path, "CERTIFICATE", certificate.as_ref())
}

/// Writes a revocation list that everybody may read.
pub(crate) fn write_list(
    path: &Path,
    list: &CertificateRevocationListDer<'_>,
) -> Result<(), FileError> {
    write_public(path, "X509 CRL", list.as_ref())
}

fn write_public(path: &Path, tag: &str, der: &[u8]) -> Result<(), FileError> {
    let format = EncodeConfig::new().set_line_ending(LineEnding::LF);
    let text = ::pem::encode_config(&Pem::new(tag, der), format);
    write(path, text.as_bytes(), Readers::Everybody)
}

/// Removes a file for good, if it is there.
pub(crate) fn remove(path: &Path) -> Result<(), FileError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(FileError::Write {
            path: path.to_owned(),
            source,
        }),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Puts a file in its place at once and for good: whoever reads it sees the old content or the
/// new, also after a crash.
fn write(path: &Path, content: &[u8], readers: Readers) -> Result<(), FileError> {
    let failed = |source| FileError::Write {
        path: path.to_owned(),
        source,
    };
    let dir = match path.parent() {
        Some(dir) if dir != Path::new("") => dir,
        Some(_) | None => Path::new("."),
    };
    let temporary = dir.join(temporary_name(path).map_err(failed)?);
    let written = write_new(&temporary, content, readers)
        .and_then(|()| fs::rename(&temporary, path))
        .and_then(|()| File::open(dir)?.sync_all());
    if written.is_err() {
        // What counts is the error above; a temporary file that stays is private and harmless.
        let _ = fs::remove_file(&temporary);
    }
    written.map_err(failed)
}

/// Who may read a file that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Readers {
    /// Its owner: mode 0600.
    Owner,
    /// Everybody: mode 0644.
    Everybody,
}

fn write_new(path: &Path, content: &[u8], readers: Readers) -> io::Result<()> {
    let mode = match readers {
        Readers::Owner => 0o600,
        Readers::Everybody => 0o644,
    };
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

fn temporary_name(path: &Path) -> io::Result<String> {
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "this names no file"))?;
    let mut random = [0; 8];
    rand::fill(&mut random).map_err(io::Error::other)?;
    Ok(format!(
        ".{}.{:016x}",
        name.to_string_lossy(),
        u64::from_be_bytes(random)
    ))
}

fn open(path: &Path) -> Result<(File, u32), FileError> {
    let failed = |source: io::Error| {
        if source.kind() == io::ErrorKind::NotFound {
            FileError::Missing {
                path: path.to_owned(),
            }
        } else {
            FileError::Read {
                path: path.to_owned(),
                source,
            }
        }
    };
    // The mode is taken from the open file, so that it is the mode of what is then read.
    let file = File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o7777;
    Ok((file, mode))
}

fn read(file: File, path: &Path, most: u64) -> Result<Vec<u8>, FileError> {
    let mut bytes = Vec::new();
    file.take(most + 1)
        .read_to_end(&mut bytes)
        .map_err(|source| FileError::Read {
            path: path.to_owned(),
            source,
        })?;
    if bytes.len() as u64 > most {
        return Err(FileError::TooLarge {
            path: path.to_owned(),
            most,
        });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
