//! The edge as the authority for its zone, which a parent zone only delegates to.
//!
//! ```text
//! apply ──▶ Zone (records, serial, prerequisites) ──▶ Table (as over the wire) ──▶ answers
//!             └──▶ a file in the state directory, for the next start
//! ```
//!
//! It runs on a thread of its own, so that neither tunnels nor questions wait for each other.

mod answer;
mod bind;
mod keep;
mod metrics;
mod question;
mod server;
mod table;
mod tcp;
#[cfg(test)]
mod tests;
mod udp;

use std::collections::BTreeSet;
use std::fmt::{Debug, Display};
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hickory_proto::ProtoError;
use hickory_proto::rr::{LowerName, RecordType};
use prometheus_client::registry::Registry;
use relay::Workers;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::text;
use super::zone::{Authority, Outcome, Zone};
use super::{Applied, BoxFuture, Provider, ProviderError, Reading, Reason, serial};
use crate::config::{DnsSettings, EmbeddedSettings};
use crate::dns::records::{Change, Key, Records};
pub(crate) use bind::NameServerBindError;
use bind::Pair;
use keep::{Keeper, MOST_UNKEPT};
use metrics::ServerMetrics;
use server::Server;
use table::{Replacement, Table};
use udp::UdpListener;

/// Why the name server cannot start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EmbeddedError {
    #[error(transparent)]
    Bind(#[from] NameServerBindError),
    /// The state directory cannot be used.
    #[error("{}: {error}; the edge must be able to write its state directory", path.display())]
    File { path: PathBuf, error: io::Error },
    /// Somebody has edited the kept zone.
    #[error("{}: {error}; correct it, or remove it to begin with an empty zone", path.display())]
    Unservable { path: PathBuf, error: ProtoError },
    #[error("the name server's thread cannot be started: {0}")]
    Thread(io::Error),
}

/// A zone, and who answers for it. Dropping it ends that.
pub(super) struct Embedded {
    // Before the keeper, so that nobody asks any more when the zone is written for the last time.
    _answering: Workers,
    server: Arc<Server>,
    keeper: Keeper,
    addresses: Vec<SocketAddr>,
}

impl Debug for Embedded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let path = self.keeper.path();
        f.debug_struct("Embedded")
            .field("path", &path)
            .finish_non_exhaustive()
    }
}

/// Binds, and answers for the zone from then on, first of all with what the state directory has.
pub(crate) fn start(
    dns: &DnsSettings,
    settings: &EmbeddedSettings,
    state_dir: &Path,
    registry: &mut Registry,
) -> Result<Arc<dyn Provider>, EmbeddedError> {
    let authority = Authority::new(&settings.nameservers, &settings.contact, dns.negative_ttl);
    let listen = &settings.listen;
    let embedded = Embedded::start(&dns.zone, authority, listen, state_dir, registry)?;
    let addresses = embedded.addresses.iter().map(ToString::to_string);
    tracing::info!(
        zone = %dns.zone, serial = embedded.keeper.book().zone.serial(),
        listen = addresses.collect::<Vec<_>>().join(", "), "name server started"
    );
    Ok(Arc::new(embedded))
}

impl Embedded {
    fn start(
        origin: &LowerName,
        authority: Authority,
        listen: &[SocketAddr],
        state_dir: &Path,
        registry: &mut Registry,
    ) -> Result<Self, EmbeddedError> {
        let bound = bind::all(listen)?;
        let path = state_dir.join(format!("dns-{}zone", origin.to_ascii()));
        let (zone, kept) = load(origin, authority, &path)?;
        let table = table(&zone).map_err(|error| EmbeddedError::Unservable {
            path: path.clone(),
            error,
        })?;
        let keeper = Keeper::start(zone, path, kept).map_err(EmbeddedError::Thread)?;
        let server = Arc::new(Server::new(table, ServerMetrics::register(registry)));
        let answering = Workers::start(1, "dns").map_err(EmbeddedError::Thread)?;
        let addresses = bound.iter().map(|pair| pair.address).collect();
        answering.first().spawn(serve(bound, server.clone()));
        Ok(Self {
            _answering: answering,
            server,
            keeper,
            addresses,
        })
    }
}

