//! `causeway check`: whether a configuration file is right, without starting anything.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use certs::{Chain, Revocations, RoleKind};
use clap::Args;
use relay::origin::Target;
use relay::settings::{
    AuditSettings, Document, Loaded, OriginSettings, Place, Problem, Problems, SessionSettings,
    Sources, format_duration,
};
use serde_json::{Value, json};
use tunnel_edge::config::{
    DnsProvider, DnsSettings, Entry, HttpSettings, Ingress, IngressKind, UnusableSecret,
};

use crate::config::Kind;

/// The arguments of `causeway check`.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// The file to check, together with what it includes and the CAUSEWAY_* variables that are set.
    file: PathBuf,
    /// What the file configures, where its tables do not tell.
    #[arg(long, value_enum)]
    kind: Option<Kind>,
    /// Print the result as one JSON document.
    #[arg(long)]
    json: bool,
}

/// The exit status of a process that was configured wrongly.
pub(crate) const EXIT_CONFIGURATION: u8 = 2;

/// Runs `causeway check`.
pub(crate) fn run(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let outcome = check(&args.file, args.kind);
    if args.json {
        let shown = serde_json::to_string_pretty(&as_json(&args.file, &outcome))
            .context("the result cannot be written as JSON")?;
        println!("{shown}");
    } else {
        report(&args.file, &outcome);
    }
    Ok(match outcome {
        Ok(_) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(EXIT_CONFIGURATION),
    })
}

