//! The thread that writes the audit log, and its file.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;

use super::{Counts, record};

/// About how much is written at once, in bytes.
const BATCH: usize = 64 * 1024;

/// For its owner alone: it says who called what.
const OWNER_ONLY: u32 = 0o600;

/// A file that is only ever appended to, and is opened again once it was moved away.
#[derive(Debug)]
pub(super) struct AuditFile {
    path: PathBuf,
    file: File,
    /// The last write ended within a line.
    torn: bool,
}

/// Writes until nobody can submit any more.
pub(super) fn run(mut file: AuditFile, records: &Receiver<String>, counts: &Counts) {
    let mut failing = false;
    while let Ok(first) = records.recv() {
        let mut batch = String::new();
        let mut count = 1;
        let lost = counts.lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            batch += &record::lost(lost);
        }
        batch += &first;
        while batch.len() < BATCH
            && let Ok(next) = records.try_recv()
        {
            batch += &next;
            count += 1;
        }
        match file.append(batch.as_bytes()) {
            Ok(()) => {
                counts.written(count);
                if failing {
                    tracing::info!(path = %file.path.display(), "the audit log is written again");
                }
                failing = false;
            }
            Err(error) => {
                counts.lost.fetch_add(lost, Ordering::Relaxed);
                counts.lost(count);
                if !failing {
                    tracing::error!(path = %file.path.display(), %error, "the audit log cannot be written: records are lost");
                }
                failing = true;
            }
        }
    }
    let lost = counts.lost.swap(0, Ordering::Relaxed);
    if lost > 0
        && let Err(error) = file.append(record::lost(lost).as_bytes())
    {
        tracing::error!(%error, lost, "the audit log lacks records");
    }
}

impl AuditFile {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(OWNER_ONLY)
            // Opening a pipe that nobody reads is an error this way, and otherwise waits for good.
            .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
            .open(path)
            .map_err(|error| explain(path, error))?;
        // A pipe that is full for a moment is to be waited for.
        fcntl_setfl(&file, fcntl_getfl(&file)? - OFlags::NONBLOCK)?;
        Ok(Self {
            path: path.to_path_buf(),
            file,
            torn: false,
        })
    }

    fn append(&mut self, mut lines: &[u8]) -> io::Result<()> {
        self.follow_rotation()?;
        if self.torn {
            self.file.write_all(b"\n")?;
            self.torn = false;
        }
        while !lines.is_empty() {
            match self.file.write(lines) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    self.torn = lines[count - 1] != b'\n';
                    lines = &lines[count..];
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Opens the path again if another file is there now, or none: somebody rotates the log.
    fn follow_rotation(&mut self) -> io::Result<()> {
        let held = self.file.metadata()?;
        if !held.is_file() {
            return Ok(());
        }
        let there = fs::metadata(&self.path).map(|there| (there.dev(), there.ino()));
        if there.is_ok_and(|there| there == (held.dev(), held.ino())) {
            return Ok(());
        }
        *self = Self::open(&self.path)?;
        Ok(())
    }
}

/// "No such device or address", in words that help (fifo(7), unix(7)).
fn explain(path: &Path, error: io::Error) -> io::Error {
    if Errno::from_io_error(&error) != Some(Errno::NXIO) {
        return error;
    }
    let kind = fs::metadata(path).map(|metadata| metadata.file_type());
    let message = match kind {
        Ok(kind) if kind.is_fifo() => "it is a pipe that nobody reads; start its reader first",
        Ok(kind) if kind.is_socket() => "it is a socket, which cannot be opened as a file",
        Ok(_) | Err(_) => return error,
    };
    io::Error::new(error.kind(), message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(path: &Path) -> Vec<String> {
        let text = fs::read_to_string(path).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_log_that_was_moved_away_begins_anew() {
        let directory = tempfile::tempdir().unwrap();
        let (path, moved) = (directory.path().join("a"), directory.path().join("b"));
        let mut file = AuditFile::open(&path).unwrap();
        file.append(b"one\n").unwrap();
        fs::rename(&path, &moved).unwrap();
        file.append(b"two\n").unwrap();
        assert_eq!(
            (lines(&moved), lines(&path)),
            (vec!["one".into()], vec!["two".into()])
        );
        let mode = fs::metadata(&path).unwrap().mode() & 0o777;
        assert_eq!(mode, OWNER_ONLY);
        // Truncated in place, as logrotate's copytruncate does.
        File::create(&path).unwrap();
        file.append(b"three\n").unwrap();
        assert_eq!(lines(&path), ["three"]);
    }

    #[test]
    fn what_could_not_be_written_is_told() {
        let mut registry = prometheus_client::registry::Registry::default();
        let log = super::super::AuditLog::open(Path::new("/dev/full"), &mut registry).unwrap();
        for _ in 0..10 {
            log.submit("{}\n".into());
        }
        log.close();
        log.submit("{}\n".into());
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        assert!(
            text.contains("causeway_audit_records_total{outcome=\"lost\"} 11"),
            "{text}"
        );
    }

    #[test]
    fn a_gap_is_said_in_the_log_itself() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.jsonl");
        let counts = Counts::default();
        counts.lost(3);
        let (queue, records) = std::sync::mpsc::sync_channel(8);
        queue.send("{\"a\":1}\n".to_owned()).unwrap();
        drop(queue);
        run(AuditFile::open(&path).unwrap(), &records, &counts);
        let lines = lines(&path);
        assert!(lines[0].ends_with("\"lost_records\":3}"), "{lines:?}");
        assert_eq!(lines[1..], ["{\"a\":1}"]);
    }
}
