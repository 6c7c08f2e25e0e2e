//! `causeway chaos`: bad networks on demand.

mod cut;
mod list;
mod proxy;

use std::process::ExitCode;

/// Try a service, or this tunnel, on a bad network.
///
/// Exit status: 0 done; 2 wrong arguments; 1 anything else.
#[derive(Debug, clap::Args)]
pub(crate) struct ChaosArgs {
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, clap::Subcommand)]
enum Act {
    List(list::ListArgs),
    Proxy(proxy::ProxyArgs),
    Cut(cut::CutArgs),
}

/// Runs `causeway chaos`.
pub(crate) fn run(args: ChaosArgs) -> anyhow::Result<ExitCode> {
    match args.act {
        Act::List(args) => list::run(&args),
        Act::Proxy(args) => proxy::run(args),
        Act::Cut(args) => cut::run(&args),
    }
}
