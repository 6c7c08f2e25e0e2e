//! What `causeway certs inspect` finds out about a list of who is revoked.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use certs::files::read_lists;
use certs::revocation::RevocationList;
use certs::validity::rfc3339;
use serde::Serialize;

/// One list, as it says.
#[derive(Debug, Serialize)]
pub(super) struct List {
    file: PathBuf,
    issuer: String,
    number: Option<String>,
    made: String,
    revoked: Vec<Entry>,
}

#[derive(Debug, Serialize)]
struct Entry {
    serial: String,
    at: String,
    reason: Option<&'static str>,
}

impl List {
    /// Every list in a file. Whether they are anybody's is not looked at.
    pub(super) fn all_in(file: &Path) -> anyhow::Result<Vec<Self>> {
        let read = |der| RevocationList::read(&der).with_context(|| file.display().to_string());
        let lists = read_lists(file)?.into_iter().map(read);
        lists.map(|list| Ok(Self::new(file, &list?))).collect()
    }

    fn new(file: &Path, list: &RevocationList) -> Self {
        let entries = list.revoked().iter().map(|entry| Entry {
            serial: entry.serial.to_string(),
            at: rfc3339(entry.at),
            reason: entry.reason.map(certs::Reason::label),
        });
        Self {
            file: file.to_owned(),
            issuer: list.issuer.clone(),
            number: list.number.as_ref().map(ToString::to_string),
            made: rfc3339(list.made),
            revoked: entries.collect(),
        }
    }
}

impl fmt::Display for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.file.display())?;
        let mut line = |name: &str, value: &str| writeln!(f, "  {name:<9}{value}");
        line("issuer", &self.issuer)?;
        line("number", self.number.as_deref().unwrap_or("none"))?;
        line("made", &self.made)?;
        if self.revoked.is_empty() {
            line("revoked", "nobody")?;
        }
        for Entry { serial, at, reason } in &self.revoked {
            match reason {
                Some(reason) => line("revoked", &format!("{serial} at {at} ({reason})"))?,
                None => line("revoked", &format!("{serial} at {at}"))?,
            }
        }
        Ok(())
    }
}
