//! A session to an edge, kept alive: dial, use, dial again.
//!
//! ```text
//!           ┌────────────── every way failed: wait ────────────┐
//!           ▼                                                  │
//! resolve ──▶ race: each address by each transport ────────────┘
//!                    │
//!                    └──reached──▶ connected ──lost──▶ resolve
//! ```

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use rand::RngExt;
use relay::driver::{ClosedBy, SessionOptions, StreamHandler};
use relay::proto::{
    Attempt, Features, Hello, Instance, Limits, ReplicaId, SOFTWARE, VersionRange, WorkerHint,
};
use relay::settings::{Host, HostPort, format_duration};
use relay::transport::TransportKind;
use relay::{CloseCode, Closed, Session, WorkerHandle};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Level, Span, field};

use crate::config::BackoffSettings;
use crate::dial::{Dialer, Finish, Race, Reached, Way};
use crate::expose::Exposes;
use crate::hello;
use crate::link::{DialState, Link, Live};
use crate::metrics::ClientMetrics;

/// An edge that asks for more patience than this is not believed.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(600);

/// What a session is kept with.
pub(crate) struct Keeper {
    pub(crate) addresses: Vec<HostPort>,
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
}

impl Keeper {
    /// Keeps a session until `stop`, then lets the last one drain for `grace`.
    pub(crate) async fn run(self, stop: CancellationToken, grace: Duration) {
        let mut attempts = Attempts::new(&self.backoff);
        while !stop.is_cancelled() {
            let Some(outcome) = stop.run_until_cancelled(self.reach(&mut attempts)).await else {
                return;
            };
            let (reached, dialled) = match outcome {
                Ok(reached) => reached,
                Err(retry_after) => {
                    self.wait(&mut attempts, retry_after, &stop).await;
                    continue;
                }
            };
            let began = Instant::now();
            let living = self.live(reached, &mut attempts, &stop, grace);
            let closed = living.instrument(dialled).await;
            if began.elapsed() >= self.backoff.stable_after {
                attempts.forget_failures();
            }
            self.link.update(|dialing| {
                dialing.state = DialState::Dialing;
                dialing.last_error = Some(closed.to_string());
            });
            let deliberate =
                closed.close.retry_after.is_some() || closed.close.code == CloseCode::Superseded;
            if deliberate || began.elapsed() < self.backoff.stable_after {
                self.wait(&mut attempts, closed.close.retry_after, &stop)
                    .await;
            }
        }
    }

    /// Tries every way once, each within a span of its own, which comes with what was reached; the
    /// error is how long an edge asked to wait.
    async fn reach(&self, attempts: &mut Attempts) -> Result<(Reached, Span), Option<Duration>> {
        let addresses = self.resolve(attempts.last_address).await;
        let ways = addresses.iter().flat_map(|address| {
            let transports = self.transports.iter();
            transports.map(|transport| Way {
                address: *address,
                transport: *transport,
            })
        });
        let hint = attempts.hint;
        let mut race = Race::new(self.dialer.clone(), hint, self.worker.clone(), ways);
        let mut retry_after = None;
        while let Some(finish) = race.next(|way| self.begin(attempts, way)).await {
            let Finish { way, span, outcome } = finish;
            attempts.last_address = Some(way.address);
            let greeted = match outcome {
                Ok(connected) => {
                    let hello = self.hello(attempts);
                    let greeting = self.dialer.greet(connected, hello);
                    greeting.instrument(span.clone()).await
                }
                Err(error) => Err(error),
            };
            match greeted {
                Ok(reached) => {
                    self.metrics.attempted(way.transport, "reached");
                    return Ok((reached, span));
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
        Err(retry_after)
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
            beside: Vec::new(),
        }
    }

    /// Every address of every edge, the last one that was tried at the end.
    async fn resolve(&self, last: Option<SocketAddr>) -> VecDeque<SocketAddr> {
        let mut addresses = VecDeque::new();
        for edge in &self.addresses {
            match lookup(edge).await {
                Ok(found) => addresses.extend(found),
                Err(error) => {
                    tracing::warn!(%edge, %error, "edge not resolved");
                    self.failed(format!("{edge}: {error}"));
                }
            }
        }
        if let Some(position) = addresses.iter().position(|address| Some(*address) == last) {
            addresses.rotate_left(position + 1);
        }
        addresses
    }

    /// Runs a session until it is over.
    async fn live(
        &self,
        Reached { established, edge }: Reached,
        attempts: &mut Attempts,
        stop: &CancellationToken,
        grace: Duration,
    ) -> Closed {
        attempts.hint = established.ack.worker_hint.or(attempts.hint);
        let edge_software = established.ack.software.clone();
        let session = Session::start(
            established,
            self.options.clone(),
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
            let closed = self.until_over(&session, stop, grace).await;
            report_loss(&closed);
            closed
        };
        living.instrument(span).await
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

/// What is remembered from one attempt to the next.
struct Attempts {
    number: u64,
    last_address: Option<SocketAddr>,
    hint: Option<WorkerHint>,
    policy: ExponentialBuilder,
    bounds: ExponentialBackoff,
}

impl Attempts {
    fn new(settings: &BackoffSettings) -> Self {
        let policy = ExponentialBuilder::new()
            .with_min_delay(settings.initial)
            .with_max_delay(settings.max)
            .with_factor(2.0)
            .without_max_times();
        Self {
            number: 0,
            last_address: None,
            hint: None,
            policy,
            bounds: policy.build(),
        }
    }

    /// A random time up to a bound that doubles ("full jitter"), so that the clients of an edge
    /// that comes back do not all come at once.
    fn next_delay(&mut self) -> Duration {
        let bound = self
            .bounds
            .next()
            .expect("the number of attempts has no bound");
        bound.mul_f64(rand::rng().random_range(0.0..=1.0))
    }

    fn forget_failures(&mut self) {
        self.bounds = self.policy.build();
    }
}

async fn lookup(edge: &HostPort) -> std::io::Result<Vec<SocketAddr>> {
    match &edge.host {
        Host::Ip(ip) => Ok(vec![(*ip, edge.port).into()]),
        Host::Name(name) => {
            let found = tokio::net::lookup_host((name.as_str(), edge.port)).await?;
            Ok(found.collect())
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn attempts() -> Attempts {
        Attempts::new(&BackoffSettings {
            initial: Duration::from_millis(500),
            max: Duration::from_secs(30),
            stable_after: Duration::from_secs(10),
        })
    }

    #[test]
    fn delays_are_random_below_a_bound_that_doubles_to_its_maximum() {
        let mut longest = [Duration::ZERO; 10];
        for _ in 0..200 {
            let mut attempts = attempts();
            for (nth, longest) in longest.iter_mut().enumerate() {
                let bound = Duration::from_millis(500 << nth).min(Duration::from_secs(30));
                let delay = attempts.next_delay();
                assert!(delay <= bound, "{nth}: {delay:?}");
                *longest = delay.max(*longest);
            }
        }
        assert!(
            longest[9] > Duration::from_secs(20),
            "jitter is full: {longest:?}"
        );
    }

    #[test]
    fn a_stable_session_begins_again_at_the_first_bound() {
        let mut attempts = attempts();
        for _ in 0..10 {
            attempts.next_delay();
        }
        attempts.forget_failures();
        assert!(attempts.next_delay() <= Duration::from_millis(500));
    }
}
