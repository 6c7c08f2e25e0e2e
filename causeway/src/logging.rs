//! What a process logs, and how: for people on a terminal, JSON lines otherwise; always on stderr.
//! A tool that is asked for JSON or not logs as it was asked.

mod flood;

use std::io::IsTerminal;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, fmt};

use flood::FloodLimit;

/// Which variable says what is logged, in the words of `tracing`'s filters; default `info`.
const LOG_VARIABLE: &str = "CAUSEWAY_LOG";

/// The message of the line that says why a process ends, which is in its field `error`.
pub(crate) const LAST_WORDS: &str = "cannot go on";

/// Dropping it at the end of the process logs what is still to be said.
#[derive(Debug)]
pub(crate) struct Logging {
    limit: FloodLimit,
    format: Format,
}

/// How lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// Text, in colours on a terminal.
    ForPeople,
    /// A JSON object a line.
    Json,
}

/// Starts to log, as suits stderr. Each line carries its spans: where a line is about a stream, that is
/// `accept` (or `dial`) > `session` > `stream`.
pub(crate) fn start() -> Result<Logging, String> {
    start_as(if std::io::stderr().is_terminal() {
        Format::ForPeople
    } else {
        Format::Json
    })
}

/// Starts to log so.
pub(crate) fn start_as(format: Format) -> Result<Logging, String> {
    let wanted = std::env::var(LOG_VARIABLE).unwrap_or_else(|_| "info".to_owned());
    let filter = EnvFilter::try_new(&wanted)
        .map_err(|error| format!("{LOG_VARIABLE}=\"{wanted}\": {error}; write info or debug"))?;
    let limit = FloodLimit::start().map_err(|error| format!("cannot start to log: {error}"))?;
    let subscriber = tracing_subscriber::registry()
        .with(filter)
        .with(limit.clone());
    let lines = fmt::layer().with_writer(std::io::stderr);
    match format {
        Format::ForPeople => {
            let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            subscriber.with(lines.with_ansi(colours)).init();
        }
        Format::Json => {
            // The list of spans ends with the current one.
            let json = lines.json().flatten_event(true).with_current_span(false);
            subscriber.with(json).init();
        }
    }
    Ok(Logging { limit, format })
}

impl Logging {
    /// Says why the process ends, in the format of the log; also if the filter lets nothing through.
    pub(crate) fn last_words(&self, error: &str) {
        if self.format == Format::Json && tracing::enabled!(tracing::Level::ERROR) {
            tracing::error!(error, "{LAST_WORDS}");
        } else {
            eprintln!("error: {error}");
        }
    }
}

impl Drop for Logging {
    fn drop(&mut self) {
        self.limit.tell();
    }
}
