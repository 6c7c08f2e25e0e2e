//! A program that runs in a host of a topology.

use std::{
    io::{self, Read},
    os::unix::process::CommandExt,
    process::{Child, Command, ExitStatus, Stdio},
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};
pub use rustix::process::Signal;
use rustix::process::{Pid, WaitId, WaitIdOptions, kill_process, kill_process_group, waitid};

use super::{error::Error, keeper::pid_of, namespace::Namespace};

/// How much of what a program printed is shown of one whose test has failed.
const SHOWN_LINES: usize = 60;

/// A program, leader of a process group of its own, and what it has printed on its standard output and
/// error. It ends with its topology at the latest, and so does all that it has started.
#[derive(Debug)]
pub struct Program {
    name: String,
    pid: Pid,
    watched: Arc<Watched>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// What its threads see of it.
#[derive(Debug, Default)]
struct Watched {
    state: Mutex<State>,
    /// It has printed something, or ended.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// All of it, in memory.
    printed: Vec<u8>,
    ended: Option<ExitStatus>,
}

/// What a program has done so far.
#[derive(Debug)]
pub struct Seen {
    /// What it has printed, with what is no UTF-8 replaced.
    pub printed: String,
    /// How it ended, if it has.
    pub ended: Option<ExitStatus>,
}

/// A program has not done in time what was awaited.
#[derive(Debug, thiserror::Error)]
#[error("{program}: not within {within:?}; it has ended: {}; it printed:\n{}", .seen.ended.is_some(), .seen.printed)]
pub struct Late {
    /// Its name.
    pub program: String,
    /// How long was waited.
    pub within: Duration,
    /// What it has done instead.
    pub seen: Seen,
}

impl Program {
    pub(super) fn start(
        host: &Namespace,
        name: &str,
        command: &mut Command,
    ) -> Result<Self, Error> {
        let mut begin = || {
            let (output, printing) = io::pipe()?;
            command
                .stdin(Stdio::null())
                .stdout(printing.try_clone()?)
                .stderr(printing)
                .process_group(0);
            let child = host.spawn(command);
            // The command would keep the pipe open, which then never ended.
            command.stdout(Stdio::null()).stderr(Stdio::null());
            let child = child?;
            let pid = pid_of(&child)?;
            let watched = Arc::<Watched>::default();
            let reading = thread::spawn({
                let watched = Arc::clone(&watched);
                move || watched.read(output)
            });
            let waiting = thread::spawn({
                let watched = Arc::clone(&watched);
                move || watched.wait_for(child, pid)
            });
            Ok(Self {
                name: name.to_owned(),
                pid,
                watched,
                threads: Mutex::new(vec![reading, waiting]),
            })
        };
        begin().map_err(Error::system(format!("start {name}")))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id, as this process sees it.
    pub fn id(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// What it has done so far.
    pub fn seen(&self) -> Seen {
        self.watched.state.lock().seen()
    }

    /// Waits until what it has printed, or its end, is what is awaited: looks at once, and whenever
    /// either has changed.
    ///
    /// # Errors
    /// If that is not so `within` this time.
    pub fn wait_until<T>(
        &self,
        within: Duration,
        awaited: impl Fn(&Seen) -> Option<T>,
    ) -> Result<T, Late> {
        let until = Instant::now() + within;
        let mut state = self.watched.state.lock();
        loop {
            let seen = state.seen();
            if let Some(found) = awaited(&seen) {
                return Ok(found);
            }
            if self
                .watched
                .changed
                .wait_until(&mut state, until)
                .timed_out()
            {
                let seen = state.seen();
                return awaited(&seen).ok_or_else(|| Late {
                    program: self.name.clone(),
                    within,
                    seen,
                });
            }
        }
    }

    /// Sends it, and not what it has started, a signal. One that has ended gets none.
    pub fn signal(&self, signal: Signal) -> Result<(), Error> {
        self.unless_ended(|pid| kill_process(pid, signal))
            .map_err(Error::system(format!("send {} a signal", self.name)))
    }

    /// Kills it and its process group, if it has not ended.
    pub fn kill(&self) -> Result<(), Error> {
        self.unless_ended(|pid| kill_process_group(pid, Signal::KILL))
            .map_err(Error::system(format!("kill {}", self.name)))
    }

    /// Under the lock without which its end is not taken note of: until then, the id is its own.
    fn unless_ended(&self, act: impl FnOnce(Pid) -> rustix::io::Result<()>) -> io::Result<()> {
        let state = self.watched.state.lock();
        match state.ended {
            Some(_) => Ok(()),
            None => Ok(act(self.pid)?),
        }
    }

    /// Waits until its end has been taken note of, and no process can print any more.
    pub(super) fn settle(&self) {
        let threads = std::mem::take(&mut *self.threads.lock());
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!(program = %self.name, "a thread that watched it panicked");
            }
        }
    }

    /// Its last lines, for who looks for why a test failed.
    pub(super) fn print_end(&self) {
        let seen = self.seen();
        let lines: Vec<_> = seen.printed.lines().collect();
        let shown = lines.len().saturating_sub(SHOWN_LINES)..;
        let (name, count, ended) = (&self.name, lines.len(), seen.ended);
        eprintln!(
            "---- {name} (pid {}, {ended:?}), the last of {count} lines",
            self.id()
        );
        for line in &lines[shown] {
            eprintln!("{line}");
        }
    }
}

impl Watched {
    fn read(&self, mut output: impl Read) {
        let mut piece = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = output.read(&mut piece) {
            self.state.lock().printed.extend_from_slice(&piece[..count]);
            self.changed.notify_all();
        }
    }

    fn wait_for(&self, mut child: Child, pid: Pid) {
        // It is a process, if a dead one, until it has been waited for; so its id is given to nobody.
        let ended = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        while let Err(rustix::io::Errno::INTR) = waitid(WaitId::Pid(pid), ended) {}
        let mut state = self.state.lock();
        match child.wait() {
            Ok(status) => state.ended = Some(status),
            Err(error) => tracing::error!(%error, "nobody knows how a program ended"),
        }
        drop(state);
        self.changed.notify_all();
    }
}

impl State {
    fn seen(&self) -> Seen {
        Seen {
            printed: String::from_utf8_lossy(&self.printed).into_owned(),
            ended: self.ended,
        }
    }
}
