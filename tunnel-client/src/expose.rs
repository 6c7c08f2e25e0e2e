//! The allow-list: what the control plane may call here, and nothing else.

use std::collections::HashMap;
use std::future::ready;
use std::sync::Arc;

use relay::origin::{Origin, Served, Target};
use relay::proto::{Open, ServiceInfo};
use relay::settings::OriginSettings;
use relay::transport::BoxFuture;
use relay::{Incoming, ResetCode, ServiceName, Stream, WorkerHandle};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::Expose;
use crate::health::{Check, Checks, Found};
use crate::hello;
use crate::metrics::ClientMetrics;

/// The services that are exposed now. Changes with the configuration.
#[derive(Debug)]
pub(crate) struct Exposes {
    table: watch::Sender<Table>,
    checks: Checks,
    news: watch::Sender<()>,
    metrics: Arc<ClientMetrics>,
}

type Table = Arc<HashMap<ServiceName, Exposed>>;

/// A list that can be taken over.
#[derive(Debug)]
pub(crate) struct PreparedExposes(HashMap<ServiceName, Exposed>);

/// One service. `withdrawn` resets the streams of one that is not exposed any more.
#[derive(Clone, Debug)]
struct Exposed {
    origin: Arc<Origin>,
    withdrawn: CancellationToken,
    check: Arc<Check>,
}

impl Exposes {
    /// Nothing is exposed yet. Targets are looked at from `worker`.
    pub(crate) fn new(worker: &WorkerHandle, metrics: Arc<ClientMetrics>) -> Self {
        let news = watch::Sender::default();
        Self {
            table: watch::Sender::default(),
            checks: Checks::new(worker.clone(), metrics.clone(), news.clone()),
            news,
            metrics,
        }
    }

    /// Makes ready what a new list needs, so that [`Self::commit`] cannot fail.
    ///
    /// # Errors
    /// What is wrong with the authorities of an `https://` target.
    pub(crate) fn prepare(&self, exposes: &[Expose]) -> Result<PreparedExposes, String> {
        let old = self.table.borrow().clone();
        let mut table = HashMap::new();
        for expose in exposes {
            let check = || Arc::new(self.checks.prepare(&expose.health));
            let exposed = match old.get(&expose.service) {
                Some(same) if *same.origin.settings() == expose.origin => Exposed {
                    check: match *same.check.settings() == expose.health {
                        true => same.check.clone(),
                        false => check(),
                    },
                    ..same.clone()
                },
                Some(_) | None => Exposed::new(&expose.origin, check())
                    .map_err(|error| format!("service {}: {error}", expose.service))?,
            };
            table.insert(expose.service.clone(), exposed);
        }
        Ok(PreparedExposes(table))
    }

    /// Takes over a new list. Services that stay as they were keep their streams, and what is known
    /// of their health if they are still looked at in the same way; those that are gone or changed
    /// lose both.
    pub(crate) fn commit(&self, prepared: PreparedExposes) {
        let PreparedExposes(table) = prepared;
        let old = self.table.send_replace(Arc::new(table));
        let new = self.table.borrow();
        for (service, exposed) in old.iter() {
            let kept = new
                .get(service)
                .is_some_and(|new| Arc::ptr_eq(&new.origin, &exposed.origin));
            if !kept {
                exposed.withdrawn.cancel();
            }
        }
        for (service, exposed) in new.iter() {
            self.checks.start(&exposed.check, service, &exposed.origin);
        }
        self.news.send_replace(());
    }

    /// What the edge is told.
    pub(crate) fn services(&self) -> Vec<ServiceInfo> {
        let table = self.table.borrow();
        let mut services: Vec<_> = table
            .iter()
            .map(|(name, exposed)| ServiceInfo {
                name: name.clone(),
                protocol: exposed.origin.settings().target.protocol(),
                health: Some(exposed.check.found().health),
            })
            .collect();
        services.sort_by(|a, b| a.name.cmp(&b.name));
        services
    }

