//! Asking DNS: by the system's configuration, or servers that the configuration states.

use std::fs;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{Name, RData, RecordType};

use super::failure::{failure, malformed, nothing};
use super::question::{
    Answer, Failure, Family, MAX_ADDRESSES, MAX_TARGETS, Question, Records, Target,
};
use crate::config::ResolverSettings;

/// What the system's configuration is made of.
const SYSTEM_FILES: [&str; 2] = ["/etc/resolv.conf", "/etc/hosts"];

/// How many aliases of the owner of SRV records are followed, as many as of other names.
const MAX_ALIASES: usize = 8;

/// Makes resolvers, a new one whenever the system's configuration has changed.
pub(super) struct Resolver {
    settings: ResolverSettings,
    current: Option<(Vec<Option<Vec<u8>>>, Asker)>,
}

/// What questions are asked with.
#[derive(Clone)]
pub(super) struct Asker {
    resolver: TokioResolver,
    timeout: Duration,
}

impl Resolver {
    pub(super) fn new(settings: &ResolverSettings) -> Self {
        Self {
            settings: settings.clone(),
            current: None,
        }
    }

    /// What to ask with now.
    pub(super) fn current(&mut self) -> Result<Asker, Failure> {
        let files = match self.settings.servers.is_empty() {
            true => SYSTEM_FILES.map(|file| fs::read(file).ok()).into(),
            false => Vec::new(),
        };
        if let Some((of, asker)) = &self.current
            && *of == files
        {
            return Ok(asker.clone());
        }
        let asker = self.make().map_err(|error| Failure::Unanswered {
            why: format!("no name server is known: {error}"),
            label: "no_server",
        })?;
        self.current = Some((files, asker.clone()));
        Ok(asker)
    }

    fn make(&self) -> Result<Asker, NetError> {
        let timeout = self.settings.timeout;
        let mut builder = if self.settings.servers.is_empty() {
            TokioResolver::builder_tokio()?
        } else {
            let servers = self.settings.servers.iter().map(|server| {
                let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
                for connection in &mut connections {
                    connection.port = server.port();
                }
                NameServerConfig::new(server.ip(), true, connections)
            });
            let config = ResolverConfig::from_name_servers(servers.collect());
            let provider = TokioRuntimeProvider::default();
            let mut builder = TokioResolver::builder_with_config(config, provider);
            builder.options_mut().use_hosts_file = ResolveHosts::Never;
            builder
        };
        bound(builder.options_mut(), timeout);
        Ok(Asker {
            resolver: builder.build()?,
            timeout,
        })
    }
}

/// The book is the only memory: what is asked is asked of a server.
fn bound(options: &mut ResolverOpts, timeout: Duration) {
    options.cache_size = 0;
    options.preserve_intermediates = true;
    options.try_tcp_on_error = true;
    options.attempts = 1;
    options.timeout = timeout / 2;
}

impl Asker {
    /// The answer, or why there is none, within the time that is configured.
    pub(super) async fn ask(&self, question: &Question) -> Result<Answer, Failure> {
        let asked = async {
            match question {
                Question::Srv(owner) => self.targets(owner).await,
                Question::Host(name) => self.addresses(Name::from_utf8(name)).await,
                Question::Target(name) => self.addresses(absolute(name)).await,
            }
        };
        let answered = tokio::time::timeout(self.timeout, asked).await;
        answered.unwrap_or_else(|_| Err(failure(&NetError::Timeout, "")))
    }