/// The zone as the last edge left it; an empty one if there was none. And whether it is on disk as it
/// is: one that was read is served also if the disk is full.
fn load(
    origin: &LowerName,
    authority: Authority,
    path: &Path,
) -> Result<(Zone, bool), EmbeddedError> {
    let failed = |error| EmbeddedError::File {
        path: path.to_owned(),
        error,
    };
    let kept = match fs::read_to_string(path) {
        Ok(text) => match text::parse(&text, origin) {
            Ok(contents) => Some(contents),
            // Tunnels need not wait for somebody to mend what can be made anew.
            Err(error) => {
                let aside = path.with_extension("zone.damaged");
                fs::rename(path, &aside).map_err(failed)?;
                tracing::error!(
                    file = %path.display(), %error, aside = %aside.display(),
                    "the kept DNS zone cannot be read: it is put aside, and the zone begins empty"
                );
                None
            }
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(failed(error)),
    };
    match kept {
        Some(contents) => {
            let serial = contents.serial.unwrap_or_else(serial::now);
            let mut zone = Zone::new(origin.clone(), serial, contents.records, Some(authority));
            // Later than all that were served, also those that were not kept.
            zone.advance(MOST_UNKEPT);
            let kept = keep::write(&zone, path).is_ok();
            Ok((zone, kept))
        }
        None => {
            let directory = path.parent().unwrap_or(Path::new("."));
            fs::create_dir_all(directory).map_err(failed)?;
            let nothing = Records::new();
            let zone = Zone::new(origin.clone(), serial::now(), nothing, Some(authority));
            // That it cannot be written is better known now than when there is something to keep.
            keep::write(&zone, path).map_err(failed)?;
            Ok((zone, true))
        }
    }
}

fn table(zone: &Zone) -> Result<Table, ProtoError> {
    let mut table = Table::new(zone.origin())?;
    for (key, set) in zone.records() {
        table.replace(Replacement::new(key, Some(set))?);
    }
    Ok(table)
}

/// Answers at all sockets until it is dropped.
async fn serve(bound: Vec<Pair>, server: Arc<Server>) {
    let mut listeners = JoinSet::new();
    let room = tcp::Room::default();
    for Pair { udp, tcp, address } in bound {
        let sockets = UdpListener::new(udp).and_then(|udp| Ok((udp, TcpListener::from_std(tcp)?)));
        let (udp, tcp) = match sockets {
            Ok(sockets) => sockets,
            Err(error) => {
                tracing::error!(%address, %error, "the name server does not answer here");
                continue;
            }
        };
        listeners.spawn(udp.serve(server.clone()));
        listeners.spawn(tcp::serve(tcp, room.clone(), server.clone()));
    }
    while let Some(ended) = listeners.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "a listener of the name server failed");
        }
    }
}

impl Provider for Embedded {
    fn read<'a>(
        &'a self,
        _names: &'a BTreeSet<LowerName>,
        known: Option<u32>,
    ) -> BoxFuture<'a, Result<Reading, ProviderError>> {
        let zone = &self.keeper.book().zone;
        let reading = if known == Some(zone.serial()) {
            Reading::Unchanged
        } else {
            Reading::Zone(zone.snapshot())
        };
        Box::pin(std::future::ready(Ok(reading)))
    }

    fn serial(&self) -> BoxFuture<'_, Result<u32, ProviderError>> {
        let serial = self.keeper.book().zone.serial();
        Box::pin(std::future::ready(Ok(serial)))
    }

    fn apply<'a>(&'a self, change: &'a Change) -> BoxFuture<'a, Result<Applied, ProviderError>> {
        Box::pin(std::future::ready(self.make(change)))
    }
}

impl Embedded {
    fn make(&self, change: &Change) -> Result<Applied, ProviderError> {
        let sets = change.sets.iter();
        let replacements = sets.map(|(key, set)| Replacement::new(key, set.as_ref()));
        let mut replacements: Vec<_> =
            replacements.collect::<Result<_, _>>().map_err(unwritable)?;
        for (key, set) in &change.sets {
            if set.as_ref().is_some_and(|set| !text::is_faithful(key, set)) {
                let Key { name, kind } = key;
                return Err(unwritable(format!(
                    "{name}: these {kind} records could not be kept on disk as they are"
                )));
            }
        }
        let mut book = self.keeper.book();
        if !book.has_room() {
            let path = self.keeper.path().display();
            let message = format!("{path}: the zone cannot be kept there, so it is left as it is");
            return Err(ProviderError {
                reason: Reason::File,
                message,
            });
        }
        match book.zone.make(change).map_err(unwritable)? {
            Outcome::Overtaken => Ok(Applied::Overtaken),
            Outcome::Unchanged => Ok(Applied::Done),
            Outcome::Changed => {
                let soa = book.zone.apex(RecordType::SOA);
                let set = book.zone.records().get(&soa);
                replacements.push(Replacement::new(&soa, set).map_err(unwritable)?);
                self.server.replace(replacements);
                self.keeper.changed(book);
                Ok(Applied::Done)
            }
        }
    }
}

fn unwritable(error: impl Display) -> ProviderError {
    ProviderError {
        reason: Reason::Unwritable,
        message: error.to_string(),
    }
}
