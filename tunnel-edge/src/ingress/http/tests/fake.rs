//! A stand-in for a session: its streams lead to an origin in the test.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;
use relay::{AppProtocol, OpenError, OpenRequest, Reset, ResetBy, ResetCode, ServiceName};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// A session that exposes one service.
#[derive(Debug, Clone)]
pub(in super::super) struct FakeSession(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    id: u64,
    service: ServiceName,
    protocol: AppProtocol,
    accepted: mpsc::UnboundedSender<FakeIo>,
    opened: Mutex<Vec<OpenRequest>>,
    refusals: Mutex<VecDeque<Refusal>>,
    closed: CancellationToken,
    frozen: watch::Sender<bool>,
    worker: Handle,
}

/// What opening a stream comes to, if not to a stream.
#[derive(Debug, Clone, Copy)]
pub(super) enum Refusal {
    /// It is not opened.
    Open(OpenError),
    /// It is reset by the other end.
    Reset(ResetCode),
    /// It is opened, and the origin has nothing to say on it.
    End,
    /// Nothing happens.
    Hang,
}

impl FakeSession {
    /// The session, which lives on `worker`, and the origin's ends of its streams.
    pub(super) fn new(
        service: &str,
        protocol: AppProtocol,
        worker: Handle,
    ) -> (Self, mpsc::UnboundedReceiver<FakeIo>) {
        static IDS: AtomicUsize = AtomicUsize::new(0);
        let (accepted, streams) = mpsc::unbounded_channel();
        let inner = Inner {
            id: IDS.fetch_add(1, Ordering::Relaxed) as u64,
            service: service.parse().unwrap(),
            protocol,
            accepted,
            opened: Mutex::default(),
            refusals: Mutex::default(),
            closed: CancellationToken::new(),
            frozen: watch::Sender::new(false),
            worker,
        };
        (Self(Arc::new(inner)), streams)
    }

    /// What was asked for, stream by stream.
    pub(super) fn opened(&self) -> Vec<OpenRequest> {
        self.0.opened.lock().clone()
    }

    /// Refuses the next stream.
    pub(super) fn refuse(&self, refusal: Refusal) {
        self.0.refusals.lock().push_back(refusal);
    }

    pub(super) fn close(&self) {
        self.0.closed.cancel();
    }

    /// Stops the worker from doing anything, or lets it go on.
    pub(super) fn freeze(&self, frozen: bool) {
        self.0.frozen.send_replace(frozen);
    }

    pub(in super::super) fn id(&self) -> u64 {
        self.0.id
    }

    pub(in super::super) fn is_open(&self) -> bool {
        !self.0.closed.is_cancelled()
    }

    pub(in super::super) async fn closed(&self) {
        self.0.closed.cancelled().await;
    }

    pub(in super::super) fn service_protocol(&self, service: &ServiceName) -> Option<AppProtocol> {
        (*service == self.0.service).then_some(self.0.protocol)
    }

    pub(in super::super) fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        let mut frozen = self.0.frozen.subscribe();
        self.0.worker.spawn(async move {
            let mut future = pin!(future);
            loop {
                if frozen.wait_for(|frozen| !frozen).await.is_err() {
                    return;
                }
                tokio::select! {
                    biased;
                    changed = frozen.changed() => if changed.is_err() { return },
                    () = &mut future => return,
                }
            }
        });
    }

    pub(in super::super) async fn open(&self, request: OpenRequest) -> Result<FakeIo, OpenError> {
        self.0.opened.lock().push(request);
        let (near, mut far) = FakeIo::pair();
        let refusal = self.0.refusals.lock().pop_front();
        match refusal {
            None => {
                let _ = self.0.accepted.send(far);
                Ok(near)
            }
            Some(Refusal::Open(error)) => Err(error),
            Some(Refusal::Reset(code)) => {
                far.reset(code);
                Ok(near)
            }
            Some(Refusal::End) => {
                far.shutdown().await.expect("nobody has reset it");
                let _ = self.0.accepted.send(far);
                Ok(near)
            }
            Some(Refusal::Hang) => std::future::pending().await,
        }
    }
}

/// One end of a stream. Like `relay::StreamIo`: an end is an end, a drop before both ends is a
/// reset, and a reset takes back nothing that had already ended.
#[derive(Debug)]
pub(in super::super) struct FakeIo {
    bytes: DuplexStream,
    wire: Arc<Mutex<Wire>>,
    side: usize,
}

#[derive(Debug, Default)]
struct Wire {
    ended: [bool; 2],
    reset: Option<ResetCode>,
    wakers: [Option<Waker>; 2],
}

impl FakeIo {
    fn pair() -> (Self, Self) {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let wire = Arc::<Mutex<Wire>>::default();
        let end = |bytes, side| Self {
            bytes,
            wire: wire.clone(),
            side,
        };
        (end(near, 0), end(far, 1))
    }

    /// Resets the stream for both ends.
    pub(super) fn reset(self, code: ResetCode) {
        self.wire.lock().reset(code);
    }

    /// Waits until the other end resets the stream.
    pub(super) async fn was_reset(&mut self) -> ResetCode {
        poll_fn(|cx| {
            let mut wire = self.wire.lock();
            wire.wakers[self.side] = Some(cx.waker().clone());
            wire.reset.map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }

    /// An error if the stream was reset and `done` does not excuse it.
    fn check(&self, cx: &mut Context<'_>, done: impl Fn(&Wire) -> bool) -> io::Result<()> {
        let mut wire = self.wire.lock();
        wire.wakers[self.side] = Some(cx.waker().clone());
        match wire.reset {
            Some(code) if !done(&wire) => {
                let (message, by) = (String::new(), ResetBy::Peer);
                let reset = Reset { code, message, by };
                Err(io::Error::new(io::ErrorKind::ConnectionReset, reset))
            }
            Some(_) | None => Ok(()),
        }
    }
}

impl Wire {
    fn reset(&mut self, code: ResetCode) {
        self.reset.get_or_insert(code);
        for waker in self.wakers.iter_mut().filter_map(Option::take) {
            waker.wake();
        }
    }
}

impl Drop for FakeIo {
    fn drop(&mut self) {
        let mut wire = self.wire.lock();
        if wire.ended != [true, true] {
            wire.reset(ResetCode::Cancelled);
        }
    }
}

impl AsyncRead for FakeIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let peer = 1 - self.side;
        self.check(cx, |wire| wire.ended[peer])?;
        Pin::new(&mut self.bytes).poll_read(cx, buf)
    }
}

impl AsyncWrite for FakeIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check(cx, |_| false)?;
        Pin::new(&mut self.bytes).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let side = self.side;
        self.wire.lock().ended[side] = true;
        Pin::new(&mut self.bytes).poll_shutdown(cx)
    }
}
