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

use super::direction::Directions;
use super::fault::Placed;
use super::faults::{Faults, Hold};
use super::kind::Kind;

/// When which faults begin and end.
#[derive(Clone, Debug, PartialEq)]
pub struct Timeline {
    /// By time.
    steps: Vec<(Duration, Step)>,
    every: Option<Duration>,
}

/// What is wrong with a timeline.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {why}")]
pub struct TimelineError {
    line: usize,
    why: String,
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

const SHAPE: &str = "write: at TIME [for TIME] FAULT, at TIME clear [FAULT], or: repeat every TIME";

impl Timeline {
    /// Reads a timeline. Empty lines, and what stands behind a `#`, say nothing.
    ///
    /// # Errors
    /// With the line and what would be right there.
    pub fn parse(text: &str) -> Result<Self, TimelineError> {
        let mut timeline = Self {
            steps: Vec::new(),
            every: None,
        };
        for (at, text) in text.lines().enumerate() {
            let line = at + 1;
            let text = text.split('#').next().unwrap_or_default();
            let read = timeline.read(line, text);
            read.map_err(|why| TimelineError { line, why })?;
        }
        // What ends makes room for what begins at the same time.
        let ends_first = |step: &Step| step.act != Act::End;
        timeline
            .steps
            .sort_by_key(|(time, step)| (*time, ends_first(step), step.line));
        timeline.check_period()?;
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
                    .map_err(|error| TimelineError {
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
            match self.every {
                Some(every) => begin += every,
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
                    "" if every.is_zero() => Err("a period is longer than 0s".to_owned()),
                    "" if self.every.is_some() => Err("it is said twice how to repeat".to_owned()),
                    "" => {
                        self.every = Some(every);
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
            (_, _) => add(at, Act::Begin(text.parse().map_err(of)?)),
        }
        Ok(())
    }

    fn check_period(&self) -> Result<(), TimelineError> {
        match (self.every, self.steps.last()) {
            (Some(every), Some((last, step))) if *last > every => {
                let why = format!(
                    "it goes on until {}, but all begins again every {}",
                    format_duration(*last),
                    format_duration(every)
                );
                let line = step.line;
                Err(TimelineError { line, why })
            }
            (Some(_) | None, _) => Ok(()),
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
mod tests {
    use super::*;
    use crate::proxy::direction::Direction;
    use crate::proxy::faults::Protocols;

    #[test]
    fn steps_come_in_the_order_of_time() {
        let timeline = Timeline::parse(
            "# a bad link\n\
             at 10s for 5s   cut          # all of it\n\
             \n\
             at 0s  up latency delay=80ms\n\
             at 15s for 1s cut\n\
             at 20s clear up latency\n\
             at 21s clear\n\
             repeat every 1m\n",
        )
        .unwrap();
        let shown: Vec<_> = timeline
            .steps
            .iter()
            .map(|(time, step)| (time.as_secs(), step.line))
            .collect();
        assert_eq!(
            shown,
            [(0, 4), (10, 2), (15, 2), (15, 5), (16, 5), (20, 6), (21, 7)]
        );
        assert_eq!(timeline.steps[2].1.act, Act::End);
        assert_eq!(timeline.every, Some(Duration::from_secs(60)));
    }

    #[test]
    fn errors_say_the_line_and_what_would_be_right() {
        for (text, error) in [
            (
                "\nin 5s cut",
                "line 2: \"in\" begins no line; write: at TIME",
            ),
            ("at 5 cut", "line 1: \"5\" has no unit; write one of ms, s"),
            ("at 5s", "line 1: no fault is named; write one such as"),
            (
                "at 5s cut for 3s",
                "line 1: \"for\" is no parameter; write NAME=VALUE",
            ),
            ("at 5s for 3s rebind", "line 1: rebind happens once"),
            ("repeat 5s", "line 1: write: at TIME [for TIME] FAULT"),
            ("repeat every 5s now", "line 1: \"now\" is too much here"),
            ("repeat every 0s", "line 1: a period is longer than 0s"),
            (
                "at 1s cut\nat 4s for 2s cut\nrepeat every 5s",
                "line 2: it goes on until 6s, but all begins again every 5s",
            ),
        ] {
            let found = Timeline::parse(text).unwrap_err().to_string();
            assert!(found.starts_with(error), "{text}: {found}");
        }
        let slice = Timeline::parse("at 1s slice").unwrap();
        let error = slice.check(&Faults::none(Protocols::Udp)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "line 1: slice is for TCP, and this proxy passes UDP only"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn faults_come_and_go_by_the_clock_again_and_again() {
        let faults = Faults::none(Protocols::Both);
        let text = "at 0s latency\nat 10s for 5s down cut\nat 18s clear\nrepeat every 20s";
        let run = tokio::spawn(Timeline::parse(text).unwrap().run(faults.clone()));
        let begin = Instant::now();
        for period in 0..3 {
            for (second, expected) in [
                (1, "latency"),
                (11, "latency cut"),
                (16, "latency"),
                (19, ""),
            ] {
                sleep_until(begin + Duration::from_secs(period * 20 + second)).await;
                let now = faults.now();
                let kinds: Vec<_> = now
                    .faults(Direction::Down)
                    .map(|fault| fault.kind().name())
                    .collect();
                assert_eq!(
                    kinds.join(" "),
                    expected,
                    "at {second} s of period {period}"
                );
                assert!(!now.has(Kind::Cut, Direction::Up));
            }
        }
        run.abort();
    }
}
