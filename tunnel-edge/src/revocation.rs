//! Whose certificate is revoked: it is read beside the edge's own identity, and followed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use certs::material::REVOCATIONS_FILE;
use certs::{Chain, Material, Revocations, RevocationsError, Revoked};
use parking_lot::Mutex;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use relay::settings::{Followed, Reloads, Sources, Watch};
use serde_json::Value;

/// Whose certificate is revoked now.
#[derive(Debug)]
pub(crate) struct Revocation {
    lists: Followed<Revocations>,
    entries: Gauge,
    dir: PathBuf,
    material: Material,
}

/// What the client of a session has shown last: another connection may have come with another
/// certificate.
pub(crate) type Shown = Arc<Mutex<Chain>>;

impl Revocation {
    /// Reads the list in the identity directory `dir`, if there is one. With what to watch from now on.
    pub(crate) fn load(
        dir: &Path,
        material: &Material,
        started: SystemTime,
        registry: &mut Registry,
    ) -> Result<(Arc<Self>, Sources), RevocationsError> {
        let file = dir.join(REVOCATIONS_FILE);
        // Looked at before it is read, so that what changes meanwhile is a change.
        let sources = Sources::of(&file);
        let now = Revocations::load(dir, material)?;
        let entries = Gauge::default();
        registry.register(
            "causeway_revoked_certificates",
            "Certificates on the revocation list that is in force",
            entries.clone(),
        );
        let reloads = Reloads::of_revocations(file.clone(), started, registry);
        let revocation = Self {
            lists: Followed::new(file, now, reloads),
            entries,
            dir: dir.to_owned(),
            material: material.clone(),
        };
        revocation.look_at(&revocation.lists.now());
        Ok((Arc::new(revocation), sources))
    }

    /// The entry of whoever has shown this, if they are revoked.
    pub(crate) fn of(&self, shown: &Chain) -> Option<Revoked> {
        self.lists.now().of(shown).cloned()
    }

    /// Waits until the peer of a session is revoked. Cancel-safe.
    pub(crate) async fn revoked(&self, shown: &Mutex<Chain>) -> Revoked {
        let entry = |lists: &Revocations| lists.of(&shown.lock()).cloned();
        self.lists.find(entry).await
    }

    /// Takes over what the list says from now on, whenever it changes. Never returns.
    pub(crate) async fn follow(&self, watch: Watch) -> std::convert::Infallible {
        let read = |now: &Revocations| {
            let read = now.reread(&self.dir, &self.material);
            let read = read.map_err(|error| error.to_string())?;
            Ok(read.inspect(|lists| self.look_at(lists)))
        };
        self.lists.follow(watch, read).await
    }

    /// For `/api/status`.
    pub(crate) fn status(&self, format_time: impl Fn(SystemTime) -> String) -> Value {
        let mut status = self.lists.reloads().status(format_time);
        status["entries"] = self.lists.now().len().into();
        status
    }

    fn look_at(&self, lists: &Revocations) {
        self.entries
            .set(i64::try_from(lists.len()).unwrap_or(i64::MAX));
        if let Some(entry) = lists.of(&Chain::of(self.material.chain())) {
            tracing::error!(%entry, "the certificate of this edge is revoked: clients that know refuse it");
        }
    }
}

/// What a client reads whose certificate is revoked.
pub(crate) fn why_revoked(revoked: &Revoked) -> String {
    format!("this client's certificate is revoked ({revoked}); it needs another one, and a restart")
}
