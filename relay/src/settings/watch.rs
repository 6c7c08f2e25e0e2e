//! When to read the configuration again: SIGHUP, or a change of its files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};
use parking_lot::Mutex;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::document::{Digest, Sources, digest};
use super::include::expand;
use super::places::Places;

/// Why the configuration should be read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reread {
    /// The process got SIGHUP; read it even if nothing changed.
    Signal,
    /// What a file holds has changed, or there are other files than before.
    Changed,
}

/// Why changes cannot be noticed.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The process cannot listen for SIGHUP.
    #[error("cannot listen for SIGHUP: {0}")]
    Signal(std::io::Error),
}

/// Notices SIGHUP and changes of a configuration's files; see [`watch()`].
#[derive(Debug)]
pub struct Watch {
    /// `None` if the signal is to do what it does elsewhere: end the process.
    hangup: Option<Signal>,
    events: mpsc::Receiver<()>,
    /// `None` where the system gives no notifications; then only the regular look finds changes.
    watcher: Option<RecommendedWatcher>,
    watched: BTreeSet<PathBuf>,
    /// What the watcher's thread holds each event against.
    places: Arc<Mutex<Places>>,
    sources: Sources,
    /// What each file held when it was last read or reported.
    known: BTreeMap<PathBuf, Digest>,
    look_at: Instant,
    /// When the first event came that no look has followed yet.
    stirred: Option<Instant>,
}

/// How long files must be left alone before they are looked at: editors and deployments write in several steps.
const SETTLE: Duration = Duration::from_millis(200);

/// When they are looked at all the same, though they are written without a pause.
const SETTLE_AT_MOST: Duration = Duration::from_secs(2);

/// How often files are looked at without having been told, as network file systems tell nothing.
const REGULARLY: Duration = Duration::from_secs(30);

/// The same where the system gives no notifications at all.
const UNAIDED: Duration = Duration::from_secs(2);

/// Begins to watch the files that a configuration came from. Must be called within a tokio runtime.
///
/// Directories are watched rather than files, so that editors that rename and Kubernetes' swaps of `..data` are
/// noticed; contents are compared, so that what else happens there, or a mere `touch`, is not.
pub fn watch(sources: &Sources) -> Result<Watch, WatchError> {
    let hangup = signal(SignalKind::hangup()).map_err(WatchError::Signal)?;
    let mut watch = watch_changes(sources);
    watch.hangup = Some(hangup);
    Ok(watch)
}

/// The same, but SIGHUP is left alone: whoever started the process may mean that it end with their terminal.
pub fn watch_changes(sources: &Sources) -> Watch {
    // One is enough: all that it says is "look", and a full channel already says so.
    let (tell, events) = mpsc::channel(1);
    let places = Arc::new(Mutex::new(Places::default()));
    let concerned = places.clone();
    let handler = move |event: notify::Result<Event>| {
        if may_matter(event, &concerned.lock()) {
            let _full = tell.try_send(());
        }
    };
    let watcher = notify::recommended_watcher(handler)
        .inspect_err(|error| {
            tracing::warn!(%error, "no notifications of file changes; looking every 2 s instead");
        })
        .ok();
    let mut watch = Watch {
        hangup: None,
        events,
        watcher,
        watched: BTreeSet::new(),
        places,
        sources: Sources::default(),
        known: BTreeMap::new(),
        look_at: Instant::now(),
        stirred: None,
    };
    watch.follow(sources);
    watch
}

impl Watch {
    /// Waits until the configuration should be read again.
    ///
    /// Cancel-safe: what was noticed is kept in `self`.
    pub async fn next(&mut self) -> Reread {
        loop {
            tokio::select! {
                () = hung_up(&mut self.hangup) => {
                    self.known = look(&self.sources);
                    return Reread::Signal;
                }
                Some(()) = self.events.recv() => {
                    let now = Instant::now();
                    let since = *self.stirred.get_or_insert(now);
                    self.look_at = (now + SETTLE).min(since + SETTLE_AT_MOST);
                }
                () = sleep_until(self.look_at) => {
                    self.stirred = None;
                    self.look_at = Instant::now() + self.interval();
                    let found = look(&self.sources);
                    if found != self.known {
                        self.known = found;
                        // Links may lead elsewhere now.
                        self.watch_directories();
                        return Reread::Changed;
                    }
                }
            }
        }
    }

