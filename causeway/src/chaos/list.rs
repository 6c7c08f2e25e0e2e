//! `causeway chaos list`: the catalogue of faults.

use std::fmt::Write;
use std::process::ExitCode;

use ::chaos::proxy::{Kind, Parameter};
use serde_json::{Value, json};

use crate::status::put;

/// How wide a line may be.
const WIDTH: usize = 100;

/// Show every fault with its parameters, their units and defaults.
#[derive(Debug, clap::Args)]
pub(crate) struct ListArgs {
    /// Only this fault
    #[arg(value_name = "FAULT", value_parser = kind)]
    kind: Option<Kind>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// Runs `causeway chaos list`.
pub(super) fn run(args: &ListArgs) -> anyhow::Result<ExitCode> {
    let kinds: Vec<_> = match args.kind {
        Some(kind) => vec![kind],
        None => Kind::ALL.to_vec(),
    };
    if args.json {
        let document = Value::Array(kinds.into_iter().map(json).collect());
        put(&format!("{document}\n"))?;
    } else {
        put(&text(&kinds))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn kind(text: &str) -> Result<Kind, String> {
    text.parse()
        .map_err(|error: ::chaos::proxy::UnknownKind| error.to_string())
}

fn json(kind: Kind) -> Value {
    let about = kind.description();
    let parameter = |it: &Parameter| {
        json!({
            "name": it.name,
            "unit": it.unit.name(),
            "written": it.unit.written(),
            "default": it.default,
            "about": it.about,
        })
    };
    json!({
        "name": about.name,
        "about": about.about,
        "applies_to": about.applies.name(),
        "parameters": about.parameters.iter().map(parameter).collect::<Vec<_>>(),
    })
}

fn text(kinds: &[Kind]) -> String {
    let mut text = String::new();
    for kind in kinds {
        let about = kind.description();
        let _ = writeln!(text, "{} ({})", about.name, about.applies.name());
        for line in wrapped(about.about, WIDTH - 2) {
            let _ = writeln!(text, "  {line}");
        }
        for it in about.parameters {
            let value = format!("{}={}", it.name, it.default.unwrap_or("(not set)"));
            let (unit, written) = (it.unit.name(), it.unit.written());
            let _ = writeln!(text, "    {value:<17}  {}", it.about);
            let _ = writeln!(text, "    {:<17}  a {unit}: {written}", "");
        }
        text.push('\n');
    }
    text + "Write them as: [up|down] FAULT [NAME=VALUE]...   up is towards the server, down towards its callers;\n\
            without either it is both. Examples: latency delay=80ms jitter=20ms, down truncate bytes=4KiB, up cut\n"
}

fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("there is always a line");
        if line.is_empty() {
            line.push_str(word);
        } else if line.len() + 1 + word.len() <= width {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_listed_with_its_parameters_in_lines_that_fit() {
        let text = text(&Kind::ALL);
        for kind in Kind::ALL {
            assert!(text.contains(&format!("{kind} (")), "{kind}");
            for parameter in kind.description().parameters {
                assert!(text.contains(&format!("    {}=", parameter.name)));
            }
        }
        for line in text.lines() {
            assert!(line.len() <= 120, "{line}");
        }
        assert_eq!(wrapped("aa bb cc", 5), ["aa bb", "cc"]);
    }
}
