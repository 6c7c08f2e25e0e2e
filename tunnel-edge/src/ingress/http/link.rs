//! The only place that touches the tunnel: a session as the origins see it, and the byte stream
//! of one connection to an origin.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use relay::{AppProtocol, Caller, OpenRequest, Reset, ResetCode, ServiceName, Session, SessionId};
use relay::{StreamIo, WorkerHandle};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::runtime::Handle;

use super::failure::Failure;
use super::limits::{LINGER, OPEN_DEADLINE};
#[cfg(test)]
use super::tests::fake::{FakeIo, FakeSession};

/// A live session with a cluster.
#[derive(Debug, Clone)]
pub(super) enum Link {
    /// Through the tunnel.
    Tunnel(Session),
    /// To an origin in the test itself.
    #[cfg(test)]
    Fake(FakeSession),
}

impl Link {
    pub(super) fn id(&self) -> LinkId {
        match self {
            Self::Tunnel(session) => LinkId::Tunnel(session.id()),
            #[cfg(test)]
            Self::Fake(session) => LinkId::Fake(session.id()),
        }
    }

    /// Whether requests may be sent: the session is there, and its client is not stopping.
    pub(super) fn is_open(&self) -> bool {
        match self {
            Self::Tunnel(session) => session.is_open() && !session.is_peer_draining(),
            #[cfg(test)]
            Self::Fake(session) => session.is_open(),
        }
    }

    /// Returns once the session has ended, or its client is stopping and waits for idle
    /// connections to go. Cancel safe.
    pub(super) async fn closed(&self) {
        match self {
            Self::Tunnel(session) => tokio::select! {
                _ = session.closed() => {}
                () = session.peer_draining() => {}
            },
            #[cfg(test)]
            Self::Fake(session) => session.closed().await,
        }
    }

    /// What the service speaks, or nothing if the cluster does not expose it.
    pub(super) fn service_protocol(&self, service: &ServiceName) -> Option<AppProtocol> {
        match self {
            Self::Tunnel(session) => session.service_protocol(service),
            #[cfg(test)]
            Self::Fake(session) => session.service_protocol(service),
        }
    }

    /// Runs a future on the thread that owns the session.
    pub(super) fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        match self {
            Self::Tunnel(session) => {
                let worker: &WorkerHandle = session.worker();
                drop(worker.spawn(future));
            }
            #[cfg(test)]
            Self::Fake(session) => session.spawn(future),
        }
    }

    /// Opens a byte stream to the service within [`OPEN_DEADLINE`].
    ///
    /// Does not wait until the origin is reached: what is written follows the opening at once.
    /// If the origin cannot be reached, reading fails and [`OriginIo::verdict`] knows why.
    pub(super) async fn open(
        &self,
        service: &ServiceName,
        principal: &str,
        traceparent: Option<String>,
    ) -> Result<OriginIo, Failure> {
        let request = OpenRequest {
            service: service.clone(),
            caller: Caller {
                principal: principal.to_owned(),
                // Many callers share the connection; each request says in `X-Forwarded-For`
                // whose it is.
                address: None,
            },
            traceparent,
        };
        let open = async {
            match self {
                Self::Tunnel(session) => {
                    let stream = session.open(request).await.map_err(Failure::Open)?;
                    Ok(Socket::Tunnel(stream.into_io()))
                }
                #[cfg(test)]
                Self::Fake(session) => {
                    let stream = session.open(request).await.map_err(Failure::Open)?;
                    Ok(Socket::Fake(stream))
                }
            }
        };
        let socket = tokio::time::timeout(OPEN_DEADLINE, open)
            .await
            .unwrap_or(Err(Failure::OpenTimeout))?;
        Ok(OriginIo {
            socket: Some(socket),
            verdict: Verdict::default(),
            is_shut: false,
            has_ended: false,
        })
    }
}

/// Tells sessions apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum LinkId {
    /// Through the tunnel.
    Tunnel(SessionId),
    /// In a test.
    #[cfg(test)]
    Fake(u64),
}

impl LinkId {
    /// The session in the tunnel, if it is one.
    pub(super) fn session(&self) -> Option<SessionId> {
        match self {
            Self::Tunnel(session) => Some(*session),
            #[cfg(test)]
            Self::Fake(_) => None,
        }
    }
}

