//! Records in a file, for a name server that reads zones from files.
//!
//! The file is what there is: it is looked at again before each change, so that what others write
//! into it counts. Changes that wait for the disk are written together, and each is answered when
//! it is on the disk.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use hickory_proto::rr::LowerName;
use tokio::sync::{mpsc, oneshot};

use super::text::{self, TextError};
use super::zone::{Authority, Outcome, Zone};
use super::{Applied, BoxFuture, Provider, ProviderError, Reading, Reason, serial};
use crate::config::{DnsSettings, ZonefileSettings};
use crate::dns::records::{Change, Records};
use crate::whole_file;

/// How many changes may wait, and are written together at most.
const MOST_WAITING: usize = 256;

/// For a file that is not there yet: the name server reads it as another user.
const MODE: u32 = 0o644;

const HEADING: &str = "Written by causeway whenever its records change. Records that others add here \
                       stay, comments do not.";

/// A zone's file, which a thread of its own reads and writes.
#[derive(Debug)]
pub(super) struct Zonefile {
    /// Always there, until it is dropped.
    work: Option<mpsc::Sender<Work>>,
    thread: Option<thread::JoinHandle<()>>,
    path: PathBuf,
}

/// With name servers the file is a whole zone; without them it is for `$INCLUDE` into a zone.
pub(crate) fn start(
    dns: &DnsSettings,
    settings: &ZonefileSettings,
) -> io::Result<Arc<dyn Provider>> {
    let nameservers = &settings.nameservers;
    let authority = || Authority::new(nameservers, &settings.contact, dns.negative_ttl);
    let authority = (!nameservers.is_empty()).then(authority);
    let file = Zonefile::start(&dns.zone, authority, &settings.path)?;
    Ok(Arc::new(file))
}

#[derive(Debug)]
enum Work {
    Look(Look),
    Apply(Change, oneshot::Sender<Result<Applied, ProviderError>>),
}

/// What nothing is changed for.
#[derive(Debug)]
enum Look {
    Read(Option<u32>, oneshot::Sender<Result<Reading, ProviderError>>),
    Serial(oneshot::Sender<Result<u32, ProviderError>>),
}

impl Zonefile {
    /// With an `authority` the file is a whole zone.
    fn start(origin: &LowerName, authority: Option<Authority>, path: &Path) -> io::Result<Self> {
        let (work, waiting) = mpsc::channel(MOST_WAITING);
        let keeper = Keeper {
            origin: origin.clone(),
            authority,
            path: path.to_owned(),
            seen: None,
            last: None,
        };
        let thread = thread::Builder::new().name("dns-zonefile".to_owned());
        Ok(Self {
            work: Some(work),
            thread: Some(thread.spawn(move || keeper.run(waiting))?),
            path: path.to_owned(),
        })
    }

    async fn ask<T>(
        &self,
        work: impl FnOnce(oneshot::Sender<Result<T, ProviderError>>) -> Work,
    ) -> Result<T, ProviderError> {
        let (reply, replied) = oneshot::channel();
        let sender = self.work.as_ref().expect("there until it is dropped");
        let gone = || ProviderError {
            reason: Reason::File,
            message: format!("{}: what writes it has failed", self.path.display()),
        };
        sender.send(work(reply)).await.map_err(|_| gone())?;
        replied.await.unwrap_or_else(|_| Err(gone()))
    }
}

impl Provider for Zonefile {
    fn read<'a>(
        &'a self,
        _names: &'a BTreeSet<LowerName>,
        known: Option<u32>,
    ) -> BoxFuture<'a, Result<Reading, ProviderError>> {
        Box::pin(self.ask(move |reply| Work::Look(Look::Read(known, reply))))
    }

    fn serial(&self) -> BoxFuture<'_, Result<u32, ProviderError>> {
        Box::pin(self.ask(|reply| Work::Look(Look::Serial(reply))))
    }

    fn apply<'a>(&'a self, change: &'a Change) -> BoxFuture<'a, Result<Applied, ProviderError>> {
        Box::pin(self.ask(|reply| Work::Apply(change.clone(), reply)))
    }
}

impl Drop for Zonefile {
    fn drop(&mut self) {
        self.work = None;
        let thread = self.thread.take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that writes the zone file had panicked");
        }
    }
}

/// What the thread has.
struct Keeper {
    origin: LowerName,
    authority: Option<Authority>,
    path: PathBuf,
    seen: Option<Seen>,
    /// The serial of the last zone that it had.
    last: Option<u32>,
}

/// The file as it was read or written last.
struct Seen {
    text: Option<String>,
    zone: Zone,
}

impl Keeper {
    fn run(mut self, mut waiting: mpsc::Receiver<Work>) {
        while let Some(work) = waiting.blocking_recv() {
            match work {
                Work::Look(look) => self.show(look),
                Work::Apply(change, reply) => {
                    let mut changes = vec![(change, reply)];
                    let mut then = None;
                    while changes.len() < MOST_WAITING && then.is_none() {
                        match waiting.try_recv() {
                            Ok(Work::Apply(change, reply)) => changes.push((change, reply)),
                            Ok(Work::Look(look)) => then = Some(look),
                            Err(_) => break,
                        }
                    }
                    let outcomes = self.apply_all(changes.iter().map(|(change, _)| change));
                    for ((_, reply), outcome) in changes.into_iter().zip(outcomes) {
                        // Nobody who has gone away misses a reply.
                        drop(reply.send(outcome));
                    }
                    if let Some(look) = then {
                        self.show(look);
                    }
                }
            }
        }
    }

