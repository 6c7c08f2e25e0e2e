//! What is known of every cluster: its sessions, the health of its services, and how that has
//! changed within a day.
//!
//! ```text
//! admission ──enter──▶ Presence ──reports, end──▶ Known ──▶ api: JSON      (admin listener)
//!                                                       └─▶ call: gRPC, with watch
//! ```
//!
//! All of it is in memory and this process's own: another edge knows nothing of it, and a restart
//! begins with nothing. `instance` tells those who go on watching.

mod api;
mod call;
mod history;
mod json;
mod known;
mod message;
mod metrics;
mod service;
mod vitals;
mod watch;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Router;
use certs::ClusterId;
use parking_lot::Mutex;
use relay::proto::{Hello, Instance, ServiceInfo};
use relay::{Closed, SessionId};
use tokio::sync::watch as channel;
use tokio_util::sync::CancellationToken;

use self::history::Moment;
use self::known::Known;
pub(crate) use self::metrics::ClusterMetrics;
use self::service::Service;
use self::vitals::Pulse;
use crate::dns::{Dns, Standing};

/// How often it is looked who left a day ago.
const EXPIRE_EVERY: Duration = Duration::from_secs(60);

/// How long the next report of a client waits behind the last, so that one that reports all the time
/// takes no more of the edge than ten a second.
const REPORTS_APART: Duration = Duration::from_millis(100);

/// The lines about it on the admin listener's first page.
pub(crate) const INDEX: &str = "\
/api/clusters                    the clusters, their sessions and services, JSON; ?tenant= ?state= ?after= ?limit=
/api/clusters/{tenant}/{cluster} one of them, with what has changed within a day
causeway.cluster.v1.ClusterService   the same by gRPC, with watch
";

/// All clusters that this edge knows of.
#[derive(Debug)]
pub(crate) struct Clusters {
    edge: String,
    /// Of this process.
    instance: String,
    /// How names stand, if this edge publishes any.
    dns: Option<Dns>,
    known: Mutex<Known>,
    /// The version that it has come to.
    version: channel::Sender<u64>,
    /// The edge stops: nobody watches any longer.
    closed: CancellationToken,
}

/// Who a session is with, as its admission has found out.
#[derive(Debug)]
pub(crate) struct Admitted<'a> {
    pub(crate) cluster: &'a ClusterId,
    pub(crate) hello: &'a Hello,
    pub(crate) certificate_expires: Option<SystemTime>,
}

/// Takes a session out again when dropped.
#[derive(Debug)]
pub(crate) struct Presence {
    clusters: Arc<Clusters>,
    cluster: ClusterId,
    session: SessionId,
    pulse: Arc<dyn Pulse>,
    why: String,
}

impl Clusters {
    pub(crate) fn new(edge: String, instance: Instance, dns: Option<Dns>) -> Self {
        Self {
            edge,
            instance: instance.to_string(),
            dns,
            known: Mutex::default(),
            version: channel::Sender::new(0),
            closed: CancellationToken::new(),
        }
    }

    /// How the name of a cluster stands in DNS; `None` if it has none.
    fn name_of(&self, cluster: &ClusterId) -> Option<Standing> {
        self.dns.as_ref()?.of_cluster(cluster)
    }

    /// A session has begun, in the place of others that its client had.
    pub(crate) fn enter(
        self: &Arc<Self>,
        admitted: &Admitted<'_>,
        session: &relay::Session,
        replaces: &[SessionId],
    ) -> Presence {
        let now = Moment::now();
        let hello = admitted.hello;
        let services = hello.services.iter();
        let known = known::Session {
            id: session.id(),
            replica: hello.replica.to_string(),
            software: hello.software.clone(),
            since: now.wall,
            certificate_expires: admitted.certificate_expires,
            services: services
                .map(|info| Service::reported(info, now.wall))
                .collect(),
            pulse: Arc::new(session.clone()),
        };
        self.enter_as(admitted.cluster, known, replaces, now)
    }

    fn enter_as(
        self: &Arc<Self>,
        cluster: &ClusterId,
        session: known::Session,
        replaces: &[SessionId],
        now: Moment,
    ) -> Presence {
        let presence = Presence {
            clusters: self.clone(),
            cluster: cluster.clone(),
            session: session.id,
            pulse: session.pulse.clone(),
            why: "the edge has let go of it".to_owned(),
        };
        self.update(|known| known.entered(cluster, session, replaces, now));
        presence
    }

    /// Forgets, from time to time, what is older than a day; until `stop`.
    pub(crate) async fn keep_time(self: Arc<Self>, stop: CancellationToken) {
        let expiring = async {
            loop {
                tokio::time::sleep(EXPIRE_EVERY).await;
                let now = Moment::now();
                self.update(|known| known.expire(now.monotonic));
            }
        };
        let _: Option<()> = stop.run_until_cancelled(expiring).await;
    }

    /// Whoever watches is told to do so elsewhere.
    pub(crate) fn close(&self) {
        self.closed.cancel();
    }

    /// What the admin listener answers.
    pub(crate) fn routes(self: &Arc<Self>) -> Router {
        api::routes(self.clone()).merge(call::routes(self.clone()))
    }

    fn update<T>(&self, update: impl FnOnce(&mut Known) -> T) {
        let version = {
            let mut known = self.known.lock();
            update(&mut known);
            known.version()
        };
        self.version.send_if_modified(|told| {
            let is_news = version > *told;
            *told = version.max(*told);
            is_news
        });
    }
}

impl Presence {
    /// Takes over what the client reports; for as long as it is polled. Cancel-safe.
    pub(crate) async fn follow(
        &self,
        mut services: channel::Receiver<Vec<ServiceInfo>>,
    ) -> Infallible {
        // What came between Hello and now counts too.
        services.mark_changed();
        while services.changed().await.is_ok() {
            let now = Moment::now();
            let reported: Vec<_> = services
                .borrow_and_update()
                .iter()
                .map(|info| Service::reported(info, now.wall))
                .collect();
            self.clusters
                .update(|known| known.reported(&self.cluster, self.session, reported, now));
            tokio::time::sleep(REPORTS_APART).await;
        }
        std::future::pending().await
    }

    /// The session is over, and it is known why.
    pub(crate) fn over(mut self, closed: &Closed) {
        self.why = closed.to_string();
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        let now = Moment::now();
        let silence = self.pulse.feel().silence;
        let heard = now.wall.checked_sub(silence).unwrap_or(now.wall);
        let why = std::mem::take(&mut self.why);
        self.clusters
            .update(|known| known.left(&self.cluster, self.session, why, heard, now));
    }
}
