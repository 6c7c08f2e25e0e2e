//! Programs that go on until they are told to end, and say what became of it.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use crate::support::{DEADLINE, Host};

/// How long one may take to say what became of it.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long one rests between two lines that it types.
const TYPING: Duration = Duration::from_millis(50);

/// A program with a standard input to tell it something by.
struct Told {
    name: &'static str,
    child: Child,
    input: Option<ChildStdin>,
    lines: mpsc::Receiver<String>,
}

impl Told {
    fn start(name: &'static str, host: &Host, command: &mut Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = host.within(|| command.spawn()).unwrap();
        let printed = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            let lines = printed.lines().map_while(Result::ok);
            // Nobody listens once the test has failed.
            lines.for_each(|line| drop(sender.send(line.trim().to_owned())));
        });
        Self {
            name,
            input: child.stdin.take(),
            child,
            lines,
        }
    }

    #[track_caller]
    fn line(&self, patience: Duration) -> String {
        let line = self.lines.recv_timeout(patience);
        line.unwrap_or_else(|error| panic!("{} says nothing: {error}", self.name))
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        // It may have ended already, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A client of `causeway/tests/peers` that numbers its messages, and what comes back of them.
pub(crate) struct Numbered(Told);

impl Numbered {
    /// Starts it, and waits for its first answer.
    #[track_caller]
    pub(crate) fn begin(
        name: &'static str,
        host: &Host,
        command: &mut Command,
        address: SocketAddr,
    ) -> Self {
        let told = Told::start(name, host, command.arg(address.to_string()));
        assert_eq!(told.line(DEADLINE), "begun", "{name}");
        Self(told)
    }

    /// How many messages were answered, each once and in its place.
    #[track_caller]
    pub(crate) fn end(mut self) -> u64 {
        writeln!(self.0.input.take().unwrap(), "end").unwrap();
        let verdict = self.0.line(PATIENCE);
        let count = verdict.strip_prefix("done ").and_then(|it| it.parse().ok());
        count.unwrap_or_else(|| panic!("{}: {verdict}", self.0.name))
    }

    /// Whether it has not been told of any end.
    pub(crate) fn goes_on(&self) -> bool {
        self.0.lines.try_recv() == Err(mpsc::TryRecvError::Empty)
    }

    /// How it ended before it was told to.
    #[track_caller]
    pub(crate) fn closed(self) -> String {
        self.0.line(PATIENCE)
    }
}

/// Somebody who types a file at a terminal over ssh, line by line.
pub(super) struct Typist {
    told: Told,
    stop: mpsc::Sender<()>,
    typing: thread::JoinHandle<(ChildStdin, String)>,
    file: PathBuf,
}

impl Typist {
    /// Logs in by `ssh`, and begins to type into `file`.
    #[track_caller]
    pub(super) fn begin(host: &Arc<Host>, ssh: &mut Command, file: PathBuf) -> Self {
        let there = format!("stty -echo; echo ready; cat > {}", file.display());
        let mut told = Told::start("ssh", host, ssh.arg("-tt").arg(there));
        assert_eq!(told.line(DEADLINE), "ready");
        let mut input = told.input.take().unwrap();
        let (stop, stopped) = mpsc::channel();
        let typing = thread::spawn(move || {
            let mut typed = String::new();
            while stopped.recv_timeout(TYPING) == Err(mpsc::RecvTimeoutError::Timeout) {
                let line = format!("line {} of what is typed\n", typed.lines().count());
                input.write_all(line.as_bytes()).unwrap();
                typed += &line;
            }
            (input, typed)
        });
        Self {
            told,
            stop,
            typing,
            file,
        }
    }

    /// How many lines the file has, which are those that were typed.
    #[track_caller]
    pub(super) fn end(self) -> usize {
        self.stop.send(()).unwrap();
        let (mut input, typed) = self.typing.join().unwrap();
        // The terminal's end of a file.
        input.write_all(b"\x04").unwrap();
        let last = self.told.lines.recv_timeout(PATIENCE);
        assert_eq!(last, Err(mpsc::RecvTimeoutError::Disconnected), "ssh");
        let there = fs::read_to_string(&self.file).unwrap();
        assert!(there == typed, "{there:?} is not what was typed: {typed:?}");
        typed.lines().count()
    }
}
