//! From `[dns]` to a reconciler and its provider.

use std::collections::BTreeSet;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use certs::TrustDomain;
use hickory_proto::rr::LowerName;
use prometheus_client::registry::Registry;

use super::desired::Naming;
use super::metrics::DnsMetrics;
use super::plan::Limits;
use super::provider::{Provider, Rfc2136, embedded, zonefile};
use super::reconciler::Policy;
use super::run::{Dns, Reconciling};
use super::view::Clusters;
use crate::config::{Config, DnsProvider, DnsSettings};
use crate::run::StartError;

/// A zone's provider, ready before anybody is let in.
#[derive(Debug)]
pub(crate) struct Prepared {
    policy: Policy,
    provider: (&'static str, Arc<dyn Provider>),
    metrics: DnsMetrics,
}

impl Prepared {
    /// Binds and opens what the provider needs; `None` if no names are published.
    ///
    /// # Errors
    /// What cannot be bound or opened.
    pub(crate) fn start(
        config: &Config,
        domain: &TrustDomain,
        registry: &mut Registry,
    ) -> Result<Option<Self>, StartError> {
        let Some(settings) = &config.dns else {
            return Ok(None);
        };
        Ok(Some(Self {
            policy: policy(settings, domain),
            provider: provider(settings, &config.state_dir, registry)?,
            metrics: DnsMetrics::register(registry),
        }))
    }

    /// Lets it look at `clusters`.
    pub(crate) fn with(self, clusters: Arc<dyn Clusters>) -> (Dns, Reconciling) {
        Dns::new(self.policy, self.provider, clusters, self.metrics)
    }
}

/// The provider that the configuration names, and what it calls it.
fn provider(
    settings: &DnsSettings,
    state_dir: &Path,
    registry: &mut Registry,
) -> Result<(&'static str, Arc<dyn Provider>), StartError> {
    let unusable = |error: &dyn Error| StartError::Names(error.to_string());
    Ok(match &settings.provider {
        DnsProvider::Embedded(of_edge) => {
            let server = embedded::start(settings, of_edge, state_dir, registry);
            ("embedded", server.map_err(|error| unusable(&error))?)
        }
        DnsProvider::Rfc2136(server) => {
            let opened = Rfc2136::open(&settings.zone, server, state_dir);
            let opened = opened.map_err(|error| StartError::Configuration(error.to_string()))?;
            ("rfc2136", Arc::new(opened))
        }
        DnsProvider::Zonefile(file) => {
            let file = zonefile::start(settings, file);
            ("zonefile", file.map_err(|error| unusable(&error))?)
        }
    })
}

fn policy(settings: &DnsSettings, domain: &TrustDomain) -> Policy {
    let owner = settings.owner.clone();
    Policy {
        naming: Naming {
            zone: settings.zone.clone(),
            wildcard: settings.wildcard,
            nameservers: own_nameservers(settings),
            ttl: settings.ttl,
            edge_ttl: settings.edge_ttl,
        },
        owner: owner.unwrap_or_else(|| domain.to_string()),
        limits: Limits {
            remove_after: settings.remove_after,
            max_removals: settings.max_removals,
        },
        debounce: settings.debounce,
        resync: settings.resync,
        settle: settings.settle,
    }
}

/// The name servers that the zone has to have the addresses of: where this edge is the authority.
fn own_nameservers(settings: &DnsSettings) -> BTreeSet<LowerName> {
    let nameservers = match &settings.provider {
        DnsProvider::Embedded(of_edge) => of_edge.nameservers.as_slice(),
        DnsProvider::Rfc2136(_) | DnsProvider::Zonefile(_) => &[],
    };
    let inside = nameservers
        .iter()
        .filter(|name| settings.zone.zone_of(name));
    inside.cloned().collect()
}
