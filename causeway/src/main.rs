//! Causeway: a self-hosted tunnel between a control plane and its customers' compute planes.

mod bench;
mod certs;
mod chaos;
mod check;
mod client;
mod config;
mod dns;
mod edge;
mod logging;
mod pair;
mod process;
mod quickstart;
mod status;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// glibc gives freed memory back and faults it in again, which costs more than moving the bytes.
/// Without huge pages: with them, an idle process held twice as much, and a client's memory at rest
/// rose under mixed load.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A self-hosted, mutually authenticated tunnel between a control plane and its compute planes.
///
/// Exit status: 0 done; 2 usage or configuration; 1 anything else.
#[derive(Debug, Parser)]
#[command(name = "causeway", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Try it: an edge and a client on this machine, with real certificates and real traffic.
    Quickstart(quickstart::QuickstartArgs),
    /// Run an edge, in the control plane: accepts tunnels and routes streams.
    Edge(edge::EdgeArgs),
    /// Run a client, in the compute plane: dials edges, exposes services, forwards to upstreams.
    Client(client::ClientArgs),
    /// Validate a configuration file.
    Check(check::CheckArgs),
    /// Print a commented example of a configuration.
    Config(config::ConfigArgs),
    /// Make an authority and certificates, revoke them, and look at them.
    Certs(certs::CertsArgs),
    /// Show what a running edge or client is doing.
    Status(status::StatusArgs),
    /// Show what an edge publishes in DNS, what it would change there, or make it do so now.
    Dns(dns::DnsArgs),
    /// Measure what a tunnel on this machine carries, over each transport.
    Bench(bench::BenchArgs),
    /// Try a service, or this tunnel, on a bad network.
    Chaos(chaos::ChaosArgs),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Quickstart(args) => quickstart::run(args),
        Command::Edge(args) => edge::run(args),
        Command::Client(args) => client::run(args),
        Command::Check(args) => check::run(&args),
        Command::Config(args) => config::run(&args),
        Command::Certs(args) => certs::run(args).map(|()| ExitCode::SUCCESS),
        Command::Status(args) => status::run(args),
        Command::Dns(args) => dns::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Chaos(args) => chaos::run(args),
    };
    done.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
