//! HTTP/2 to an origin: some requests share a connection, each as a stream of its own.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::TokioIo;
use relay::OpenError;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::super::failure::Failure;
use super::super::limits::{
    OPEN_DEADLINE, ORIGIN_HEAD, ORIGIN_STREAM_WINDOW, ORIGIN_STREAMS, ORIGIN_WINDOW, SEND_BUFFER,
};
use super::super::link::{OriginIo, Verdict};
use super::super::metrics::Protocol;
use super::super::pool::Slot;
use super::super::tasks::Tasks;
use super::super::upload::{RequestBody, Upload};
use super::{Destination, Origins, Pool, Reuse, SendError, failure};

/// A place for one request on a connection.
pub(in super::super) type Http2Slot = Slot<Http2>;

/// A connection that is there or being opened. Closes when it is dropped and its last request is
/// over.
#[derive(Debug)]
pub(in super::super) struct Http2 {
    id: Http2Id,
    began: Instant,
    progress: watch::Receiver<Progress>,
}

/// Tells connections apart, of all ingresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Http2Id(u64);

impl Http2Id {
    fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// How far the opening of a connection has come.
#[derive(Debug, Clone)]
enum Progress {
    /// Requests wait for it.
    Opening,
    /// Requests go out.
    Open(Sender),
    /// There will be no connection.
    Failed(Failure),
}

#[derive(Debug, Clone)]
struct Sender {
    requests: http2::SendRequest<RequestBody>,
    /// How many requests the origin allows at once (SETTINGS_MAX_CONCURRENT_STREAMS).
    allowed: Arc<AtomicUsize>,
    verdict: Verdict,
}

impl Http2 {
    /// How many requests it takes at once; none if it is over.
    pub(super) fn limit(&self) -> usize {
        match &*self.progress.borrow() {
            // If nobody is opening it any more, its worker has ended.
            Progress::Opening if self.progress.has_changed().is_err() => 0,
            Progress::Opening => ORIGIN_STREAMS,
            Progress::Open(sender) if sender.requests.is_closed() => 0,
            // If the origin allows nothing for now, one at a time waits for more.
            Progress::Open(sender) => {
                ORIGIN_STREAMS.min(sender.allowed.load(Ordering::Relaxed).max(1))
            }
            Progress::Failed(_) => 0,
        }
    }

    fn is_open(&self) -> bool {
        match &*self.progress.borrow() {
            Progress::Open(_) => true,
            Progress::Opening | Progress::Failed(_) => false,
        }
    }

    async fn sender(&self) -> Result<Sender, Failure> {
        let mut progress = self.progress.clone();
        let ended = progress
            .wait_for(|progress| !matches!(progress, Progress::Opening))
            .await;
        match ended.as_deref() {
            Ok(Progress::Open(sender)) => Ok(sender.clone()),
            Ok(Progress::Failed(failure)) => Err(*failure),
            Ok(Progress::Opening) | Err(_) => Err(Failure::Open(OpenError::SessionClosed)),
        }
    }
}

impl Origins {
    pub(super) async fn lease_http2(
        &self,
        pool: &Arc<Pool>,
        to: &Destination,
        reuse: Reuse,
    ) -> Result<Http2Lease, Failure> {
        let (slot, reused) = {
            let mut connections = pool.http2.lock();
            let fresh_enough = |connection: &Http2| match reuse {
                Reuse::Any => true,
                Reuse::Besides(refuser) => connection.id != refuser,
                Reuse::OpenedSince(time) => connection.began >= time,
            };
            match connections.join(Http2::limit, fresh_enough) {
                Some(slot) => {
                    let reused = slot.connection().is_open();
                    (slot, reused)
                }
                None => (
                    connections.add(self.connect_http2(to), Instant::now()),
                    false,
                ),
            }
        };
        let sender = slot.connection().sender().await?;
        Ok(Http2Lease {
            sender,
            slot: Arc::new(slot),
            upload: Arc::default(),
            reused,
        })
    }

    /// Begins to open a connection. It is opened by a task of its own, so that the first of the
    /// requests that wait for it may be given up without harm to the others.
    fn connect_http2(&self, to: &Destination) -> Http2 {
        let (publish, progress) = watch::channel(Progress::Opening);
        let link = to.link.clone();
        let service = to.service.clone();
        let principal = self.principal.clone();
        let traceparent = to.traceparent.clone();
        let tasks = self.tasks.tasks().clone();
        let metrics = self.metrics.clone();
        let drive = async move {
            let open = async {
                let io = link.open(&service, &principal, traceparent).await?;
                handshake(TokioIo::new(io), tasks).await
            };
            let opened = timeout(OPEN_DEADLINE, open).await;
            let (sender, mut connection) = match opened.unwrap_or(Err(Failure::OpenTimeout)) {
                Ok(opened) => opened,
                Err(failure) => {
                    publish.send_replace(Progress::Failed(failure));
                    return;
                }
            };
            metrics.opened(Protocol::H2);
            let allowed = sender.allowed.clone();
            publish.send_replace(Progress::Open(sender));
            // The channel keeps a sender, and the connection lasts as long as there is one.
            drop(publish);
            let driven = poll_fn(|cx| {
                let polled = Pin::new(&mut connection).poll(cx);
                allowed.store(connection.current_max_send_streams(), Ordering::Relaxed);
                polled
            });
            if let Err(error) = driven.await {
                tracing::debug!(%error, "connection to the origin failed");
            }
        };
        to.link.spawn(self.tasks.tasks().owned(drive));
        Http2 {
            id: Http2Id::next(),
            began: Instant::now(),
            progress,
        }
    }
}

type Connection = http2::Connection<TokioIo<OriginIo>, RequestBody, Tasks>;

async fn handshake(io: TokioIo<OriginIo>, tasks: Tasks) -> Result<(Sender, Connection), Failure> {
    let verdict = io.inner().verdict();
    let (requests, connection) = http2::Builder::new(tasks)
        .initial_stream_window_size(ORIGIN_STREAM_WINDOW)
        .initial_connection_window_size(ORIGIN_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_header_list_size(ORIGIN_HEAD as u32)
        .handshake(io)
        .await
        .map_err(|error| failure(&error, &verdict))?;
    let sender = Sender {
        requests,
        allowed: Arc::new(AtomicUsize::new(ORIGIN_STREAMS)),
        verdict,
    };
    Ok((sender, connection))
}

/// The use of a connection for one request.
#[derive(Debug)]
pub(in super::super) struct Http2Lease {
    sender: Sender,
    /// Shared with the request's body, which may outlast the answer.
    slot: Arc<Http2Slot>,
    upload: Arc<Upload>,
    reused: bool,
}

impl Http2Lease {
    pub(super) async fn send(
        &mut self,
        mut request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, SendError> {
        self.upload = request.body_mut().begin(Some(self.slot.clone()));
        let sent = self.sender.requests.try_send_request(request).await;
        sent.map_err(|error| SendError::new(error, &self.sender.verdict, &self.upload))
    }

    pub(super) fn id(&self) -> Http2Id {
        self.slot.connection().id
    }

    pub(super) fn is_reused(&self) -> bool {
        self.reused
    }

    /// Leaves the rest of the request, if any, to reach the origin.
    pub(super) fn finish(mut self) {
        self.upload = Arc::default();
    }
}

impl Drop for Http2Lease {
    fn drop(&mut self) {
        self.upload.abandon();
    }
}
