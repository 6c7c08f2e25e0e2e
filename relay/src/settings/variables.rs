//! `CAUSEWAY_*` variables that override keys, for containers.

use super::document::Document;
use super::problem::{Place, Problem};
use super::schema::{INCLUDE, Schema, TableSchema, nearest};

/// What the names of all our variables begin with.
const PREFIX: &str = "CAUSEWAY_";

/// Variables that are no keys: how to log, where the file is.
const OTHERS: [&str; 2] = ["CAUSEWAY_LOG", "CAUSEWAY_CONFIG"];

/// Variables of the project's own tests, which their child processes inherit.
const TESTS: &str = "CAUSEWAY_TEST_";

impl Document {
    /// Lets variables override keys: `CAUSEWAY_EDGE_ADDRESS` is `[edge] address`, `CAUSEWAY_WORKERS` is `workers`.
    ///
    /// Only keys of tables that stand once can be overridden, not `include`. An empty variable counts as not
    /// set; commas separate where a key takes a list. Unknown ones are problems that
    /// [`Reading::finish`](super::Reading::finish) reports, apart from those that Kubernetes
    /// sets in every container beside a Service called `causeway…`.
    pub fn apply_variables(
        &mut self,
        schema: &Schema,
        variables: impl IntoIterator<Item = (String, String)>,
    ) {
        for (name, value) in variables {
            let Some(rest) = name.strip_prefix(PREFIX) else {
                continue;
            };
            if OTHERS.contains(&name.as_str()) || name.starts_with(TESTS) {
                continue;
            }
            let known = overridable(schema).find(|(table, key)| variable(table, key) == name);
            match known {
                Some((table, key)) if !value.is_empty() => {
                    self.set(Place::Variable(name), table.name, key, &value);
                }
                Some(_) => {}
                None if is_service_link(rest) => {}
                None => {
                    let message = unknown(schema, &name);
                    self.report(Problem::new(Place::Variable(name), "", message));
                }
            }
        }
    }
}

fn overridable(schema: &Schema) -> impl Iterator<Item = (&'static TableSchema, &'static str)> {
    schema
        .keys()
        .filter(|(table, key)| !table.repeated && *key != INCLUDE)
}

/// The variable that overrides a key.
fn variable(table: &TableSchema, key: &str) -> String {
    let mut name = String::from(PREFIX);
    if !table.name.is_empty() {
        name.push_str(&table.name.replace('.', "_"));
        name.push('_');
    }
    name.push_str(key);
    name.to_uppercase()
}

fn unknown(schema: &Schema, name: &str) -> String {
    let kind = schema.kind;
    let repeated = schema
        .tables
        .iter()
        .filter(|table| table.repeated)
        .find(|table| {
            name.strip_prefix(PREFIX)
                .is_some_and(|rest| rest.to_lowercase().split('_').next() == Some(table.name))
        });
    if let Some(table) = repeated {
        let header = table.header();
        return format!(
            "variables cannot add or change {header}; put it into the file or one that it includes"
        );
    }
    let known: Vec<String> = overridable(schema)
        .map(|(table, key)| variable(table, key).to_lowercase())
        .collect();
    match nearest(name, known.iter().map(String::as_str)) {
        Some(near) => format!(
            "overrides no key of {kind}; did you mean {}?",
            near.to_uppercase()
        ),
        None => format!(
            "overrides no key of {kind}; unset it, or see the list of keys in docs/configuration.md"
        ),
    }
}

/// Whether a name, without its prefix, is one of those that Kubernetes derives from a Service's name:
/// `…SERVICE_HOST`, `…SERVICE_PORT`, `…SERVICE_PORT_<NAME>`, `…PORT`, `…PORT_<N>_TCP`, `…PORT_<N>_TCP_{PROTO,PORT,ADDR}`.
///
/// No key of ours ends like them.
fn is_service_link(rest: &str) -> bool {
    let words: Vec<&str> = rest.split('_').collect();
    let port_number = |window: &[&str]| {
        window[0] == "PORT"
            && window[1].bytes().all(|byte| byte.is_ascii_digit())
            && ["TCP", "UDP", "SCTP"].contains(&window[2])
    };
    words.last() == Some(&"PORT")
        || words
            .windows(2)
            .any(|pair| matches!(pair, ["SERVICE", "HOST" | "PORT"]))
        || words.windows(3).any(port_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubernetes_may_call_its_service_like_us() {
        for name in [
            "SERVICE_HOST",
            "EDGE_SERVICE_HOST",
            "EDGE_SERVICE_PORT",
            "EDGE_SERVICE_PORT_TUNNEL",
            "EDGE_PORT",
            "EDGE_PORT_7443_UDP",
            "EDGE_PORT_7443_TCP_ADDR",
        ] {
            assert!(is_service_link(name), "{name}");
        }
        for name in ["EDGE_ADDRESS", "PORTS", "SERVICE", "LISTEN_TUNNEL"] {
            assert!(!is_service_link(name), "{name}");
        }
    }
}
