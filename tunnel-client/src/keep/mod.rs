//! Sessions to edges, kept alive: dial, use, dial again. Each has a keeper of its own, and no two
//! keepers have the same edge.
//!
//! ```text
//!              ┌────────────── every way failed: wait ────────────┐
//!              ▼                                                  │
//! discovered ──▶ race: each address by each transport ────────────┘
//!                    │
//!                    └──reached──▶ connected ──lost──▶ discovered
//!                                   │      ▲
//!                                   ├─mend─┤ lost, or suspect: its streams go on on another connection
//!                                   ├─seek─┤ a better one
//!                                   └─gone─┘ its edge was taken away: another, and a drain
//! ```

mod attempts;
mod claims;
mod gone;
mod live;
mod mend;
mod preference;
mod reach;
mod retired;
mod revoked;
mod roam;
mod seek;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rand::RngExt;
use relay::driver::{ClosedBy, SessionOptions};
use relay::proto::{Instance, Limits, ReplicaId};
use relay::settings::format_duration;
use relay::transport::TransportKind;
use relay::{CloseCode, Closed, WorkerHandle};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::config::BackoffSettings;
use crate::dial::{Dialer, Way};
use crate::discover::Discovery;
use crate::expose::Exposes;
use crate::link::{DialState, Link};
use crate::metrics::ClientMetrics;
use attempts::Attempts;
use live::Ended;
use reach::NotReached;
use roam::another_network;
use seek::Begun;

pub(crate) use claims::Claims;
pub(crate) use retired::{Leaving, Retired};

/// How far apart the first attempts of keepers are, so that each sees what the others have found.
const STAGGER: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(1));

/// An edge that asks for more patience than this is not believed.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(600);

/// What a session is kept with.
#[derive(Clone)]
pub(crate) struct Keeper {
    /// Which keeper it is.
    pub(crate) slot: usize,
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
    pub(crate) claims: Arc<Claims>,
    /// Of all keepers' attempts: an edge takes a lower number for an older attempt.
    pub(crate) attempts: Arc<AtomicU64>,
}

impl Keeper {
    /// Keeps up to `edges` sessions, each with another edge, until `stop`, then lets the last ones
    /// drain for `grace`.
    pub(crate) async fn run(self, edges: usize, stop: CancellationToken, grace: Duration) {
        let retired = self.retired.clone();
        let mut keepers = JoinSet::new();
        for slot in 0..edges {
            let keeper = Self {
                slot,
                ..self.clone()
            };
            let stop = stop.clone();
            keepers.spawn(async move {
                let apart = rand::rng().random_range(STAGGER.0..STAGGER.1);
                let turn = sleep(apart * u32::try_from(slot).unwrap_or(u32::MAX));
                if slot == 0 || stop.run_until_cancelled(turn).await.is_some() {
                    keeper.keep(stop, grace).await;
                }
            });
        }
        while let Some(kept) = keepers.join_next().await {
            if let Err(error) = kept
                && error.is_panic()
            {
                std::panic::resume_unwind(error.into_panic());
            }
        }
        retired.finished().await;
    }

    /// Keeps one session until `stop`.
    async fn keep(self, stop: CancellationToken, grace: Duration) {
        let mut attempts = Attempts::new(&self.backoff);
        let mut next = None;
        while !stop.is_cancelled() {
            let (begun, left) = match next.take() {
                Some((begun, left)) => (begun, Some(left)),
                None => match stop.run_until_cancelled(self.first(&mut attempts)).await {
                    None => break,
                    Some(Ok(begun)) => (begun, None),
                    Some(Err(NotReached { retry_after })) => {
                        self.wait(&mut attempts, retry_after, &stop).await;
                        continue;
                    }
                },
            };
            let began = Instant::now();
            let span = begun.span.clone();
            let living = self.live(begun, left, &mut attempts, &stop, grace);
            match living.instrument(span).await {
                Ended::Left(leaving, better) => {
                    let way = leaving.way();
                    if way.transport != better.way.transport {
                        self.metrics.moved(better.way.transport);
                        self.note_move(&mut attempts, way, better.way);
                    }
                    next = Some((*better, leaving));
                }
                Ended::Dropped(leaving, claim) => {
                    self.retire(leaving, stop.clone(), grace);
                    drop(claim);
                }
                Ended::Over(closed, way, claim) => {
                    if self.is_preferred(way) && closed.by == ClosedBy::Network {
                        attempts.preference.lost(Instant::now());
                    }
                    claim.give_up(self.slot);
                    self.come_back(closed, began, &mut attempts, &stop).await;
                }
            }
        }
    }

    /// A session, as soon as there is an edge that no other keeper has.
    async fn first(&self, attempts: &mut Attempts) -> Result<Begun, NotReached> {
        loop {
            let mut changes = self.claims.changes();
            let mut watched = self.discovery.watch();
            watched.mark_unchanged();
            let discovered = self.discovered().await;
            let free = self.free(&discovered);
            if self.claims.may_seek(self.slot, free.len()) {
                match self.reach(free, attempts, None, None).await {
                    Ok(Some(begun)) => return Ok(begun),
                    // All of them belong to other keepers.
                    Ok(None) => continue,
                    Err(error) => return Err(error),
                }
            }
            self.link.update(self.slot, |dialing| {
                dialing.state = DialState::Idle;
                dialing.last_error = None;
                dialing.next_attempt = None;
            });
            let doubt = self.claims.next_doubt(Instant::now());
            tokio::select! {
                _ = changes.changed() => {}
                _ = watched.changed() => {}
                () = async {
                    match doubt {
                        Some(doubt) => sleep_until(doubt).await,
                        None => std::future::pending().await,
                    }
                } => {}
            }
        }
    }

    /// The number of an attempt that begins now.
    fn next_attempt(&self) -> u64 {
        self.attempts.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn is_preferred(&self, way: Way) -> bool {
        way.transport == self.transports[0]
    }

    fn note_move(&self, attempts: &mut Attempts, from: Way, to: Way) {
        let (from_transport, to_transport) = (from.transport, to.transport);
        tracing::info!(from = %from_transport, to = %to_transport, "new streams use another transport");
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
        self.link.update(self.slot, |dialing| {
            dialing.state = DialState::Dialing;
            dialing.last_error = Some(closed.to_string());
        });
        if matches!(closed.by, ClosedBy::Network | ClosedBy::Grace) {
            self.discovery.hurry();
        }
        let deliberate =
            closed.close.retry_after.is_some() || closed.close.code == CloseCode::Superseded;
        if deliberate || began.elapsed() < self.backoff.stable_after {
            self.wait(attempts, closed.close.retry_after, stop).await;
        }
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
        self.link.update(self.slot, |dialing| {
            dialing.state = DialState::Waiting;
            dialing.next_attempt = Some(until);
        });
        tracing::debug!(
            delay = format_duration(delay),
            "waiting before the next attempt"
        );
        let edge = attempts.last_address;
        let over = async {
            tokio::select! {
                () = sleep_until(until) => {}
                () = self.other_candidates(), if retry_after.is_none() => {}
                // Of another network nothing is known yet.
                () = another_network(edge), if retry_after.is_none() => attempts.forget_failures(),
            }
        };
        let _: Option<()> = stop.run_until_cancelled(over).await;
    }

    /// Waits until there are other candidates than now: they need not wait for those that failed.
    async fn other_candidates(&self) {
        let known = self.discovery.now().candidates;
        let mut watched = self.discovery.watch();
        let others = watched.wait_for(|discovered| discovered.candidates != known);
        if others.await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
