//! `causeway dns`: what an edge publishes, and what it would change.

mod answer;
mod show;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use http::{Method, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::status::{AdminAddress, ask, foreign, is_broken_pipe, put, stated_address};
use answer::{Plan, State};

/// Where an edge listens for this command unless configured otherwise.
const DEFAULT_ADDRESS: &str = "127.0.0.1:7480";

/// Longer than the edge lets a round last.
const PATIENCE: Duration = Duration::from_secs(30);

/// Look at the DNS zone that an edge keeps.
///
/// Asks the edge at http://127.0.0.1:7480 unless --admin or --config says another.
#[derive(Debug, clap::Args)]
pub(crate) struct DnsArgs {
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, clap::Subcommand)]
enum Act {
    /// Say what a round would change now, and what is held back and why. Changes nothing.
    ///
    /// Exit status: 0 if the zone could be read; 1 if not; 2 for wrong arguments or a wrong
    /// configuration.
    Plan(Edge),
    /// Show where the zone is not as it should be, record by record. Changes nothing.
    ///
    /// Exit status: 0 if there is no difference; 1 if there is one, or the zone could not be read;
    /// 2 for wrong arguments or a wrong configuration.
    Diff(Edge),
    /// Compare and correct the zone now, and say what was done.
    ///
    /// Exit status: 0 if every change was made; 1 if not; 2 for wrong arguments or a wrong
    /// configuration.
    Apply(Edge),
}

#[derive(Debug, clap::Args)]
struct Edge {
    /// Ask the edge that this configuration file is for
    #[arg(long, value_name = "FILE", conflicts_with = "admin")]
    config: Option<PathBuf>,
    /// Ask the edge with this admin address: http://127.0.0.1:7480 or unix:/path
    #[arg(long, value_name = "URL")]
    admin: Option<AdminAddress>,
    /// Print what the edge answered, as JSON on one line
    #[arg(long)]
    json: bool,
}

/// What is printed, and whether all is well.
struct Shown {
    text: String,
    well: bool,
}

/// Runs the command. It builds its own runtime, so it must not be called within one.
pub(crate) fn run(args: &DnsArgs) -> anyhow::Result<ExitCode> {
    let (Act::Plan(edge) | Act::Diff(edge) | Act::Apply(edge)) = &args.act;
    let address = match stated_address(edge.admin.as_ref(), edge.config.as_deref()) {
        Ok(stated) => stated,
        Err(problem) => {
            eprintln!("{problem}");
            return Ok(ExitCode::from(crate::check::EXIT_CONFIGURATION));
        }
    };
    let address = match address {
        Some(address) => address,
        None => DEFAULT_ADDRESS.parse()?,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let shown = runtime.block_on(async {
        match &args.act {
            Act::Plan(edge) => {
                let show = |plan: &Plan| (show::plan(plan), true);
                edge.show(&address, Method::GET, "/api/dns/plan", show)
                    .await
            }
            Act::Diff(edge) => {
                let show = |plan: &Plan| (show::diff(plan), plan.is_empty());
                edge.show(&address, Method::GET, "/api/dns/plan", show)
                    .await
            }
            Act::Apply(edge) => {
                let show = |state: &State| (show::applied(state), state.is_well());
                edge.show(&address, Method::POST, "/api/dns/apply", show)
                    .await
            }
        }
    })?;
    match put(&shown.text).map_err(anyhow::Error::from) {
        // Whoever reads has read enough.
        Err(error) if is_broken_pipe(&error) => {}
        put => put?,
    }
    Ok(if shown.well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

impl Edge {
    /// What is known of a process that answers and publishes no names.
    fn why_no_names(&self) -> String {
        let has_dns = |file: &&Path| {
            let loaded = tunnel_edge::config::Config::load(file);
            loaded.is_ok_and(|loaded| loaded.config.dns.is_some())
        };
        match self.config.as_deref().filter(has_dns) {
            Some(file) => format!(
                "it was started before {} had [dns], which is read at the start only; restart it",
                file.display()
            ),
            None => "it was started without [dns]".to_owned(),
        }
    }

    async fn show<T: DeserializeOwned>(
        &self,
        address: &AdminAddress,
        method: Method,
        path: &str,
        show: impl Fn(&T) -> (String, bool),
    ) -> anyhow::Result<Shown> {
        let (code, body) = ask(address, method, path, PATIENCE).await?;
        let json = serde_json::from_slice::<Value>(&body);
        match (code, json) {
            (StatusCode::OK, Ok(json)) => {
                let Ok(answer) = serde_json::from_value::<T>(json.clone()) else {
                    return Err(foreign(address, path, code, &body).into());
                };
                let (text, well) = show(&answer);
                let text = if self.json { format!("{json}\n") } else { text };
                Ok(Shown { text, well })
            }
            (StatusCode::NOT_FOUND, _) => {
                let why = self.why_no_names();
                bail!("the process at {address} publishes no names: {why}")
            }
            (_, Ok(json)) if json["error"].is_string() => {
                let error = json["error"].as_str().unwrap_or_default();
                bail!("{}", crate::status::printable(error))
            }
            (code, _) => Err(foreign(address, path, code, &body).into()),
        }
    }
}
