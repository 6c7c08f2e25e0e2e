//! `causeway bench`: what a tunnel on this machine carries, beside no tunnel and one plain hop.
//!
//! ```text
//! callers (threads here) ─▶ origin                                  direct
//! callers ─▶ hop ─▶ origin                                          the yardstick
//! callers ─▶ tcp ingress of an edge ═ transport ═ client ─▶ origin  a tunnel
//! ```
//!
//! Hop, edge, client and origin are processes of their own. Each round measures each path in turn,
//! so that whatever else the machine does meets all of them.

mod beside;
mod conditions;
mod figures;
mod load;
mod origin;
mod plan;
mod round;
mod steady;
mod table;
mod tunnel;
mod usage;

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use tunnel_client::config::Transport;

use crate::pair::{Failure, Pair, Progress, Stop, Style};
use conditions::Conditions;
use figures::Figures;
use origin::Part;
use plan::Plan;
use round::Bench;

/// Measure throughput, latency and connections of a tunnel on this machine, over each transport.
///
/// Starts an edge and a client from configuration files with all defaults, in a temporary directory
/// and over loopback, and measures through a tcp ingress; in the same run also without a tunnel, and
/// through one process that only copies bytes. Compare within a run: figures of two machines, or of
/// a busy one, say little.
///
/// Exit status: 0 measured; 2 wrong arguments; 1 anything else, Ctrl-C included.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  causeway bench
  causeway bench --transport quic --transport tls --rounds 5
  causeway bench --json > figures.json")]
pub(crate) struct BenchArgs {
    /// What carries the tunnel, as in a client's configuration; can be repeated [default: each but auto]
    #[arg(long, value_name = "NAME", value_parser = plan::transport)]
    transport: Vec<Transport>,
    /// How often each path is measured; the median is shown
    #[arg(long, value_name = "N", default_value = "3", value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// How long each figure is measured in each round, 50ms to 10m
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = plan::duration)]
    duration: Duration,
    /// How many idle streams memory is measured with; each needs an open file in each process
    #[arg(long, value_name = "N", default_value = "10000", value_parser = clap::value_parser!(u64).range(1..=16_000))]
    idle_streams: u64,
    /// Print one JSON document with each round's figures
    #[arg(long)]
    json: bool,
    /// Be the origin, or the hop to it
    #[arg(long, hide = true)]
    be: Option<Part>,
}

/// Runs `causeway bench`.
pub(crate) fn run(args: &BenchArgs) -> anyhow::Result<ExitCode> {
    // The processes that this one starts inherit it.
    let descriptors = relay::descriptors::raise_limit();
    if let Some(part) = args.be {
        return part.be();
    }
    let plan = Plan::new(
        &args.transport,
        args.rounds,
        args.duration,
        args.idle_streams,
        descriptors,
    )?;
    let conditions = Conditions::now();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the event loop")?;
    let progress = Progress::new();
    let figures = match runtime.block_on(measure(&plan, &progress)) {
        Ok(figures) => figures,
        Err(trouble) => {
            progress.say(&trouble.text());
            return Ok(ExitCode::FAILURE);
        }
    };
    let text = if args.json {
        format!("{}\n", table::json(&plan, &conditions, &figures))
    } else {
        table::text(&plan, &conditions, &figures)
    };
    io::stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// Why there are no figures.
enum Trouble {
    /// SIGINT or SIGTERM came.
    Told,
    Tunnel(Failure),
    Other(anyhow::Error),
}

/// Everything that was started is gone when this returns, whatever it returns.
async fn measure(plan: &Plan, progress: &Progress) -> Result<Figures, Trouble> {
    let mut stop = Stop::new()?;
    if let Some(shortage) = plan.shortage() {
        progress.say(&format!("note: {shortage}"));
    }
    let mut pair = Pair::default();
    let bench = Bench::new(plan, progress).await?;
    let measured = tokio::select! {
        () = stop.told() => Err(Trouble::Told),
        measured = bench.rounds(&mut pair) => measured,
    };
    progress.clear();
    tokio::select! {
        () = pair.stop() => {}
        () = stop.told() => progress.say("told to stop again: killing edge and client"),
    }
    bench.stop().await;
    measured
}

impl Trouble {
    fn text(&self) -> String {
        match self {
            Self::Told => "stopped before everything was measured".to_owned(),
            Self::Tunnel(failure) => failure.text(Style::of(&io::stderr())),
            Self::Other(error) => format!("error: {error:#}"),
        }
    }
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Tunnel(failure)
    }
}

impl From<anyhow::Error> for Trouble {
    fn from(error: anyhow::Error) -> Self {
        Self::Other(error)
    }
}