    /// Which services lead where, and how that is, for status. Ordered by name.
    pub(crate) fn all(&self) -> Vec<(ServiceName, Target, Found)> {
        let table = self.table.borrow();
        let mut all: Vec<_> = table
            .iter()
            .map(|(name, exposed)| {
                let target = exposed.origin.settings().target.clone();
                (name.clone(), target, exposed.check.found())
            })
            .collect();
        all.sort_by(|(a, ..), (b, ..)| a.cmp(b));
        all
    }

    /// Fires after every change of the list, or of how a service is.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.news.subscribe()
    }

    /// Whether streams for this service outlive their connection. What is not exposed has none.
    pub(crate) fn resumes(&self, service: &ServiceName) -> bool {
        let table = self.table.borrow();
        table
            .get(service)
            .is_some_and(|exposed| exposed.origin.settings().resume)
    }

    /// Connects a stream of the edge to what it names, if it is on the list. The future lives as long
    /// as the stream, so its size counts.
    pub(crate) fn serve(
        self: Arc<Self>,
        incoming: Incoming,
        arrival: hello::Arrival,
    ) -> BoxFuture<'static, ()> {
        let Incoming { open, stream } = incoming;
        let found = self.table.borrow().get(&open.service).cloned();
        let Some(exposed) = found else {
            self.metrics.refused.inc();
            tracing::warn!(caller = open.caller.principal, "not exposed: refused");
            stream.reset(
                ResetCode::UnknownService,
                format!("{} is not exposed by this client", open.service),
            );
            return Box::pin(ready(()));
        };
        let Exposed {
            origin, withdrawn, ..
        } = exposed;
        let serving: BoxFuture<'static, ()> = match origin.settings().target {
            Target::Hello => Box::pin(say_hello(stream, open, arrival, withdrawn.clone())),
            Target::Tcp(_)
            | Target::Http(_)
            | Target::H2c(_)
            | Target::Https(_)
            | Target::Unix { .. } => Box::pin(self.relay(stream, open, origin)),
        };
        Box::pin(async move {
            tokio::select! {
                biased;
                () = withdrawn.cancelled() => tracing::info!("not exposed any more: a stream is reset"),
                () = serving => {}
            }
        })
    }

    fn relay(
        self: Arc<Self>,
        stream: Stream,
        open: Open,
        origin: Arc<Origin>,
    ) -> impl Future<Output = ()> + Send {
        let Open {
            service, caller, ..
        } = open;
        let serving = origin.clone().serve(stream, service, caller.address);
        async move {
            let served = serving.await;
            self.metrics.dialled(served.label());
            match served {
                Served::Pumped(pumped) => tracing::debug!(%pumped, "over"),
                Served::GivenUp => tracing::debug!("the caller gave up"),
                Served::NotReached(error) => {
                    let origin = &origin.settings().target;
                    tracing::warn!(%origin, %error, "target not reached");
                }
            }
        }
    }
}

impl Exposed {
    fn new(settings: &OriginSettings, check: Arc<Check>) -> Result<Self, String> {
        let origin = Origin::new(settings.clone(), |https| {
            certs::tls::origin_for(https.ca.as_deref(), https.h2)
        });
        Ok(Self {
            origin: Arc::new(origin.map_err(|error| error.to_string())?),
            withdrawn: CancellationToken::new(),
            check,
        })
    }
}

async fn say_hello(stream: Stream, open: Open, arrival: hello::Arrival, stop: CancellationToken) {
    stream.confirm_connected();
    let arrival = hello::Arrival {
        caller: Some(open.caller.principal),
        caller_address: open.caller.address.map(|address| address.to_string()),
        service: Some(open.service.to_string()),
        stream: Some(stream.id().to_string()),
        ..arrival
    };
    hello::serve_arrived(stream.into_io(), arrival, stop).await;
}
