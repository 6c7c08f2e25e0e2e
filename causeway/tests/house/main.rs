//! The rules of the house that no compiler checks: who may depend on whom, what may not be in
//! the tree, how long a file may be. They hold on a machine that has only Rust, so they are
//! plain tests over what cargo says and what the sources read.
#![allow(
    clippy::unwrap_used,
    reason = "a test states its expectation by unwrapping"
)]

mod arrows;
mod packages;
mod source;

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The longest that a source file may get before it has to become several.
const MAX_LINES: usize = 800;

/// The root of the workspace.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_path_buf()
}

/// Fails with all of `faults` at once, so that one run names everything there is to mend.
#[track_caller]
fn none(rule: &str, faults: &[String]) {
    assert!(faults.is_empty(), "{rule}:\n  {}", faults.join("\n  "));
}

#[test]
fn every_member_takes_the_workspace_lints() {
    let faults: Vec<_> = packages::members()
        .filter(|member| {
            let manifest = fs::read_to_string(root().join(member).join("Cargo.toml")).unwrap();
            !manifest.contains("[lints]\nworkspace = true")
        })
        .collect();
    none(
        "these crates lack `[lints] workspace = true` in their Cargo.toml",
        &faults,
    );
}

#[test]
fn no_source_file_is_too_long() {
    let faults: Vec<_> = packages::members()
        .flat_map(|member| source::rust_files(&root().join(member).join("src")))
        .filter_map(|file| {
            let lines = fs::read_to_string(&file).unwrap().lines().count();
            (lines > MAX_LINES).then(|| format!("{} has {lines}", file.display()))
        })
        .collect();
    none(
        &format!("a file has at most {MAX_LINES} lines; split these"),
        &faults,
    );
}

#[test]
fn readme_gives_a_reason_for_every_dependency() {
    let readme = root().join("README.md");
    let readme = fs::read_to_string(&readme)
        .unwrap_or_else(|error| panic!("cannot read {}: {error}", readme.display()));
    let rows: Vec<_> = readme
        .lines()
        .filter(|line| line.trim_start().starts_with('|'))
        .collect();
    let faults: Vec<_> = packages::direct_dependencies()
        .into_iter()
        .filter(|name| {
            let cell = format!("`{name}`");
            !rows.iter().any(|row| row.contains(&cell))
        })
        .collect();
    none(
        "the README's table of dependencies has no row for these",
        &faults,
    );
}
