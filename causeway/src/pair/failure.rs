//! Why a demo is over without having been told to stop.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::directory::DirectoryError;
use super::logs::Tail;
use super::processes::ProcessError;
use super::terminal::{Mark, Style};
use crate::check::EXIT_CONFIGURATION;
use crate::config::Kind;

/// How much of a log is shown.
const LINES: usize = 8;

/// The part that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Directory,
    Edge,
    Line,
    Client,
    Join,
    RoundTrip,
}

/// What failed, why, and what to look at.
#[derive(Debug)]
pub(crate) struct Failure {
    step: Step,
    reason: String,
    hint: Option<String>,
    log: Option<(PathBuf, Vec<String>)>,
    exit: u8,
}

impl Step {
    /// The step of starting a process.
    pub(crate) fn of(kind: Kind) -> Self {
        match kind {
            Kind::Edge => Self::Edge,
            Kind::Client => Self::Client,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Directory => "directory",
            Self::Edge => "edge",
            Self::Line => "line",
            Self::Client => "client",
            Self::Join => "joined",
            Self::RoundTrip => "round trip",
        }
    }
}

impl Failure {
    pub(crate) fn new(step: Step, reason: impl Into<String>) -> Self {
        Self {
            step,
            reason: reason.into(),
            hint: None,
            log: None,
            exit: 1,
        }
    }

    /// A process did not start. What it told people is the reason, and its exit status ours if it
    /// is about the configuration.
    pub(crate) fn process(step: Step, error: &ProcessError, log: &Path) -> Self {
        let mut failure = Self::new(step, error.to_string()).logged(log);
        let exit = error.exit_status().and_then(|status| status.code());
        if exit == Some(i32::from(EXIT_CONFIGURATION)) {
            failure.exit = EXIT_CONFIGURATION;
        }
        failure
    }

    /// A process ended that was running.
    pub(crate) fn died(kind: Kind, error: &ProcessError, log: &Path) -> Self {
        let mut failure = Self::process(Step::of(kind), error, log);
        failure.exit = 1;
        failure
    }

    /// With the end of a log.
    pub(crate) fn logged(mut self, log: &Path) -> Self {
        // A log that cannot be read has nothing to add.
        let tail = Tail::of(log, LINES).unwrap_or_default();
        self.log = (!tail.logged.is_empty()).then(|| (log.to_owned(), tail.logged));
        self
    }

    /// With something to do about it.
    pub(crate) fn hint(mut self, hint: &str) -> Self {
        self.hint = Some(hint.to_owned());
        self
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.exit)
    }

    /// The failing line of the check list, and what stands below it.
    pub(crate) fn text(&self, style: Style) -> String {
        let mark = style.mark(Mark::Bad);
        let mut text = format!("{mark} {}  ", style.bold(self.step.name()));
        text += &self.reason.replace('\n', "\n  ");
        if let Some(hint) = &self.hint {
            text += &format!("\n  {}", hint.replace('\n', "\n  "));
        }
        if let Some((log, lines)) = &self.log {
            text += &format!("\n  the end of {}:", log.display());
            for line in lines {
                text += &format!("\n    {}", style.dim(line));
            }
        }
        text
    }
}

impl From<DirectoryError> for Failure {
    fn from(error: DirectoryError) -> Self {
        let mut failure = Self::new(Step::Directory, error.to_string());
        failure.exit = match error {
            DirectoryError::Authority(_) | DirectoryError::Identity { .. } => EXIT_CONFIGURATION,
            DirectoryError::Foreign { .. }
            | DirectoryError::Running { .. }
            | DirectoryError::System { .. }
            | DirectoryError::File(_) => 1,
        };
        failure
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Style = Style {
        signs: false,
        colours: false,
    };

    #[test]
    fn a_failure_says_what_why_and_where_to_look() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("edge.log");
        let event = r#"{"timestamp":"2026-11-21T00:04:05.1Z","level":"INFO","message":"starting"}"#;
        std::fs::write(&log, format!("{event}\n")).unwrap();
        let error = ProcessError::Slow;
        let failure = Failure::process(Step::Edge, &error, &log).hint("do this");
        assert_eq!(
            failure.text(PLAIN),
            format!(
                "ERR edge  it has not bound its listeners in time\n  do this\n  the end of {}:\n    00:04:05 INFO  starting",
                log.display()
            )
        );
    }

    #[test]
    fn a_configuration_that_a_process_refuses_is_ours_too() {
        use std::os::unix::process::ExitStatusExt;
        let ended = |code: i32| ProcessError::Ended {
            status: std::process::ExitStatus::from_raw(code << 8),
            said: vec!["edge.toml:1:1: wrong".to_owned()],
        };
        let log = Path::new("/does/not/exist");
        assert_eq!(Failure::process(Step::Edge, &ended(2), log).exit, 2);
        assert_eq!(Failure::process(Step::Edge, &ended(1), log).exit, 1);
        assert_eq!(Failure::died(Kind::Edge, &ended(2), log).exit, 1);
    }
}
