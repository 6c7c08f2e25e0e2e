//! How the targets of exposed services are, as this client finds them.
//!
//! ```text
//! every interval: dial ▶ ask (probe) ▶ Judge: unknown, healthy, failing ▶ status, metrics, the edge
//! ```
//!
//! What is found is told and nothing else: a stream to a failing service is dialled as ever, since a
//! check may be wrong and the caller finds out anyway.

mod judge;
mod metrics;
mod probe;

use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use relay::origin::Origin;
use relay::proto::{HealthState, ServiceHealth};
use relay::{ServiceName, WorkerHandle};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::task::AbortOnDropHandle;

use self::judge::{Change, Judge};
pub(crate) use self::metrics::HealthMetrics;
use self::probe::probe;
use crate::config::{CheckKind, CheckSettings, HealthSettings};
use crate::metrics::ClientMetrics;

/// How long news wait behind other news, so that services that change all the time do not fill the
/// control stream.
const NEWS_APART: Duration = Duration::from_millis(250);

/// The first check comes within this, at a moment of its own, so that those of many services do not
/// come all at once.
const SPREAD: Duration = Duration::from_secs(1);

/// What checks have in common.
#[derive(Debug)]
pub(crate) struct Checks {
    worker: WorkerHandle,
    metrics: Arc<ClientMetrics>,
    changed: Arc<Notify>,
    _telling: AbortOnDropHandle<()>,
}

/// The check of one service. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Check {
    settings: HealthSettings,
    judge: Arc<Mutex<Judge>>,
    running: OnceLock<AbortOnDropHandle<()>>,
}

/// What is known of a service.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) health: ServiceHealth,
    pub(crate) since: SystemTime,
    /// In full, for this side's own people.
    pub(crate) error: Option<String>,
    /// How it is looked at, in a word.
    pub(crate) kind: &'static str,
}

impl Checks {
    /// `news` hears of every change, though of many at once.
    pub(crate) fn new(
        worker: WorkerHandle,
        metrics: Arc<ClientMetrics>,
        news: watch::Sender<()>,
    ) -> Self {
        let changed = Arc::new(Notify::new());
        let telling = worker.spawn(tell(changed.clone(), news));
        Self {
            worker,
            metrics,
            changed,
            _telling: AbortOnDropHandle::new(telling),
        }
    }

    /// A check that does not run yet.
    pub(crate) fn prepare(&self, settings: &HealthSettings) -> Check {
        let (rise, fall) = match settings {
            HealthSettings::Off => (1, 1),
            HealthSettings::Checked(check) => (check.rise, check.fall),
        };
        Check {
            settings: settings.clone(),
            judge: Arc::new(Mutex::new(Judge::new(rise, fall, Instant::now()))),
            running: OnceLock::new(),
        }
    }

    /// Looks at `origin` from now on, if that is wanted and does not happen already.
    pub(crate) fn start(&self, check: &Check, service: &ServiceName, origin: &Arc<Origin>) {
        let settings = match &check.settings {
            HealthSettings::Off => return,
            HealthSettings::Checked(settings) => settings.clone(),
        };
        check.running.get_or_init(|| {
            let looking = Looking {
                service: service.clone(),
                origin: origin.clone(),
                settings,
                judge: check.judge.clone(),
                metrics: self.metrics.clone(),
                changed: self.changed.clone(),
            };
            AbortOnDropHandle::new(self.worker.spawn(looking.run()))
        });
    }
}

/// Passes on that something has changed: the first at once, later ones together.
async fn tell(changed: Arc<Notify>, news: watch::Sender<()>) {
    loop {
        changed.notified().await;
        news.send_replace(());
        tokio::time::sleep(NEWS_APART).await;
    }
}

impl Check {
    pub(crate) fn settings(&self) -> &HealthSettings {
        &self.settings
    }

    /// What is known now.
    pub(crate) fn found(&self) -> Found {
        let judge = self.judge.lock();
        let lasting = judge.since().elapsed();
        let state = match self.settings {
            HealthSettings::Off => HealthState::Off,
            HealthSettings::Checked(_) => judge.state(),
        };
        let failure = judge.failure();
        Found {
            health: ServiceHealth {
                state,
                lasting,
                reason: failure.map(|failure| failure.reason),
                detail: failure.map_or_else(String::new, |failure| failure.detail.clone()),
            },
            since: SystemTime::now()
                .checked_sub(lasting)
                .unwrap_or(SystemTime::UNIX_EPOCH),
            error: failure.map(|failure| failure.said.clone()),
            kind: self.settings.word(),
        }
    }
}

impl HealthSettings {
    fn word(&self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Checked(check) => match check.kind {
                CheckKind::Tcp => "tcp",
                CheckKind::Http(_) => "http",
                CheckKind::Grpc(_) => "grpc",
            },
        }
    }
}

/// Looks at one target again and again.
struct Looking {
    service: ServiceName,
    origin: Arc<Origin>,
    settings: CheckSettings,
    judge: Arc<Mutex<Judge>>,
    metrics: Arc<ClientMetrics>,
    changed: Arc<Notify>,
}

impl Looking {
    async fn run(self) {
        let spread = SPREAD.min(self.settings.interval);
        let mut next = Instant::now() + spread.mul_f64(rand::random());
        loop {
            sleep_until(next).await;
            let begun = Instant::now();
            self.look_once().await;
            // A little early, never late: so that checks drift apart, and what a number of them in a
            // row takes is bounded by as many intervals.
            next = begun
                + self
                    .settings
                    .interval
                    .mul_f64(1.0 - 0.1 * rand::random::<f64>());
        }
    }

    async fn look_once(&self) {
        let outcome = probe(&self.origin, &self.settings).await;
        let label = match &outcome {
            Ok(()) => "good",
            Err(failure) => failure.reason.label(),
        };
        self.metrics.checked(&self.service, label);
        let error = outcome.as_ref().err().map(|failure| failure.said.clone());
        let error = error.unwrap_or_default();
        let change = self.judge.lock().handle(outcome, Instant::now());
        let service = &self.service;
        match change {
            Change::Nothing => return,
            Change::Reason => tracing::debug!(%service, error, "not healthy for another reason"),
            Change::State(HealthState::Failing) => tracing::warn!(%service, error, "failing"),
            Change::State(HealthState::Healthy) => tracing::info!(%service, "healthy"),
            // No check leads there.
            Change::State(HealthState::Unknown | HealthState::Off) => {}
        }
        self.changed.notify_one();
    }
}
