//! A session to an edge, kept alive: dial, use, dial again.
//!
//! ```text
//!              ┌────────────── every way failed: wait ────────────┐
//!              ▼                                                  │
//! discovered ──▶ race: each address by each transport ────────────┘
//!                    │
//!                    └──reached──▶ connected ──lost──▶ discovered
//!                                   │      ▲
//!                                   ├─seek─┤ a better one: streams finish on the old
//!                                   └─gone─┘ its edge was taken away: another, and a drain
//! ```

mod attempts;
mod gone;
mod preference;
mod retired;
mod seek;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use relay::driver::{ClosedBy, SessionOptions, StreamHandler};
use relay::proto::{
    Attempt, Features, Hello, Instance, Limits, ReplicaId, SOFTWARE, SessionId, VersionRange,
};
use relay::settings::format_duration;
use relay::transport::TransportKind;
use relay::{CloseCode, Closed, Session, WorkerHandle};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Level, Span, field};

use crate::config::BackoffSettings;
use crate::dial::{Dialer, Finish, Race, Reached, Way};
use crate::discover::{Discovered, Discovery, in_order};
use crate::expose::Exposes;
use crate::hello;
use crate::link::{DialState, Link, Live};
use crate::metrics::ClientMetrics;
use attempts::Attempts;
use preference::source_towards;
use seek::Begun;

pub(crate) use retired::Retired;

/// How many addresses are tried before what is known of them is looked at again.
const MAX_ADDRESSES: usize = 64;

/// An edge that asks for more patience than this is not believed.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(600);

/// What a session is kept with.
pub(crate) struct Keeper {
    pub(crate) discovery: Discovery,
    pub(crate) dialer: Dialer,
    /// What is tried at each address, the preferred one first.
    pub(crate) transports: Vec<TransportKind>,
    pub(crate) backoff: BackoffSettings,
    pub(crate) replica: ReplicaId,
    pub(crate) instance: Instance,
    pub(crate) limits: Limits,
    pub(crate) options: SessionOptions,
    pub(crate) cluster: String,
    /// Where connections are born and sessions live.
    pub(crate) worker: WorkerHandle,
    pub(crate) exposes: Arc<Exposes>,
    pub(crate) metrics: Arc<ClientMetrics>,
    pub(crate) link: Arc<Link>,
    pub(crate) retired: Arc<Retired>,
}

/// How a session's life as the current one ended.
enum Ended {
    Over(Closed),
    /// It lives on for its streams, so long at most; new ones go to another.
    Left(Leaving, Box<Begun>),
}

/// A session that is drained, and how long that may take.
struct Leaving {
    session: Session,
    patience: Duration,
}

impl Keeper {
    /// Keeps a session until `stop`, then lets the last ones drain for `grace`.
    pub(crate) async fn run(self, stop: CancellationToken, grace: Duration) {
        let mut attempts = Attempts::new(&self.backoff);
        let mut next = None;
        while !stop.is_cancelled() {
            let (begun, left) = match next.take() {
                Some((begun, left)) => (begun, Some(left)),
                None => match stop
                    .run_until_cancelled(self.reach(&mut attempts, None))
                    .await
                {
                    None => break,
                    Some(Ok(begun)) => (begun, None),
                    Some(Err(retry_after)) => {
                        self.wait(&mut attempts, retry_after, &stop).await;
                        continue;
                    }
                },
            };
            let began = Instant::now();
            let (span, way) = (begun.span.clone(), begun.way);
            let living = self.live(begun, left, &mut attempts, &stop, grace);
            match living.instrument(span).await {
                Ended::Left(leaving, better) => {
                    if way.transport != better.way.transport {
                        self.note_move(&mut attempts, way, better.way);
                    }
                    next = Some((*better, leaving));
                }
                Ended::Over(closed) => {
                    if self.is_preferred(way) && closed.by == ClosedBy::Network {
                        attempts.preference.lost(Instant::now());
                    }
                    self.come_back(closed, began, &mut attempts, &stop).await;
                }
            }
        }
        self.retired.finished().await;
    }

    fn is_preferred(&self, way: Way) -> bool {
        way.transport == self.transports[0]
    }

    fn note_move(&self, attempts: &mut Attempts, from: Way, to: Way) {
        let (from_transport, to_transport) = (from.transport, to.transport);
        tracing::info!(from = %from_transport, to = %to_transport, "new streams use another transport");
        self.metrics.moved(to.transport);
        if self.is_preferred(from) {
            attempts.preference.lost(Instant::now());
        } else if self.is_preferred(to) {
            attempts.preference.moved(Instant::now());
        }
    }

