//! From a connection to a registered session, or to a refusal: one deadline over all of it.

mod not_admitted;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use certs::{CertificateInfo, Chain, ClusterId, Identity, Role};
use parking_lot::Mutex;
use relay::driver::handshake::{Established, HandshakeError, PendingHello, respond};
use relay::driver::{NotResumed, SessionOptions, StreamHandler};
use relay::proto::{
    Close, Features, Hello, HelloAck, Instance, Limits, SOFTWARE, SessionId, VersionRange,
};
use relay::transport::{Connection, ConnectionLost};
use relay::{CloseCode, Session, WorkerHandle, Workers};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tracing::Instrument;

use crate::clusters::{Admitted as Entered, Clusters};
use crate::metrics::EdgeMetrics;
use crate::registry::{Entry, NotRegistered, Registry};
use crate::revocation::{Revocation, Shown, why_revoked};
use crate::tenant_budgets::TenantBudgets;
use crate::upstream::{OfClient, Upstreams};

pub(crate) use not_admitted::NotAdmitted;

/// When a client that was refused for want of room may come back.
const RETRY_WHEN_FULL: Duration = Duration::from_secs(5);

/// What a client reads that finds no place.
const FULL: &str = "this edge has as many sessions as it may, or as it may of this cluster";

/// What a client reads that comes to an edge that is stopping. One that comes back is let in.
const STOPPING: &str = "this edge is stopping";

/// What clients are told of edges, `host:port` each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ToldEdges {
    /// Where they reach this very edge; empty: where they did.
    pub(crate) advertise: Vec<String>,
    /// Every edge that they may keep sessions with; empty: whatever they know.
    pub(crate) edges: Vec<String>,
}

/// What every admission needs.
#[derive(Debug)]
pub(crate) struct Admission {
    pub(crate) workers: Arc<Workers>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) clusters: Arc<Clusters>,
    pub(crate) upstreams: Arc<Upstreams>,
    pub(crate) metrics: Arc<EdgeMetrics>,
    pub(crate) revocation: Arc<Revocation>,
    pub(crate) edge: String,
    pub(crate) instance: Instance,
    pub(crate) limits: Limits,
    pub(crate) options: SessionOptions,
    pub(crate) budgets: TenantBudgets,
    /// Where clients reach this edge, and every edge; changes with the configuration.
    pub(crate) told: watch::Receiver<ToldEdges>,
    pub(crate) handshake_timeout: Duration,
    /// Every admitted session, and every handshake under way.
    pub(crate) tasks: TaskTracker,
    /// Every session, from when it is sure to be admitted.
    pub(crate) sessions: TaskTracker,
    /// The edge stops: sessions drain for `grace`.
    pub(crate) stop: CancellationToken,
    pub(crate) grace: Duration,
    pub(crate) max_handshakes: usize,
}

/// A client that has proved who it is and was let in.
struct Admitted {
    established: Established,
    cluster: ClusterId,
    certificate_expires: Option<SystemTime>,
    shown: Shown,
    counted: TaskTrackerToken,
}

impl Admission {
    /// Runs on the worker that the session will live on, until the session is over. The span that
    /// it runs in names the peer's address.
    pub(crate) async fn admit(
        self: Arc<Self>,
        connecting: impl Future<Output = Result<Arc<dyn Connection>, ConnectionLost>>,
        deadline: Instant,
        worker: WorkerHandle,
        permit: OwnedSemaphorePermit,
    ) {
        let admitted = self.handshake_in_time(connecting, deadline, &worker).await;
        drop(permit);
        let Admitted {
            established,
            cluster,
            certificate_expires,
            shown,
            counted,
        } = match admitted {
            Ok(Some(admitted)) => admitted,
            Ok(None) => return self.metrics.handshake("resumed"),
            Err(NotAdmitted::Stopping) => {
                self.metrics.handshake(NotAdmitted::Stopping.label());
                return tracing::info!("not admitted: this edge is stopping");
            }
            Err(error) if error.is_a_strangers() => return self.count_stranger(&error),
            Err(error) => {
                self.metrics.handshake(error.label());
                tracing::warn!(%error, "not admitted");
                return;
            }
        };
        self.metrics.handshake("admitted");
        let handler = self.handler(&cluster);
        let hello = established.hello.clone();
        let options = SessionOptions {
            shared_budget: self.budgets.of(&cluster.tenant),
            ..self.options.clone()
        };
        let session = Session::start(established, options, &cluster.to_string(), worker, handler);
        let span = session.span().clone();
        let living = self.live(session, hello, cluster, certificate_expires, shown);
        living.instrument(span).await;
        drop(counted);
    }

