//! A live session, as its users hold it.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::BytesMut;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span};

use super::accept::{self, StreamHandler};
use super::handshake::Established;
use super::line::{self, BegunLine, Line};
use super::proof::{Claim, Secret};
use super::reset::Reset;
use super::shared::{Closed, ClosedBy, Shared, close, now};
use super::stream::{Stream, StreamHandle};
use super::{attach, span};
use crate::audit::{AuditLog, Entry, Parties};
use crate::metrics::RelayMetrics;
use crate::proto::{
    AppProtocol, Attempt, Caller, Close, CloseCode, Continue, ContinueMode, Features, Generation,
    Hello, Limits, Open, Opener, ServiceInfo, ServiceName, SessionId, StreamHeader,
};
use crate::session::{LivenessConfig, OpenRefusal, ProcessBudget, SessionConfig, SessionState};
use crate::settings::SessionSettings;
use crate::transport::{Connection, ConnectionLost, SessionBounds, TransportKind, TransportStream};
use crate::worker::WorkerHandle;

/// How long an open may wait for room, and for its header to be with the transport.
const OPEN_DEADLINE: Duration = Duration::from_secs(10);

/// What a session is started with, beyond what its handshake says.
#[derive(Clone, Debug)]
pub struct SessionOptions {
    /// The largest window of one direction, in bytes. Default 4 MiB.
    pub stream_window: u64,
    /// What windows of the session may grow by, in bytes. Default 64 MiB.
    pub growth_budget: u64,
    /// What windows of all sessions may grow by.
    pub process_budget: Arc<ProcessBudget>,
    /// When to ping and when to give up.
    pub liveness: LivenessConfig,
    /// Where the session counts.
    pub metrics: Arc<RelayMetrics>,
    /// Where its streams are recorded, if they are.
    pub audit: Option<Arc<AuditLog>>,
}

impl SessionOptions {
    /// As the configuration states them.
    pub fn new(
        settings: &SessionSettings,
        process_budget: Arc<ProcessBudget>,
        metrics: Arc<RelayMetrics>,
        audit: Option<Arc<AuditLog>>,
    ) -> Self {
        Self {
            stream_window: settings.stream_window,
            growth_budget: settings.growth_budget,
            process_budget,
            liveness: LivenessConfig {
                ping: settings.ping_interval,
                dead: settings.dead_after,
                idle_ping: settings.idle_ping_interval,
                idle_dead: settings.idle_dead_after,
                full_size: false,
            },
            metrics,
            audit,
        }
    }
}

/// What this end holds for its peer, as the configuration states it.
pub fn limits(settings: &SessionSettings) -> Limits {
    Limits {
        stream_base: u32::try_from(settings.stream_base).unwrap_or(u32::MAX),
        max_streams: u32::try_from(settings.max_streams).unwrap_or(u32::MAX),
        grace: settings.grace,
    }
}

/// What the session will do, for the transport's own limits.
pub fn bounds(settings: &SessionSettings) -> SessionBounds {
    // Streams of the peer, some more than it was told (see `SessionState`), and our own.
    let streams = settings.max_streams + settings.max_streams / 8 + 16 + settings.max_streams;
    let bases = settings.stream_base.saturating_mul(streams);
    SessionBounds {
        streams,
        stream_window: settings.stream_window.max(settings.stream_base),
        all_windows: bases.saturating_add(settings.growth_budget),
        patience: settings.idle_dead_after.max(settings.dead_after),
    }
}

/// A handle on a live session. Clones are the same session; dropping all of them does not end it.
#[derive(Clone, Debug)]
pub struct Session {
    id: SessionId,
    shared: Arc<Shared>,
    worker: WorkerHandle,
    finished: CancellationToken,
    resumption: Arc<Resumption>,
}

/// How the session goes on when its connection is lost.
#[derive(Debug)]
struct Resumption {
    /// `None` if it does not.
    secret: Option<Secret>,
    lines: mpsc::UnboundedSender<BegunLine>,
}

