//! `causeway client`

use std::path::PathBuf;
use std::process::ExitCode;

use relay::settings::{Document, Loaded, Place, Problems};
use tunnel_client::StartError;
use tunnel_client::config::{Config, EdgeSettings, SCHEMA};

use crate::process::{self, Supervision};

/// Arguments of `causeway client`.
#[derive(Debug, clap::Args)]
pub(crate) struct ClientArgs {
    /// The client's configuration; `causeway config example client` prints one.
    #[arg(
        long,
        value_name = "FILE",
        env = "CAUSEWAY_CONFIG",
        required_unless_present = "edge"
    )]
    config: Option<PathBuf>,
    /// Instead of a file: the edge to dial, host or host:port.
    #[arg(
        long,
        value_name = "HOST",
        conflicts_with = "config",
        requires = "identity"
    )]
    edge: Vec<String>,
    /// Instead of a file: the directory with key.pem, cert.pem and ca.pem.
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    identity: Option<PathBuf>,
    /// Instead of a file: a service to expose, such as web=http://127.0.0.1:3000.
    #[arg(long, value_name = "NAME=URL", value_parser = name_and_url, conflicts_with = "config")]
    expose: Vec<(String, String)>,
    /// Contact nothing; say what would be dialled, exposed and forwarded.
    #[arg(long)]
    plan: bool,
    #[command(flatten)]
    supervision: Supervision,
}

pub(crate) fn run(args: ClientArgs) -> anyhow::Result<ExitCode> {
    let loaded = match load(&args) {
        Ok(loaded) => loaded,
        Err(problems) => return Ok(process::refuse(&problems)),
    };
    if args.plan {
        print_plan(&loaded.config);
        return Ok(ExitCode::SUCCESS);
    }
    let supervision = args.supervision;
    let started = move |admin: Option<&_>| supervision.announce(admin);
    process::run(
        supervision,
        |stop| tunnel_client::run(loaded, args.config, started, stop),
        StartError::is_configuration,
    )
}

fn load(args: &ClientArgs) -> Result<Loaded<Config>, Problems> {
    if let Some(file) = &args.config {
        return Config::load(file);
    }
    let mut document = Document::of_arguments();
    for edge in &args.edge {
        document.set(Place::Argument, "edge", "address", edge);
    }
    if let Some(identity) = &args.identity {
        let identity = identity.to_string_lossy();
        document.set(Place::Argument, "identity", "dir", &identity);
    }
    for (service, target) in &args.expose {
        document.push("expose", &[("service", service), ("target", target)]);
    }
    let variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    document.apply_variables(&SCHEMA, variables);
    let config = Config::from_document(&document)?;
    Ok(Loaded {
        config,
        sources: document.sources().clone(),
    })
}

fn print_plan(config: &Config) {
    println!("identity  {}", config.identity_dir.display());
    for line in dialled(&config.edge) {
        println!("dial      {line}");
    }
    for expose in &config.exposes {
        let until = match expose.origin.resume {
            true => "",
            false => "; its streams end with their connection",
        };
        println!(
            "expose    {} -> {}: the control plane may call it{until}",
            expose.service, expose.origin.target
        );
    }
    for forward in &config.forwards {
        for listen in &forward.listen {
            println!(
                "forward   {listen} -> {} in the control plane",
                forward.service
            );
        }
    }
    if config.exposes.is_empty() {
        println!("expose    nothing: the control plane can call nothing here");
    }
}

/// What names lead where, as far as it can be said without asking anybody.
fn dialled(edge: &EdgeSettings) -> Vec<String> {
    let instead: Vec<_> = edge.connect_to.iter().map(ToString::to_string).collect();
    let at = match instead.is_empty() {
        true => String::new(),
        false => format!(", at {}", instead.join(", ")),
    };
    let transport = edge.transport.name();
    let services = edge
        .srv
        .iter()
        .map(|it| format!("what the SRV records of {it} name"));
    let addresses = edge.addresses.iter().map(ToString::to_string);
    let all = services.chain(addresses);
    all.map(|what| format!("{what} (transport {transport}){at}"))
        .collect()
}

/// `NAME=URL`.
pub(crate) fn name_and_url(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, url)) if !name.is_empty() && !url.is_empty() => Ok((name.into(), url.into())),
        Some(_) | None => Err("write NAME=URL, such as web=http://127.0.0.1:3000".into()),
    }
}