    /// Goes on with the files that the configuration came from this time.
    ///
    /// To be called after every reading, whether it succeeded ([`Loaded::sources`](super::Loaded)) or not
    /// ([`Problems::sources`](super::Problems::sources)), so that the file to be corrected is among them.
    pub fn follow(&mut self, sources: &Sources) {
        self.sources = sources.clone();
        self.known = sources
            .files
            .iter()
            .map(|file| (file.path.clone(), file.digest))
            .collect();
        self.watch_directories();
        self.stirred = None;
        // What changed while it was being read is found at once.
        self.look_at = Instant::now() + SETTLE;
    }

    fn interval(&self) -> Duration {
        match self.watcher {
            Some(_) => REGULARLY,
            None => UNAIDED,
        }
    }

    fn watch_directories(&mut self) {
        let wanted = Places::of(&self.sources);
        *self.places.lock() = wanted.clone();
        let Some(watcher) = &mut self.watcher else {
            return;
        };
        for gone in self.watched.difference(&wanted.directories) {
            // It may not exist any more, and then is not watched either.
            let _ = watcher.unwatch(gone);
        }
        let mut watched = BTreeSet::new();
        for directory in wanted.directories {
            // Again even if it is watched already: it may have been replaced by another of the same name.
            match watcher.watch(&directory, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    watched.insert(directory);
                }
                Err(error) => {
                    tracing::debug!(directory = %directory.display(), %error, "directory is not watched");
                }
            }
        }
        self.watched = watched;
    }
}

/// Cancel-safe.
async fn hung_up(hangup: &mut Option<Signal>) {
    if let Some(hangup) = hangup
        && hangup.recv().await.is_some()
    {
        return;
    }
    std::future::pending().await
}

/// Whether to look because of what the system tells. An error, or that events were lost, says
/// nothing of names and may be about any.
fn may_matter(event: notify::Result<Event>, places: &Places) -> bool {
    let Ok(event) = event else {
        return true;
    };
    // Our own reading is an access; taking that for a change would never end.
    let is_access = event.kind.is_access();
    let is_concern = event.paths.is_empty() || event.paths.iter().any(|path| places.concern(path));
    !is_access && is_concern
}

