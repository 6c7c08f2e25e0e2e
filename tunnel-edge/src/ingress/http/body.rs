//! Bodies on their way through: streamed, never collected, and never made to look complete.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::Version;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use super::caller::{BusyGuard, CutGuard};
use super::metrics::RequestGuard;
use super::origin::Lease;
use super::trailers;

pub(super) type Polled = Poll<Option<Result<Frame<Bytes>, BodyError>>>;

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
pub(super) struct Inbound {
    pub(super) body: Incoming,
    /// Over HTTP/2, hyper reports a reset with NO_ERROR like an end; only the END_STREAM flag is
    /// one (RFC 9113 §8.1). Over HTTP/1.1 hyper reports ends truly.
    http2: bool,
}

impl Inbound {
    pub(super) fn new(body: Incoming, version: Version) -> Self {
        Self {
            body,
            http2: version == Version::HTTP_2,
        }
    }

    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Polled {
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

    /// Whether nothing follows the head.
    pub(super) fn is_empty(&self) -> bool {
        self.inbound.body.is_end_stream()
    }

    /// The connection, of an answer that switches protocols and so has no body.
    pub(super) fn take_lease(&mut self) -> Option<Lease> {
        self.lease.take()
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Polled {
        let mut frame = ready!(self.inbound.poll_frame(cx));
        match &mut frame {
            Some(Ok(part)) => {
                if let Some(trailers) = part.trailers_mut() {
                    trailers::for_caller(trailers);
                    if trailers.is_empty() {
                        frame = None;
                    }
                    // Nothing follows them, and hyper asks for nothing more.
                    self.finish();
                }
            }
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
