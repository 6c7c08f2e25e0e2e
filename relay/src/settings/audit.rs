//! `[audit]`: where each stream is recorded.

use std::path::PathBuf;

use super::section::Section;

/// The keys of `[audit]`.
pub const AUDIT_KEYS: &[&str] = &["file"];

/// `[audit]`.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct AuditSettings {
    /// The file that a line is appended to for each stream; `None`, the default, if none is.
    pub file: Option<PathBuf>,
}

impl AuditSettings {
    /// Reads `[audit]`.
    pub fn read(section: &Section<'_>) -> Self {
        Self {
            file: section.path("file"),
        }
    }
}
