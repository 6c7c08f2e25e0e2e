//! Somebody else's name server (BIND, Knot, …), read by signed transfers and changed by signed
//! updates: RFC 2136 with TSIG (RFC 8945).
//!
//! Everything goes over one TCP connection, which is kept while it is used. Every question is
//! signed, queries included, and an answer counts only if the server signed it; over UDP, answers
//! could be cut, and an update could be made twice.

mod chain;
mod connection;
mod fault;
mod kept;
mod queries;
mod reading;
#[cfg(test)]
mod tests;
mod update;
mod wire;

use std::{
    collections::BTreeSet,
    fmt,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use hickory_proto::{
    op::{Message, ResponseCode},
    rr::{LowerName, Name, RecordType, TSigner, rdata::tsig::TsigAlgorithm},
};
use tokio::{sync::Mutex, time::timeout};

use self::{
    chain::{Chain, Unproven},
    connection::{Answers, Connection},
    fault::{Place, Work},
    kept::KeptNames,
    queries::Obstructed,
    reading::{Progress, Transfer},
    wire::Answer,
};
use super::{Applied, BoxFuture, Provider, ProviderError, Reading, Reason};
use crate::{
    config::{self, Rfc2136Settings},
    dns::records::{Change, Snapshot},
};

/// By how many seconds the clocks of both ends may differ; what RFC 8945, section 10, recommends.
const FUDGE: u16 = 300;

/// A zone on a name server that takes dynamic updates.
pub(crate) struct Rfc2136 {
    zone: LowerName,
    place: Place,
    signer: TSigner,
    timeout: Duration,
    transfer: bool,
    /// Seconds since 1970, as signatures carry them.
    clock: fn() -> u64,
    /// Whether the last transfer was refused, so that it is said once.
    refused: AtomicBool,
    /// What is asked for where the zone cannot be transferred.
    kept: KeptNames,
    obstructed: Obstructed,
    /// Held while connecting, so that everything under way shares one connection.
    connection: Mutex<Option<Arc<Connection>>>,
}

/// A question on its way and what proves its answer.
struct Asked<'a> {
    work: Work<'a>,
    answers: Answers,
    chain: Chain,
    connection: Arc<Connection>,
}

/// What asking for a transfer came to.
enum Transferred {
    Zone(Snapshot),
    Refused,
}

impl Rfc2136 {
    /// Reads the key's secret, and what an earlier process has kept; contacts nobody.
    pub(crate) fn open(
        zone: &LowerName,
        settings: &Rfc2136Settings,
        state_dir: &Path,
    ) -> Result<Self, ProviderError> {
        let secret = settings.read_secret().map_err(|error| ProviderError {
            reason: Reason::File,
            message: format!("dns.rfc2136.secret_file: {error}"),
        })?;
        for weakness in secret.weaknesses {
            tracing::warn!(key = %settings.key, "the TSIG key is weak: {weakness}");
        }
        let kept = KeptNames::open(zone, state_dir)?;
        Ok(Self::new(zone, settings, secret.bytes, kept))
    }

    fn new(zone: &LowerName, settings: &Rfc2136Settings, secret: Vec<u8>, kept: KeptNames) -> Self {
        let algorithm = match settings.algorithm {
            config::TsigAlgorithm::HmacSha256 => TsigAlgorithm::HmacSha256,
            config::TsigAlgorithm::HmacSha512 => TsigAlgorithm::HmacSha512,
        };
        let key = Name::from(&settings.key);
        let place = Place {
            server: settings.server,
            zone: Name::from(zone),
            key: key.clone(),
            algorithm: algorithm.to_string(),
        };
        let signer = TSigner::new(secret, algorithm, key, FUDGE);
        Self {
            zone: zone.clone(),
            place,
            signer: signer.expect("both algorithms are known"),
            timeout: settings.timeout,
            transfer: settings.transfer,
            clock: now,
            refused: AtomicBool::new(false),
            kept,
            obstructed: Obstructed::default(),
            connection: Mutex::new(None),
        }
    }

