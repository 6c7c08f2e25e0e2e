//! One running process: its log, its memory and sockets, and its end.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::wait::{eventually, wait_for};

/// A child process whose output goes to a file. Dropping it kills it; when the test fails, the
/// end of its output is printed.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    started: Instant,
}

impl Process {
    /// Starts `command`; its standard error is appended to `log`, and its standard output as
    /// well unless the command says otherwise by `stdout` being set before.
    pub(crate) fn start(name: &str, command: &mut Command, log: &Path) -> Self {
        Self::start_by(name, command, log, Command::spawn)
    }

    /// The same, spawned in a place of the test's choice.
    pub(crate) fn start_by(
        name: &str,
        command: &mut Command,
        log: &Path,
        spawn: impl FnOnce(&mut Command) -> io::Result<Child>,
    ) -> Self {
        let file = File::options().create(true).append(true).open(log).unwrap();
        let started = Instant::now();
        command
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file);
        let child = spawn(command).unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        Self {
            name: name.to_owned(),
            child,
            log: log.to_path_buf(),
            started,
        }
    }

    /// When it was started.
    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything that it has printed since its log file was created.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Sends a signal by name, such as `STOP`.
    pub(crate) fn signal(&self, signal: &str) {
        self::signal(self.pid(), signal);
    }

    /// Kills it as `kill -9` does, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Its exit status once it has ended by itself; fails the test when it has not in time.
    #[track_caller]
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let name = self.name.clone();
        wait_for(&format!("the end of {name}"), || {
            self.child.try_wait().unwrap()
        })
    }

    /// How it ended, if it has.
    pub(crate) fn has_ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// The most memory that was ever resident, in bytes.
    pub(crate) fn peak_rss_bytes(&self) -> u64 {
        self.status_kib("VmHWM:") * 1024
    }

    /// The memory that is resident now, in bytes.
    pub(crate) fn rss_bytes(&self) -> u64 {
        self.status_kib("VmRSS:") * 1024
    }

    /// How many file descriptors it holds.
    pub(crate) fn open_fds(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid()))
            .unwrap()
            .count()
    }

    fn status_kib(&self, key: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        status
            .lines()
            .find_map(|line| line.strip_prefix(key))
            .and_then(|value| value.split_whitespace().next())
            .and_then(|value| value.parse().ok())
            .unwrap()
    }

    fn print_log(&self) {
        const LINES: usize = 60;
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        let skipped = lines.len().saturating_sub(LINES);
        eprintln!(
            "---- {} (pid {}), the last of {} lines",
            self.name,
            self.pid(),
            lines.len()
        );
        for line in &lines[skipped..] {
            eprintln!("{line}");
        }
    }
}

/// Sends a process of the test's own a signal by name, such as `TERM`.
#[track_caller]
pub(crate) fn signal(pid: u32, signal: &str) {
    let status = Command::new("sh")
        .args(["-c", &format!("kill -s {signal} {pid}")])
        .status()
        .unwrap();
    assert!(status.success(), "cannot send {signal} to {pid}");
}

impl Drop for Process {
    fn drop(&mut self) {
        let panicked = self.log().contains(" panicked at ");
        if thread::panicking() || panicked {
            self.print_log();
        }
        // It may have ended already, which is as good.
        let _ = self.child.kill();
        let _ = eventually(Duration::from_secs(5), || {
            self.child.try_wait().ok().flatten()
        });
        // A process may go on without the task that did.
        assert!(!panicked || thread::panicking(), "{} panicked", self.name);
    }
}
