//! A live session, as its users hold it.

mod open;
mod options;
mod resumption;

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span};

use super::accept::{self, StreamHandler};
use super::handshake::Established;
use super::line::{self, Line, NextLine};
use super::proof::Secret;
use super::shared::{Closed, ClosedBy, Shared, close, now};
use super::{attach, span};
use crate::audit::Parties;
use crate::proto::{
    AppProtocol, Close, CloseCode, Features, Opener, ServiceInfo, ServiceName, SessionId,
};
use crate::session::{SessionConfig, SessionState};
use crate::transport::TransportKind;
use crate::worker::WorkerHandle;

pub use open::{OpenError, OpenRequest};
pub use options::{SessionOptions, bounds, limits};
pub use resumption::NotResumed;

use resumption::Resumption;

/// How long a peer may take to say which streams it had opened when it heard that this end drains.
const DRAIN_ANSWER: Duration = Duration::from_secs(2);

/// A handle on a live session. Clones are the same session; dropping all of them does not end it.
#[derive(Clone, Debug)]
pub struct Session {
    id: SessionId,
    shared: Arc<Shared>,
    worker: WorkerHandle,
    finished: CancellationToken,
    resumption: Arc<Resumption>,
}

/// What is to be seen of a session.
#[derive(Clone, Debug)]
pub struct SessionSnapshot {
    /// Whether there is a connection now. Without one, what is said of it is of the last.
    pub connected: bool,
    /// Which transport it runs on.
    pub transport: TransportKind,
    /// Where the peer is.
    pub remote: std::net::SocketAddr,
    /// The name of the key exchange.
    pub key_exchange: String,
    /// The round trip as the last Ping measured it, else as the transport does.
    pub rtt: Duration,
    /// Whether a Ping is answered later than it should be.
    pub suspect: bool,
    /// How long ago anything of the peer arrived.
    pub silence: Duration,
    /// How many streams are live.
    pub streams: usize,
    /// What windows of the session are granted beyond their base, in bytes.
    pub window_growth: u64,
    /// Payload sent, in bytes.
    pub bytes_sent: u64,
    /// Payload received, in bytes.
    pub bytes_received: u64,
    /// The services that the peer exposes.
    pub services: Vec<ServiceInfo>,
}

/// Ends a session whose tasks are gone, be it that one panicked or that its worker stopped, so that
/// nobody waits for it. After a proper end it changes nothing.
struct EndOnDrop(Arc<Shared>);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        let Self(shared) = self;
        let message = "the session's tasks are gone";
        shared.end(ClosedBy::Local, close(CloseCode::Internal, message));
        shared.reset_all();
        shared.line().connection.close(CloseCode::Internal, message);
    }
}

impl Session {
    /// Starts the session's tasks on `worker`, which must be where this is called. `cluster` is the
    /// client's, `tenant/cluster`, for log lines and the records of its streams; the current span
    /// will be above the session's.
    pub fn start(
        established: Established,
        options: SessionOptions,
        cluster: &str,
        worker: WorkerHandle,
        handler: StreamHandler,
    ) -> Self {
        let Established {
            connection,
            hello,
            ack,
            side,
            control,
        } = established;
        let (local, peer) = match side {
            Opener::Initiator => (hello.limits, ack.limits),
            Opener::Responder => (ack.limits, hello.limits),
        };
        // An end that keeps nothing for any time does not resume.
        let resume =
            ack.features.contains(Features::RESUME) && !local.grace.min(peer.grace).is_zero();
        let secret = resume
            .then(|| Secret::of(connection.as_ref(), ack.session).ok())
            .flatten();
        let resume = secret.is_some();
        let state = SessionState::new(
            SessionConfig {
                side,
                local,
                peer,
                stream_window: options.stream_window,
                growth_budget: options.growth_budget,
                shared_budget: options.shared_budget,
                liveness: options.liveness,
                seed: rand::random(),
                attempt: ack.attempt,
                resume,
            },
            now(),
        );
        let parties = options.audit.map(|log| Parties {
            log,
            cluster: cluster.to_owned(),
            replica: hello.replica.to_string(),
            edge: ack.edge.clone(),
            session: ack.session,
        });
        let services = match side {
            Opener::Initiator => Vec::new(),
            Opener::Responder => hello.services,
        };
        let line = Line::new(ack.attempt, connection);
        let shared = Arc::new(Shared::new(
            line.clone(),
            state,
            resume,
            services,
            options.metrics,
            parties,
            span::session(cluster, ack.session),
        ));
        let finished = CancellationToken::new();
        let next = Arc::new(NextLine::default());
        let counted = worker.count_session();
        let session = Self {
            id: ack.session,
            shared: shared.clone(),
            worker: worker.clone(),
            finished: finished.clone(),
            resumption: Arc::new(Resumption {
                secret,
                next: next.clone(),
            }),
        };
        let span = shared.span.clone();
        let tasks = async move {
            let _finished = finished.drop_guard();
            let _end = EndOnDrop(shared.clone());
            let _counted = counted;
            let _live = shared.metrics.session_live();
            tokio::join!(
                line::run(shared.clone(), (line, control), next),
                accept::run(shared.clone(), handler),
                attach::run(shared.clone()),
            );
        };
        worker.spawn(tasks.instrument(span));
        session
    }

    /// The session's id, which both ends know.
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// What log lines about the session belong in.
    pub fn span(&self) -> &Span {
        &self.shared.span
    }

    /// The worker that the session lives on.
    pub fn worker(&self) -> &WorkerHandle {
        &self.worker
    }

    /// Whether streams can still be opened, but for the limits.
    pub fn is_open(&self) -> bool {
        !self.shared.closed().is_cancelled()
    }

