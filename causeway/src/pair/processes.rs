//! The edge and the client as child processes: started from their files, watched, and stopped.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::{Instant, timeout, timeout_at};

use super::directory::Directory;
use super::logs::Tail;
use crate::config::Kind;
use crate::status::AdminAddress;

/// How long a process may take to stop before it is killed. Its drain is 3 s.
const STOPPING: Duration = Duration::from_secs(10);

/// How much is repeated of what a process says when it ends.
const LINES: usize = 20;

/// The one `CAUSEWAY_*` variable that is no configuration.
const LOG_VARIABLE: &str = "CAUSEWAY_LOG";

/// A running edge or client. When this process dies, in whatever way, it stops by itself, since its
/// standard input ends; when this value is dropped, it is killed.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) kind: Kind,
    pub(crate) log: PathBuf,
    child: Child,
    stdout: BufReader<ChildStdout>,
    _stdin: ChildStdin,
}

/// The two processes of a demo, as far as they have been started.
#[derive(Debug, Default)]
pub(crate) struct Pair {
    pub(crate) edge: Option<Running>,
    pub(crate) client: Option<Running>,
}

/// Why a process is not there when it should be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProcessError {
    #[error("cannot start {}: {error}", program.display())]
    Spawn { program: PathBuf, error: io::Error },
    #[error("cannot write {}: {error}", log.display())]
    Log { log: PathBuf, error: io::Error },
    #[error("cannot wait for it: {0}")]
    Wait(io::Error),
    #[error("{}", ending(status, said))]
    Ended {
        status: ExitStatus,
        /// What it told people, if anything.
        said: Vec<String>,
    },
    #[error("it has not bound its listeners in time")]
    Slow,
    #[error("its first line, {0:?}, is not where its admin listener is; is this one build?")]
    Announcement(String),
    #[error("[admin] listen is \"off\" in its configuration, but quickstart needs to ask it")]
    AdminOff,
}

impl Running {
    /// Starts a process from its configuration file in `directory`, and begins its log.
    ///
    /// It gets a process group of its own, so that a terminal's Ctrl-C reaches this process only,
    /// and none of the variables that would override its file.
    pub(crate) fn start(kind: Kind, directory: &Directory) -> Result<Self, ProcessError> {
        let log = directory.log(kind);
        let file = File::create(&log).map_err(|error| ProcessError::Log {
            log: log.clone(),
            error,
        })?;
        let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("causeway"));
        let mut command = Command::new(&program);
        command
            .arg(kind.as_str())
            .arg("--config")
            .arg(directory.config(kind))
            .arg("--supervised")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(file)
            .process_group(0)
            .kill_on_drop(true);
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("CAUSEWAY_") && text != LOG_VARIABLE {
                command.env_remove(&name);
            }
        }
        let mut child = command
            .spawn()
            .map_err(|error| ProcessError::Spawn { program, error })?;
        Ok(Self {
            kind,
            log,
            stdout: BufReader::new(child.stdout.take().expect("stdout is piped")),
            // Waiting for a child closes what is left of its stdin, which would stop it.
            _stdin: child.stdin.take().expect("stdin is piped"),
            child,
        })
    }

    /// Waits until everything is bound; says where the process can be asked.
    pub(crate) async fn bound(&mut self, deadline: Instant) -> Result<AdminAddress, ProcessError> {
        let mut line = String::new();
        match timeout_at(deadline, self.stdout.read_line(&mut line)).await {
            Err(_) => Err(ProcessError::Slow),
            // It closes its standard output by ending.
            Ok(Ok(0) | Err(_)) => Err(timeout_at(deadline, self.ended())
                .await
                .unwrap_or(ProcessError::Slow)),
            Ok(Ok(_)) => announced(line.trim_end()),
        }
    }

    /// Its process id, until it has ended.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits until it ends by itself. Cancel-safe.
    async fn ended(&mut self) -> ProcessError {
        match self.child.wait().await {
            Err(error) => ProcessError::Wait(error),
            Ok(status) => ProcessError::Ended {
                status,
                // A log that cannot be read has nothing to add.
                said: Tail::of(&self.log, LINES).unwrap_or_default().said,
            },
        }
    }

    /// Asks it to stop, and waits until it has; kills it if it takes too long.
    async fn stop(mut self) {
        self.signal(Signal::TERM);
        // A process that somebody stopped with SIGSTOP could not hear it.
        self.signal(Signal::CONT);
        if timeout(STOPPING, self.child.wait()).await.is_err() {
            // Dropping kills as well, but does not wait until it is gone.
            let _ = self.child.kill().await;
        }
    }

    fn signal(&self, signal: Signal) {
        let pid = self.child.id().and_then(|pid| i32::try_from(pid).ok());
        if let Some(pid) = pid.and_then(Pid::from_raw) {
            // It was not waited for yet, so the id is its own; that it has ended is all that can fail.
            let _ = kill_process(pid, signal);
        }
    }
}

