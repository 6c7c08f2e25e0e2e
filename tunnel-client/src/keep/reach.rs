//! From candidates to a session: a race, and a greeting for the first that leads to an edge.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use relay::proto::{Attempt, Features, Hello, SOFTWARE, SessionId, VersionRange};
use tokio::time::{Instant, timeout_at};
use tracing::{Instrument, Level, Span, field};

use super::Keeper;
use super::attempts::Attempts;
use super::preference::source_towards;
use super::seek::Begun;
use crate::dial::{Finish, Race, Way};
use crate::discover::{Discovered, addresses_in_order, in_order};
use crate::link::DialState;

/// How many addresses are tried before what is known of them is looked at again.
const MAX_ADDRESSES: usize = 64;

/// How long edges that are known wait for names that were not answered for yet, since those may come
/// before them (in the manner of RFC 8305 §3).
const RESOLUTION_DELAY: Duration = Duration::from_millis(500);

/// No way led to an edge.
pub(super) struct NotReached {
    /// What an edge asked for.
    pub(super) retry_after: Option<Duration>,
}

impl Keeper {
    /// Tries every way to these addresses once, each within a span of its own, which comes with what was
    /// reached: `None` if it all belongs to other keepers, or is the `avoided` edge. The new session is begun beside
    /// `older`.
    pub(super) async fn reach(
        &self,
        addresses: Vec<SocketAddr>,
        attempts: &mut Attempts,
        older: Option<SessionId>,
        avoided: Option<&str>,
    ) -> Result<Option<Begun>, NotReached> {
        let mut ways = self.ways(addresses, attempts.last_address);
        if let Some(way) = ways.first() {
            attempts.preference.now_from(source_towards(way.address));
        }
        if attempts.preference.held_until(Instant::now()).is_some() {
            // Everything else begins before it.
            ways.sort_by_key(|way| self.is_preferred(*way));
        }
        let hint = attempts.hint;
        let mut race = Race::new(self.dialer.clone(), hint, self.worker.clone(), ways);
        let (mut retry_after, mut failed) = (None, false);
        while let Some(finish) = race.next(|way| self.begin(way)).await {
            let Finish { way, span, outcome } = finish;
            attempts.last_address = Some(way.address);
            let greeted = match outcome {
                Ok(connected) => {
                    let now = Instant::now();
                    let edge = connected.edge().to_owned();
                    if avoided == Some(edge.as_str()) {
                        race.leave_out(way.address);
                        continue;
                    }
                    let Some(claim) = self.claims.claim(self.slot, &edge, way.address, now) else {
                        // Dropping the connection lets it go.
                        self.metrics.attempted(way.transport, "duplicate");
                        span.in_scope(|| {
                            tracing::debug!(edge, "there is a session with it already")
                        });
                        race.leave_out(way.address);
                        continue;
                    };
                    let mut hello = self.hello(&edge);
                    if self.retired.has_room(&edge) {
                        hello.beside.extend(older);
                    }
                    let greeting = self.dialer.greet(connected, hello);
                    let greeted = greeting.instrument(span.clone()).await;
                    greeted.map(|reached| (reached, claim))
                }
                Err(error) => Err(error),
            };
            match greeted {
                Ok((reached, claim)) => {
                    self.metrics.attempted(way.transport, "reached");
                    return Ok(Some(Begun {
                        reached,
                        claim,
                        way,
                        span,
                    }));
                }
                Err(error) => {
                    failed = true;
                    self.metrics.attempted(way.transport, "failed");
                    span.in_scope(|| tracing::warn!(%error, "edge not reached"));
                    if let Some(refusal) = error.refusal() {
                        retry_after = retry_after.max(self.patience_with(refusal));
                        race.leave_out(way.address);
                    }
                    self.failed(error.to_string());
                }
            }
        }
        if failed {
            self.discovery.hurry();
            return Err(NotReached { retry_after });
        }
        Ok(None)
    }

    /// Waits until an edge is known, and says meanwhile why none is.
    pub(super) async fn discovered(&self) -> Discovered {
        let mut watched = self.discovery.watch();
        let mut patience = None;
        loop {
            let discovered = watched.borrow_and_update().clone();
            if !discovered.candidates.is_empty() {
                let until = *patience.get_or_insert_with(|| Instant::now() + RESOLUTION_DELAY);
                let others = timeout_at(until, watched.changed());
                if discovered.settled || !matches!(others.await, Ok(Ok(()))) {
                    return discovered;
                }
                continue;
            }
            if let Some(why) = discovered.why_nothing() {
                self.link.update(self.slot, |dialing| {
                    dialing.state = DialState::Waiting;
                    dialing.last_error = Some(why);
                    dialing.next_attempt = None;
                });
            }
            if watched.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// The candidates' addresses, in the order in which they are to be tried, but for those that are
    /// believed to lead to an edge that another keeper has.
    pub(super) fn free(&self, discovered: &Discovered) -> Vec<SocketAddr> {
        let mut rng = rand::rng();
        let ordered = in_order(&discovered.candidates, &mut rng);
        let mut seen = BTreeSet::new();
        let all = ordered.iter();
        let all = all.flat_map(|candidate| addresses_in_order(candidate, &mut rng));
        let all: Vec<SocketAddr> = all.filter(|address| seen.insert(*address)).collect();
        let mut free = self.claims.free(self.slot, &all, Instant::now());
        free.truncate(MAX_ADDRESSES);
        // Of no use where this machine has no way to them, such as IPv6 without a route.
        if free.iter().any(|it| source_towards(*it).is_some()) {
            free.retain(|address| source_towards(*address).is_some());
        }
        free
    }

    /// Every address that the client knows of, in the order in which they are to be tried.
    pub(super) fn known_addresses(&self) -> Vec<SocketAddr> {
        self.free(&self.discovery.now())
    }

    /// Every transport to every address, the one that was tried last at the end.
    pub(super) fn ways(
        &self,
        mut addresses: Vec<SocketAddr>,
        last: Option<SocketAddr>,
    ) -> Vec<Way> {
        addresses.sort_by_key(|address| Some(*address) == last);
        let by_each = |address: SocketAddr| {
            let transports = self.transports.iter();
            transports.map(move |transport| Way {
                address,
                transport: *transport,
            })
        };
        addresses.into_iter().flat_map(by_each).collect()
    }

    /// A span for an attempt that begins now.
    fn begin(&self, way: Way) -> Span {
        let number = self.next_attempt();
        self.link.update(self.slot, |dialing| {
            dialing.state = DialState::Dialing;
            dialing.attempt = number;
            dialing.next_attempt = None;
        });
        dial_span(number, way)
    }

    /// What is said to an edge. Numbered anew, since another attempt may have begun in between.
    pub(super) fn hello(&self, edge: &str) -> Hello {
        Hello {
            versions: VersionRange::SUPPORTED,
            features: Features::SUPPORTED,
            software: SOFTWARE.to_owned(),
            replica: self.replica.clone(),
            instance: self.instance,
            attempt: Attempt(self.next_attempt()),
            limits: self.limits,
            services: self.exposes.services(),
            continues: None,
            beside: self.retired.ids(edge),
        }
    }

    fn failed(&self, error: String) {
        self.link
            .update(self.slot, |dialing| dialing.last_error = Some(error));
    }
}

/// Of one attempt, and of the session that comes of it. Where the edge is found is for whoever looks
/// closer.
pub(super) fn dial_span(attempt: u64, way: Way) -> Span {
    let address = tracing::enabled!(Level::DEBUG).then(|| field::display(way.address));
    let transport = field::display(way.transport);
    tracing::error_span!("dial", attempt, transport, peer.address = address)
}
