//! Reading the configuration again while the process runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use tokio::time::timeout;

use super::{Loaded, Problems, Reread, Watch};

/// What is known of the last readings of the configuration, or of something beside it, for status and metrics.
#[derive(Debug)]
pub struct Reloads {
    /// What is read, in words.
    what: &'static str,
    file: Option<PathBuf>,
    counter: Family<Outcome, Counter>,
    state: Mutex<LastReadings>,
}

#[derive(Debug)]
struct LastReadings {
    loaded: SystemTime,
    failures: u64,
    error: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

impl Reloads {
    /// Of the configuration. `file` is none for one that came from arguments.
    pub fn new(file: Option<PathBuf>, loaded: SystemTime, registry: &mut Registry) -> Arc<Self> {
        let counter = Family::default();
        registry.register(
            "causeway_config_reloads",
            "Readings of the configuration after the first, by outcome: applied or rejected",
            counter.clone(),
        );
        Self::of("configuration", file, loaded, counter)
    }

    /// Of the list of who is revoked, in `file`, which need not be there.
    pub fn of_revocations(file: PathBuf, loaded: SystemTime, registry: &mut Registry) -> Arc<Self> {
        let counter = Family::default();
        registry.register(
            "causeway_revocation_list_reloads",
            "Readings of the revocation list after the first, by outcome: applied or rejected",
            counter.clone(),
        );
        Self::of("revocation list", Some(file), loaded, counter)
    }

    fn of(
        what: &'static str,
        file: Option<PathBuf>,
        loaded: SystemTime,
        counter: Family<Outcome, Counter>,
    ) -> Arc<Self> {
        Arc::new(Self {
            what,
            file,
            counter,
            state: Mutex::new(LastReadings {
                loaded,
                failures: 0,
                error: None,
            }),
        })
    }

    /// For `/api/status`.
    pub fn status(&self, format_time: impl Fn(SystemTime) -> String) -> serde_json::Value {
        let state = self.state.lock();
        serde_json::json!({
            "file": self.file.as_ref().map(|file| file.display().to_string()),
            "loaded": format_time(state.loaded),
            "reload_failures": state.failures,
            "last_error": state.error,
        })
    }

    fn is_last(&self, error: &str) -> bool {
        self.state.lock().error.as_deref() == Some(error)
    }

    pub(super) fn applied(&self, file: &Path, why: &str) {
        let what = self.what;
        tracing::info!(file = %file.display(), why, "{what} reloaded");
        self.count("applied");
        let mut state = self.state.lock();
        state.loaded = SystemTime::now();
        state.error = None;
    }

    pub(super) fn rejected(&self, file: &Path, why: &str, error: String) {
        let what = self.what;
        tracing::error!(
            file = %file.display(), why, %error,
            "the {what} is rejected; the one before stays in force"
        );
        self.count("rejected");
        let mut state = self.state.lock();
        state.failures += 1;
        state.error = Some(error);
    }

    fn count(&self, outcome: &'static str) {
        self.counter.get_or_create(&Outcome { outcome }).inc();
    }
}

/// How often what `apply` has rejected is tried again: a port may be free, or a file there, by then.
const TRY_AGAIN: Duration = Duration::from_secs(5);

/// Reads `path` again whenever `watch` says so, and hands the new configuration to `apply`, which
/// may still reject it. What is rejected changes nothing; it is logged and counted. If the files
/// themselves are right, they are tried again every 5 s until they are taken over or
/// changed, and only another error is logged and counted again. Never returns.
pub async fn reload_when_changed<C>(
    path: &Path,
    mut watch: Watch,
    reloads: &Reloads,
    load: impl Fn(&Path) -> Result<Loaded<C>, Problems>,
    mut apply: impl AsyncFnMut(C) -> Result<(), String>,
) -> std::convert::Infallible {
    let mut try_again = false;
    loop {
        let reread = next(&mut watch, try_again).await;
        let why = match reread {
            Some(Reread::Signal) => "signal",
            Some(Reread::Changed) => "change",
            None => "another try",
        };
        let outcome = match load(path) {
            Ok(Loaded { config, sources }) => {
                watch.follow(&sources);
                let applied = apply(config).await;
                try_again = applied.is_err();
                applied
            }
            Err(problems) => {
                watch.follow(problems.sources());
                try_again = false;
                Err(problems.to_string())
            }
        };
        match outcome {
            Ok(()) => reloads.applied(path, why),
            Err(error) if reread.is_none() && reloads.is_last(&error) => {}
            Err(error) => reloads.rejected(path, why, error),
        }
    }
}

/// Why to read again; `None` if only to try again what was rejected.
async fn next(watch: &mut Watch, try_again: bool) -> Option<Reread> {
    if try_again {
        timeout(TRY_AGAIN, watch.next()).await.ok()
    } else {
        Some(watch.next().await)
    }
}