    /// Waits until the session is over. Cancel-safe.
    pub async fn closed(&self) -> Closed {
        self.shared.closed().cancelled().await;
        self.shared.closed_because()
    }

    /// Waits until the session's tasks have ended too. Cancel-safe.
    pub async fn finished(&self) {
        self.finished.cancelled().await;
    }

    /// Waits until the peer has answered a Ping. Cancel-safe.
    pub async fn answered(&self) {
        self.shared.answered().cancelled().await;
    }

    /// Whether a round trip through the session has worked.
    pub fn is_answered(&self) -> bool {
        self.shared.answered().is_cancelled() && self.is_connected()
    }

    /// Waits until an answer to a Ping is overdue: the connection may be dead. Cancel-safe.
    pub async fn suspect(&self) {
        self.shared.suspect().await;
    }

    /// Waits until no answer is overdue, and there is a connection. Cancel-safe.
    pub async fn unsuspect(&self) {
        self.shared.unsuspect().await;
    }

    /// Waits until the peer says that it is stopping. Cancel-safe.
    pub async fn peer_draining(&self) {
        self.shared.draining().cancelled().await;
    }

    /// Whether the peer has said that it is stopping.
    pub fn is_peer_draining(&self) -> bool {
        self.shared.draining().is_cancelled()
    }

    /// What `service` speaks; `None` if the client does not expose it.
    pub fn service_protocol(&self, service: &ServiceName) -> Option<AppProtocol> {
        let services = self.shared.services();
        let found = services.borrow();
        found
            .iter()
            .find(|info| &info.name == service)
            .map(|info| info.protocol)
    }

    /// The services that the peer exposes, and every change of them.
    pub fn services(&self) -> watch::Receiver<Vec<ServiceInfo>> {
        self.shared.services()
    }

    /// Tells the peer which services there are from now on.
    pub fn announce_services(&self, services: Vec<ServiceInfo>) {
        self.shared
            .with(|session, _| session.announce_services(services));
    }

    /// Tells the peer which edges there are from now on, `host:port` each: the first 64.
    pub fn announce_edges(&self, edges: Vec<String>) {
        self.shared.with(|session, _| session.announce_edges(edges));
    }

    /// What the peer tells of edges; `None` until it has told any.
    pub fn edges(&self) -> watch::Receiver<Option<Vec<String>>> {
        self.shared.edges()
    }

    /// Whether an answer to a Ping is overdue.
    pub fn is_suspect(&self) -> bool {
        !self.is_connected() || self.shared.with(|session, now| session.is_suspect(now))
    }

    /// Opens no more streams, asks the peer not to either, and waits until the last is over, also of
    /// those that the peer had opened before it heard of it, or until `grace` has passed; then closes.
    pub async fn drain(&self, grace: Duration) {
        self.shared.with(|session, _| session.drain(grace));
        if timeout(grace, self.drained()).await.is_err() {
            self.span()
                .in_scope(|| tracing::warn!("streams outlived the drain and are reset"));
        }
        self.close(CloseCode::Shutdown, "");
    }

    async fn drained(&self) {
        let mut waits_since = None;
        loop {
            let mut idle = pin!(self.shared.idle());
            idle.as_mut().enable();
            let (drained, answered, live) = self.shared.with(|session, _| {
                let answered = session.has_peer_drained();
                (session.is_drained(), answered, session.live_streams())
            });
            // Nothing is left but what the peer has not told of, if it tells at all.
            let connected = self.is_connected();
            let untold = live == 0 && !answered;
            let waits =
                (untold && connected).then(|| *waits_since.get_or_insert_with(Instant::now));
            let answered_by = waits.map(|since| since + DRAIN_ANSWER);
            let overdue = answered_by.is_some_and(|by| Instant::now() >= by);
            if drained || overdue || (untold && !connected) {
                return;
            }
            if waits.is_none() {
                waits_since = None;
            }
            tokio::select! {
                () = idle => {}
                () = sleep_until(answered_by.unwrap_or_else(Instant::now)), if waits.is_some() => {}
                () = self.detached(), if connected => {}
                () = self.connected(), if !connected => {}
                () = self.shared.closed().cancelled() => return,
            }
        }
    }

    /// Closes at once: all streams are reset.
    pub fn close(&self, code: CloseCode, message: &str) {
        self.shared.end(ClosedBy::Local, close(code, message));
    }

    /// Closes at once and asks the peer not to come back before `retry_after`.
    pub fn close_until(&self, code: CloseCode, message: &str, retry_after: Duration) {
        let close = Close {
            retry_after: Some(retry_after),
            ..close(code, message)
        };
        self.shared.end(ClosedBy::Local, close);
    }

    /// What is to be seen of it now.
    pub fn snapshot(&self) -> SessionSnapshot {
        let connection = &self.shared.line().connection;
        SessionSnapshot {
            connected: self.is_connected(),
            transport: connection.transport(),
            remote: connection.remote_address(),
            key_exchange: connection.key_exchange(),
            rtt: self
                .shared
                .with(|session, _| session.rtt())
                .unwrap_or_else(|| connection.rtt()),
            suspect: self.is_suspect(),
            silence: self
                .shared
                .with(|session, now| now.saturating_duration_since(session.last_heard())),
            streams: self.shared.with(|session, _| session.live_streams()),
            window_growth: self.shared.with(|session, _| session.growth_used()),
            bytes_sent: self.shared.bytes_sent.load(Ordering::Relaxed),
            bytes_received: self.shared.bytes_received.load(Ordering::Relaxed),
            services: self.shared.services().borrow().clone(),
        }
    }
}
