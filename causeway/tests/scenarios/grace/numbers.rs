//! A long exchange of numbered messages by a client of others, seen from outside.

use std::{
    io::{BufRead, BufReader, Lines, Write},
    net::SocketAddr,
    process::{Child, ChildStdin, ChildStdout, Stdio},
};

use crate::support::{Host, script};

/// `numbered.py`: numbers that go to a server and come back.
pub(super) struct Numbers {
    child: Child,
    ask: Option<ChildStdin>,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Numbers {
    /// An exchange over `kind` (`ws`, `grpc`) with whoever listens at `address`, by a program on `host`.
    pub(super) fn begin(host: &Host, kind: &str, address: SocketAddr) -> Self {
        let mut command = script("numbered.py").expect("there is a python for the server");
        command.args([kind, &address.to_string()]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = host.spawn(&mut command).unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut numbers = Self {
            ask: child.stdin.take(),
            child,
            answers,
        };
        numbers.pass();
        numbers
    }

    /// Waits until a hundred more numbers have come back.
    #[track_caller]
    pub(super) fn pass(&mut self) {
        self.ask_for_more();
        assert_eq!(self.answer(), "passed");
    }

    /// Asks for what [`Self::pass`] waits for.
    pub(super) fn ask_for_more(&mut self) {
        let ask = self.ask.as_mut().expect("it has not been ended");
        ask.write_all(b"more\n").unwrap();
    }

    /// What it says next; an empty text if it has ended instead.
    pub(super) fn answer(&mut self) -> String {
        self.answers.next().map_or_else(String::new, Result::unwrap)
    }

    /// Whether the program has ended, whatever it said.
    pub(super) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Ends the exchange properly, and says what was seen of its end.
    #[track_caller]
    pub(super) fn end(mut self) -> String {
        self.ask = None;
        self.answer()
    }
}

impl Drop for Numbers {
    fn drop(&mut self) {
        // It may have ended already, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
