//! `[audit]`: where each stream is recorded.

use std::path::{Path, PathBuf};

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
    /// Reads `[audit]`. `others` are files that the log must not be written into.
    pub fn read(section: &Section<'_>, others: &[PathBuf]) -> Self {
        let file = section.path("file");
        if let Some(file) = &file
            && others.iter().any(|other| is_same(file, other))
        {
            let because = format!(
                "{} belongs to the identity; name another file",
                file.display()
            );
            section.problem("file", because);
        }
        Self { file }
    }
}

/// Whether two paths lead to one file, which need not exist.
fn is_same(one: &Path, other: &Path) -> bool {
    match (one.canonicalize(), other.canonicalize()) {
        (Ok(one), Ok(other)) => one == other,
        (_, _) => one == other,
    }
}
