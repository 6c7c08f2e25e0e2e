//! `causeway certs`: make an authority, issue identities, revoke them, look at certificates.
//!
//! What was done goes to stderr; what it results in goes to stdout, as `inspect` shows it.

mod inspect;
mod revoke;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use certs::{Authority, ClusterId, Label, Overwrite, Role, TrustDomain};
use clap::{Args, Subcommand};
use relay::settings::{QuantityError, parse_duration};

use inspect::Report;
use revoke::RevokeArgs;

/// The arguments of `causeway certs`.
#[derive(Debug, Args)]
pub(crate) struct CertsArgs {
    #[command(subcommand)]
    command: CertsCommand,
}

#[derive(Debug, Subcommand)]
enum CertsCommand {
    /// Make an authority: the key that issues identities.
    Init(InitArgs),
    /// Issue an identity: a directory with key.pem, cert.pem and ca.pem, and crl.pem if anyone is revoked.
    Issue(IssueArgs),
    /// Revoke identities: put their certificates on the authority's list, crl.pem.
    Revoke(RevokeArgs),
    /// Show what a certificate says and what is wrong with it; exit with 1 if something is.
    Inspect(InspectArgs),
}

#[derive(Debug, Args)]
struct InitArgs {
    /// Where to write ca.pem and ca-key.pem.
    #[arg(long, default_value = "ca")]
    dir: PathBuf,
    /// The domain within which names are unique. It is never resolved.
    #[arg(long, default_value = "causeway.internal")]
    trust_domain: TrustDomain,
    /// How long the authority lives.
    #[arg(long, default_value = "3650d", value_parser = lifetime)]
    ttl: Duration,
    /// Replace an authority that is there. Every identity that it issued becomes worthless.
    #[arg(long)]
    force: bool,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct IssueArgs {
    #[command(subcommand)]
    holder: Holder,
    /// The directory of the authority.
    #[arg(long, global = true, default_value = "ca")]
    authority: PathBuf,
    /// Where to write the identity [default: its kind and name, e.g. client-acme--prod-1].
    #[arg(long, global = true)]
    out: Option<PathBuf>,
    /// How long it is valid, e.g. 24h; at most as long as the authority.
    #[arg(long, global = true, default_value = "90d", value_parser = lifetime)]
    ttl: Duration,
    /// Replace an identity that is there.
    #[arg(long, global = true)]
    force: bool,
    /// Print the result as JSON.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Holder {
    /// The client of a cluster.
    Client {
        /// Whose it is: tenant/cluster, e.g. acme/prod-1.
        cluster: ClusterId,
    },
    /// An edge.
    Edge {
        /// Its name, e.g. eu-1.
        name: Label,
    },
    /// A service of the control plane that calls through an edge.
    Service {
        /// Its name, e.g. queue.
        name: Label,
    },
}

#[derive(Debug, Args)]
struct InspectArgs {
    /// A PEM file, the directory of an identity, or that of an authority.
    path: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Runs `causeway certs`.
pub(crate) fn run(args: CertsArgs) -> anyhow::Result<()> {
    execute(args, &mut io::stdout().lock(), &mut io::stderr().lock())
}

fn execute(args: CertsArgs, out: &mut dyn Write, progress: &mut dyn Write) -> anyhow::Result<()> {
    match args.command {
        CertsCommand::Init(args) => init(args, out, progress),
        CertsCommand::Issue(args) => issue(args, out, progress),
        CertsCommand::Revoke(args) => revoke::run(args, out, progress),
        CertsCommand::Inspect(args) => show(&args.path, args.json, out),
    }
}

fn init(args: InitArgs, out: &mut dyn Write, progress: &mut dyn Write) -> anyhow::Result<()> {
    Authority::create(
        &args.dir,
        args.trust_domain,
        args.ttl,
        overwrite(args.force),
    )?;
    writeln!(
        progress,
        "authority written to {}; ca-key.pem can issue any identity: keep it off the edges and \
         clients",
        args.dir.display()
    )?;
    show(&args.dir, args.json, out)
}

fn issue(args: IssueArgs, out: &mut dyn Write, progress: &mut dyn Write) -> anyhow::Result<()> {
    let role = args.holder.role();
    let dir = args.out.unwrap_or_else(|| default_dir(&role));
    let authority = Authority::load(&args.authority)?;
    // So that a new edge lets nobody in whom the others refuse.
    let list = authority.list(&args.authority)?;
    let issued = authority.issue(role, args.ttl)?.with_list(list);
    issued.write(&dir, overwrite(args.force))?;
    writeln!(
        progress,
        "identity written to {0}; name it in the configuration: [identity] dir = \"{0}\"",
        dir.display()
    )?;
    show(&dir, args.json, out)
}

fn show(path: &Path, json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    let report = Report::of(path).with_context(|| format!("cannot look at {}", path.display()))?;
    if json {
        serde_json::to_writer_pretty(&mut *out, &report)?;
        writeln!(out)?;
    } else {
        write!(out, "{report}")?;
    }
    match report.problems().count() {
        0 => Ok(()),
        1 => bail!("{} cannot be used: see its problem above", path.display()),
        several => bail!(
            "{} cannot be used: see its {several} problems above",
            path.display()
        ),
    }
}

impl Holder {
    fn role(self) -> Role {
        match self {
            Self::Client { cluster } => Role::Client(cluster),
            Self::Edge { name } => Role::Edge(name),
            Self::Service { name } => Role::Service(name),
        }
    }
}

/// Names have no `--` in them, so no two identities share a directory.
fn default_dir(role: &Role) -> PathBuf {
    match role {
        Role::Client(ClusterId { tenant, cluster }) => format!("client-{tenant}--{cluster}"),
        Role::Edge(name) => format!("edge-{name}"),
        Role::Service(name) => format!("service-{name}"),
    }
    .into()
}

fn overwrite(force: bool) -> Overwrite {
    if force {
        Overwrite::Replace
    } else {
        Overwrite::Refuse
    }
}

fn lifetime(text: &str) -> Result<Duration, QuantityError> {
    parse_duration(text)
}

#[cfg(test)]
mod tests;