/// Why a connection does not carry the session on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotResumed {
    /// The session is over, or was never to be resumed.
    #[error("the session is over")]
    Over,
    /// A connection that was begun later carries it, or did.
    #[error("a later attempt came before")]
    TooLate,
}

/// What a stream is opened for.
#[derive(Clone, Debug)]
pub struct OpenRequest {
    /// What is called.
    pub service: ServiceName,
    /// Who calls.
    pub caller: Caller,
    /// A W3C Trace Context `traceparent` to go on with.
    pub traceparent: Option<String>,
}

/// Why a stream was not opened. Nothing of it was sent that could have had an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The session is over.
    #[error("the session is over")]
    SessionClosed,
    /// One of the ends is stopping.
    #[error("the session is draining and takes no new streams")]
    Draining,
    /// The peer allows no more at once, and none ended in time.
    #[error("too many streams are open in the session")]
    TooManyStreams,
    /// The connection did not take the header in time.
    #[error("the connection took nothing for 10 s")]
    Timeout,
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
                process_budget: options.process_budget,
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
        let (lines, further) = mpsc::unbounded_channel();
        let counted = worker.count_session();
        let session = Self {
            id: ack.session,
            shared: shared.clone(),
            worker: worker.clone(),
            finished: finished.clone(),
            resumption: Arc::new(Resumption { secret, lines }),
        };
        let span = shared.span.clone();
        let tasks = async move {
            let _finished = finished.drop_guard();
            let _end = EndOnDrop(shared.clone());
            let _counted = counted;
            let _live = shared.metrics.session_live();
            tokio::join!(
                line::run(shared.clone(), (line, control), further),
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

    /// Opens a stream: waits for room and until its header is with the transport, each 10 s at
    /// most, but not for the acceptor. Cancel-safe: a stream that was begun is reset.
    pub async fn open(&self, request: OpenRequest) -> Result<Stream, OpenError> {
        let handle = timeout(OPEN_DEADLINE, self.reserve(&request))
            .await
            .map_err(|_| OpenError::TooManyStreams)??;
        let stream = timeout(OPEN_DEADLINE, self.send_header(handle, request))
            .await
            .map_err(|_| OpenError::Timeout)??;
        Ok(stream)
    }

    async fn reserve(&self, request: &OpenRequest) -> Result<StreamHandle, OpenError> {
        loop {
            let mut room = pin!(self.shared.room());
            room.as_mut().enable();
            if !self.is_open() {
                return Err(OpenError::SessionClosed);
            }
            match self.shared.with(|session, now| session.open(now)) {
                Ok(id) => {
                    self.shared.metrics.stream_opened();
                    let OpenRequest {
                        service,
                        traceparent,
                        ..
                    } = request;
                    let span = span::stream(&self.shared.span, id, service, traceparent.as_deref());
                    return Ok(StreamHandle::new(self.shared.clone(), id, span));
                }
                Err(OpenRefusal::Draining) => return Err(OpenError::Draining),
                Err(OpenRefusal::TooMany) => room.await,
            }
        }
    }

    async fn send_header(
        &self,
        handle: StreamHandle,
        request: OpenRequest,
    ) -> Result<Stream, OpenError> {
        handle.audit(|parties| {
            let OpenRequest {
                service,
                caller,
                traceparent,
            } = request.clone();
            Entry::new(parties, service, caller, traceparent)
        });
        let open = Open {
            stream: handle.id(),
            service: request.service,
            caller: request.caller,
            traceparent: request.traceparent,
            resumable: self.shared.resumes(),
            generation: Generation(0),
        };
        let transport = self.transport_for(&open).await?;
        let mut header = BytesMut::new();
        StreamHeader::Open(open).encode(&mut header);
        let mut stream = Stream::opened(handle, transport, header.freeze());
        match stream.flush().await {
            Ok(()) => Ok(stream),
            Err(Reset { .. }) => Err(OpenError::SessionClosed),
        }
    }

    /// A transport stream for a new stream, on the connection that there is or the next one.
    async fn transport_for(&self, open: &Open) -> Result<TransportStream, OpenError> {
        let shared = &self.shared;
        let over = async {
            shared.closed().cancelled().await;
            Err(OpenError::SessionClosed)
        };
        let opened = async {
            loop {
                let line = shared.connected_line().await;
                let opening = line.over.run_until_cancelled(line.connection.open());
                match opening.await {
                    Some(Ok(transport)) => {
                        let begun = shared.on_line(&line, |session, _| {
                            session.keep(open);
                            session.begin(open.stream)
                        });
                        match begun {
                            Some(true) => return Ok(transport),
                            Some(false) => return Err(OpenError::SessionClosed),
                            None => {}
                        }
                    }
                    // It is about to be found lost.
                    Some(Err(_)) => line.over.cancelled().await,
                    None => {}
                }
            }
        };
        tokio::select! {
            over = over => over,
            opened = opened => opened,
        }
    }

    /// What to say in Hello so that a connection carries this session on, instead of the one that it
    /// has or had; `None` if it ends with that.
    pub fn continuing(
        &self,
        connection: &dyn Connection,
        attempt: Attempt,
    ) -> Result<Option<Continue>, ConnectionLost> {
        let Some(secret) = &self.resumption.secret else {
            return Ok(None);
        };
        let (session, mode) = (self.id, ContinueMode::Replace);
        let claim = Claim {
            session,
            attempt,
            mode,
        };
        let proof = secret.prove(claim, connection)?;
        Ok(Some(Continue {
            session,
            mode,
            proof,
        }))
    }

    /// Whether a Hello that came on `connection` proves that its sender is the other end of this session.
    pub fn is_continued_by(&self, connection: &dyn Connection, hello: &Hello) -> bool {
        let (
            Some(secret),
            Some(Continue {
                session,
                mode,
                proof,
            }),
        ) = (&self.resumption.secret, &hello.continues)
        else {
            return false;
        };
        let claim = Claim {
            session: *session,
            attempt: hello.attempt,
            mode: *mode,
        };
        *session == self.id && secret.is_proved(claim, connection, proof)
    }

    /// Goes on with this connection, instead of the one that there is or was.
    ///
    /// # Errors
    /// If the session is over, or has gone on with a later attempt.
    pub fn resume(&self, established: Established) -> Result<(), NotResumed> {
        let Established {
            connection,
            ack,
            control,
            ..
        } = established;
        let line = Line::new(ack.attempt, connection);
        if !self.is_open() {
            return Err(NotResumed::Over);
        }
        if !self.shared.connect(&line) {
            return Err(NotResumed::TooLate);
        }
        self.shared.metrics.session_resumed();
        let lines = &self.resumption.lines;
        lines.send((line, control)).map_err(|_| NotResumed::Over)
    }

    /// Gives a session up that the peer goes on with no more, as it said.
    pub fn give_up(&self, close: Close) {
        self.shared.end(ClosedBy::Network, close);
    }

    /// Whether the session goes on when its connection is lost.
    pub fn is_resumable(&self) -> bool {
        self.shared.resumes()
    }

    /// Whether there is a connection now.
    pub fn is_connected(&self) -> bool {
        self.shared.is_connected()
    }

    /// Waits until there is a connection. Cancel-safe.
    pub async fn connected(&self) {
        self.shared.connected_line().await;
    }

    /// Waits until there is no connection. Cancel-safe.
    pub async fn detached(&self) {
        self.shared.disconnected().await;
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

    /// Opens no more streams, asks the peer not to either, and waits until the last is over or
    /// `grace` has passed; then closes.
    pub async fn drain(&self, grace: Duration) {
        self.shared.with(|session, _| session.drain(grace));
        let idle = async {
            loop {
                let mut idle = pin!(self.shared.idle());
                idle.as_mut().enable();
                if self.shared.with(|session, _| session.live_streams()) == 0 {
                    return;
                }
                tokio::select! {
                    () = idle => {}
                    () = self.shared.closed().cancelled() => return,
                }
            }
        };
        if timeout(grace, idle).await.is_err() {
            self.span()
                .in_scope(|| tracing::warn!("streams outlived the drain and are reset"));
        }
        self.close(CloseCode::Shutdown, "");
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
