//! Writing for people: marks and colours on a terminal, words without one, and one line of progress
//! that leaves nothing behind.

use std::io::{self, IsTerminal, Write};

/// How something went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    Good,
    /// It works, but not everything that was asked for does.
    Doubtful,
    Bad,
}

/// How to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Style {
    /// Signs instead of words.
    pub(crate) signs: bool,
    pub(crate) colours: bool,
}

impl Style {
    /// As fits where the text goes; `NO_COLOR` (no-color.org) is heeded.
    pub(crate) fn of(out: &impl IsTerminal) -> Self {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            signs: out.is_terminal(),
            colours: out.is_terminal() && !plain,
        }
    }

    /// A mark, as wide as any other.
    pub(crate) fn mark(self, mark: Mark) -> String {
        let (sign, word, colour) = match mark {
            Mark::Good => ("✓", "ok ", 32),
            Mark::Doubtful => ("!", "(!)", 33),
            Mark::Bad => ("✗", "ERR", 31),
        };
        let text = if self.signs { sign } else { word };
        self.paint(text, colour)
    }

    pub(crate) fn mark_width(self) -> usize {
        if self.signs { 1 } else { 3 }
    }

    pub(crate) fn bold(self, text: &str) -> String {
        self.paint(text, 1)
    }

    /// For what explains something else.
    pub(crate) fn dim(self, text: &str) -> String {
        self.paint(text, 2)
    }

    fn paint(self, text: &str, code: u8) -> String {
        if self.colours {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

/// What is being done, on stderr: on a terminal a line that is written over, otherwise a line each.
#[derive(Debug)]
pub(crate) struct Progress {
    terminal: bool,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self {
            terminal: io::stderr().is_terminal(),
        }
    }

    /// Begins a step.
    pub(crate) fn step(&self, what: &str) {
        if self.terminal {
            // Cut off at the edge (DECAWM off), as a second row could not be written over.
            put(&format!("\r\x1b[K\x1b[?7l… {what}\x1b[?7h"));
        } else {
            put(&format!("{what}\n"));
        }
    }

    /// Says something that stays.
    pub(crate) fn say(&self, text: &str) {
        self.clear();
        put(&format!("{text}\n"));
    }

    /// Leaves the line to others.
    pub(crate) fn clear(&self) {
        if self.terminal {
            put("\r\x1b[K");
        }
    }
}

/// Nobody may be left who reads, and then there is nobody to tell.
fn put(text: &str) {
    let mut out = io::stderr().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
