//! `causeway edge`

use std::path::PathBuf;
use std::process::ExitCode;

use tunnel_edge::StartError;
use tunnel_edge::config::Config;

use crate::process::{self, Supervision};

/// Arguments of `causeway edge`.
#[derive(Debug, clap::Args)]
pub(crate) struct EdgeArgs {
    /// The edge's configuration; `causeway config example edge` prints one.
    #[arg(long, value_name = "FILE", env = "CAUSEWAY_CONFIG")]
    config: PathBuf,
    #[command(flatten)]
    supervision: Supervision,
}

pub(crate) fn run(args: EdgeArgs) -> anyhow::Result<ExitCode> {
    let loaded = match Config::load(&args.config) {
        Ok(loaded) => loaded,
        Err(problems) => return Ok(process::refuse(&problems)),
    };
    let supervision = args.supervision;
    let started = move |admin: Option<&_>| supervision.announce(admin);
    process::run(
        supervision,
        |stop| tunnel_edge::run(loaded, args.config, started, stop),
        StartError::is_configuration,
    )
}
