//! Configuration files: reading them into types, with exact errors, and noticing when they change.
//!
//! ```text
//! file + include ──Document::read──▶ Document ──apply_variables──▶ Document
//!     ──Reading, Section──▶ the process's own Config, or Problems: every mistake with file, line, column and key
//! ```
//!
//! Each process defines its [`Schema`] (which tables and keys there are) and its `Config` (what they mean);
//! what both have in common, [`SessionSettings`], [`AdminSettings`], [`TelemetrySettings`] and
//! [`OriginSettings`], is here. [`watch()`] tells when to read again; what lies beside the configuration
//! is [`Followed`].

use std::path::Path;

mod address;
mod admin;
mod audit;
mod document;
mod followed;
mod include;
mod numbers;
mod origin;
mod places;
mod problem;
mod quantity;
mod reading;
mod reload;
mod schema;
mod section;
mod session;
mod sockets;
#[cfg(test)]
mod tests;
mod value;
mod variables;
mod watch;

pub use address::{Host, HostPort, HostPortError, ListenAddr, ListenAddrError};
pub use admin::{ADMIN_KEYS, AdminSettings, TELEMETRY_KEYS, TelemetrySettings};
pub use audit::{AUDIT_KEYS, AuditSettings};
pub use document::{Document, SourceFile, Sources};
pub use followed::Followed;
pub use origin::{Announce, ORIGIN_KEYS, OriginOwner, OriginSettings};
pub use problem::{Place, Problem, Problems};
pub use quantity::{QuantityError, format_duration, format_size, parse_duration, parse_size};
pub use reading::{Reading, Stated};
pub use reload::{Reloads, reload_when_changed};
pub use schema::{Schema, TableSchema};
pub use section::Section;
pub use session::{SESSION_KEYS, SessionSettings};
pub use sockets::{idle_timeout, keepalive};
pub use watch::{Reread, Watch, WatchError, watch, watch_changes};

/// A configuration and the files it came from.
#[derive(Clone, Debug)]
pub struct Loaded<C> {
    /// The configuration.
    pub config: C,
    /// Its files, for [`watch()`].
    pub sources: Sources,
}

/// Reads a file, its includes and the process's `CAUSEWAY_*` variables.
pub fn load(path: &Path, schema: &Schema) -> Result<Document, Problems> {
    Document::read(path).map(|document| with_variables(document, schema))
}

/// The same, but of the includes no more than can be read ([`Document::read_in_part`]).
pub fn load_in_part(path: &Path, schema: &Schema) -> Result<Document, Problems> {
    Document::read_in_part(path).map(|document| with_variables(document, schema))
}

fn with_variables(mut document: Document, schema: &Schema) -> Document {
    // A variable that is not UTF-8 cannot be one of ours.
    let variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    document.apply_variables(schema, variables);
    document
}