    /// Waits after a session, if it was short or its edge asked for it.
    async fn come_back(
        &self,
        closed: Closed,
        began: Instant,
        attempts: &mut Attempts,
        stop: &CancellationToken,
    ) {
        if began.elapsed() >= self.backoff.stable_after {
            attempts.forget_failures();
        }
        self.link.update(|dialing| {
            dialing.state = DialState::Dialing;
            dialing.last_error = Some(closed.to_string());
        });
        if closed.by == ClosedBy::Network {
            self.discovery.hurry();
        }
        let deliberate =
            closed.close.retry_after.is_some() || closed.close.code == CloseCode::Superseded;
        if deliberate || began.elapsed() < self.backoff.stable_after {
            self.wait(attempts, closed.close.retry_after, stop).await;
        }
    }

    /// Tries every way once, each within a span of its own, which comes with what was reached; the
    /// error is how long an edge asked to wait. The new session is begun beside `older`.
    async fn reach(
        &self,
        attempts: &mut Attempts,
        older: Option<SessionId>,
    ) -> Result<Begun, Option<Duration>> {
        let discovered = self.discovered().await;
        let mut ways = self.ways(&discovered, attempts.last_address);
        if let Some(way) = ways.first() {
            attempts.preference.now_from(source_towards(way.address));
        }
        if attempts.preference.held_until(Instant::now()).is_some() {
            // Everything else begins before it.
            ways.sort_by_key(|way| self.is_preferred(*way));
        }
        let hint = attempts.hint;
        let mut race = Race::new(self.dialer.clone(), hint, self.worker.clone(), ways);
        let mut retry_after = None;
        while let Some(finish) = race.next(|way| self.begin(attempts, way)).await {
            let Finish { way, span, outcome } = finish;
            attempts.last_address = Some(way.address);
            let greeted = match outcome {
                Ok(connected) => {
                    let mut hello = self.hello(attempts);
                    hello.beside.extend(older);
                    let greeting = self.dialer.greet(connected, hello);
                    greeting.instrument(span.clone()).await
                }
                Err(error) => Err(error),
            };
            match greeted {
                Ok(reached) => {
                    self.metrics.attempted(way.transport, "reached");
                    return Ok(Begun { reached, way, span });
                }
                Err(error) => {
                    self.metrics.attempted(way.transport, "failed");
                    span.in_scope(|| tracing::warn!(%error, "edge not reached"));
                    if let Some(refusal) = error.refusal() {
                        retry_after = retry_after.max(refusal.retry_after);
                        race.leave_out(way.address);
                    }
                    self.failed(error.to_string());
                }
            }
        }
        self.discovery.hurry();
        Err(retry_after)
    }

