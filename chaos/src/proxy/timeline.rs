//! Faults by the clock, from a text file:
//!
//! ```text
//! # an afternoon on a train
//! at 0s           latency delay=80ms jitter=30ms
//! at 10s for 5s   cut
//! at 20s for 30s  up loss rate=5%
//! at 55s          clear latency
//! repeat every 60s
//! ```

use std::collections::HashMap;
use std::time::Duration;

use relay::settings::{format_duration, parse_duration};
use tokio::time::{Instant, sleep_until};

use super::direction::{Direction, Directions};
use super::fault::Placed;
use super::faults::{Faults, Hold};
use super::kind::Kind;

/// When which faults begin and end.
#[derive(Clone, Debug, PartialEq)]
pub struct Timeline {
    /// By time.
    steps: Vec<(Duration, Step)>,
    repeat: Option<Repeat>,
}

/// What is wrong with a timeline.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimelineError {
    /// Something that a line says.
    #[error("line {line}: {why}")]
    Line {
        /// Which, from 1.
        line: usize,
        /// What is wrong, and what would be right.
        why: String,
    },
    /// No line says anything.
    #[error("nothing happens in it; {SHAPE}")]
    Empty,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Repeat {
    line: usize,
    every: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Step {
    /// Its line, which tells it from others.
    line: usize,
    act: Act,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Act {
    /// What `for` has begun is over.
    End,
    /// Nothing is left.
    ClearAll,
    Clear(Kind, Directions),
    Begin(Placed),
    /// For so long, until its [`Act::End`].
    Hold(Placed, Duration),
}

/// A shorter period would be nothing but work.
const SHORTEST_PERIOD: Duration = Duration::from_millis(100);

const SHAPE: &str = "write: at TIME [for TIME] FAULT, at TIME clear [FAULT], or: repeat every TIME";

impl Timeline {
    /// Reads a timeline. Empty lines, and what stands behind a `#`, say nothing.
    ///
    /// # Errors
    /// With the line and what would be right there; also if nothing is to happen.
    pub fn parse(text: &str) -> Result<Self, TimelineError> {
        let mut timeline = Self {
            steps: Vec::new(),
            repeat: None,
        };
        for (at, text) in text.lines().enumerate() {
            let line = at + 1;
            let text = text.split('#').next().unwrap_or_default();
            let read = timeline.read(line, text);
            read.map_err(|why| TimelineError::Line { line, why })?;
        }
        // What ends makes room for what begins at the same time.
        let ends_first = |step: &Step| step.act != Act::End;
        timeline
            .steps
            .sort_by_key(|(time, step)| (*time, ends_first(step), step.line));
        timeline.check_whole()?;
        Ok(timeline)
    }

    /// Whether each of its faults can do anything to what a proxy passes on.
    ///
    /// # Errors
    /// With the first that cannot.
    pub fn check(&self, faults: &Faults) -> Result<(), TimelineError> {
        for (_, Step { line, act }) in &self.steps {
            if let Act::Begin(placed) | Act::Hold(placed, _) = act {
                faults
                    .check(placed.fault.kind())
                    .map_err(|error| TimelineError::Line {
                        line: *line,
                        why: error.to_string(),
                    })?;
            }
        }
        Ok(())
    }

    /// Sets and clears faults until all is done; for good, if it repeats.
    pub async fn run(self, faults: Faults) {
        let mut begin = Instant::now();
        loop {
            let mut held = HashMap::new();
            for (time, step) in &self.steps {
                sleep_until(begin + *time).await;
                step.take(&faults, &mut held);
            }
            match self.repeat {
                Some(Repeat { every, .. }) => begin += every,
                None => return,
            }
            tracing::info!("the timeline begins again");
        }
    }

    fn read(&mut self, line: usize, text: &str) -> Result<(), String> {
        let (word, rest) = first_word(text);
        match word {
            "" => Ok(()),
            "at" => {
                let (at, rest) = time(rest)?;
                self.event(line, at, rest)
            }
            "repeat" => {
                let rest = match first_word(rest) {
                    ("every", rest) => rest,
                    (_, _) => return Err(SHAPE.to_owned()),
                };
                let (every, rest) = time(rest)?;
                match rest {
                    "" if every < SHORTEST_PERIOD => {
                        let least = format_duration(SHORTEST_PERIOD);
                        Err(format!("a period is at least {least}"))
                    }
                    "" if self.repeat.is_some() => Err("it is said twice how to repeat".to_owned()),
                    "" => {
                        self.repeat = Some(Repeat { line, every });
                        Ok(())
                    }
                    more => Err(format!("\"{more}\" is too much here; {SHAPE}")),
                }
            }
            word => Err(format!("\"{word}\" begins no line; {SHAPE}")),
        }
    }

    fn event(&mut self, line: usize, at: Duration, text: &str) -> Result<(), String> {
        let mut add = |at, act| self.steps.push((at, Step { line, act }));
        match first_word(text) {
            ("for", rest) => {
                let (lasts, rest) = time(rest)?;
                if lasts.is_zero() {
                    return Err(
                        "a fault lasts longer than 0s; leave out \"for 0s\" if it is for good"
                            .to_owned(),
                    );
                }
                check_clear(rest)?;
                let placed: Placed = rest.parse().map_err(of)?;
                if placed.fault.kind() == Kind::Rebind {
                    return Err("rebind happens once; leave out \"for\"".to_owned());
                }
                add(at, Act::Hold(placed, lasts));
                add(at + lasts, Act::End);
            }
            ("clear", "") => add(at, Act::ClearAll),
            ("clear", rest) => {
                let placed: Placed = rest.parse().map_err(of)?;
                add(at, Act::Clear(placed.fault.kind(), placed.directions));
            }
            (_, _) => {
                check_clear(text)?;
                add(at, Act::Begin(text.parse().map_err(of)?));
            }
        }
        Ok(())
    }

    fn check_whole(&self) -> Result<(), TimelineError> {
        match (self.repeat, self.steps.last()) {
            (None, None) => Err(TimelineError::Empty),
            (Some(Repeat { line, .. }), None) => Err(TimelineError::Line {
                line,
                why: format!("there is nothing to repeat; {SHAPE}"),
            }),
            (Some(Repeat { every, .. }), Some((last, step))) if *last > every => {
                let why = format!(
                    "it goes on until {}, but all begins again every {}",
                    format_duration(*last),
                    format_duration(every)
                );
                let line = step.line;
                Err(TimelineError::Line { line, why })
            }
            (_, Some(_)) => Ok(()),
        }
    }
}

impl Step {
    fn take(&self, faults: &Faults, held: &mut HashMap<usize, Hold>) {
        let done = match self.act {
            Act::End => {
                if let Some(hold) = held.remove(&self.line) {
                    faults.release(hold);
                }
                Ok(())
            }
            Act::ClearAll => {
                faults.clear_all();
                Ok(())
            }
            Act::Clear(kind, directions) => {
                faults.clear(kind, directions);
                Ok(())
            }
            Act::Begin(placed) => faults.set(placed),
            Act::Hold(placed, lasts) => faults.hold(placed, lasts).map(|hold| {
                held.insert(self.line, hold);
            }),
        };
        if let Err(error) = done {
            tracing::warn!(line = self.line, %error, "a fault of the timeline has no effect");
        }
    }
}

/// `clear` stands right behind the time, and has none of its own.
fn check_clear(text: &str) -> Result<(), String> {
    let (first, rest) = first_word(text);
    let (direction, words) = match first.parse::<Direction>() {
        Ok(_) => (first, rest),
        Err(_) => ("", text),
    };
    match (direction, first_word(words)) {
        ("", ("clear", "")) => Err("to take all faults away, write: at TIME clear".to_owned()),
        (direction, ("clear", fault)) => {
            let fault = if fault.is_empty() { "FAULT" } else { fault };
            let place = [direction, fault].join(" ");
            let place = place.trim();
            Err(format!(
                "to take a fault away, write: at TIME clear {place}"
            ))
        }
        (_, (_, _)) => Ok(()),
    }
}

fn first_word(text: &str) -> (&str, &str) {
    let text = text.trim();
    match text.split_once(char::is_whitespace) {
        Some((word, rest)) => (word, rest.trim()),
        None => (text, ""),
    }
}

fn time(text: &str) -> Result<(Duration, &str), String> {
    let (word, rest) = first_word(text);
    Ok((parse_duration(word).map_err(of)?, rest))
}

fn of(error: impl ToString) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests;
