//! Real servers and clients that are not ours.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use super::{process::Process, wait::wait_for};

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
    let python = target().join("venv/bin/python");
    or_skip(
        "python with PyPI packages",
        Some(python).filter(|p| p.exists()),
    )
}

/// A program of `causeway/tests/peers` and its arguments, to be run by Python (`.py`) or Node
/// (`.js`) with the packages that `scripts/test` installs.
pub(crate) fn script(line: &str) -> Option<Command> {
    let mut words = line.split(' ');
    let name = words.next()?;
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/peers")
        .join(name);
    assert!(path.is_file(), "there is no {}", path.display());
    let mut command = if name.ends_with(".py") {
        Command::new(python()?)
    } else {
        let modules = target().join("npm/node_modules");
        let found = Some(modules).filter(|modules| modules.exists());
        let modules = or_skip("node with npm packages", found)?;
        let mut node = Command::new(peer("node")?);
        node.env("NODE_PATH", modules).env("PYTHON", python()?);
        node
    };
    command.arg(path).args(words);
    Some(command)
}

/// A server of `causeway/tests/peers`. It says `listening PORT` once it does.
#[derive(Debug)]
pub(crate) struct Server {
    process: Process,
    port: u16,
    _directory: TempDir,
}

impl Server {
    /// Starts the server and waits until it listens on loopback.
    #[track_caller]
    pub(crate) fn start(name: &str, command: &mut Command) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let process = Process::start(name, command, &directory.path().join("log"));
        let port = wait_for(&format!("{name} to listen"), || {
            let log = process.log();
            let line = log
                .lines()
                .find_map(|line| line.strip_prefix("listening "))?;
            line.trim().parse().ok()
        });
        Self {
            process,
            port,
            _directory: directory,
        }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// Sends it a signal by name.
    pub(crate) fn signal(&self, signal: &str) {
        self.process.signal(signal);
    }
}

/// Where the build puts what it makes.
fn target() -> PathBuf {
    std::env::var("CARGO_TARGET_DIR").map_or_else(
        |_| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"),
        PathBuf::from,
    )
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
