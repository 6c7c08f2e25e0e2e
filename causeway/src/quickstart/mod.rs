//! `causeway quickstart`: an edge and a client on this machine, from nothing to traffic.
//!
//! ```text
//! arguments ─▶ Plan ─▶ Directory: authority, identities, edge.toml ─▶ edge (child process)
//!      edge's tunnel address ─▶ client.toml ─▶ client (child process) ─▶ joined ─▶ round trips ─▶ Report
//! ```
//!
//! Both processes, their directory and what else is not about the demo are in [`crate::pair`].

mod bring_up;
mod checks;
mod files;
mod hints;
mod line;
mod plan;
mod probe;
mod report;
mod sockets;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;

use crate::check::EXIT_CONFIGURATION;
use crate::config::Kind;
use crate::pair::{Author, Directory, Failure, Pair, Progress, Stop, Style};
use bring_up::bring_up;
pub(crate) use line::CONTROL_SOCKET;
use line::Line;
use plan::{Plan, Service};
use report::Report;

/// Try it: an edge and a client on this machine, with real certificates and real traffic.
///
/// Makes a directory with an authority, certificates, edge.toml and client.toml as a deployment
/// would have them, starts both processes from it, and prints what to open. Run again, it uses the
/// directory again; configuration files that you have changed are left as they are.
///
/// Exit status: 0 stopped by Ctrl-C or SIGTERM; 2 wrong arguments or configuration; 1 anything else.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  causeway quickstart
  causeway quickstart --expose web=http://127.0.0.1:3000 --expose db=tcp://127.0.0.1:5432
  causeway quickstart --upstream state=h2c://127.0.0.1:9001
  causeway quickstart --chaos          then, in another terminal: causeway chaos cut 10s")]
pub(crate) struct QuickstartArgs {
    /// Where keys, certificates, configurations and logs are kept
    #[arg(long, value_name = "DIR", default_value = "causeway-demo")]
    dir: PathBuf,
    /// What the control plane may call in the compute plane: tcp://, http://, h2c://, https://,
    /// unix:// or the word hello [default: hello=hello, a built-in page]
    #[arg(long, value_name = "NAME=URL")]
    expose: Vec<Service>,
    /// What the compute plane may call in the control plane
    #[arg(long, value_name = "NAME=URL")]
    upstream: Vec<Service>,
    /// Where the edge takes HTTP callers; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080", value_parser = listen_address)]
    http: SocketAddr,
    /// Where the edge takes the client, over UDP and TCP; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7443", value_parser = listen_address)]
    tunnel: SocketAddr,
    /// Let the client reach the edge by way of a fault proxy, for `causeway chaos cut`
    #[arg(long)]
    chaos: bool,
    /// Print one JSON document once traffic flows, and go on running
    #[arg(long)]
    json: bool,
}

/// Runs `causeway quickstart`.
pub(crate) fn run(args: QuickstartArgs) -> anyhow::Result<ExitCode> {
    let plan = match Plan::new(args.expose, args.upstream, args.http, args.tunnel) {
        Ok(plan) if args.chaos => plan.behind_a_proxy(),
        Ok(plan) => plan,
        Err(wrong) => {
            eprintln!("error: {wrong}");
            return Ok(ExitCode::from(EXIT_CONFIGURATION));
        }
    };
    let directory = Directory::open(&args.dir)?;
    // Somebody's own file says itself where to listen.
    if directory.author(Kind::Edge) == Author::Quickstart {
        plan.check_ports()?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the event loop")?;
    runtime.block_on(async {
        let mut stop = Stop::new()?;
        let mut pair = Pair::default();
        let mut line = None;
        let progress = Progress::new();
        let ended = tokio::select! {
            () = stop.told() => Ended::Told,
            failure = demo(&plan, &directory, &mut pair, &mut line, &progress, args.json) => Ended::Failed(failure),
        };
        progress.clear();
        if let Ended::Failed(failure) = &ended {
            progress.say(&failure.text(Style::of(&io::stderr())));
        }
        if !pair.is_empty() {
            progress.step("stopping edge and client");
            tokio::select! {
                () = pair.stop() => {}
                () = stop.told() => progress.say("told to stop again: killing edge and client"),
            }
            progress.clear();
        }
        // Edge and client have said by way of it that they leave.
        drop(line);
        Ok(match ended {
            Ended::Told => ExitCode::SUCCESS,
            Ended::Failed(failure) => failure.exit_code(),
        })
    })
}

fn listen_address(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse().map_err(
        |_| "write an IP address and a port, such as 127.0.0.1:8080 (port 0: any free one)",
    )
}

/// Why a demo is over.
enum Ended {
    Told,
    Failed(Failure),
}

/// The demo, which goes on until something fails.
async fn demo(
    plan: &Plan,
    directory: &Directory,
    pair: &mut Pair,
    line: &mut Option<Line>,
    progress: &Progress,
    json: bool,
) -> Failure {
    match bring_up(plan, directory, pair, line, progress).await {
        Err(failure) => failure,
        Ok(report) => {
            progress.clear();
            show(&report, progress, json);
            tokio::select! {
                (kind, error) = pair.died() => Failure::died(kind, &error, &directory.log(kind)),
                failure = broke(line) => failure,
            }
        }
    }
}

/// Cancel-safe. What is not there does not break.
async fn broke(line: &mut Option<Line>) -> Failure {
    match line {
        Some(line) => line.broke().await,
        None => std::future::pending().await,
    }
}

/// The result, on stdout. Whoever closed it does not want it; the demo goes on.
fn show(report: &Report, progress: &Progress, json: bool) {
    let mut out = io::stdout().lock();
    let _ = if json {
        for doubt in report.doubts() {
            progress.say(&format!("warning: {doubt}"));
        }
        writeln!(out, "{}", report.json())
    } else {
        out.write_all(report.text(Style::of(&io::stdout())).as_bytes())
    };
    let _ = out.flush();
}
