//! Which names there should be, and what is under them. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use certs::{ClusterId, Label};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, SRV};
use hickory_proto::rr::{LowerName, Name, RData};

use super::ownership;
use super::view::{EdgeView, Standing, View};
use crate::config::DnsTarget;

/// What clients ask for to find the edges (RFC 2782).
const SERVICE: [&str; 2] = ["_causeway", "_tcp"];

/// How names are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Naming {
    pub(crate) zone: LowerName,
    /// Whether `*.{zone}` is one of them.
    pub(crate) wildcard: bool,
    /// Names of the zone's own servers, as far as they are inside the zone and lead to the edges.
    pub(crate) nameservers: BTreeSet<LowerName>,
    /// In seconds, of clusters and the wildcard.
    pub(crate) ttl: u32,
    /// In seconds, of edges and name servers.
    pub(crate) edge_ttl: u32,
}

/// What a name is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Purpose {
    /// `{cluster}--{tenant}.{zone}`
    Cluster(ClusterId),
    /// `{edge}.{zone}`
    Edge(Label),
    /// `*.{zone}`: the http ingress.
    Ingress,
    /// `_causeway._tcp.{zone}`
    Discovery,
    /// What the zone is delegated to.
    NameServer(LowerName),
}

/// All names that there should be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Desired {
    pub(crate) names: BTreeMap<LowerName, Wanted>,
    /// What cannot be published, and why.
    pub(crate) unfit: BTreeMap<Purpose, Unfit>,
}

/// What there should be under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) purpose: Purpose,
    /// In seconds.
    pub(crate) ttl: u32,
    /// Never empty.
    pub(crate) records: BTreeSet<RData>,
    /// Records of edges that have said that they leave: nobody needs to wait before these go.
    pub(crate) leaving: BTreeSet<RData>,
}

/// A name that DNS cannot hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unfit {
    pub(crate) name: String,
    pub(crate) message: String,
}

/// What `view` asks for.
pub(crate) fn desired(view: &View, naming: &Naming) -> Desired {
    let mut desired = Desired::default();
    let mut hosts = BTreeMap::new();
    for (label, edge) in &view.edges {
        let purpose = Purpose::Edge(label.clone());
        let records = records_of([edge]);
        let name = desired.add(
            naming,
            purpose,
            &[label.as_str()],
            (records, BTreeSet::new()),
        );
        // The target of an SRV record must not be an alias (RFC 2782).
        let host = match &edge.target {
            DnsTarget::Addresses(_) => name,
            DnsTarget::Name(target) => Some(target.clone()),
        };
        hosts.extend(host.map(|host| (label, (host, edge))));
    }

    let everyone = || view.edges.values();
    let clients = |standing: Standing| {
        let services = hosts.values().filter(|(_, edge)| edge.standing == standing);
        services
            .map(|(host, edge)| service(host, edge.port))
            .collect()
    };
    let discovery = stay_and_go(clients(Standing::Serving), clients(Standing::Leaving));
    desired.add(naming, Purpose::Discovery, &SERVICE, discovery);
    if naming.wildcard {
        desired.add(naming, Purpose::Ingress, &["*"], led_to(everyone()));
    }
    for (cluster, edges) in &view.clusters {
        let label = label_of_cluster(cluster);
        let edges = edges.iter().filter_map(|edge| view.edges.get(edge));
        let purpose = Purpose::Cluster(cluster.clone());
        desired.add(naming, purpose, &[&label], led_to(edges));
    }
    for name in &naming.nameservers {
        // An edge's own name leads there anyway.
        if !desired.names.contains_key(name) {
            let labels = labels_below(name, &naming.zone);
            let labels: Vec<_> = labels.iter().map(String::as_str).collect();
            let purpose = Purpose::NameServer(name.clone());
            desired.add(naming, purpose, &labels, led_to(everyone()));
        }
    }
    desired
}

fn labels_below(name: &LowerName, zone: &LowerName) -> Vec<String> {
    let count = name.iter().count().saturating_sub(zone.iter().count());
    let labels = name.iter().take(count);
    labels
        .map(|label| String::from_utf8_lossy(label).into_owned())
        .collect()
}

/// The name of a cluster as reports have it, whether DNS can hold it or not.
pub(crate) fn name_of_cluster(cluster: &ClusterId, zone: &LowerName) -> String {
    format!("{}.{zone}", label_of_cluster(cluster))
}

fn label_of_cluster(cluster: &ClusterId) -> String {
    format!("{}--{}", cluster.cluster, cluster.tenant)
}

/// Records to have, and records that may go at once.
type StayAndGo = (BTreeSet<RData>, BTreeSet<RData>);

