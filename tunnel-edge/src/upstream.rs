//! What compute planes may call here: nothing, unless an upstream allows their cluster.

use std::collections::HashMap;
use std::future::ready;
use std::net::SocketAddr;
use std::sync::Arc;

use certs::ClusterId;
use parking_lot::Mutex;
use relay::driver::HandleStreams;
use relay::origin::{Origin, Served};
use relay::transport::BoxFuture;
use relay::{Incoming, ResetCode, ServiceName, Stream};
use tokio_util::sync::CancellationToken;

use crate::config::Upstream;
use crate::metrics::EdgeMetrics;

/// The upstreams that there are now. Changes with the configuration.
#[derive(Debug)]
pub(crate) struct Upstreams {
    table: Mutex<HashMap<ServiceName, Reachable>>,
    metrics: Arc<EdgeMetrics>,
}

/// A list that can be taken over.
#[derive(Debug)]
pub(crate) struct PreparedUpstreams(HashMap<ServiceName, Reachable>);

/// One upstream. `withdrawn` resets the streams of one that is gone or changed.
#[derive(Clone, Debug)]
struct Reachable {
    upstream: Arc<Upstream>,
    origin: Arc<Origin>,
    withdrawn: CancellationToken,
}

impl Upstreams {
    /// There are none yet.
    pub(crate) fn new(metrics: Arc<EdgeMetrics>) -> Self {
        Self {
            table: Mutex::default(),
            metrics,
        }
    }

    /// Makes ready what a new list needs, so that [`Self::commit`] cannot fail.
    ///
    /// # Errors
    /// What is wrong with the authorities of an `https://` target.
    pub(crate) fn prepare(&self, upstreams: &[Upstream]) -> Result<PreparedUpstreams, String> {
        let old = self.table.lock().clone();
        let prepare = |upstream: &Upstream| match old.get(&upstream.service) {
            Some(same) if *same.upstream == *upstream => Ok(same.clone()),
            Some(_) | None => Reachable::new(upstream),
        };
        let table = upstreams
            .iter()
            .map(|upstream| Ok((upstream.service.clone(), prepare(upstream)?)));
        Ok(PreparedUpstreams(table.collect::<Result<_, String>>()?))
    }

    /// Takes over a new list. Upstreams that stay as they were keep their streams; those that are
    /// gone or changed lose theirs, since the policy under which they were opened is gone.
    pub(crate) fn commit(&self, prepared: PreparedUpstreams) {
        let PreparedUpstreams(new) = prepared;
        let mut table = self.table.lock();
        let old = std::mem::replace(&mut *table, new);
        for (service, reachable) in old {
            let kept = table
                .get(&service)
                .is_some_and(|new| Arc::ptr_eq(&new.upstream, &reachable.upstream));
            if !kept {
                reachable.withdrawn.cancel();
            }
        }
    }

    /// All of them, for status.
    pub(crate) fn all(&self) -> Vec<Arc<Upstream>> {
        let table = self.table.lock();
        let mut all: Vec<_> = table.values().map(|found| found.upstream.clone()).collect();
        drop(table);
        all.sort_by(|a, b| a.service.cmp(&b.service));
        all
    }

    /// Connects a stream of `cluster`'s client to what it names, if that is allowed. The future lives
    /// as long as the stream, so its size counts.
    pub(crate) fn serve(
        self: Arc<Self>,
        cluster: &ClusterId,
        incoming: Incoming,
    ) -> BoxFuture<'static, ()> {
        let Incoming { open, stream } = incoming;
        let (service, caller) = (open.service, open.caller.address);
        let found = self.table.lock().get(&service).cloned();
        let Some(reachable) = found else {
            let why = format!("this edge has no upstream {service}");
            return self.refuse(stream, ResetCode::UnknownService, why);
        };
        if !reachable.upstream.admits(cluster) {
            let why = format!("{cluster} may not call {service} here");
            return self.refuse(stream, ResetCode::NotAllowed, why);
        }
        let Reachable {
            origin, withdrawn, ..
        } = reachable;
        let relaying = Box::pin(self.relay(service, stream, origin, caller));
        Box::pin(async move {
            tokio::select! {
                biased;
                () = withdrawn.cancelled() => tracing::info!("upstream changed: a stream is reset"),
                () = relaying => {}
            }
        })
    }

    fn refuse(&self, stream: Stream, code: ResetCode, why: String) -> BoxFuture<'static, ()> {
        self.metrics.upstream(code.label());
        tracing::warn!(%code, "upstream refused");
        stream.reset(code, why);
        Box::pin(ready(()))
    }

    fn relay(
        self: Arc<Self>,
        service: ServiceName,
        stream: Stream,
        origin: Arc<Origin>,
        caller: Option<SocketAddr>,
    ) -> impl Future<Output = ()> + Send {
        let serving = origin.clone().serve(stream, service, caller);
        async move {
            let served = serving.await;
            self.metrics.upstream(served.label());
            match served {
                Served::Pumped(pumped) => tracing::debug!(%pumped, "over"),
                Served::GivenUp => tracing::debug!("given up"),
                Served::NotReached(error) => {
                    let origin = &origin.settings().target;
                    tracing::warn!(%origin, %error, "upstream not reached");
                }
            }
        }
    }
}

impl Reachable {
    fn new(upstream: &Upstream) -> Result<Self, String> {
        let origin = Origin::new(upstream.origin.clone(), |https| {
            certs::tls::origin_for(https.ca.as_deref(), https.h2)
        });
        let origin = origin.map_err(|error| format!("upstream {}: {error}", upstream.service))?;
        Ok(Self {
            upstream: Arc::new(upstream.clone()),
            origin: Arc::new(origin),
            withdrawn: CancellationToken::new(),
        })
    }
}

/// Takes the streams of one client.
#[derive(Debug)]
pub(crate) struct OfClient {
    pub(crate) upstreams: Arc<Upstreams>,
    pub(crate) cluster: ClusterId,
}

impl HandleStreams for OfClient {
    fn serve(&self, incoming: Incoming) -> BoxFuture<'static, ()> {
        self.upstreams.clone().serve(&self.cluster, incoming)
    }

    fn resumes(&self, service: &ServiceName) -> bool {
        let table = self.upstreams.table.lock();
        table
            .get(service)
            .is_some_and(|reachable| reachable.upstream.origin.resume)
    }
}
