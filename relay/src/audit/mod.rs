//! The audit log: one record for each stream, on each side, with the same ids on both.
//!
//! ```text
//! StreamHandle dropped ──▶ Record ──bounded queue──▶ writer (a thread) ──append──▶ file
//! ```
//!
//! A record is made where a stream's life ends, so that none can end without one. It says who
//! called what, when, how many bytes, and how it ended; never payload.
//!
//! No stream waits for the log. If the disk is slower than streams end, the queue fills; if the
//! disk is full, writing fails: either way records are lost, counted in
//! `causeway_audit_records_total{outcome="lost"}`, and once writing works again a record in the log
//! itself says how many.

mod record;
mod writer;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

pub use self::record::Parties;
pub(crate) use self::record::{Entry, Recording, direction};

/// How many records may wait to be written. At about 500 bytes each, some 2 MiB.
const QUEUE: usize = 4096;

/// How long the end of a process waits for what is not written yet. A pipe whose reader has
/// stopped, or a disk that is away, would keep it for good.
const LAST_WRITES: Duration = Duration::from_secs(5);

/// Where records go. Dropping it is [closing](Self::close) it.
#[derive(Debug)]
pub struct AuditLog {
    /// `None` once it is closed.
    queue: Mutex<Option<SyncSender<String>>>,
    writer: Mutex<Option<Writer>>,
    counts: Arc<Counts>,
}

/// The thread that writes.
#[derive(Debug)]
struct Writer {
    thread: JoinHandle<()>,
    /// Disconnected when the thread has ended; nothing ever comes.
    running: Receiver<std::convert::Infallible>,
}

/// The audit log cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot open the audit log {}: {error}; make the directory writable for this process, or set [audit] file", path.display()
)]
pub struct AuditLogError {
    path: PathBuf,
    error: io::Error,
}

impl AuditLogError {
    /// Whether only another path can help, or another directory there.
    pub fn is_configuration(&self) -> bool {
        use io::ErrorKind::{IsADirectory, NotADirectory, NotFound};
        [IsADirectory, NotADirectory, NotFound].contains(&self.error.kind())
    }
}

/// What became of records.
#[derive(Debug, Default)]
struct Counts {
    records: Family<Outcome, Counter>,
    /// All that there were, whatever became of them.
    submitted: AtomicU64,
    /// Since the last record that said so.
    lost: AtomicU64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

impl Counts {
    fn written(&self, records: u64) {
        self.of("written").inc_by(records);
    }

    fn lost(&self, records: u64) {
        self.lost.fetch_add(records, Ordering::Relaxed);
        self.of("lost").inc_by(records);
    }

    /// How many are neither written nor lost yet.
    fn waiting(&self) -> u64 {
        let settled = self.of("written").get() + self.of("lost").get();
        self.submitted
            .load(Ordering::Relaxed)
            .saturating_sub(settled)
    }

    fn of(&self, outcome: &'static str) -> Counter {
        self.records.get_or_create_owned(&Outcome { outcome })
    }
}

impl AuditLog {
    /// Opens `path` for appending, mode 0600 if it is new, and starts the thread that writes.
    ///
    /// # Errors
    /// If the file cannot be opened, or there is no thread.
    pub fn open(path: &Path, registry: &mut Registry) -> Result<Arc<Self>, AuditLogError> {
        let counts = Arc::new(Counts::default());
        registry.register(
            "causeway_audit_records",
            "Records of the audit log: written, or lost because it could not be written in time",
            counts.records.clone(),
        );
        let failed = |error| AuditLogError {
            path: path.to_path_buf(),
            error,
        };
        let file = writer::AuditFile::open(path).map_err(failed)?;
        let (queue, records) = sync_channel(QUEUE);
        let counted = counts.clone();
        let (ends, running) = sync_channel(0);
        let thread = std::thread::Builder::new()
            .name("audit".into())
            .spawn(move || {
                let _ends = ends;
                writer::run(file, &records, &counted);
            })
            .map_err(failed)?;
        Ok(Arc::new(Self {
            queue: Mutex::new(Some(queue)),
            writer: Mutex::new(Some(Writer { thread, running })),
            counts,
        }))
    }

    /// Takes a line over. Never waits.
    pub(crate) fn submit(&self, line: String) {
        self.counts.submitted.fetch_add(1, Ordering::Relaxed);
        let full = match &*self.queue.lock() {
            Some(queue) => match queue.try_send(line) {
                Ok(()) => false,
                Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => true,
            },
            None => true,
        };
        if full {
            self.counts.lost(1);
        }
    }

    /// Writes what waits, and takes nothing more. Blocks for at most 5 s: what is not written by
    /// then is lost, and its thread ends with the process.
    pub fn close(&self) {
        drop(self.queue.lock().take());
        let Some(Writer { thread, running }) = self.writer.lock().take() else {
            return;
        };
        match running.recv_timeout(LAST_WRITES) {
            Ok(never) => match never {},
            Err(RecvTimeoutError::Disconnected) => {
                if thread.join().is_err() {
                    tracing::error!("the audit log's thread panicked");
                }
            }
            Err(RecvTimeoutError::Timeout) => {
                let lost = self.counts.waiting();
                self.counts.lost(lost);
                tracing::error!(
                    lost,
                    "the audit log takes nothing any more: records are lost"
                );
            }
        }
    }
}

impl Drop for AuditLog {
    fn drop(&mut self) {
        self.close();
    }
}
