//! Where something can happen that changes what a configuration says.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::{Component, Path, PathBuf};

use super::document::Sources;
use super::include::matches;

/// The directories that a configuration's files are found in, links followed, and the names there
/// that lead to them. What else happens in those directories, such as a log that grows, is nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Places {
    pub(super) directories: BTreeSet<PathBuf>,
    /// Not told apart by directory: a namesake elsewhere costs a look, no more.
    names: BTreeSet<OsString>,
    patterns: BTreeSet<String>,
}

impl Places {
    /// Those of a configuration that was read.
    pub(super) fn of(sources: &Sources) -> Self {
        let mut found = Self::default();
        let files = sources.files.iter().map(|file| &file.path);
        for path in files.chain(&sources.patterns) {
            follow_links(path, &mut found);
        }
        found
    }

    /// Whether something that happened to `path` may change the configuration.
    pub(super) fn concern(&self, path: &Path) -> bool {
        let is_watched = |name: &OsStr| {
            let matches_pattern = |name: &str| self.patterns.iter().any(|p| matches(p, name));
            self.names.contains(name) || name.to_str().is_some_and(matches_pattern)
        };
        path.file_name().is_none_or(is_watched)
    }

    fn add(&mut self, path: &Path) {
        let directory = parent(path);
        // A directory that is replaced takes its files with it.
        let names = [directory.file_name(), path.file_name()];
        for name in names.into_iter().flatten() {
            match name.to_str().filter(|name| name.contains('*')) {
                Some(pattern) => self.patterns.insert(pattern.to_owned()),
                None => self.names.insert(name.to_owned()),
            };
        }
        self.directories.insert(directory);
    }
}

/// Notes every directory on the way to a file, and by which name it is found there.
fn follow_links(path: &Path, found: &mut Places) {
    let mut path = path.to_owned();
    // The kernel follows 40 links (path_resolution(7)); then it gives up too.
    for _ in 0..40 {
        found.add(&path);
        let Some((link, target)) = first_link(&path) else {
            return;
        };
        let rest = path
            .strip_prefix(&link)
            .map(Path::to_owned)
            .unwrap_or_default();
        found.add(&link);
        path = parent(&link).join(target);
        if rest.components().next().is_some() {
            path.push(rest);
        }
    }
}

/// The first part of a path that is a symbolic link, and where it leads.
fn first_link(path: &Path) -> Option<(PathBuf, PathBuf)> {
    let mut so_far = PathBuf::new();
    for component in path.components() {
        so_far.push(component);
        match component {
            Component::Normal(_) => {
                if let Ok(target) = std::fs::read_link(&so_far) {
                    return Some((so_far, target));
                }
            }
            Component::Prefix(_)
            | Component::RootDir
            | Component::CurDir
            | Component::ParentDir => {}
        }
    }
    None
}

fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        Some(_) | None => PathBuf::from("."),
    }
}
