//! The origin and the plain hop as child processes, so that they have open files and cores of their own.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::timeout;

use super::origin::Part;

/// For a process to listen.
const PATIENCE: Duration = Duration::from_secs(10);

/// A running part. When this process dies, in whatever way, it ends, since its standard input does;
/// when this value is dropped, it is killed.
#[derive(Debug)]
pub(super) struct Beside {
    pub(super) address: SocketAddr,
    pub(super) pid: u32,
    child: Child,
    _stdin: ChildStdin,
}

impl Beside {
    pub(super) async fn start(part: Part) -> anyhow::Result<Self> {
        let name = part.name();
        let program = std::env::current_exe().context("this program is gone")?;
        let mut child = Command::new(program)
            .args(["bench", "--be", &name])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // A terminal's Ctrl-C is for this process only.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start the {name}"))?;
        let stdin = child.stdin.take().expect("stdin is piped");
        let stdout = child.stdout.take().expect("stdout is piped");
        let mut line = String::new();
        let mut stdout = BufReader::new(stdout);
        let read = timeout(PATIENCE, stdout.read_line(&mut line)).await;
        let (Ok(Ok(_)), Some(pid)) = (read, child.id()) else {
            bail!("the {name} does not say where it listens");
        };
        let address = line
            .trim()
            .parse()
            .with_context(|| format!("the {name} has ended at once"))?;
        Ok(Self {
            address,
            pid,
            child,
            _stdin: stdin,
        })
    }

    /// Ends it, and waits until it is gone.
    pub(super) async fn stop(mut self) {
        // It has nothing to finish; that it is gone already is all that can fail.
        let _ = self.child.kill().await;
    }
}
