//! Bodies on their way through: streamed, never collected, and never made to look complete.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use http::{HeaderMap, Version};
use hyper::body::{Body, Frame, Incoming, SizeHint};

use super::caller::{BusyGuard, CutGuard};
use super::headers::drop_claims;
use super::metrics::RequestGuard;
use super::origin::{Http2Slot, Lease};
use super::stall::Patience;

type Polled = Poll<Option<Result<Frame<Bytes>, BodyError>>>;

/// Why a body ended before it was complete.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    /// The sender's connection failed.
    #[error("the sender's connection failed: {0}")]
    Sender(#[from] hyper::Error),
    /// The sender stopped, saying neither that it is done nor why (RST_STREAM with NO_ERROR).
    #[error("the sender stopped before the end")]
    Truncated,
    /// The sender withheld the rest while the receiver waited for it.
    #[error("the sender sent nothing more for too long")]
    Stalled,
    /// The receiver of the answer is gone, so that the request need not be completed.
    #[error("the caller gave the request up")]
    Abandoned,
}

/// A body as a hyper connection delivers it, and what its end means.
#[derive(Debug)]
struct Inbound {
    body: Incoming,
    /// Over HTTP/2, hyper reports a reset with NO_ERROR like an end; only the END_STREAM flag is
    /// one (RFC 9113 §8.1). Over HTTP/1.1 hyper reports ends truly.
    http2: bool,
}

impl Inbound {
    fn new(body: Incoming, version: Version) -> Self {
        Self {
            body,
            http2: version == Version::HTTP_2,
        }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Polled {
        match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            Some(Ok(frame)) => Poll::Ready(Some(Ok(frame))),
            Some(Err(error)) => Poll::Ready(Some(Err(error.into()))),
            None if self.http2 && !self.body.is_end_stream() => {
                Poll::Ready(Some(Err(BodyError::Truncated)))
            }
            None => Poll::Ready(None),
        }
    }
}

/// What a request's body and the exchange that it belongs to know of each other. They live on
/// different threads.
#[derive(Debug, Default)]
pub(super) struct Upload {
    complete: AtomicBool,
    stalled: AtomicBool,
    abandoned: AtomicBool,
    waker: AtomicWaker,
}

impl Upload {
    /// Whether the origin's connection has taken the whole body.
    pub(super) fn is_complete(&self) -> bool {
        self.complete.load(Ordering::Acquire)
    }

    /// Whether the caller withheld the rest of the body for too long.
    pub(super) fn is_stalled(&self) -> bool {
        self.stalled.load(Ordering::Acquire)
    }

    /// Makes the body fail, wherever it is.
    pub(super) fn abandon(&self) {
        self.abandoned.store(true, Ordering::Release);
        self.waker.wake();
    }
}

/// A caller's body on its way to the origin.
#[derive(Debug)]
pub(super) struct RequestBody {
    inbound: Inbound,
    upload: Arc<Upload>,
    patience: Patience,
    slot: Option<Arc<Http2Slot>>,
}

impl RequestBody {
    /// The body of a request with these headers.
    pub(super) fn new(body: Incoming, version: Version, headers: &HeaderMap) -> Self {
        Self {
            inbound: Inbound::new(body, version),
            upload: Arc::default(),
            patience: Patience::with(version, headers),
            slot: None,
        }
    }

    /// Ties the body, of which nothing was read yet, to a new exchange.
    pub(super) fn begin(&mut self, slot: Option<Arc<Http2Slot>>) -> Arc<Upload> {
        self.slot = slot;
        self.upload = Arc::default();
        self.note_end();
        self.upload.clone()
    }

