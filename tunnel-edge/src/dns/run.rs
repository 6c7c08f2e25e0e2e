//! The loop that drives the reconciler, against a registry and a provider.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use futures_util::stream::{FuturesUnordered, StreamExt};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::metrics::DnsMetrics;
use super::news::News;
use super::plan::{Act, Plan};
use super::provider::{Applied, BoxFuture, Provider, ProviderError};
use super::reconciler::{Policy, Reconciler, Step};
use super::records::{Change, Records};
use super::report::{Report, Tally};
use super::view::Clusters;

/// How many questions may wait; who comes then is told that it is busy.
const ASKS: usize = 8;

/// What is known of a reconciler while it runs, and where it is asked. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Dns {
    pub(crate) policy: Arc<Policy>,
    /// What the configuration calls the provider.
    pub(crate) provider: &'static str,
    /// Kept, so that a name server in it answers until the edge has stopped, not only until it drains.
    _kept: Arc<dyn Provider>,
    latest: Arc<Mutex<Arc<Report>>>,
    asks: mpsc::Sender<Ask>,
}

/// What a round would do, and on what it is based.
#[derive(Debug)]
pub(crate) struct Preview {
    pub(crate) plan: Plan,
    pub(crate) records: Records,
    pub(crate) at: Instant,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoAnswer {
    #[error("too many ask at once; try again")]
    Busy,
    #[error("this edge stops")]
    Stopped,
    #[error("{0}")]
    Failed(String),
}

#[derive(Debug)]
enum Ask {
    /// What would a round do?
    Plan(oneshot::Sender<Result<Preview, NoAnswer>>),
    /// Make a round now.
    Apply(oneshot::Sender<Arc<Report>>),
}

/// Everything that it works with.
#[derive(Debug)]
pub(crate) struct Reconciling {
    reconciler: Reconciler,
    provider: Arc<dyn Provider>,
    clusters: Arc<dyn Clusters>,
    changes: watch::Receiver<()>,
    metrics: DnsMetrics,
    news: News,
    latest: Arc<Mutex<Arc<Report>>>,
    asks: mpsc::Receiver<Ask>,
    /// Who waits for the end of a round, and of which.
    waiting: Vec<(u64, oneshot::Sender<Arc<Report>>)>,
}

type UnderWay = FuturesUnordered<BoxFuture<'static, (Change, Act, Result<Applied, ProviderError>)>>;

impl Dns {
    /// A reconciler that has yet to be run, and what can be known of it.
    pub(crate) fn new(
        policy: Policy,
        provider: (&'static str, Arc<dyn Provider>),
        clusters: Arc<dyn Clusters>,
        metrics: DnsMetrics,
    ) -> (Self, Reconciling) {
        let (label, provider) = provider;
        let mut reconciler = Reconciler::new(policy.clone(), Instant::now(), rand::random());
        reconciler.handle_known(provider.known());
        let latest = Arc::new(Mutex::new(Arc::new(reconciler.report().clone())));
        let (sender, asks) = mpsc::channel(ASKS);
        let reconciling = Reconciling {
            reconciler,
            provider: provider.clone(),
            changes: clusters.changes(),
            clusters,
            metrics,
            news: News::default(),
            latest: latest.clone(),
            asks,
            waiting: Vec::new(),
        };
        let dns = Self {
            policy: Arc::new(policy),
            provider: label,
            _kept: provider,
            latest,
            asks: sender,
        };
        (dns, reconciling)
    }

    /// What the last round came to.
    pub(crate) fn report(&self) -> Arc<Report> {
        self.latest.lock().clone()
    }

    /// What a round would do now. The zone is read for it, and nothing is changed.
    pub(crate) async fn plan(&self) -> Result<Preview, NoAnswer> {
        let (sender, answer) = oneshot::channel();
        self.ask(Ask::Plan(sender))?;
        answer.await.map_err(|_| NoAnswer::Stopped)?
    }

    /// Makes a round now, and answers what it came to.
    pub(crate) async fn apply(&self) -> Result<Arc<Report>, NoAnswer> {
        let (sender, answer) = oneshot::channel();
        self.ask(Ask::Apply(sender))?;
        answer.await.map_err(|_| NoAnswer::Stopped)
    }

    fn ask(&self, ask: Ask) -> Result<(), NoAnswer> {
        self.asks.try_send(ask).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => NoAnswer::Busy,
            mpsc::error::TrySendError::Closed(_) => NoAnswer::Stopped,
        })
    }
}