    async fn read_zone(
        &self,
        names: &BTreeSet<LowerName>,
        known: Option<u32>,
    ) -> Result<Reading, ProviderError> {
        let serial = self.read_serial().await?;
        if known == Some(serial) {
            return Ok(Reading::Unchanged);
        }
        if self.transfer {
            match self.transfer().await? {
                Transferred::Zone(snapshot) => {
                    self.refused.store(false, Ordering::Relaxed);
                    self.obstructed.forget();
                    return Ok(Reading::Zone(snapshot));
                }
                Transferred::Refused => self.say_refused(),
            }
        }
        // What is asked for now may be published next, and is not to be forgotten then.
        self.kept.keep(names).await;
        // If the zone changes while it is asked, its serial is another one the next time.
        let records = self.query_all(names).await?;
        Ok(Reading::Zone(Snapshot { serial, records }))
    }

    async fn read_serial(&self) -> Result<u32, ProviderError> {
        let work = Work::Serial;
        let answer = self.query(work, &self.place.zone, RecordType::SOA).await?;
        if answer.code != ResponseCode::NoError {
            return Err(self.place.refused(work, answer.code));
        }
        let serial = reading::serial(&self.zone, &answer.records);
        serial
            .filter(|_| answer.authoritative)
            .ok_or_else(|| self.place.refused(work, ResponseCode::NotAuth))
    }

    async fn transfer(&self) -> Result<Transferred, ProviderError> {
        let work = Work::Transfer;
        let mut asked = self
            .ask(work, |id| {
                Ok(reading::question(id, &self.place.zone, RecordType::AXFR))
            })
            .await?;
        let mut transfer = Transfer::new(&self.zone);
        loop {
            let answer = match self.next(&mut asked).await {
                Ok(answer) => answer,
                // Knot says BADKEY for what the key may not do. That the server has it is known:
                // it has proven the serial by it.
                Err(error) if transfer.is_empty() && is_refusal(error.reason) => {
                    return Ok(Transferred::Refused);
                }
                Err(error) => return Err(error),
            };
            if answer.code != ResponseCode::NoError {
                let error = self.place.refused(work, answer.code);
                if transfer.is_empty() && is_refusal(error.reason) {
                    return Ok(Transferred::Refused);
                }
                return Err(error);
            }
            let progress = transfer.take(answer.records);
            match progress.map_err(|what| self.place.malformed(work, what))? {
                Progress::More => {}
                Progress::Whole if asked.chain.is_proven() => break,
                Progress::Whole => return Err(self.place.unproven(work, &Unproven::Unsigned)),
            }
        }
        let snapshot = transfer.into_snapshot();
        Ok(Transferred::Zone(
            snapshot.expect("a whole transfer has a serial"),
        ))
    }

    async fn update(&self, change: &Change) -> Result<Applied, ProviderError> {
        let work = Work::Update(&change.name);
        let answer = self
            .exchange(work, |id| {
                update::message(id, &self.zone, change).map_err(|stranger| {
                    let zone = &self.zone;
                    let what = format!("{stranger} is not in {zone}");
                    self.place.unwritable(work, &what)
                })
            })
            .await?;
        // What can fail without a fault is a prerequisite (RFC 2136, section 3.2).
        let overtaken = [
            ResponseCode::YXDomain,
            ResponseCode::YXRRSet,
            ResponseCode::NXRRSet,
            ResponseCode::NXDomain,
        ];
        let applied = if answer.code == ResponseCode::NoError {
            Applied::Done
        } else if overtaken.contains(&answer.code) {
            Applied::Overtaken
        } else {
            return Err(self.place.refused(work, answer.code));
        };
        self.obstructed.learn(change, applied);
        Ok(applied)
    }