impl Pair {
    /// Whether there is nothing to stop.
    pub(crate) fn is_empty(&self) -> bool {
        self.edge.is_none() && self.client.is_none()
    }

    /// Waits until one of them ends by itself. Cancel-safe.
    pub(crate) async fn died(&mut self) -> (Kind, ProcessError) {
        tokio::select! {
            error = ended(&mut self.edge) => (Kind::Edge, error),
            error = ended(&mut self.client) => (Kind::Client, error),
        }
    }

    /// Stops both, at the same time.
    pub(crate) async fn stop(&mut self) {
        tokio::join!(stop(self.edge.take()), stop(self.client.take()));
    }
}

/// Cancel-safe. What was never started never ends.
async fn ended(process: &mut Option<Running>) -> ProcessError {
    match process {
        Some(process) => process.ended().await,
        None => std::future::pending().await,
    }
}

async fn stop(process: Option<Running>) {
    if let Some(process) = process {
        process.stop().await;
    }
}

impl ProcessError {
    /// The exit status of a process that ended, to be passed on.
    pub(crate) fn exit_status(&self) -> Option<ExitStatus> {
        match self {
            Self::Ended { status, .. } => Some(*status),
            Self::Spawn { .. }
            | Self::Log { .. }
            | Self::Wait(_)
            | Self::Slow
            | Self::Announcement(_)
            | Self::AdminOff => None,
        }
    }
}

fn announced(line: &str) -> Result<AdminAddress, ProcessError> {
    let bad = || ProcessError::Announcement(line.to_owned());
    let document: serde_json::Value = serde_json::from_str(line).map_err(|_| bad())?;
    match &document["admin"] {
        serde_json::Value::String(address) => address.parse().map_err(|_| bad()),
        serde_json::Value::Null if document.get("admin").is_some() => Err(ProcessError::AdminOff),
        serde_json::Value::Null
        | serde_json::Value::Bool(_)
        | serde_json::Value::Number(_)
        | serde_json::Value::Array(_)
        | serde_json::Value::Object(_) => Err(bad()),
    }
}

fn ending(status: &ExitStatus, said: &[String]) -> String {
    if said.is_empty() {
        format!("it ended by itself ({status})")
    } else {
        said.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn announcements_are_read() {
        let shown = |line: &str| match announced(line) {
            Ok(address) => address.to_string(),
            Err(error) => error.to_string(),
        };
        assert_eq!(
            shown(r#"{"admin":"127.0.0.1:7480"}"#),
            "http://127.0.0.1:7480"
        );
        assert_eq!(shown(r#"{"admin":"unix:/run/a.sock"}"#), "unix:/run/a.sock");
        assert!(shown(r#"{"admin":null}"#).starts_with("[admin] listen is \"off\""));
        for line in ["", "edge started", "{}", r#"{"admin":7480}"#] {
            assert!(shown(line).contains("is this one build?"), "{line}");
        }
    }
}