    /// Counts who did not get far enough to be worth a line in the log.
    pub(crate) fn count_stranger(&self, error: &NotAdmitted) {
        self.metrics.handshake(error.label());
        tracing::debug!(%error, "not admitted");
    }

    /// Keeps the session registered until it is over.
    async fn live(
        &self,
        session: Session,
        hello: Hello,
        cluster: ClusterId,
        certificate_expires: Option<SystemTime>,
        shown: Shown,
    ) {
        tracing::info!(replica = %hello.replica, "client connected");
        let entered = Entered {
            cluster: &cluster.clone(),
            hello: &hello.clone(),
            certificate_expires,
        };
        let entry = Entry {
            session: session.clone(),
            shown: shown.clone(),
            replica: hello.replica,
            instance: hello.instance,
            attempt: hello.attempt,
            beside: hello.beside,
            software: hello.software,
            since: SystemTime::now(),
            left: false,
        };
        let registered = match self.registry.register(cluster, entry) {
            Ok((registered, superseded)) => {
                // Known before the old ones are over, so that nobody is told that the cluster was gone.
                let presence = self.clusters.enter(&entered, &session, &superseded.ids());
                superseded.close();
                Some((registered, presence))
            }
            Err(NotRegistered::Full) => {
                session.close_until(CloseCode::Overload, FULL, RETRY_WHEN_FULL);
                None
            }
            Err(NotRegistered::Late) => {
                session.close(CloseCode::Superseded, "a newer session has begun before");
                None
            }
        };
        let (registered, presence) = registered.unzip();
        let reports = async {
            match &presence {
                Some(presence) => presence.follow(session.services()).await,
                None => std::future::pending().await,
            }
        };
        let over = async {
            tokio::select! {
                closed = session.closed() => closed,
                () = self.stop.cancelled() => {
                    session.drain(self.grace).await;
                    session.closed().await
                }
            }
        };
        let closed = tokio::select! {
            closed = over => closed,
            never = self.tell(&session) => match never {},
            never = reports => match never {},
            // Also what became known between its handshake and now.
            revoked = self.revocation.revoked(&shown) => {
                tracing::warn!(%revoked, "the client's certificate is revoked: its session ends");
                session.close(CloseCode::Revoked, &why_revoked(&revoked));
                session.closed().await
            }
        };
        drop(registered);
        if let Some(presence) = presence {
            presence.over(&closed);
        }
        session.finished().await;
        tracing::info!(%closed, "client disconnected");
    }

