//! What is read from a file beside the configuration, and again whenever that changes.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;

use super::{Reloads, Reread, Sources, Watch};

/// What such a file says. The last that was right stays in force.
#[derive(Debug)]
pub struct Followed<T> {
    file: PathBuf,
    in_force: watch::Sender<Arc<T>>,
    reloads: Arc<Reloads>,
}

impl<T> Followed<T> {
    /// What `file` says now; it need not be there.
    pub fn new(file: PathBuf, now: T, reloads: Arc<Reloads>) -> Self {
        Self {
            file,
            in_force: watch::Sender::new(Arc::new(now)),
            reloads,
        }
    }

    /// What is in force.
    pub fn now(&self) -> Arc<T> {
        self.in_force.borrow().clone()
    }

    /// What is known of the last readings.
    pub fn reloads(&self) -> &Reloads {
        &self.reloads
    }

    /// Waits until something is in force in which `wanted` finds what it looks for. Cancel-safe.
    pub async fn find<R>(&self, mut wanted: impl FnMut(&T) -> Option<R>) -> R {
        let mut in_force = self.in_force.subscribe();
        loop {
            if let Some(found) = wanted(&in_force.borrow_and_update()) {
                return found;
            }
            if in_force.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Reads the file again whenever `watch` says so: `read`, who is told what is in force, gives what is
    /// to be instead, or `None` if there is nothing new to say. What it rejects changes nothing; it is
    /// logged and counted. Never returns.
    pub async fn follow(
        &self,
        mut watch: Watch,
        read: impl Fn(&T) -> Result<Option<T>, String>,
    ) -> std::convert::Infallible {
        loop {
            let why = match watch.next().await {
                Reread::Signal => "signal",
                Reread::Changed => "change",
            };
            // Looked at before it is read, so that what changes meanwhile is a change.
            watch.follow(&Sources::of(&self.file));
            match read(&self.now()) {
                Ok(Some(new)) => {
                    self.in_force.send_replace(Arc::new(new));
                    self.reloads.applied(&self.file, why);
                }
                Ok(None) => {}
                Err(error) => self.reloads.rejected(&self.file, why, error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::{Duration, SystemTime};

    use prometheus_client::registry::Registry;
    use tokio::time::timeout;

    use super::*;
    use crate::settings::watch_changes;

    const DEADLINE: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn the_last_that_was_right_stays_in_force() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("number");
        let path = file.clone();
        let read = move |_: &u32| match fs::read_to_string(&path) {
            Ok(text) => text.parse().map(Some).map_err(|_| format!("{text}?")),
            Err(error) => Err(error.to_string()),
        };
        let mut registry = Registry::default();
        let reloads = Reloads::of_revocations(file.clone(), SystemTime::now(), &mut registry);
        let followed = Arc::new(Followed::new(file.clone(), 0, reloads));
        let following = {
            let (followed, watch) = (followed.clone(), watch_changes(&Sources::of(&file)));
            tokio::spawn(async move { followed.follow(watch, read).await })
        };
        let is = |number: u32| {
            let followed = followed.clone();
            async move {
                let found = followed.find(|now| (*now == number).then_some(()));
                timeout(DEADLINE, found).await.expect("it is read");
            }
        };
        let failures = || followed.reloads().status(|_| String::new())["reload_failures"].as_u64();
        let fails = async |times: u64| {
            let failed = async {
                while failures() != Some(times) {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            };
            timeout(DEADLINE, failed).await.expect("it is rejected");
        };
        fs::write(&file, "7").unwrap();
        is(7).await;
        fs::write(&file, "seven").unwrap();
        fails(1).await;
        fs::remove_file(&file).unwrap();
        fails(2).await;
        assert_eq!(*followed.now(), 7);
        fs::write(&file, "8").unwrap();
        is(8).await;
        following.abort();
    }
}