    async fn addresses(
        &self,
        name: Result<Name, hickory_resolver::proto::ProtoError>,
    ) -> Result<Answer, Failure> {
        let name = name.map_err(|error| malformed(&error))?;
        let (v4, v6) = tokio::join!(
            self.resolver.lookup(name.clone(), RecordType::A),
            self.resolver.lookup(name, RecordType::AAAA),
        );
        let families = [(Family::V4, v4), (Family::V6, v6)];
        let mut addresses = Vec::new();
        let mut shortest = None;
        let (mut denied, mut unanswered) = (None, None);
        for (family, looked_up) in families {
            match looked_up.map_err(|error| failure(&error, "addresses")) {
                Ok(lookup) => {
                    let found = lookup.answers().iter().filter_map(|it| it.data.ip_addr());
                    let mut of_family: Vec<_> = found.collect();
                    // Servers turn them around with every answer: the same ones are taken each time.
                    of_family.sort();
                    of_family.dedup();
                    addresses.extend(of_family.into_iter().take(MAX_ADDRESSES));
                    let ttls = lookup.answers().iter().map(|record| record.ttl);
                    shortest = ttls.chain(shortest).min();
                }
                Err(failure @ Failure::Denied { .. }) => denied = Some(failure),
                Err(failure @ Failure::Unanswered { .. }) => unanswered = Some((family, failure)),
            }
        }
        let ttl = Duration::from_secs(shortest.unwrap_or_default().into());
        match (addresses.is_empty(), unanswered, denied) {
            (false, unanswered, _) => Ok(Answer {
                records: Records::Addresses(addresses),
                ttl,
                unanswered,
            }),
            // Who says that there is nothing of one family has not said it of the other.
            (true, Some((_, unanswered)), _) => Err(unanswered),
            (true, None, Some(denied)) => Err(denied),
            (true, None, None) => Err(nothing("addresses", None)),
        }
    }

    async fn targets(&self, owner: &str) -> Result<Answer, Failure> {
        let mut owner = absolute(owner).map_err(|error| malformed(&error))?;
        let mut shortest = u32::MAX;
        for _ in 0..MAX_ALIASES {
            let denied = match self.resolver.lookup(owner.clone(), RecordType::SRV).await {
                Ok(lookup) => return targets_in(&lookup, shortest),
                Err(error) => failure(&error, "SRV records"),
            };
            // The resolver looks for SRV records behind an alias under the wrong name.
            let alias = match &denied {
                Failure::Denied { .. } => self.alias(&owner).await,
                Failure::Unanswered { .. } => None,
            };
            let Some((alias, ttl)) = alias else {
                return Err(denied);
            };
            shortest = shortest.min(ttl);
            owner = alias;
        }
        Err(Failure::Unanswered {
            why: format!("the name has more than {MAX_ALIASES} aliases in a row"),
            label: "aliases",
        })
    }

    async fn alias(&self, owner: &Name) -> Option<(Name, u32)> {
        let found = self.resolver.lookup(owner.clone(), RecordType::CNAME).await;
        found.ok()?.answers().iter().find_map(|record| {
            let RData::CNAME(alias) = &record.data else {
                return None;
            };
            (record.name == *owner).then(|| (alias.0.clone(), record.ttl))
        })
    }
}

/// The targets of an answer; `.` says that the service is not there (RFC 2782, "Target").
fn targets_in(lookup: &Lookup, shortest: u32) -> Result<Answer, Failure> {
    let mut ttl = shortest;
    let mut targets = Vec::new();
    let mut not_there = false;
    for record in lookup.answers() {
        let RData::SRV(srv) = &record.data else {
            continue;
        };
        ttl = ttl.min(record.ttl);
        let host = srv.target.to_utf8().to_lowercase();
        let host = host.strip_suffix('.').unwrap_or(&host);
        if host.is_empty() {
            not_there = true;
        } else if srv.port != 0 {
            targets.push(Target {
                priority: srv.priority,
                weight: srv.weight,
                host: host.to_owned(),
                port: srv.port,
            });
        }
    }
    // Servers turn them around with every answer: the same ones are taken each time.
    targets.sort();
    targets.dedup();
    targets.truncate(MAX_TARGETS);
    let holds = Duration::from_secs(ttl.into());
    match (targets.is_empty(), not_there) {
        (false, _) => Ok(Answer {
            records: Records::Targets(targets),
            ttl: holds,
            unanswered: None,
        }),
        (true, true) => Err(Failure::Denied {
            why: "its SRV record says that the service is not there (target \".\")".to_owned(),
            ttl: Some(holds),
            label: "not_there",
        }),
        (true, false) => Err(nothing("SRV records", None)),
    }
}

fn absolute(name: &str) -> Result<Name, hickory_resolver::proto::ProtoError> {
    let mut name = Name::from_utf8(name)?;
    name.set_fqdn(true);
    Ok(name)
}

#[cfg(test)]
mod tests;
