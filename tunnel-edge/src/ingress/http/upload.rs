//! A caller's body on its way to an origin: when it may be asked for, what is kept of it, and what
//! the exchange knows of it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use http::{HeaderMap, Version};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use parking_lot::Mutex;
use tokio::time::{Sleep, sleep};

use super::body::{BodyError, Inbound, Polled};
use super::caller::BusyGuard;
use super::limits::CONTINUE_WAIT;
use super::origin::Http2Slot;
use super::replay::Kept;
use super::stall::Patience;
use super::trailers;

/// What a request's body and the exchange that it belongs to know of each other. They live on
/// different threads.
#[derive(Debug, Default)]
pub(super) struct Upload {
    complete: AtomicBool,
    stalled: AtomicBool,
    abandoned: AtomicBool,
    /// One of the constants of [`Hold`].
    hold: AtomicU8,
    waker: AtomicWaker,
}

/// What a body waits for whose caller expects a 100 (RFC 9110 §10.1.1).
#[derive(Debug)]
struct Hold;

impl Hold {
    const NONE: u8 = 0;
    const UNTIL_CONTINUE: u8 = 1;
    const FOR_EVER: u8 = 2;
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

    /// Keeps the body from being asked for until [`release`](Self::release). hyper tells the caller
    /// to go on as soon as it is.
    pub(super) fn hold(&self) {
        self.hold.store(Hold::UNTIL_CONTINUE, Ordering::Release);
    }

    /// The body is wanted, unless it was refused.
    pub(super) fn release(&self) {
        if self.settle(Hold::NONE) {
            self.waker.wake();
        }
    }

    /// The request was refused while its body waited, which is then never sent.
    pub(super) fn refuse(&self) {
        self.settle(Hold::FOR_EVER);
    }

    /// Whether the body is never sent.
    pub(super) fn is_unwanted(&self) -> bool {
        self.hold.load(Ordering::Acquire) == Hold::FOR_EVER
    }

    /// Ends the wait. Whether there was one.
    fn settle(&self, hold: u8) -> bool {
        let (success, failure) = (Ordering::AcqRel, Ordering::Acquire);
        let settled = self
            .hold
            .compare_exchange(Hold::UNTIL_CONTINUE, hold, success, failure);
        settled.is_ok()
    }

    fn poll_wanted(&self, timer: &mut Option<Pin<Box<Sleep>>>, cx: &mut Context<'_>) -> Poll<()> {
        match self.hold.load(Ordering::Acquire) {
            Hold::NONE => return Poll::Ready(()),
            Hold::FOR_EVER => return Poll::Pending,
            // Until there is a 100.
            1.. => {}
        }
        let timer = timer.get_or_insert_with(|| Box::pin(sleep(CONTINUE_WAIT)));
        ready!(timer.as_mut().poll(cx));
        if self.settle(Hold::NONE) || self.hold.load(Ordering::Acquire) == Hold::NONE {
            return Poll::Ready(());
        }
        Poll::Pending
    }

    /// Makes the body fail, wherever it is.
    pub(super) fn abandon(&self) {
        self.abandoned.store(true, Ordering::Release);
        self.waker.wake();
    }
}

/// Where a caller's body comes from, for one attempt to send it after the other.
#[derive(Debug)]
pub(super) struct Source {
    inbound: Inbound,
    patience: Patience,
    /// Whether the inbound body has said that it is over.
    over: bool,
    /// Keeps the caller's connection busy until the body is over.
    busy: Option<BusyGuard>,
    /// What may have to be given again.
    pub(super) kept: Kept,
    /// Up to where the attempt has given of what is kept.
    place: usize,
    /// Which attempt it is; earlier ones get nothing more.
    attempt: usize,
}

/// A caller's body on its way to the origin.
#[derive(Debug)]
pub(super) struct RequestBody {
    source: Arc<Mutex<Source>>,
    attempt: usize,
    upload: Arc<Upload>,
    slot: Option<Arc<Http2Slot>>,
    /// How long the origin may leave it open whether it wants the body.
    wanted: Option<Pin<Box<Sleep>>>,
}

