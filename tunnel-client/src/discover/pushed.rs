//! What edges tell of themselves and of each other. Pure.

use std::collections::BTreeSet;

use relay::settings::{Host, HostPort};

use crate::config::{EdgeSettings, Suffix};

/// How many edges may be told of.
pub(crate) const MAX_TOLD: usize = 64;

/// What was told, as far as it is believed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pushed {
    /// All edges, as one of them told last.
    list: Vec<HostPort>,
    /// Where the edge of each slot said that it can be reached itself.
    advertised: Vec<Vec<HostPort>>,
}

impl Pushed {
    /// An edge has told of all edges.
    pub(super) fn told(&mut self, edge: &EdgeSettings, list: &[String]) {
        self.list = believed(edge, list);
    }

    /// The edge of a slot has told where it can be reached itself.
    pub(super) fn advertised(&mut self, edge: &EdgeSettings, slot: usize, list: &[String]) {
        if self.advertised.len() <= slot {
            self.advertised.resize_with(slot + 1, Vec::new);
        }
        self.advertised[slot] = believed(edge, list);
    }

    /// Every edge that was told of, in a stable order.
    pub(super) fn edges(&self) -> impl Iterator<Item = &HostPort> {
        let mut seen = BTreeSet::new();
        let all = self.list.iter().chain(self.advertised.iter().flatten());
        all.filter(move |at| seen.insert((*at).clone()))
            .take(MAX_TOLD)
    }
}

/// Those that may be dialled, by what the customer has stated.
fn believed(edge: &EdgeSettings, list: &[String]) -> Vec<HostPort> {
    let read = list
        .iter()
        .take(MAX_TOLD)
        .map(|text| text.parse::<HostPort>());
    let (believed, not): (Vec<_>, Vec<_>) =
        read.flatten().partition(|at| is_believed(edge, &at.host));
    if !not.is_empty() {
        tracing::debug!(edges = ?not, "an edge told of edges that are not within the suffix");
    }
    believed
}

fn is_believed(edge: &EdgeSettings, host: &Host) -> bool {
    match (&edge.suffix, host) {
        (Suffix::Off, _) | (Suffix::Stated(_), Host::Ip(_)) => false,
        (Suffix::Stated(suffix), Host::Name(name)) => is_within(name, suffix),
        (Suffix::OfNames, Host::Ip(_)) => configured(edge).next().is_none(),
        (Suffix::OfNames, Host::Name(name)) => {
            configured(edge).any(|configured| is_within(name, domain(configured)))
        }
    }
}

/// Every name that is configured.
fn configured(edge: &EdgeSettings) -> impl Iterator<Item = &str> {
    let addresses = edge.addresses.iter().filter_map(|at| match &at.host {
        Host::Name(name) => Some(name.as_str()),
        Host::Ip(_) => None,
    });
    addresses.chain(edge.srv.iter().map(String::as_str))
}

/// What is above a name, unless nobody in particular owns it: `example.com` for `edge.example.com`
/// and for itself. Labels of services count for nothing.
fn domain(name: &str) -> &str {
    let mut labels = name;
    let mut of_a_service = false;
    while let Some((first, above)) = labels.split_once('.')
        && first.starts_with('_')
    {
        (labels, of_a_service) = (above, true);
    }
    match labels.split_once('.') {
        Some((_, above)) if !of_a_service && above.contains('.') => above,
        Some(_) | None => labels,
    }
}

fn is_within(name: &str, suffix: &str) -> bool {
    let above = name.strip_suffix(suffix);
    above.is_some_and(|above| above.is_empty() || above.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Transport;

    fn edge(addresses: &[&str], srv: &[&str], suffix: Suffix) -> EdgeSettings {
        EdgeSettings {
            addresses: addresses.iter().map(|it| it.parse().unwrap()).collect(),
            srv: srv.iter().map(ToString::to_string).collect(),
            connect_to: Vec::new(),
            suffix,
            transport: Transport::Auto,
            edges: 1,
        }
    }

    #[track_caller]
    fn check(edge: &EdgeSettings, told: &[&str], believed: &[&str]) {
        let mut pushed = Pushed::default();
        let told: Vec<_> = told.iter().map(ToString::to_string).collect();
        pushed.told(edge, &told);
        let found: Vec<_> = pushed.edges().map(ToString::to_string).collect();
        assert_eq!(found, believed);
    }

    const TOLD: &[&str] = &[
        "edge-2.example.com:443",
        "edge-3.other.example.com:7443",
        "example.com:443",
        "evilexample.com:443",
        "edge.example.org:443",
        "192.0.2.7:443",
        "no port",
        "",
    ];

    #[test]
    fn by_default_only_names_beside_those_that_are_configured_are_believed() {
        let believed = [
            "edge-2.example.com:443",
            "edge-3.other.example.com:7443",
            "example.com:443",
        ];
        let named = edge(&["edge-1.example.com:443"], &[], Suffix::OfNames);
        check(&named, TOLD, &believed);
        let owner = edge(&[], &["_causeway._tcp.example.com"], Suffix::OfNames);
        check(&owner, TOLD, &believed);
        let short = edge(&["example.com:443", "192.0.2.1:443"], &[], Suffix::OfNames);
        check(&short, TOLD, &believed);
        let deep = edge(&["edge.a.example.com:443"], &[], Suffix::OfNames);
        check(&deep, TOLD, &[]);
    }

    #[test]
    fn only_where_no_name_is_configured_are_addresses_believed() {
        let literal = edge(&["192.0.2.1:443"], &[], Suffix::OfNames);
        check(&literal, TOLD, &["192.0.2.7:443"]);
    }

    #[test]
    fn a_suffix_that_is_stated_counts_alone() {
        let stated = Suffix::Stated("other.example.com".to_owned());
        let named = edge(&["edge-1.example.com:443"], &[], stated);
        check(&named, TOLD, &["edge-3.other.example.com:7443"]);
        let off = edge(&["edge-1.example.com:443"], &[], Suffix::Off);
        check(&off, TOLD, &[]);
    }

    #[test]
    fn a_list_is_bounded_and_the_last_one_counts() {
        let edge = edge(&["edge-1.example.com:443"], &[], Suffix::OfNames);
        let mut pushed = Pushed::default();
        let many: Vec<_> = (0..100)
            .map(|n| format!("edge-{n}.example.com:443"))
            .collect();
        pushed.told(&edge, &many);
        assert_eq!(pushed.edges().count(), MAX_TOLD);
        pushed.told(&edge, &many[..1]);
        pushed.advertised(&edge, 1, &many[..2]);
        let found: Vec<_> = pushed.edges().map(ToString::to_string).collect();
        assert_eq!(found, ["edge-0.example.com:443", "edge-1.example.com:443"]);
        pushed.advertised(&edge, 1, &[]);
        assert_eq!(pushed.edges().count(), 1);
    }
}