    fn note_end(&self) {
        if self.inbound.body.is_end_stream() {
            self.upload.complete.store(true, Ordering::Release);
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        self.upload.waker.register(cx.waker());
        if self.upload.abandoned.load(Ordering::Acquire) {
            return Poll::Ready(Some(Err(BodyError::Abandoned)));
        }
        let Poll::Ready(mut frame) = self.inbound.poll_frame(cx) else {
            ready!(self.patience.poll_exhausted(cx));
            self.upload.stalled.store(true, Ordering::Release);
            return Poll::Ready(Some(Err(BodyError::Stalled)));
        };
        match &mut frame {
            Some(Ok(frame)) => {
                // HTTP/2 knows frames of no bytes.
                if frame.data_ref().is_none_or(|data| !data.is_empty()) {
                    self.patience.renew();
                }
                if let Some(trailers) = frame.trailers_mut() {
                    drop_claims(trailers);
                }
                self.note_end();
            }
            Some(Err(_)) => {}
            None => self.upload.complete.store(true, Ordering::Release),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inbound.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inbound.body.size_hint()
    }
}

/// An origin's body on its way to the caller. Holds the connection that it comes from.
#[derive(Debug)]
pub(super) struct OriginBody {
    inbound: Inbound,
    lease: Option<Lease>,
}

impl OriginBody {
    pub(super) fn new(body: Incoming, version: Version, lease: Lease) -> Self {
        Self {
            inbound: Inbound::new(body, version),
            lease: Some(lease),
        }
    }

    /// The connection, of an answer that switches protocols and so has no body.
    pub(super) fn take_lease(&mut self) -> Option<Lease> {
        self.lease.take()
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Polled {
        let frame = ready!(self.inbound.poll_frame(cx));
        match &frame {
            Some(Ok(_)) => {}
            // Dropping a lease gives the exchange up.
            Some(Err(_)) => self.lease = None,
            None => self.finish(),
        }
        Poll::Ready(frame)
    }

    fn finish(&mut self) {
        if let Some(lease) = self.lease.take() {
            lease.finish();
        }
    }
}

impl Drop for OriginBody {
    fn drop(&mut self) {
        // hyper does not ask for an end that it knows from the length.
        if self.inbound.body.is_end_stream() {
            self.finish();
        }
        // Otherwise the exchange is given up, before hyper notices that its body is gone and
        // closes the connection in an orderly way.
        self.lease = None;
    }
}

/// The body of an answer to a caller, with everything that lasts as long as the answer.
#[derive(Debug)]
pub(super) struct ResponseBody {
    content: Content,
    cut: Option<CutGuard>,
    _guards: Option<(RequestGuard, BusyGuard)>,
}

#[derive(Debug)]
enum Content {
    Origin(OriginBody),
    Text(Bytes),
}

impl ResponseBody {
    pub(super) fn empty() -> Self {
        Self::with(Content::Text(Bytes::new()))
    }

    pub(super) fn text(text: String) -> Self {
        Self::with(Content::Text(text.into()))
    }

    pub(super) fn origin(body: OriginBody) -> Self {
        Self::with(Content::Origin(body))
    }

    fn with(content: Content) -> Self {
        Self {
            content,
            cut: None,
            _guards: None,
        }
    }

    /// Keeps the guards until the answer is complete or given up.
    pub(super) fn guarded(mut self, request: RequestGuard, busy: BusyGuard) -> Self {
        self._guards = Some((request, busy));
        self
    }

    /// Resets the caller's connection unless all of the answer was sent: for callers who cannot tell
    /// a broken connection from the end of an answer.
    pub(super) fn or_cut(mut self, cut: CutGuard) -> Self {
        self.cut = Some(cut);
        self
    }

    fn finish(&mut self) {
        if let Some(cut) = self.cut.take() {
            cut.disarm_once_flushed();
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        let frame = match &mut self.content {
            Content::Origin(body) => ready!(body.poll_frame(cx)),
            Content::Text(text) if text.is_empty() => None,
            Content::Text(text) => Some(Ok(Frame::data(std::mem::take(text)))),
        };
        if frame.is_none() {
            self.finish();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Origin(body) => body.inbound.body.is_end_stream(),
            Content::Text(text) => text.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Origin(body) => body.inbound.body.size_hint(),
            Content::Text(text) => SizeHint::with_exact(text.len() as u64),
        }
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        if self.is_end_stream() {
            self.finish();
        }
    }
}