/// What every file of the configuration holds now. A file that cannot be read counts as missing.
fn look(sources: &Sources) -> BTreeMap<PathBuf, Digest> {
    let patterns = sources
        .patterns
        .iter()
        .flat_map(|pattern| expand(pattern).unwrap_or_default());
    sources
        .files
        .iter()
        // What a pattern found before is only there if it finds it again; what was named always is.
        .filter(|file| !file.by_pattern)
        .map(|file| file.path.clone())
        .chain(patterns)
        .map(|path| {
            let digest = digest(std::fs::read(&path).ok().as_deref());
            (path, digest)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::Document;
    use super::*;

    const DEADLINE: Duration = Duration::from_secs(10);

    async fn reread(watch: &mut Watch) -> Reread {
        tokio::time::timeout(DEADLINE, watch.next())
            .await
            .expect("a change is noticed")
    }

    /// No wish to reread within a time in which one would long have come.
    async fn nothing(watch: &mut Watch) {
        let quiet = tokio::time::timeout(4 * SETTLE, watch.next()).await;
        assert_eq!(quiet.ok(), None);
    }

    #[tokio::test]
    async fn a_written_file_is_noticed_and_a_touched_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("edge.toml");
        fs::write(&file, "a = 1").unwrap();
        let mut watch = watch(Document::read(&file).unwrap().sources()).unwrap();
        fs::write(dir.path().join("unrelated.log"), "noise").unwrap();
        fs::write(&file, "a = 1").unwrap();
        nothing(&mut watch).await;
        fs::write(&file, "a = 2").unwrap();
        assert_eq!(reread(&mut watch).await, Reread::Changed);
        nothing(&mut watch).await;
    }

    /// What comes of a watch while something is written every few milliseconds.
    async fn reread_beside(watch: &mut Watch, mut write: impl FnMut(u32)) -> Reread {
        let mut pace = tokio::time::interval(SETTLE / 10);
        let mut count = 0;
        let rereading = reread(watch);
        tokio::pin!(rereading);
        loop {
            tokio::select! {
                why = &mut rereading => return why,
                _ = pace.tick() => {
                    count += 1;
                    write(count);
                }
            }
        }
    }

    #[tokio::test]
    async fn a_log_that_grows_beside_the_files_keeps_nothing_waiting() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("edge.toml");
        fs::write(&file, "a = 1").unwrap();
        let mut watch = watch(Document::read(&file).unwrap().sources()).unwrap();
        nothing(&mut watch).await;
        fs::write(&file, "a = 2").unwrap();
        let log = dir.path().join("audit.jsonl");
        let why = reread_beside(&mut watch, |count| {
            fs::write(&log, count.to_string()).unwrap();
        });
        assert_eq!(why.await, Reread::Changed);
        let noticed = may_matter(
            Ok(Event::new(notify::EventKind::Any).add_path(log)),
            &watch.places.lock(),
        );
        assert!(!noticed);
    }

    #[tokio::test]
    async fn a_file_that_is_written_without_a_pause_is_read_all_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("edge.toml");
        fs::write(&file, "a = 0").unwrap();
        let mut watch = watch(Document::read(&file).unwrap().sources()).unwrap();
        let why = reread_beside(&mut watch, |count| {
            fs::write(&file, format!("a = {count}")).unwrap();
        });
        assert_eq!(why.await, Reread::Changed);
    }

    #[tokio::test]
    async fn a_directory_that_another_replaces_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        for (version, text) in [("conf.d", "a = 1"), ("next", "a = 2")] {
            fs::create_dir(path(version)).unwrap();
            fs::write(path(version).join("a.toml"), text).unwrap();
        }
        let file = path("edge.toml");
        fs::write(&file, "include = \"conf.d/*.toml\"").unwrap();
        let mut watch = watch(Document::read(&file).unwrap().sources()).unwrap();
        nothing(&mut watch).await;
        fs::rename(path("conf.d"), path("old")).unwrap();
        fs::rename(path("next"), path("conf.d")).unwrap();
        assert_eq!(reread(&mut watch).await, Reread::Changed);
    }

    #[tokio::test]
    async fn a_file_that_an_editor_renames_into_place_is_noticed_each_time() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("edge.toml");
        fs::write(&file, "a = 1").unwrap();
        let mut watch = watch(Document::read(&file).unwrap().sources()).unwrap();
        for text in ["a = 2", "a = 3"] {
            let new = dir.path().join("edge.toml.new");
            fs::write(&new, text).unwrap();
            fs::rename(&new, &file).unwrap();
            assert_eq!(reread(&mut watch).await, Reread::Changed);
            watch.follow(Document::read(&file).unwrap().sources());
        }
    }

    #[tokio::test]
    async fn the_swap_of_a_mounted_config_map_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        for (version, text) in [("..1", "a = 1"), ("..2", "a = 2")] {
            fs::create_dir(path(version)).unwrap();
            fs::write(path(version).join("edge.toml"), text).unwrap();
        }
        let link = |to: &str, from: &str| std::os::unix::fs::symlink(to, path(from)).unwrap();
        link("..1", "..data");
        link("..data/edge.toml", "edge.toml");
        let file = path("edge.toml");
        let mut watch = watch(Document::read(&file).unwrap().sources()).unwrap();
        nothing(&mut watch).await;
        link("..2", "..data_tmp");
        fs::rename(path("..data_tmp"), path("..data")).unwrap();
        assert_eq!(reread(&mut watch).await, Reread::Changed);
    }

    #[tokio::test]
    async fn included_files_come_and_go() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("edge.toml");
        let conf = dir.path().join("conf.d");
        fs::create_dir(&conf).unwrap();
        fs::write(&file, "include = \"conf.d/*.toml\"").unwrap();
        let mut watch = watch(Document::read(&file).unwrap().sources()).unwrap();
        fs::write(conf.join("a.toml"), "b = 1").unwrap();
        assert_eq!(reread(&mut watch).await, Reread::Changed);
        watch.follow(Document::read(&file).unwrap().sources());
        fs::write(conf.join("a.toml"), "b = 2").unwrap();
        assert_eq!(reread(&mut watch).await, Reread::Changed);
        watch.follow(Document::read(&file).unwrap().sources());
        fs::remove_file(conf.join("a.toml")).unwrap();
        assert_eq!(reread(&mut watch).await, Reread::Changed);
    }

    #[tokio::test]
    async fn the_file_to_be_corrected_is_watched_after_a_failed_reading() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("edge.toml");
        fs::write(&file, "").unwrap();
        let mut watch = watch(Document::read(&file).unwrap().sources()).unwrap();
        let other = dir.path().join("sub");
        fs::create_dir(&other).unwrap();
        fs::write(other.join("more.toml"), "wrong").unwrap();
        fs::write(&file, "include = \"sub/more.toml\"").unwrap();
        assert_eq!(reread(&mut watch).await, Reread::Changed);
        watch.follow(Document::read(&file).unwrap_err().sources());
        nothing(&mut watch).await;
        fs::write(other.join("more.toml"), "right = true").unwrap();
        assert_eq!(reread(&mut watch).await, Reread::Changed);
    }
}
