//! Keeping the zone on disk, so that a restarted edge answers as before at once.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::dns::provider::text;
use crate::dns::provider::zone::Zone;
use crate::whole_file;

/// Between two times that the zone is written: what an edge that is killed forgets.
const REST: Duration = Duration::from_secs(1);

/// Whoever can read the state directory may read the zone, as by asking.
const MODE: u32 = 0o644;

/// Changes that may be made without having been kept. A zone that is read from disk takes a serial
/// that many later, which is later than any that was served.
pub(super) const MOST_UNKEPT: u32 = 1 << 20;

const HEADING: &str = "The zone that this edge serves, for its next start. Changes made here while it \
                       runs are lost.";

/// Writes a zone as a whole.
pub(super) fn write(zone: &Zone, path: &Path) -> io::Result<()> {
    let text = text::render(zone, HEADING);
    whole_file::replace(path, text.as_bytes(), MODE)
}

/// Writes the zone whenever it has changed, from a thread of its own; the last time when dropped.
#[derive(Debug)]
pub(super) struct Keeper {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    book: Mutex<Book>,
    changed: Condvar,
    path: PathBuf,
}

/// The zone as it is.
#[derive(Debug)]
pub(super) struct Book {
    pub(super) zone: Zone,
    /// How many changes are not on disk yet.
    unkept: u32,
    stopping: bool,
}

impl Keeper {
    /// `kept`: whether the file has the zone as it is.
    pub(super) fn start(zone: Zone, path: PathBuf, kept: bool) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            book: Mutex::new(Book {
                zone,
                unkept: u32::from(!kept),
                stopping: false,
            }),
            changed: Condvar::new(),
            path,
        });
        let kept = shared.clone();
        let thread = thread::Builder::new().name("dns-keep".to_owned());
        let thread = thread.spawn(move || kept.run())?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    pub(super) fn book(&self) -> MutexGuard<'_, Book> {
        self.shared.book.lock()
    }

    /// Where the zone is kept.
    pub(super) fn path(&self) -> &Path {
        &self.shared.path
    }

    /// To be called after each change, with the book in which it was made.
    pub(super) fn changed(&self, mut book: MutexGuard<'_, Book>) {
        book.unkept += 1;
        drop(book);
        self.shared.changed.notify_all();
    }
}

impl Book {
    /// Whether one more change can be made: whether writing has not failed for too long.
    pub(super) fn has_room(&self) -> bool {
        self.unkept < MOST_UNKEPT
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.shared.book.lock().stopping = true;
        self.shared.changed.notify_all();
        let thread = self.thread.take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that keeps the DNS zone had panicked");
        }
    }
}

impl Shared {
    fn run(&self) {
        let mut failing = false;
        loop {
            let mut book = self.book.lock();
            while book.unkept == 0 && !book.stopping {
                self.changed.wait(&mut book);
            }
            if book.unkept == 0 {
                return;
            }
            let (zone, unkept) = (book.zone.clone(), book.unkept);
            drop(book);
            let written = write(&zone, &self.path);
            let mut book = self.book.lock();
            match written {
                Ok(()) => {
                    book.unkept -= unkept;
                    if failing {
                        tracing::info!(file = %self.path.display(), "the DNS zone is kept on disk again");
                    }
                    failing = false;
                }
                Err(error) => {
                    if !failing {
                        tracing::warn!(
                            file = %self.path.display(), %error,
                            "the DNS zone is served but cannot be kept on disk: a restart now would \
                             serve an older one"
                        );
                    }
                    failing = true;
                    if book.stopping {
                        return;
                    }
                }
            }
            self.rest(book);
        }
    }

    fn rest(&self, mut book: MutexGuard<'_, Book>) {
        let end = Instant::now() + REST;
        while !book.stopping && !self.changed.wait_until(&mut book, end).timed_out() {}
    }
}