/// A file that is right.
struct Summary {
    kind: Kind,
    /// What it has, such as 2 × "ingress".
    counts: Vec<(&'static str, usize)>,
    /// What may keep it from working all the same.
    warnings: Vec<String>,
}

fn check(file: &Path, forced: Option<Kind>) -> Result<Summary, Problems> {
    let kind = match forced {
        Some(kind) => kind,
        None => {
            let document = Document::read(file)?;
            let unclear = || {
                let message = "cannot tell what it configures: no table is an edge's only \
                    ([listen], [[ingress]], [[upstream]]) or a client's only ([edge], [[expose]], [[forward]]); \
                    say --kind edge or --kind client";
                document.refuse(Problem::new(Place::File(file.into()), "", message))
            };
            kind_of(&document).ok_or_else(unclear)?
        }
    };
    match kind {
        Kind::Edge => check_edge(file),
        Kind::Client => check_client(file),
    }
}

/// What a file configures, going by the tables that only one of the two has; whoever has more.
pub(crate) fn kind_of(document: &Document) -> Option<Kind> {
    let count = |tables: &[&str]| {
        document
            .names()
            .filter(|name| tables.contains(name))
            .count()
    };
    let edge = count(&["listen", "ingress", "upstream", "dns"]);
    let client = count(&["edge", "expose", "forward", "backoff"]);
    match edge.cmp(&client) {
        std::cmp::Ordering::Greater => Some(Kind::Edge),
        std::cmp::Ordering::Less => Some(Kind::Client),
        std::cmp::Ordering::Equal => None,
    }
}

fn check_edge(file: &Path) -> Result<Summary, Problems> {
    let Loaded { config, sources } = tunnel_edge::config::Config::load(file)?;
    let mut warnings = Vec::new();
    let identity = identity(file, &config.identity_dir, RoleKind::Edge, &mut warnings);
    let secret = config.dns.as_ref();
    let secret = secret.and_then(|dns| tsig_secret(file, dns, &mut warnings));
    let problems = [identity, audit_log(file, &config.audit), secret];
    refuse_if_any(problems, &sources)?;
    warnings.extend(
        config
            .upstreams
            .iter()
            .filter_map(|upstream| ca_warning(&upstream.origin)),
    );
    warnings.extend(
        config
            .ingresses
            .iter()
            .filter_map(|ingress| zone_warning(ingress, config.dns.as_ref()?)),
    );
    warnings.extend(grace_warning(&config.session));
    let routes = config.ingresses.iter().map(|ingress| match &ingress.kind {
        IngressKind::Http(http) => http.routes.len(),
        IngressKind::Tcp(_) => 0,
    });
    let counts = vec![
        ("ingress", config.ingresses.len()),
        ("route", routes.sum()),
        ("upstream", config.upstreams.len()),
    ];
    Ok(Summary {
        kind: Kind::Edge,
        counts,
        warnings,
    })
}

fn check_client(file: &Path) -> Result<Summary, Problems> {
    let Loaded { config, sources } = tunnel_client::config::Config::load(file)?;
    let mut warnings = Vec::new();
    let identity = identity(file, &config.identity_dir, RoleKind::Client, &mut warnings);
    refuse_if_any([identity, audit_log(file, &config.audit)], &sources)?;
    warnings.extend(
        config
            .exposes
            .iter()
            .filter_map(|expose| ca_warning(&expose.origin)),
    );
    warnings.extend(grace_warning(&config.session));
    let counts = vec![
        ("expose", config.exposes.len()),
        ("forward", config.forwards.len()),
    ];
    Ok(Summary {
        kind: Kind::Client,
        counts,
        warnings,
    })
}

/// What keeps the process from starting with its identity. That there is none is only a warning: a
/// file is often checked where its keys are not.
fn identity(
    file: &Path,
    dir: &Path,
    expected: RoleKind,
    warnings: &mut Vec<String>,
) -> Option<Problem> {
    if !dir.exists() {
        warnings.push(format!(
            "identity.dir: {} does not exist here",
            dir.display()
        ));
        return None;
    }
    let message = match certs::load(dir) {
        Err(error) => error.to_string(),
        Ok(material) => {
            let identity = material.identity();
            let found = identity.role.kind();
            match Revocations::load(dir, &material) {
                _ if found != expected => {
                    format!("{identity} has the role {found}; this file needs the role {expected}")
                }
                Err(error) => error.to_string(),
                Ok(revocations) => {
                    let own = revocations.of(&Chain::of(material.chain()));
                    let revoked = |entry| format!("identity.dir: {identity} is revoked: {entry}");
                    warnings.extend(own.map(revoked));
                    return None;
                }
            }
        }
    };
    Some(Problem::new(
        Place::File(file.into()),
        "identity.dir",
        message,
    ))
}

/// What keeps the audit log from being opened.
fn audit_log(file: &Path, audit: &AuditSettings) -> Option<Problem> {
    let log = audit.file.as_ref()?;
    let directory = log.parent().filter(|parent| !parent.as_os_str().is_empty());
    let missing = directory.filter(|directory| !directory.is_dir());
    let message = match missing {
        _ if log.is_dir() => format!("{} is a directory; name a file in it", log.display()),
        Some(missing) => format!(
            "there is no directory {} here; create it, or name another file",
            missing.display()
        ),
        None => return None,
    };
    Some(Problem::new(
        Place::File(file.into()),
        "audit.file",
        message,
    ))
}

fn refuse_if_any(
    problems: impl IntoIterator<Item = Option<Problem>>,
    sources: &Sources,
) -> Result<(), Problems> {
    let problems = problems.into_iter().flatten().collect();
    Problems::of(problems, sources).map_or(Ok(()), Err)
}

fn ca_warning(origin: &OriginSettings) -> Option<String> {
    match &origin.target {
        Target::Https(https) => {
            let ca = https.ca.as_ref().filter(|ca| !ca.exists())?;
            Some(format!(
                "ca of {}: {} does not exist here",
                origin.target,
                ca.display()
            ))
        }
        Target::Tcp(_) | Target::Http(_) | Target::H2c(_) | Target::Unix { .. } | Target::Hello => {
            None
        }
    }
}

/// That a session is over as soon as its connection is found dead: the grace counts from the last byte.
fn grace_warning(session: &SessionSettings) -> Option<String> {
    let SessionSettings {
        grace, dead_after, ..
    } = *session;
    (!grace.is_zero() && grace <= dead_after).then(|| {
        let [grace, dead_after] = [grace, dead_after].map(format_duration);
        format!(
            "session.grace: streams survive no silent loss, for {grace} are over when that is found after \
             dead_after, {dead_after}; make it longer, or \"0s\" for no grace at all"
        )
    })
}

/// That none of the names which the edge publishes leads to an ingress: its hosts are in another zone.
fn zone_warning(ingress: &Ingress, dns: &DnsSettings) -> Option<String> {
    let host = match &ingress.kind {
        IngressKind::Http(HttpSettings {
            entry: Some(Entry::Pattern(host)),
            ..
        }) => host,
        IngressKind::Http(_) | IngressKind::Tcp(_) => return None,
    };
    let zone = dns.zone.to_string();
    let zone = zone.trim_end_matches('.');
    let below = host.domain().strip_suffix(zone);
    let is_in_zone = below.is_some_and(|below| below.is_empty() || below.ends_with('.'));
    (!is_in_zone).then(|| {
        format!(
            "ingress {}: its host {host} is outside the zone {zone} of [dns], so no name that the edge \
             publishes leads there",
            ingress.name
        )
    })
}

/// What keeps the edge from signing for its name server. That there is no secret is only a warning: a
/// file is often checked where its secrets are not.
fn tsig_secret(file: &Path, dns: &DnsSettings, warnings: &mut Vec<String>) -> Option<Problem> {
    const KEY: &str = "dns.rfc2136.secret_file";
    let server = match &dns.provider {
        DnsProvider::Rfc2136(server) => server,
        DnsProvider::Embedded(_) | DnsProvider::Zonefile(_) => return None,
    };
    match server.weaknesses_of_secret() {
        Ok(weaknesses) => {
            warnings.extend(weaknesses.iter().map(|weak| format!("{KEY}: {weak}")));
            None
        }
        Err(missing @ UnusableSecret::Missing(_)) => {
            warnings.push(format!("{KEY}: {missing}"));
            None
        }
        Err(wrong @ UnusableSecret::Wrong { .. }) => Some(Problem::new(
            Place::File(file.into()),
            KEY,
            wrong.to_string(),
        )),
    }
}

/// The result for people: what is right on stdout, everything else on stderr.
fn report(file: &Path, outcome: &Result<Summary, Problems>) {
    match outcome {
        Ok(Summary {
            kind,
            counts,
            warnings,
        }) => {
            for warning in warnings {
                eprintln!("{}: warning: {warning}", file.display());
            }
            let counts: Vec<String> = counts
                .iter()
                .map(|(what, count)| format!("{count} {}", plural(what, *count)))
                .collect();
            println!(
                "{}: ok ({}, {})",
                file.display(),
                kind.as_str(),
                counts.join(", ")
            );
        }
        Err(problems) => {
            for problem in problems {
                eprintln!("{problem}");
            }
            let count = problems.len();
            eprintln!("{}: {count} {}", file.display(), plural("problem", count));
        }
    }
}

fn plural(what: &str, count: usize) -> String {
    match (count, what.ends_with('s')) {
        (1, _) => what.to_owned(),
        (_, true) => format!("{what}es"),
        (_, false) => format!("{what}s"),
    }
}

fn as_json(file: &Path, outcome: &Result<Summary, Problems>) -> Value {
    let file = file.display().to_string();
    match outcome {
        Ok(Summary {
            kind,
            counts,
            warnings,
        }) => {
            let counts: serde_json::Map<String, Value> = counts
                .iter()
                .map(|(what, count)| (plural(what, 2), json!(count)))
                .collect();
            json!({
                "file": file, "ok": true, "kind": kind.as_str(), "has": counts, "warnings": warnings,
            })
        }
        Err(problems) => {
            let problem = |problem: &Problem| {
                let position = problem.position();
                json!({
                    "place": problem.place.to_string(),
                    "file": problem.file().map(|file| file.display().to_string()),
                    "line": position.map(|(line, _)| line),
                    "column": position.map(|(_, column)| column),
                    "key": problem.key,
                    "message": problem.message,
                })
            };
            let problems: Vec<Value> = problems.iter().map(problem).collect();
            json!({ "file": file, "ok": false, "problems": problems })
        }
    }
}

#[cfg(test)]
mod tests;
