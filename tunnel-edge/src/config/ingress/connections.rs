//! What holds for callers' connections, whatever they speak.

use std::time::Duration;

use ipnet::IpNet;
use relay::settings::{Section, keepalive};

use super::Network;

/// What holds for the connections of an ingress's callers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connections {
    /// From where a connection must begin with a header of the PROXY protocol, which says whose it
    /// really is. Connections from elsewhere are taken as they are. Default: nowhere.
    pub proxy_protocol_from: Vec<IpNet>,
    /// How many there may be at once; further ones wait in the kernel's backlog. Default: 8192 for
    /// an http ingress, 16,384 for each listener of a tcp ingress.
    pub max: usize,
    /// How many of them may come from one IPv4 address or one IPv6 /64; further ones are refused.
    /// `None`, the default, if all may: behind a load balancer everyone has its address.
    pub max_per_address: Option<usize>,
    /// How long one may be silent before the kernel probes it; `None` if it never does. Default 30 s.
    pub keepalive: Option<Duration>,
}

/// What is a sensible number of connections.
const MAX: u64 = 1_000_000;

impl Connections {
    pub(super) fn read(section: &Section<'_>, max: u64) -> Self {
        let max = section.count("max_connections", max, 1..=MAX);
        let per_address = section
            .has("max_connections_per_address")
            .then(|| section.count("max_connections_per_address", 1, 1..=MAX));
        if per_address.is_some_and(|per_address| per_address > max) {
            let because = format!("is more than max_connections, which is {max}");
            section.problem("max_connections_per_address", because);
        }
        Self {
            proxy_protocol_from: networks(section, "proxy_protocol_from"),
            max: count(max),
            max_per_address: per_address.map(count),
            keepalive: keepalive(section),
        }
    }
}

fn count(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// The networks of those who say whose a connection or a request is.
pub(super) fn networks(section: &Section<'_>, key: &'static str) -> Vec<IpNet> {
    let stated = section.each_with(key, |text, _| text.parse::<Network>());
    let networks: Vec<_> = stated.into_iter().map(|network| network.value.0).collect();
    let everyone = networks.iter().find(|network| network.prefix_len() == 0);
    if let Some(everyone) = everyone
        && section.has("allow")
    {
        let because = format!(
            "{everyone} is everyone, so anyone could claim any address that allow admits; name the proxies"
        );
        section.problem(key, because);
    }
    networks
}
