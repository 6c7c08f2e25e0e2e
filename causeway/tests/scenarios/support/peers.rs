//! Real servers and clients that are not ours.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Where a program is. `None`, said by name, when it is missing on a developer's machine; a
/// missing program fails the test under CI and for root, who gets it by `scripts/test`.
pub(crate) fn peer(program: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    let postgresql = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")));
    let found = path
        .split(':')
        .map(PathBuf::from)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from))
        .chain(postgresql)
        .map(|directory| directory.join(program))
        .find(|candidate| candidate.is_file());
    or_skip(program, found)
}

/// The Python that has the packages which `scripts/test` installs.
pub(crate) fn python() -> Option<PathBuf> {
    let target = std::env::var("CARGO_TARGET_DIR").map_or_else(
        |_| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"),
        PathBuf::from,
    );
    let found = Some(target.join("venv/bin/python")).filter(|candidate| candidate.exists());
    or_skip("python with PyPI packages", found)
}

fn or_skip(what: &str, found: Option<PathBuf>) -> Option<PathBuf> {
    if found.is_none() {
        assert!(
            std::env::var_os("CI").is_none() && !is_root(),
            "{what} is missing: run scripts/test, which installs it"
        );
        eprintln!("skipped: {what} is missing; scripts/test installs it when run as root");
    }
    found
}

/// Whether the tests run as root.
pub(crate) fn is_root() -> bool {
    fs::read_to_string("/proc/self/status").is_ok_and(|status| {
        status
            .lines()
            .filter_map(|line| line.strip_prefix("Uid:"))
            .any(|line| line.split_whitespace().nth(1) == Some("0"))
    })
}