    /// Waits until an edge is known, and says meanwhile why none is.
    async fn discovered(&self) -> Discovered {
        let mut watched = self.discovery.watch();
        loop {
            let discovered = watched.borrow_and_update().clone();
            if !discovered.candidates.is_empty() {
                return discovered;
            }
            if let Some(why) = discovered.why_nothing() {
                self.link.update(|dialing| {
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

    /// Every transport to every address: the candidates in their order, but the one that was tried
    /// last at the end.
    fn ways(&self, discovered: &Discovered, last: Option<SocketAddr>) -> Vec<Way> {
        let ordered = in_order(&discovered.candidates, &mut rand::rng());
        let mut seen = BTreeSet::new();
        let all = ordered.iter().flat_map(|candidate| &candidate.addresses);
        let all = all.copied().filter(|address| seen.insert(*address));
        let mut addresses: Vec<SocketAddr> = all.take(MAX_ADDRESSES).collect();
        // Of no use where this machine has no way to them, such as IPv6 without a route.
        if addresses.iter().any(|it| source_towards(*it).is_some()) {
            addresses.retain(|address| source_towards(*address).is_some());
        }
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
    fn begin(&self, attempts: &mut Attempts, way: Way) -> Span {
        attempts.number += 1;
        self.link.update(|dialing| {
            dialing.state = DialState::Dialing;
            dialing.attempt = attempts.number;
            dialing.next_attempt = None;
        });
        dial_span(attempts.number, way)
    }

    /// Numbered anew, since another attempt may have begun in between.
    fn hello(&self, attempts: &mut Attempts) -> Hello {
        attempts.number += 1;
        Hello {
            versions: VersionRange::SUPPORTED,
            features: Features::SUPPORTED,
            software: SOFTWARE.to_owned(),
            replica: self.replica.clone(),
            instance: self.instance,
            attempt: Attempt(attempts.number),
            limits: self.limits,
            services: self.exposes.services(),
            continues: None,
            beside: self.retired.ids(),
        }
    }

    /// Runs a session until it is over, or until there is a better one. The one that was `left` for
    /// it ends with its last stream.
    async fn live(
        &self,
        begun: Begun,
        left: Option<Leaving>,
        attempts: &mut Attempts,
        stop: &CancellationToken,
        grace: Duration,
    ) -> Ended {
        let Begun { reached, way, .. } = begun;
        let Reached { established, edge } = reached;
        attempts.hint = established.ack.worker_hint.or(attempts.hint);
        attempts.may_probe = established.ack.features.contains(Features::EARLY_PING);
        let edge_software = established.ack.software.clone();
        let session = Session::start(
            established,
            self.options_over(way.transport),
            &self.cluster,
            self.worker.clone(),
            self.handler(&edge),
        );
        let span = session.span().clone();
        let living = async {
            let address = session.snapshot().remote;
            tracing::info!(edge, %address, "connected");
            self.link.update(|dialing| {
                dialing.state = DialState::Connected;
                dialing.last_error = None;
            });
            self.link.set_session(Some(Live {
                session: session.clone(),
                edge,
                edge_software,
                since: std::time::SystemTime::now(),
            }));
            if let Some(left) = left {
                self.retired
                    .add(left.session, left.patience, stop.clone(), grace);
            }
            let over = self.until_over(&session, stop, grace);
            tokio::select! {
                closed = over => {
                    report_loss(&closed);
                    Ended::Over(closed)
                }
                // A client that stops looks no further.
                Some((better, patience)) = stop.run_until_cancelled(self.next(&session, way, attempts, grace)) => {
                    let session = session.clone();
                    Ended::Left(Leaving { session, patience }, Box::new(better))
                }
            }
        };
        living.instrument(span).await
    }

    /// Over QUIC short messages pass alone, so whether full packets do is asked, if there is another
    /// transport to go to.
    fn options_over(&self, transport: TransportKind) -> SessionOptions {
        let mut options = self.options.clone();
        options.liveness.full_size = match transport {
            TransportKind::Quic => self.transports.len() > 1,
            // Where a long packet is lost, whatever follows it waits.
            TransportKind::Tls | TransportKind::Yamux | TransportKind::H2 => false,
        };
        options
    }

    async fn until_over(
        &self,
        session: &Session,
        stop: &CancellationToken,
        grace: Duration,
    ) -> Closed {
        let mut changes = self.exposes.changes();
        // The list may have changed since Hello was made.
        changes.mark_changed();
        loop {
            tokio::select! {
                closed = session.closed() => {
                    self.link.set_session(None);
                    return closed;
                }
                Ok(()) = changes.changed() => {
                    session.announce_services(self.exposes.services());
                }
                () = stop.cancelled() => {
                    session.drain(grace).await;
                    session.finished().await;
                }
            }
        }
    }

    fn handler(&self, edge: &str) -> StreamHandler {
        let exposes = self.exposes.clone();
        let link = self.link.clone();
        let arrival = hello::Arrival {
            edge: Some(edge.to_owned()),
            cluster: Some(self.cluster.clone()),
            ..hello::Arrival::default()
        };
        Arc::new(move |incoming| {
            let (exposes, mut arrival) = (exposes.clone(), arrival.clone());
            if let Some(live) = link.live() {
                let snapshot = live.session.snapshot();
                arrival.transport = Some(snapshot.transport.to_string());
                arrival.key_exchange = Some(snapshot.key_exchange);
            }
            Box::pin(async move { exposes.serve(incoming, arrival).await })
        })
    }

    async fn wait(
        &self,
        attempts: &mut Attempts,
        retry_after: Option<Duration>,
        stop: &CancellationToken,
    ) {
        let asked = retry_after.unwrap_or_default().min(LONGEST_RETRY_AFTER);
        let delay = attempts.next_delay().max(asked);
        let until = Instant::now() + delay;
        self.link.update(|dialing| {
            dialing.state = DialState::Waiting;
            dialing.next_attempt = Some(until);
        });
        tracing::debug!(
            delay = format_duration(delay),
            "waiting before the next attempt"
        );
        let _: Option<()> = stop
            .run_until_cancelled(tokio::time::sleep_until(until))
            .await;
    }

    fn failed(&self, error: String) {
        self.link.update(|dialing| dialing.last_error = Some(error));
    }
}

/// Of one attempt, and of the session that comes of it. Where the edge is found is for whoever looks
/// closer.
fn dial_span(attempt: u64, way: Way) -> Span {
    let address = tracing::enabled!(Level::DEBUG).then(|| field::display(way.address));
    let transport = field::display(way.transport);
    tracing::error_span!("dial", attempt, transport, peer.address = address)
}

fn report_loss(closed: &Closed) {
    if closed.close.code == CloseCode::Superseded {
        tracing::error!(
            "another client with the same identity and replica has taken over; \
             is a copy of this state directory in use?"
        );
        return;
    }
    match closed.by {
        ClosedBy::Local => tracing::info!(%closed, "disconnected"),
        ClosedBy::Peer | ClosedBy::Network => tracing::warn!(%closed, "disconnected"),
    }
}