impl RequestBody {
    /// The body of a request with these headers, which may be withheld for `patience`.
    pub(super) fn new(
        body: Incoming,
        busy: &BusyGuard,
        patience: Duration,
        version: Version,
        headers: &HeaderMap,
    ) -> Self {
        let source = Source {
            busy: (!body.is_end_stream()).then(|| busy.of_upload()),
            inbound: Inbound::new(body, version),
            patience: Patience::with(patience, version, headers),
            over: false,
            kept: Kept::Lost,
            place: 0,
            attempt: 0,
        };
        Self {
            source: Arc::new(Mutex::new(source)),
            attempt: 0,
            upload: Arc::default(),
            slot: None,
            wanted: None,
        }
    }

    /// The same body from its beginning, if it was kept.
    pub(super) fn again(source: Arc<Mutex<Source>>) -> Option<Self> {
        let attempt = {
            let mut source = source.lock();
            if !source.kept.is_whole() {
                return None;
            }
            source.patience.renew();
            source.place = 0;
            source.attempt += 1;
            source.attempt
        };
        Some(Self {
            source,
            attempt,
            upload: Arc::default(),
            slot: None,
            wanted: None,
        })
    }

    pub(super) fn source(&self) -> Arc<Mutex<Source>> {
        self.source.clone()
    }

    /// Ties the body, of which this attempt has read nothing yet, to a new exchange.
    pub(super) fn begin(&mut self, slot: Option<Arc<Http2Slot>>) -> Arc<Upload> {
        self.slot = slot;
        self.upload = Arc::default();
        if self.is_end_stream() {
            self.upload.complete.store(true, Ordering::Release);
        }
        self.upload.clone()
    }
}

impl Source {
    /// What this attempt has not given yet, of what another had.
    fn poll_kept(&mut self) -> Option<Frame<Bytes>> {
        let frame = self.kept.get(self.place)?;
        self.place += frame.data_ref().map_or(1, Bytes::len);
        if self.kept.is_once_more() {
            self.kept.forget_before(self.place);
        }
        Some(frame)
    }

    fn poll_inbound(&mut self, upload: &Upload, cx: &mut Context<'_>) -> Polled {
        if self.over {
            return Poll::Ready(None);
        }
        let Poll::Ready(mut frame) = self.inbound.poll_frame(cx) else {
            ready!(self.patience.poll_exhausted(cx));
            upload.stalled.store(true, Ordering::Release);
            self.busy = None;
            return Poll::Ready(Some(Err(BodyError::Stalled)));
        };
        match &mut frame {
            Some(Ok(given)) => {
                if let Some(trailers) = given.trailers_mut() {
                    trailers::for_origin(trailers);
                    if trailers.is_empty() {
                        frame = None;
                        self.over = true;
                    } else {
                        self.patience.renew();
                        self.kept.keep_trailers(trailers);
                    }
                } else if let Some(data) = given.data_ref()
                    // HTTP/2 knows frames of no bytes.
                    && !data.is_empty()
                {
                    self.patience.renew();
                    self.kept.keep_data(data);
                }
            }
            Some(Err(_)) => self.busy = None,
            None => self.over = true,
        }
        self.place = self.kept.end();
        Poll::Ready(frame)
    }

    /// The answer has begun: what has been given is not given again.
    pub(super) fn forget(&mut self) {
        self.kept.forget_before(self.place);
    }

    fn is_end(&self) -> bool {
        self.place >= self.kept.end() && (self.over || self.inbound.body.is_end_stream())
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        let this = &mut *self;
        this.upload.waker.register(cx.waker());
        let mut source = this.source.lock();
        if this.upload.abandoned.load(Ordering::Acquire) || source.attempt != this.attempt {
            return Poll::Ready(Some(Err(BodyError::Abandoned)));
        }
        ready!(this.upload.poll_wanted(&mut this.wanted, cx));
        let frame = match source.poll_kept() {
            Some(frame) => Some(Ok(frame)),
            None => ready!(source.poll_inbound(&this.upload, cx)),
        };
        let failed = frame.as_ref().is_some_and(Result::is_err);
        if !failed && (frame.is_none() || source.is_end()) {
            source.busy = None;
            this.upload.complete.store(true, Ordering::Release);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        let source = self.source.lock();
        source.attempt == self.attempt && source.is_end()
    }

    fn size_hint(&self) -> SizeHint {
        let source = self.source.lock();
        let again = source.kept.bytes_from(source.place) as u64;
        let rest = source.inbound.body.size_hint();
        let mut hint = SizeHint::new();
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + again);
        }
        hint.set_lower(rest.lower() + again);
        hint
    }
}