    /// Tells a client of every edge, now and whenever that changes.
    async fn tell(&self, session: &Session) -> std::convert::Infallible {
        let mut told = self.told.clone();
        let mut last = Vec::new();
        loop {
            let edges = told.borrow_and_update().edges.clone();
            // Where nothing is configured, nothing is said: the client goes by what it knows.
            if edges != last {
                session.announce_edges(edges.clone());
                last = edges;
            }
            if told.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    async fn handshake_in_time(
        &self,
        connecting: impl Future<Output = Result<Arc<dyn Connection>, ConnectionLost>>,
        deadline: Instant,
        worker: &WorkerHandle,
    ) -> Result<Option<Admitted>, NotAdmitted> {
        let connected = timeout_at(deadline, connecting).await;
        let connection = connected.map_err(|_| NotAdmitted::Timeout)??;
        let rest = self.handshake(connection.clone(), worker);
        match timeout_at(deadline, rest).await {
            Ok(admitted) => admitted,
            Err(_) => {
                let message = "no Hello in time";
                connection.close(CloseCode::HandshakeTimeout, message);
                Err(NotAdmitted::Timeout)
            }
        }
    }

    /// Hello, identity, policy. `None` if a session goes on with this connection.
    async fn handshake(
        &self,
        connection: Arc<dyn Connection>,
        worker: &WorkerHandle,
    ) -> Result<Option<Admitted>, NotAdmitted> {
        let pending = match respond(connection.clone()).await {
            Ok(pending) => pending,
            Err(error) => {
                connection.close(error.close_code(), &error.to_string());
                return Err(error.into());
            }
        };
        let (cluster, certificate_expires) = match cluster_of(connection.as_ref()) {
            Ok(found) => found,
            Err(error) => {
                refuse(pending, CloseCode::Refused, "refused", None).await;
                return Err(NotAdmitted::Identity(error));
            }
        };
        let shown = Chain::of(&connection.peer_certificates());
        if let Some(revoked) = self.revocation.of(&shown) {
            refuse(pending, CloseCode::Revoked, &why_revoked(&revoked), None).await;
            return Err(NotAdmitted::Revoked(cluster, revoked));
        }
        if pending.hello().continues.is_some() {
            return self.resume(pending, &cluster, shown).await.map(|()| None);
        }
        // Whoever has passed here is waited for.
        let counted = self.sessions.token();
        if self.stop.is_cancelled() {
            refuse(pending, CloseCode::Shutdown, STOPPING, None).await;
            return Err(NotAdmitted::Stopping);
        }
        if !self.registry.has_room(&cluster, pending.hello()) {
            refuse(pending, CloseCode::Overload, FULL, Some(RETRY_WHEN_FULL)).await;
            return Err(NotAdmitted::Policy(CloseCode::Overload));
        }
        let session = SessionId::from_bytes(rand::random());
        let ack = self.answer(pending.hello(), session, worker)?;
        let established = pending.accept(ack).await?;
        Ok(Some(Admitted {
            established,
            cluster,
            certificate_expires,
            shown: Arc::new(Mutex::new(shown)),
            counted,
        }))
    }

    fn answer(
        &self,
        hello: &Hello,
        session: SessionId,
        worker: &WorkerHandle,
    ) -> Result<HelloAck, NotAdmitted> {
        let version = VersionRange::SUPPORTED
            .negotiate(hello.versions)
            .map_err(|error| NotAdmitted::Handshake(HandshakeError::Protocol(error.to_string())))?;
        Ok(HelloAck {
            version,
            features: Features::SUPPORTED.common(hello.features),
            software: SOFTWARE.to_owned(),
            edge: self.edge.clone(),
            instance: self.instance,
            session,
            attempt: hello.attempt,
            limits: self.limits,
            worker_hint: Some(self.workers.hint(worker)),
            advertise: self.told.borrow().advertise.clone(),
        })
    }

    /// Lets a session go on with this connection, if whoever made it is an end of that session.
    async fn resume(
        &self,
        pending: PendingHello,
        cluster: &ClusterId,
        shown: Chain,
    ) -> Result<(), NotAdmitted> {
        let hello = pending.hello();
        let connection = pending.connection().clone();
        let found = self.registry.session_of(cluster, hello);
        let proved = found.filter(|(it, _)| it.is_continued_by(connection.as_ref(), hello));
        let Some((session, shown_before)) = proved else {
            // Whatever is wrong, whoever guesses learns nothing of it.
            refuse(pending, CloseCode::Refused, "refused", None).await;
            return Err(NotAdmitted::Policy(CloseCode::Refused));
        };
        let ack = self.answer(hello, session.id(), session.worker())?;
        let established = pending.accept(ack).await?;
        let span = session.span().clone();
        let transport = connection.transport();
        match session.resume(established) {
            Ok(()) => {
                *shown_before.lock() = shown.clone();
                // Whoever waits for that to be revoked may have looked at what was shown before.
                if let Some(revoked) = self.revocation.of(&shown) {
                    session.close(CloseCode::Revoked, &why_revoked(&revoked));
                }
                span.in_scope(
                    || tracing::info!(%transport, "client reconnected, its streams go on"),
                );
                Ok(())
            }
            Err(NotResumed::Over) => Err(NotAdmitted::Policy(CloseCode::Unknown)),
            Err(NotResumed::TooLate) => Err(NotAdmitted::Policy(CloseCode::Moved)),
        }
    }

    /// Streams of this client go to upstreams.
    fn handler(&self, cluster: &ClusterId) -> StreamHandler {
        Arc::new(OfClient {
            upstreams: self.upstreams.clone(),
            cluster: cluster.clone(),
        })
    }
}

/// Whose client it is, by the certificate that TLS has verified, and when that expires.
fn cluster_of(connection: &dyn Connection) -> Result<(ClusterId, Option<SystemTime>), String> {
    let chain = connection.peer_certificates();
    let certificate = chain.first().ok_or("no certificate was shown")?;
    let identity = Identity::from_certificate(certificate).map_err(|error| error.to_string())?;
    match identity.role {
        Role::Client(cluster) => {
            let info = CertificateInfo::read(certificate).ok();
            let expires = info.map(|info| SystemTime::from(info.validity.not_after));
            Ok((cluster, expires))
        }
        Role::Edge(_) | Role::Service(_) => Err(format!("{identity} is no client")),
    }
}

async fn refuse(
    pending: PendingHello,
    code: CloseCode,
    message: &str,
    retry_after: Option<Duration>,
) {
    let close = Close {
        code,
        message: message.to_owned(),
        retry_after,
    };
    // It waits for the peer to read it, which must not use up the deadline of the handshake.
    let _ = timeout(Duration::from_secs(1), pending.refuse(close)).await;
}
