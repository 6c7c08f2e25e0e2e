//! `causeway status`: what the processes on this machine say of themselves.

mod address;
mod fetch;
mod table;
mod values;
mod view;

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use relay::settings::Problems;
use time::OffsetDateTime;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

pub(crate) use address::{AdminAddress, reachable};
use address::{ConfigError, Configured};
pub(crate) use fetch::{FetchError, Report, ask, fetch, foreign};
pub(crate) use table::{Table, printable};
use view::{Paint, View};

/// Where an edge and a client listen for this command unless configured otherwise.
const DEFAULT_ADDRESSES: [&str; 2] = ["127.0.0.1:7480", "127.0.0.1:7490"];

/// What to do about it when nothing answers.
const START_ONE: &str = "start one with `causeway quickstart`, `causeway edge --config FILE` or \
                         `causeway client --config FILE`, or say where it listens with --admin or --config";

/// Between two looks of --watch.
const BEAT: Duration = Duration::from_secs(1);

/// Show what a running edge or client says of itself: sessions, listeners, readiness.
///
/// Without --admin or --config it asks http://127.0.0.1:7480 (an edge's default) and
/// http://127.0.0.1:7490 (a client's) and shows whoever answers. Exit status: 0 if a process
/// answered, ready or not; 1 if none did; 2 for wrong arguments or a wrong configuration.
#[derive(Debug, clap::Args)]
pub(crate) struct StatusArgs {
    /// Ask the process that this configuration file is for
    #[arg(long, value_name = "FILE", conflicts_with = "admin")]
    config: Option<PathBuf>,
    /// Ask the process with this admin address: http://127.0.0.1:7480 or unix:/path
    #[arg(long, value_name = "URL")]
    admin: Option<AdminAddress>,
    /// Print JSON: one document per process, each on a line of its own
    #[arg(long)]
    json: bool,
    /// Look again every second, until Ctrl-C
    #[arg(long)]
    watch: bool,
}

/// Runs the command. It builds its own runtime, so it must not be called within one.
pub(crate) fn run(args: StatusArgs) -> anyhow::Result<ExitCode> {
    let addresses = match stated_address(args.admin.as_ref(), args.config.as_deref()) {
        Ok(Some(address)) => vec![address],
        Ok(None) => DEFAULT_ADDRESSES
            .iter()
            .map(|address| address.parse().expect("the defaults are addresses"))
            .collect(),
        Err(problem) => {
            eprintln!("{problem}");
            return Ok(ExitCode::from(crate::check::EXIT_CONFIGURATION));
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let outcome = runtime.block_on(async {
        if args.watch {
            watch(&addresses, args.json).await
        } else {
            once(&addresses, args.json).await
        }
    });
    match outcome {
        // Whoever reads has read enough.
        Err(error) if is_broken_pipe(&error) => Ok(ExitCode::SUCCESS),
        Err(error) => Err(error),
        Ok(()) => Ok(ExitCode::SUCCESS),
    }
}

/// The process that --admin or --config names. What is wrong with the rest of the file is told.
pub(crate) fn stated_address(
    admin: Option<&AdminAddress>,
    config: Option<&Path>,
) -> Result<Option<AdminAddress>, ConfigError> {
    let (None, Some(file)) = (admin, config) else {
        return Ok(admin.cloned());
    };
    let Configured { address, mistakes } = address::of_config(file)?;
    if let Some(mistakes) = mistakes {
        eprintln!("{}", note(file, &mistakes));
    }
    Ok(Some(address))
}

/// What is said of a file that a start or a reload would refuse.
fn note(file: &Path, mistakes: &Problems) -> String {
    let file = file.display();
    let mistakes = match mistakes.len() {
        1 => "a mistake".to_owned(),
        many => format!("{many} mistakes"),
    };
    format!(
        "{file}: has {mistakes}, so that no start or reload would take it: see `causeway check {file}`"
    )
}

async fn once(addresses: &[AdminAddress], json: bool) -> anyhow::Result<()> {
    let look = Look::at(addresses).await;
    if look.reports.is_empty() {
        bail!("{}\n{START_ONE}", look.failures());
    }
    if let Some(notes) = look.notes() {
        eprintln!("{notes}");
    }
    put(&look.render(json, paint()))?;
    Ok(())
}

/// A process that is away is a state worth watching, not the end of it.
async fn watch(addresses: &[AdminAddress], json: bool) -> anyhow::Result<()> {
    let redraw = !json && io::stdout().is_terminal();
    let mut beat = tokio::time::interval(BEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut interrupt = std::pin::pin!(tokio::signal::ctrl_c());
    loop {
        let look = async {
            beat.tick().await;
            Look::at(addresses).await
        };
        let look = tokio::select! {
            outcome = &mut interrupt => return Ok(outcome?),
            look = look => look,
        };
        if redraw {
            let text = if look.reports.is_empty() {
                format!("{}\n", look.failures())
            } else {
                look.render(json, paint())
            };
            put(&frame(&text))?;
            continue;
        }
        if look.reports.is_empty() {
            eprintln!("{}", look.failures());
        } else {
            put(&look.render(json, paint()))?;
            if !json {
                put("\n")?;
            }
        }
    }
}

/// What came of asking each address once.
#[derive(Debug)]
struct Look {
    reports: Vec<Report>,
    errors: Vec<FetchError>,
}

impl Look {
    async fn at(addresses: &[AdminAddress]) -> Self {
        let mut asked = JoinSet::new();
        for (place, address) in addresses.iter().cloned().enumerate() {
            asked.spawn(async move { (place, fetch(&address).await) });
        }
        let mut answers = asked.join_all().await;
        answers.sort_by_key(|(place, _)| *place);
        let mut look = Self {
            reports: Vec::new(),
            errors: Vec::new(),
        };
        for (_, answer) in answers {
            match answer {
                Ok(report) => look.reports.push(report),
                Err(error) => look.errors.push(error),
            }
        }
        look
    }

    fn failures(&self) -> String {
        let lines: Vec<String> = self.errors.iter().map(ToString::to_string).collect();
        lines.join("\n")
    }

    /// What went wrong beside what went well. That nobody listens at the other default
    /// address is no news.
    fn notes(&self) -> Option<String> {
        let lines: Vec<String> = self
            .errors
            .iter()
            .filter(|error| !error.is_nobody_there())
            .map(ToString::to_string)
            .collect();
        (!lines.is_empty()).then(|| lines.join("\n"))
    }

    fn render(&self, json: bool, paint: Paint) -> String {
        if json {
            return self
                .reports
                .iter()
                .map(|report| format!("{}\n", report.to_json()))
                .collect();
        }
        let now = OffsetDateTime::now_utc();
        let views: Vec<String> = self
            .reports
            .iter()
            .map(|report| View { report, now, paint }.to_string())
            .collect();
        views.join("\n")
    }
}

/// Draws over what was there without clearing first, which would flicker.
fn frame(text: &str) -> String {
    let mut frame = String::from("\x1b[H");
    for line in text.lines() {
        frame.push_str(line);
        frame.push_str("\x1b[K\r\n");
    }
    frame.push_str("\x1b[J");
    frame
}

fn paint() -> Paint {
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    if io::stdout().is_terminal() && !plain {
        Paint::Colours
    } else {
        Paint::Plain
    }
}

pub(crate) fn put(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

pub(crate) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests;