    /// Asks, and takes the one message that answers.
    async fn exchange<'a>(
        &self,
        work: Work<'a>,
        message: impl FnOnce(u16) -> Result<Message, ProviderError>,
    ) -> Result<Answer, ProviderError> {
        let mut asked = self.ask(work, message).await?;
        self.next(&mut asked).await
    }

    async fn ask<'a>(
        &self,
        work: Work<'a>,
        message: impl FnOnce(u16) -> Result<Message, ProviderError>,
    ) -> Result<Asked<'a>, ProviderError> {
        let connection = self.connection().await?;
        let turn = connection.turn().await;
        let mut message = message(turn.id)?;
        let unwritable = |error| self.place.unwritable(work, &error);
        let chain = Chain::sign(&self.signer, &mut message, (self.clock)()).map_err(unwritable)?;
        let message = message.to_vec().map_err(unwritable)?;
        if message.len() > usize::from(u16::MAX) {
            return Err(self
                .place
                .unwritable(work, &"it is longer than 65,535 bytes"));
        }
        let answers = connection.ask(turn, message).await;
        Ok(Asked {
            work,
            answers,
            chain,
            connection,
        })
    }

    /// The next message of an answer, proven as far as it can be by now.
    async fn next(&self, asked: &mut Asked<'_>) -> Result<Answer, ProviderError> {
        let answer = self.next_unchecked(asked).await;
        if answer.is_err() {
            // What else may come over this connection is not to be relied on.
            self.forget(&asked.connection).await;
        }
        answer
    }

    async fn next_unchecked(&self, asked: &mut Asked<'_>) -> Result<Answer, ProviderError> {
        let (place, work) = (&self.place, asked.work);
        let message = timeout(self.timeout, asked.answers.next())
            .await
            .map_err(|_| place.no_answer(work, self.timeout))?
            .map_err(|broken| place.broken(work, &broken))?;
        let answer = Answer::read(&message).map_err(|error| place.unreadable(work, &error))?;
        match asked.chain.prove(&message, &answer, (self.clock)()) {
            Ok(()) if answer.truncated => Err(place.truncated(work)),
            Ok(()) => Ok(answer),
            // A server that says no without a signature says at least why.
            Err(Unproven::Unsigned) if answer.code != ResponseCode::NoError => {
                Err(place.refused(work, answer.code))
            }
            Err(unproven) => Err(place.unproven(work, &unproven)),
        }
    }

    async fn connection(&self) -> Result<Arc<Connection>, ProviderError> {
        let mut slot = self.connection.lock().await;
        if let Some(connection) = slot.as_ref().filter(|connection| connection.is_open()) {
            return Ok(Arc::clone(connection));
        }
        let opened = timeout(self.timeout, Connection::open(self.place.server))
            .await
            .map_err(|_| self.place.no_connection(self.timeout))?
            .map_err(|error| self.place.cannot_connect(&error))?;
        Ok(Arc::clone(slot.insert(Arc::new(opened))))
    }

    async fn forget(&self, broken: &Arc<Connection>) {
        self.connection
            .lock()
            .await
            .take_if(|connection| Arc::ptr_eq(connection, broken));
    }

    fn say_refused(&self) {
        if !self.refused.swap(true, Ordering::Relaxed) {
            let Place {
                server, zone, key, ..
            } = &self.place;
            tracing::warn!(
                %server, %zone, %key,
                "the name server refuses transfers to this key: names are asked for one by one, \
                 and names of others are not seen before they are in the way"
            );
        }
    }
}

impl Provider for Rfc2136 {
    fn known(&self) -> BTreeSet<LowerName> {
        self.kept.found().clone()
    }

    fn read<'a>(
        &'a self,
        names: &'a BTreeSet<LowerName>,
        known: Option<u32>,
    ) -> BoxFuture<'a, Result<Reading, ProviderError>> {
        Box::pin(self.read_zone(names, known))
    }

    fn serial(&self) -> BoxFuture<'_, Result<u32, ProviderError>> {
        Box::pin(self.read_serial())
    }

    fn apply<'a>(&'a self, change: &'a Change) -> BoxFuture<'a, Result<Applied, ProviderError>> {
        Box::pin(self.update(change))
    }
}

impl fmt::Debug for Rfc2136 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rfc2136")
            .field("place", &self.place)
            .field("transfer", &self.transfer)
            .finish_non_exhaustive()
    }
}

/// Whether a server that gives this reason for not transferring a zone may still answer queries.
fn is_refusal(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::Refused | Reason::NotAuthoritative | Reason::BadKey
    )
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}