    fn show(&mut self, look: Look) {
        match look {
            Look::Read(known, reply) => drop(reply.send(self.read(known))),
            Look::Serial(reply) => {
                let serial = self.look().map(|seen| seen.zone.serial());
                drop(reply.send(serial));
            }
        }
    }

    fn read(&mut self, known: Option<u32>) -> Result<Reading, ProviderError> {
        let zone = &self.look()?.zone;
        Ok(if known == Some(zone.serial()) {
            Reading::Unchanged
        } else {
            Reading::Zone(zone.snapshot())
        })
    }

    /// Each change as a whole or not at all, and what is made of them with one writing.
    fn apply_all<'c>(
        &mut self,
        changes: impl Iterator<Item = &'c Change> + Clone,
    ) -> Vec<Result<Applied, ProviderError>> {
        let mut zone = match self.look() {
            Ok(seen) => seen.zone.clone(),
            Err(error) => return changes.map(|_| Err(again(&error))).collect(),
        };
        let before = zone.serial();
        let outcomes: Vec<_> = changes
            .clone()
            .map(|change| apply(&mut zone, change))
            .collect();
        if zone.serial() == before {
            return outcomes;
        }
        let text = text::render(&zone, HEADING);
        match self.write(&text) {
            Ok(true) => {
                self.last = Some(zone.serial());
                let text = Some(text);
                self.seen = Some(Seen { text, zone });
                outcomes
            }
            Ok(false) => changes.map(|_| Ok(Applied::Overtaken)).collect(),
            Err(error) => {
                let failed = self.file_error(&error);
                changes.map(|_| Err(again(&failed))).collect()
            }
        }
    }

    /// Replaces the file, unless somebody has edited it since it was looked at.
    fn write(&self, text: &str) -> io::Result<bool> {
        let mode = match fs::metadata(&self.path) {
            Ok(file) => file.permissions().mode() & 0o777,
            Err(error) if error.kind() == io::ErrorKind::NotFound => MODE,
            Err(error) => return Err(error),
        };
        let unfinished = whole_file::prepare(&self.path, text.as_bytes(), mode)?;
        let looked_at = self.seen.as_ref().and_then(|seen| seen.text.as_ref());
        if self.text()?.as_ref() != looked_at {
            return Ok(false);
        }
        unfinished.put()?;
        Ok(true)
    }

    /// `None` if there is no file.
    fn text(&self) -> io::Result<Option<String>> {
        match fs::read_to_string(&self.path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The zone as the file says it now.
    fn look(&mut self) -> Result<&Seen, ProviderError> {
        let text = self.text().map_err(|error| self.file_error(&error))?;
        let seen = match self.seen.take().filter(|seen| seen.text == text) {
            Some(seen) => seen,
            None => self.parse(text)?,
        };
        Ok(self.seen.insert(seen))
    }

    fn parse(&mut self, text: Option<String>) -> Result<Seen, ProviderError> {
        let contents = text.as_ref().map(|text| text::parse(text, &self.origin));
        let contents = contents
            .transpose()
            .map_err(|error| self.text_error(&error))?;
        let (serial, records) = match contents {
            Some(contents) => (contents.serial, contents.records),
            None => (None, Records::new()),
        };
        let stated = serial.unwrap_or_else(serial::now);
        // Whoever edited it may not have taken a new serial; it is another zone nevertheless.
        let serial = match self.last.filter(|last| !serial::is_later(stated, *last)) {
            Some(last) => last.wrapping_add(1),
            None => stated,
        };
        self.last = Some(serial);
        let authority = self.authority.clone();
        let zone = Zone::new(self.origin.clone(), serial, records, authority);
        Ok(Seen { text, zone })
    }

    fn file_error(&self, error: &io::Error) -> ProviderError {
        let path = self.path.display();
        ProviderError {
            reason: Reason::File,
            message: format!(
                "{path}: {error}; the edge must be able to write it and its directory"
            ),
        }
    }

    fn text_error(&self, error: &TextError) -> ProviderError {
        let path = self.path.display();
        ProviderError {
            reason: Reason::Malformed,
            message: format!("{path}: {error}; it is left as it is until that is corrected"),
        }
    }
}

fn apply(zone: &mut Zone, change: &Change) -> Result<Applied, ProviderError> {
    let unwritable = |message| ProviderError {
        reason: Reason::Unwritable,
        message,
    };
    for (key, set) in &change.sets {
        if set.as_ref().is_some_and(|set| !text::is_faithful(key, set)) {
            let (name, kind) = (&key.name, key.kind);
            let message = format!("{name}: these {kind} records cannot be written to a file");
            return Err(unwritable(message));
        }
    }
    let made = zone.make(change);
    match made.map_err(|refused| unwritable(refused.to_string()))? {
        Outcome::Changed | Outcome::Unchanged => Ok(Applied::Done),
        Outcome::Overtaken => Ok(Applied::Overtaken),
    }
}

/// The same error, for one more.
fn again(error: &ProviderError) -> ProviderError {
    ProviderError {
        reason: error.reason,
        message: error.message.clone(),
    }
}

#[cfg(test)]
mod tests;