impl Reconciling {
    /// Keeps the zone true until `stop`. A change that is under way then is made by the server or not;
    /// each is whole in itself, and whoever reconciles next goes on from there.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let _: Option<Infallible> = stop.run_until_cancelled(self.work()).await;
    }

    async fn work(&mut self) -> Infallible {
        let mut under_way = UnderWay::new();
        loop {
            let rounds = self.reconciler.report().rounds;
            match self.reconciler.poll(Instant::now()) {
                Step::Look => {
                    self.changes.mark_unchanged();
                    let view = self.clusters.view();
                    self.reconciler.handle_view(Instant::now(), view);
                }
                Step::Read { names, known } => {
                    let read = self.provider.read(&names, known).await;
                    if let Err(error) = &read {
                        self.metrics.failed(error.reason);
                    }
                    self.reconciler.handle_reading(Instant::now(), read);
                }
                Step::Apply(change, act) => under_way.push(self.change(change, act)),
                Step::Await => {
                    if let Some((change, act, applied)) = under_way.next().await {
                        self.applied(&change, act, applied);
                    }
                    // A provider in this process is done at once, and others want their turn.
                    tokio::task::yield_now().await;
                }
                Step::Wait(due) => self.wait(due).await,
            }
            if self.reconciler.report().rounds != rounds {
                self.tell().await;
                // With very many names, the next round may be due already.
                tokio::task::yield_now().await;
            }
        }
    }

    fn change(
        &self,
        change: Change,
        act: Act,
    ) -> BoxFuture<'static, (Change, Act, Result<Applied, ProviderError>)> {
        let provider = self.provider.clone();
        Box::pin(async move {
            let applied = provider.apply(&change).await;
            (change, act, applied)
        })
    }

    fn applied(&mut self, change: &Change, act: Act, applied: Result<Applied, ProviderError>) {
        self.metrics.applied(act, &applied);
        let (name, act) = (&change.name, act.label());
        match &applied {
            Ok(Applied::Done) => tracing::debug!(%name, act, "name changed"),
            Ok(Applied::Overtaken) => tracing::warn!(
                %name, act,
                "somebody has changed this name since it was read: theirs stands, and it is read again"
            ),
            Err(error) => {
                tracing::warn!(%name, act, reason = error.reason.label(), %error, "name not changed");
            }
        }
        let now = Instant::now();
        self.reconciler.handle_applied(now, &change.name, applied);
    }

    async fn wait(&mut self, due: Instant) {
        tokio::select! {
            () = tokio::time::sleep_until(due.into()) => {}
            changed = self.changes.changed() => match changed {
                Ok(()) => self.reconciler.handle_changed(Instant::now()),
                // The registry is gone, and so is the edge in a moment.
                Err(_) => std::future::pending().await,
            },
            Some(ask) = self.asks.recv() => match ask {
                Ask::Plan(answer) => {
                    let preview = self.preview().await;
                    // Whoever asked may have gone.
                    let _: Result<_, _> = answer.send(preview);
                }
                Ask::Apply(answer) => {
                    let next = self.reconciler.report().rounds + 1;
                    self.waiting.push((next, answer));
                    self.reconciler.handle_asked(Instant::now());
                }
            },
        }
    }

    async fn preview(&self) -> Result<Preview, NoAnswer> {
        let failed = |error: &dyn std::error::Error| NoAnswer::Failed(error.to_string());
        let view = self.clusters.view().map_err(|error| failed(&error))?;
        let names = self.reconciler.names_for(&view);
        let read = self.provider.read(&names, None).await;
        let records = match read.map_err(|error| failed(&error))? {
            super::provider::Reading::Zone(snapshot) => snapshot.records,
            super::provider::Reading::Unchanged => {
                return Err(NoAnswer::Failed("the zone was not read".to_owned()));
            }
        };
        let at = Instant::now();
        let plan = self.reconciler.preview(at, &view, &records);
        Ok(Preview { plan, records, at })
    }

    /// Tells the log, the metrics and whoever waits what a round came to.
    async fn tell(&mut self) {
        let mut report = self.reconciler.report().clone();
        let (over, waiting) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition::<Vec<_>, _>(|(round, _)| *round <= report.rounds);
        self.waiting = waiting;
        *self.latest.lock() = Arc::new(report.clone());
        if !over.is_empty() && report.tally != Tally::default() {
            // What was read was the serial before the changes.
            let serial = self.provider.serial().await;
            report.serial = serial.ok().or(report.serial);
        }
        let report = Arc::new(report);
        *self.latest.lock() = report.clone();
        let unix = SystemTime::now().duration_since(UNIX_EPOCH);
        let unix = unix.map_or(0, |since| {
            i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
        });
        self.metrics.ended(&report, unix);
        for event in self.news.of(&report) {
            event.log(&report);
        }
        for (_, answer) in over {
            // Whoever asked may have gone.
            let _: Result<_, _> = answer.send(report.clone());
        }
    }
}
