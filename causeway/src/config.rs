//! `causeway config`: what a configuration file looks like.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};

/// The arguments of `causeway config`.
#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Print a commented file with every key, ready to be changed.
    Example(ExampleArgs),
}

#[derive(Debug, Args)]
struct ExampleArgs {
    /// Which file to show.
    kind: Kind,
}

/// What a file configures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// An edge, in the control plane.
    Edge,
    /// A client, in the compute plane.
    Client,
}

impl Kind {
    /// The word for it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Edge => "edge",
            Self::Client => "client",
        }
    }

    fn example(self) -> &'static str {
        match self {
            Self::Edge => include_str!("config/edge.toml"),
            Self::Client => include_str!("config/client.toml"),
        }
    }
}

/// Runs `causeway config`.
pub(crate) fn run(args: &ConfigArgs) -> anyhow::Result<ExitCode> {
    match &args.command {
        ConfigCommand::Example(ExampleArgs { kind }) => {
            io::stdout().write_all(kind.example().as_bytes())?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use relay::settings::{Document, Schema, SessionSettings};

    use super::*;

    const CLIENT: Kind = Kind::Client;
    const EDGE: Kind = Kind::Edge;

    fn document(text: &str) -> Document {
        Document::parse(Path::new("example.toml"), text).unwrap()
    }

    /// The example with every key that it only shows.
    fn with_shown_keys(kind: Kind) -> String {
        let shown = |line: &str| match line.strip_prefix('#') {
            Some(key) if !key.starts_with(' ') => format!("{key}\n"),
            Some(_) | None => format!("{line}\n"),
        };
        kind.example().lines().map(shown).collect()
    }

    #[test]
    fn the_examples_are_right_and_show_defaults() {
        let edge =
            |text: &str| tunnel_edge::config::Config::from_document(&document(text)).unwrap();
        let (plain, full) = (edge(EDGE.example()), edge(&with_shown_keys(EDGE)));
        assert_eq!(
            (&plain.ingresses, &plain.upstreams),
            (&full.ingresses, &full.upstreams)
        );
        let differing = tunnel_edge::config::Config::restart_keys(&plain, &full);
        let no_defaults = [
            "session.tenant_budget",
            "telemetry.listen",
            "audit.file",
            "dns",
            "workers",
        ];
        assert!(
            differing.iter().all(|key| no_defaults.contains(key)),
            "{differing:?}"
        );

        let client =
            |text: &str| tunnel_client::config::Config::from_document(&document(text)).unwrap();
        let (plain, full) = (client(CLIENT.example()), client(&with_shown_keys(CLIENT)));
        assert_eq!(
            (&plain.exposes, &plain.forwards),
            (&full.exposes, &full.forwards)
        );
        let differing = tunnel_client::config::Config::restart_keys(&plain, &full);
        let no_defaults = [
            "edge.srv",
            "edge.connect_to",
            "edge.suffix",
            "resolver",
            "telemetry.listen",
            "audit.file",
        ];
        assert_eq!(differing, no_defaults);
    }

    #[test]
    fn the_worst_case_that_is_stated_is_the_sessions() {
        for settings in [SessionSettings::edge(), SessionSettings::client()] {
            let most = relay::driver::bounds(&settings).all_windows >> 20;
            for text in [
                include_str!("../../docs/configuration.md"),
                EDGE.example(),
                CLIENT.example(),
            ] {
                assert!(text.contains(&format!("{most} MiB with ")), "{most} MiB");
            }
        }
    }

    #[test]
    fn the_examples_show_every_key() {
        every_key_is_shown(EDGE, &tunnel_edge::config::SCHEMA);
        every_key_is_shown(CLIENT, &tunnel_client::config::SCHEMA);
    }

    fn every_key_is_shown(kind: Kind, schema: &Schema) {
        let text = with_shown_keys(kind);
        for (table, key) in schema.keys() {
            let mut within = "";
            let shown = text.lines().any(|line| {
                if line.starts_with('[') {
                    within = line.trim_matches(['[', ']']);
                }
                within == table.name && line.starts_with(&format!("{key} = "))
            });
            assert!(
                shown,
                "{} {key} is missing in {}.toml",
                table.header(),
                kind.as_str()
            );
        }
    }

    #[test]
    fn the_documentation_describes_every_key() {
        let text = include_str!("../../docs/configuration.md");
        for (kind, schema) in [
            (EDGE, tunnel_edge::config::SCHEMA),
            (CLIENT, tunnel_client::config::SCHEMA),
        ] {
            for (table, key) in schema.keys() {
                let name = match table.name {
                    "" => format!("`{key}`"),
                    name => format!("`{name}.{key}`"),
                };
                assert!(
                    text.contains(&name),
                    "{name} is missing for {}",
                    kind.as_str()
                );
            }
        }
    }
}
