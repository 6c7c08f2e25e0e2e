//! `include = "conf.d/*.toml"`: which files a configuration goes on in.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::document::{SourceFile, Sources};
use super::problem::Problem;
use super::schema::INCLUDE;
use super::value::{Node, Value};

/// The files that the value of `include` names, in order; what was found is noted in `sources`.
///
/// A file named plainly must exist; a pattern may match nothing. `*` stands for any characters of a file's name,
/// but not for a dot in front of it, so that what editors and Kubernetes hide stays hidden.
pub(super) fn resolve(
    include: &Node,
    sources: &mut Sources,
    problems: &mut Vec<Problem>,
) -> Vec<SourceFile> {
    let nodes = match &include.value {
        Value::List(nodes) => nodes.as_slice(),
        Value::Text(_)
        | Value::Plain(_)
        | Value::Integer(_)
        | Value::Float(_)
        | Value::Boolean(_)
        | Value::Date(_)
        | Value::Table(_) => std::slice::from_ref(include),
    };
    let mut found: Vec<SourceFile> = Vec::new();
    for node in nodes {
        let Value::Text(text) = &node.value else {
            let message = format!(
                "expected a file name or a list of them, found {}",
                node.value.what()
            );
            problems.push(Problem::new(node.place.clone(), INCLUDE, message));
            continue;
        };
        let path = node.place.directory(Path::new("")).join(text);
        match expand(&path) {
            Ok(files) => {
                let by_pattern = is_pattern(&path);
                if by_pattern {
                    sources.patterns.push(path);
                }
                for path in files {
                    // Named twice is read once: a pattern beside a plain name is no mistake.
                    let is_known = |file: &SourceFile| file.path == path;
                    if !sources.files.iter().chain(&found).any(is_known) {
                        found.push(SourceFile {
                            path,
                            by_pattern,
                            digest: None,
                        });
                    }
                }
            }
            Err(message) => problems.push(Problem::new(node.place.clone(), INCLUDE, message)),
        }
    }
    found
}

/// The files that a path names, sorted; a path without `*` names itself.
pub(super) fn expand(path: &Path) -> Result<Vec<PathBuf>, String> {
    let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
    let parent = path.parent().unwrap_or(Path::new(""));
    if is_pattern(parent) {
        return Err("* may only stand in a file's name, not in a directory's".to_owned());
    }
    if !name.contains('*') {
        return Ok(vec![path.to_owned()]);
    }
    let directory = if parent.as_os_str().is_empty() {
        Path::new(".")
    } else {
        parent
    };
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(format!("cannot list {}: {error}", directory.display())),
    };
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|file| !file.starts_with('.') && matches(name, file))
        .map(|file| parent.join(file))
        .filter(|file| file.is_file())
        .collect();
    files.sort();
    Ok(files)
}

fn is_pattern(path: &Path) -> bool {
    path.to_string_lossy().contains('*')
}

/// Whether `name` is `pattern` with something, or nothing, for each `*`.
pub(super) fn matches(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let Some(mut name) = name.strip_prefix(first) else {
        return false;
    };
    let mut pieces: Vec<&str> = rest.split('*').collect();
    let last = pieces.pop().unwrap_or_default();
    for piece in pieces {
        match name.find(piece) {
            Some(start) => name = &name[start + piece.len()..],
            None => return false,
        }
    }
    name.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_anything() {
        for (pattern, name, expected) in [
            ("*.toml", "a.toml", true),
            ("*.toml", ".toml", true),
            ("*.toml", "a.toml~", false),
            ("edge-*-x.toml", "edge-1-x.toml", true),
            ("edge-*-x.toml", "edge-x.toml", false),
            ("a*b*c", "a1b2b3c", true),
            ("a*b*c", "a1c", false),
            ("a*a", "a", false),
            ("plain", "plain", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}
