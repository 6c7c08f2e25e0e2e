//! What is wrong with a configuration, and exactly where.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::document::Sources;

/// Where a setting was stated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a file, at a line and column (both count from 1; columns count characters).
    Line {
        /// The file as it was named when it was opened.
        file: Arc<Path>,
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
    },
    /// Somewhere in a file: what is missing has no line.
    File(Arc<Path>),
    /// In an environment variable of this name.
    Variable(String),
    /// In an argument of the command.
    Argument,
}

impl Place {
    /// The directory that a relative path stated here is relative to.
    ///
    /// A variable or an argument has no directory of its own: the caller gives one.
    pub(super) fn directory<'p>(&'p self, otherwise: &'p Path) -> &'p Path {
        match self {
            Self::Line { file, .. } | Self::File(file) => file.parent().unwrap_or(Path::new("")),
            Self::Variable(_) | Self::Argument => otherwise,
        }
    }

    fn file(&self) -> Option<&Path> {
        match self {
            Self::Line { file, .. } | Self::File(file) => Some(file),
            Self::Variable(_) | Self::Argument => None,
        }
    }

    fn position(&self) -> Option<(usize, usize)> {
        match self {
            Self::Line { line, column, .. } => Some((*line, *column)),
            Self::File(_) | Self::Variable(_) | Self::Argument => None,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line { file, line, column } => write!(f, "{}:{line}:{column}", file.display()),
            Self::File(file) => write!(f, "{}", file.display()),
            Self::Variable(name) => write!(f, "{name}"),
            Self::Argument => write!(f, "command line"),
        }
    }
}

/// One thing that is wrong: where, which key, and what would be right.
///
/// Shown as `edge.toml:12:8: ingress[0].kind: unknown value "htp"; expected one of http, tcp`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it was stated.
    pub place: Place,
    /// The key's full path, such as `ingress[0].kind`; empty when no key is to blame.
    pub key: String,
    /// What is wrong and what would be right.
    pub message: String,
}

impl Problem {
    /// A problem with `key` at `place`.
    pub fn new(place: Place, key: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            place,
            key: key.into(),
            message: message.into(),
        }
    }

    /// The file it is in, unless it came from a variable or an argument.
    pub fn file(&self) -> Option<&Path> {
        self.place.file()
    }

    /// Line and column, from 1, where it has one.
    pub fn position(&self) -> Option<(usize, usize)> {
        self.place.position()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        write!(f, "{}", self.message)
    }
}

/// Everything that is wrong with a configuration, in the order of its files and lines; never empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .list.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n"))]
pub struct Problems {
    list: Vec<Problem>,
    sources: Sources,
}

impl Problems {
    /// What is wrong with a configuration from `sources`; `None` if nothing is.
    pub fn of(mut list: Vec<Problem>, sources: &Sources) -> Option<Self> {
        // Stable: what has no line keeps the order in which it was found.
        list.sort_by_key(|problem| {
            let file = problem.file().map(PathBuf::from);
            (file, problem.position().unwrap_or((usize::MAX, 0)))
        });
        list.dedup();
        let sources = sources.clone();
        (!list.is_empty()).then_some(Self { list, sources })
    }

    /// The problems one by one.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.list.iter()
    }

    /// How many there are; at least one.
    #[expect(clippy::len_without_is_empty, reason = "there is always at least one")]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// The files as far as they were found, to be watched until they are corrected.
    pub fn sources(&self) -> &Sources {
        &self.sources
    }
}

impl<'p> IntoIterator for &'p Problems {
    type Item = &'p Problem;
    type IntoIter = std::slice::Iter<'p, Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