/// The byte stream of one connection to an origin.
///
/// Shutting it down ends our direction cleanly. Dropping it then leaves the origin [`LINGER`] to
/// end its own, so that a connection that was closed between requests is complete on both sides;
/// dropping it before resets it.
#[derive(Debug)]
pub(super) struct OriginIo {
    /// Taken out only when it is dropped.
    socket: Option<Socket>,
    verdict: Verdict,
    is_shut: bool,
    has_ended: bool,
}

impl OriginIo {
    /// Where the reason of a reset will be found, once the stream itself is inside of hyper.
    pub(super) fn verdict(&self) -> Verdict {
        self.verdict.clone()
    }

    /// What log lines about the stream belong in.
    pub(super) fn span(&self) -> tracing::Span {
        self.socket().span()
    }

    fn socket(&self) -> &Socket {
        self.socket.as_ref().expect(TAKEN_ONLY_BY_DROP)
    }
}

const TAKEN_ONLY_BY_DROP: &str = "the socket is taken out only when it is dropped";

impl Drop for OriginIo {
    fn drop(&mut self) {
        let Some(socket) = self.socket.take() else {
            return;
        };
        if self.is_shut
            && !self.has_ended
            && self.verdict.get().is_none()
            && let Ok(here) = Handle::try_current()
        {
            here.spawn(linger(socket));
        }
    }
}

/// Waits for the origin's end. What it says still is for nobody, and the stream is reset for it.
async fn linger(mut socket: Socket) {
    let end = async {
        match &mut socket {
            Socket::Tunnel(socket) => socket.read(&mut [0]).await,
            #[cfg(test)]
            Socket::Fake(socket) => socket.read(&mut [0]).await,
        }
    };
    let ended = tokio::time::timeout(LINGER, end).await;
    tracing::trace!(?ended, "connection to an origin is over");
}

/// Why a stream was reset, if it was. hyper does not keep the errors of its sockets whole.
#[derive(Debug, Clone, Default)]
pub(super) struct Verdict(Arc<OnceLock<ResetCode>>);

impl Verdict {
    pub(super) fn get(&self) -> Option<ResetCode> {
        self.0.get().copied()
    }

    fn note(&self, error: &io::Error) {
        let reset = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<Reset>());
        let code = reset.map_or(ResetCode::OriginReset, |reset| reset.code);
        if self.0.set(code).is_ok() {
            tracing::debug!(%code, %error, "stream to the origin was reset");
        }
    }
}

#[derive(Debug)]
#[cfg_attr(
    test,
    allow(
        clippy::large_enum_variant,
        reason = "only tests have a second variant, and few of it"
    )
)]
enum Socket {
    Tunnel(StreamIo),
    #[cfg(test)]
    Fake(FakeIo),
}

impl Socket {
    fn span(&self) -> tracing::Span {
        match self {
            Self::Tunnel(socket) => socket.span().clone(),
            #[cfg(test)]
            Self::Fake(_) => tracing::Span::none(),
        }
    }
}

/// Calls a method of the socket, whichever it is.
macro_rules! socket {
    ($io:expr, $socket:ident => $call:expr) => {{
        let io: &mut OriginIo = $io;
        let socket = io.socket.as_mut().expect(TAKEN_ONLY_BY_DROP);
        let result = match socket {
            Socket::Tunnel($socket) => $call,
            #[cfg(test)]
            Socket::Fake($socket) => $call,
        };
        let noted = ready!(result).inspect_err(|error| {
            io.socket().span().in_scope(|| io.verdict.note(error));
        });
        Poll::Ready(noted)
    }};
}

impl AsyncRead for OriginIo {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let had = buf.filled().len();
        ready!(socket!(this, socket => Pin::new(socket).poll_read(cx, buf)))?;
        this.has_ended |= buf.filled().len() == had && buf.remaining() > 0;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for OriginIo {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        socket!(self.get_mut(), socket => Pin::new(socket).poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        socket!(self.get_mut(), socket => Pin::new(socket).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        match self.socket() {
            Socket::Tunnel(socket) => socket.is_write_vectored(),
            #[cfg(test)]
            Socket::Fake(socket) => socket.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        socket!(self.get_mut(), socket => Pin::new(socket).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(socket!(this, socket => Pin::new(socket).poll_shutdown(cx)))?;
        this.is_shut = true;
        Poll::Ready(Ok(()))
    }
}