impl Desired {
    /// Adds a name, unless there is nothing to publish under it or DNS cannot hold it.
    fn add(
        &mut self,
        naming: &Naming,
        purpose: Purpose,
        labels: &[&str],
        (records, leaving): StayAndGo,
    ) -> Option<LowerName> {
        if records.is_empty() {
            return None;
        }
        match name(labels, &naming.zone, &records) {
            Ok(name) => {
                let ttl = match purpose {
                    Purpose::Cluster(_) | Purpose::Ingress => naming.ttl,
                    Purpose::Edge(_) | Purpose::Discovery | Purpose::NameServer(_) => {
                        naming.edge_ttl
                    }
                };
                let wanted = Wanted {
                    purpose,
                    ttl,
                    records,
                    leaving,
                };
                self.names.insert(name.clone(), wanted);
                Some(name)
            }
            Err(message) => {
                let name = format!("{}.{}", labels.join("."), naming.zone);
                self.unfit.insert(purpose, Unfit { name, message });
                None
            }
        }
    }
}

/// The records of a name that leads to these edges: to those that serve, or, if all leave, to all of
/// them, since a name without records helps nobody.
fn led_to<'v>(edges: impl Iterator<Item = &'v EdgeView> + Clone) -> StayAndGo {
    let of = |standing: Standing| {
        let edges = edges.clone().filter(move |edge| edge.standing == standing);
        records_of(edges)
    };
    stay_and_go(of(Standing::Serving), of(Standing::Leaving))
}

fn stay_and_go(serving: BTreeSet<RData>, leaving: BTreeSet<RData>) -> StayAndGo {
    if serving.is_empty() {
        return (leaving, BTreeSet::new());
    }
    let go = leaving.difference(&serving).cloned().collect();
    (serving, go)
}

/// The addresses of all of them. If none has any, the alias of the first: a name can have only one.
fn records_of<'v>(edges: impl IntoIterator<Item = &'v EdgeView>) -> BTreeSet<RData> {
    let mut addresses = BTreeSet::new();
    let mut aliases = BTreeSet::new();
    for edge in edges {
        match &edge.target {
            DnsTarget::Addresses(of_edge) => addresses.extend(of_edge.iter().map(address)),
            DnsTarget::Name(name) => {
                aliases.insert(name);
            }
        }
    }
    match (addresses.is_empty(), aliases.first()) {
        (true, Some(alias)) => BTreeSet::from([RData::CNAME(CNAME(Name::from((*alias).clone())))]),
        (true, None) | (false, _) => addresses,
    }
}

fn address(address: &IpAddr) -> RData {
    match address {
        IpAddr::V4(v4) => RData::A(A(*v4)),
        IpAddr::V6(v6) => RData::AAAA(AAAA(*v6)),
    }
}

/// All edges are as good as each other.
fn service(host: &LowerName, port: u16) -> RData {
    RData::SRV(SRV::new(0, 1, port, Name::from(host.clone())))
}

/// The name of these labels below the zone, with room for the record of its ownership.
fn name(labels: &[&str], zone: &LowerName, records: &BTreeSet<RData>) -> Result<LowerName, String> {
    if let Some(label) = labels.iter().find(|label| label.len() > 63) {
        return Err(format!(
            "{label} has {} characters, and a label of DNS holds 63 (RFC 1035, section 2.3.4): give the cluster or the tenant a shorter name",
            label.len()
        ));
    }
    let mut name = Name::new();
    for label in labels {
        name = name
            .append_label(*label)
            .map_err(|error| error.to_string())?;
    }
    let too_long = "with the record of its ownership the name is longer than the 253 characters that DNS holds (RFC 1035, section 2.3.4): take a zone with a shorter name";
    let name = name
        .append_domain(zone)
        .map(LowerName::from)
        .map_err(|_| too_long.to_owned())?;
    ownership::key(&name, zone).ok_or_else(|| too_long.to_owned())?;
    let leads_to_itself =
        |data: &RData| matches!(data, RData::CNAME(CNAME(target)) if *target == *name);
    if records.iter().any(leads_to_itself) {
        return Err(
            "the target of an edge is this very name, which would lead to itself: write addresses, or another name, as dns.target"
                .to_owned(),
        );
    }
    Ok(name)
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cluster(cluster) => write!(f, "cluster/{cluster}"),
            Self::Edge(edge) => write!(f, "edge/{edge}"),
            Self::Ingress => f.write_str("ingress"),
            Self::Discovery => f.write_str("discovery"),
            Self::NameServer(_) => f.write_str("nameserver"),
        }
    }
}

#[cfg(test)]
mod tests;
