//! What ends every process of a topology, however this process ends.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::fd::AsFd,
    process::{Child, Command, Stdio},
    time::Duration,
};

use parking_lot::Mutex;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, pidfd_open},
    thread::{LinkNameSpaceType, move_into_link_name_space},
};

use super::error::Error;

/// How long the kernel may take to end them all, which it does at once.
const PATIENCE: Duration = Duration::from_secs(10);

/// A process namespace (pid_namespaces(7)). Its first process reads from a pipe that only this process
/// can write to, and ends with it; and the kernel kills with it all that is in the namespace, whatever
/// group or session it has put itself in.
#[derive(Debug)]
pub(super) struct Keeper {
    namespace: File,
    /// `unshare`, which ends once the first process has, and that once all others have.
    outside: Mutex<Option<Child>>,
}

impl Keeper {
    pub(super) fn start() -> Result<Self, Error> {
        if !rustix::process::geteuid().is_root() {
            return Err(Error::NeedsRoot);
        }
        let begin = || {
            let mut outside = Command::new("unshare")
                .args(["--pid", "--fork", "--kill-child=KILL", "cat"])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()?;
            echoed(&mut outside)?;
            let namespace = File::open(format!("/proc/{}/ns/pid_for_children", outside.id()))?;
            Ok(Self {
                namespace,
                outside: Mutex::new(Some(outside)),
            })
        };
        begin().map_err(Error::system("unshare a process namespace"))
    }

    /// Has what this thread starts from now on be in the namespace. Such a thread can start no thread.
    pub(super) fn adopt(&self) -> io::Result<()> {
        move_into_link_name_space(self.namespace.as_fd(), Some(LinkNameSpaceType::ProcessID))
            .map_err(io::Error::from)
    }

    /// Ends all that is in the namespace, and waits for it. What this process has started there has
    /// to be waited for by whoever has started it, meanwhile or before.
    pub(super) fn end(&self) {
        let Some(mut outside) = self.outside.lock().take() else {
            return;
        };
        drop(outside.stdin.take());
        match ends_within(PATIENCE, &outside) {
            Ok(true) => drop(outside.wait()),
            Ok(false) => {
                tracing::error!("somebody has not waited for a process of the topology");
            }
            Err(error) => tracing::error!(%error, "nobody knows how the topology ends"),
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.end();
    }
}

/// Waits until what is written comes back. It has been through the namespace then, so there is one.
pub(super) fn echoed(child: &mut Child) -> io::Result<()> {
    if let Some(stdin) = &mut child.stdin {
        stdin.write_all(b".")?;
    }
    if let Some(stdout) = &mut child.stdout {
        stdout.read_exact(&mut [0])?;
    }
    Ok(())
}

fn ends_within(patience: Duration, child: &Child) -> io::Result<bool> {
    let end = pidfd_open(pid_of(child)?, PidfdFlags::empty())?;
    let timeout = Timespec::try_from(patience).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut ended = [PollFd::new(&end, PollFlags::IN)];
    loop {
        match poll(&mut ended, Some(&timeout)) {
            Ok(count) => return Ok(count > 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

pub(super) fn pid_of(child: &Child) -> io::Result<Pid> {
    let number = i32::try_from(child.id()).ok();
    let pid = number.and_then(Pid::from_raw);
    pid.ok_or_else(|| io::ErrorKind::InvalidInput.into())
}
