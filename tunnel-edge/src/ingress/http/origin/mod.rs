//! Requests on their way to origins: which connection carries one, and what becomes of it.
//!
//! One [`Origins`] belongs to one ingress and so to one caller principal (`ingress/<name>`).
//! Below it connections are kept per session, service and protocol. A connection is driven by a
//! task on the thread of its session; a request stays on the thread of its caller.

mod connect;
mod http1;
mod http2;

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use http::{Request, Response};
use hyper::body::Incoming;
use parking_lot::Mutex;
use relay::{AppProtocol, ServiceName};
use tokio::time::Instant;

use self::connect::ConnectLease;
use self::http1::{Http1, Http1Lease};
use self::http2::{Http2, Http2Id, Http2Lease};
use super::body::OriginBody;
use super::failure::Failure;
use super::limits::{MAX_IDLE, OPEN_DEADLINE, ORIGIN_IDLE, SWEEP_INTERVAL};
use super::link::{Link, LinkId, Verdict};
use super::metrics::{IngressMetrics, Protocol};
use super::pool::{IdleStack, SharedSet};
use super::replay::{Doubt, Replay, doubt};
use super::tasks::{Handover, TaskOwner};
use super::upload::{RequestBody, Upload};

pub(super) use self::http2::Http2Slot;

/// The origins of one ingress, and the connections to them.
#[derive(Debug)]
pub(super) struct Origins {
    principal: String,
    metrics: Arc<IngressMetrics>,
    links: Mutex<HashMap<LinkId, HashMap<ServiceName, Arc<Pool>>>>,
    tasks: TaskOwner,
}

/// Where a request goes.
#[derive(Debug)]
pub(super) struct Destination {
    pub(super) link: Link,
    pub(super) service: ServiceName,
    pub(super) protocol: AppProtocol,
    /// The trace that a new connection is opened for.
    pub(super) traceparent: Option<String>,
}

impl Origins {
    pub(super) fn new(principal: String, metrics: Arc<IngressMetrics>) -> Arc<Self> {
        Arc::new(Self {
            principal,
            metrics,
            links: Mutex::default(),
            tasks: TaskOwner::new(),
        })
    }

    /// Sends a request and waits for the head of its answer.
    ///
    /// Dropping the future, or later the answer's body before its end, gives the exchange up: the
    /// origin sees its connection (HTTP/1.1) or its stream (HTTP/2) reset.
    ///
    /// A request that could not be answered is sent again
    /// * if nothing of it was consumed, and an HTTP/2 origin says so: REFUSED_STREAM, or a GOAWAY
    ///   that leaves its stream out (RFC 9113 §8.7); or if the origin had closed the connection
    ///   before anything was sent. At most [`MOST_TRIES`] times in all, since an origin that ends
    ///   its connections by and by refuses what crosses on each;
    /// * over each session once, if the one before did not take the stream, for as long as opening one
    ///   may take; over a second one however long the first had it wait;
    /// * once, if the stream was reset before anything was acted upon;
    /// * once, if its method is idempotent and its kept connection, or the session, ended before
    ///   an answer began;
    ///
    /// provided that no more of its body was sent than is kept. `lookup` says over which session,
    /// but for those that it is given; `to` then tells it. What a session did not take, and what a
    /// new connection failed of, is never tried over the same one again.
    pub(super) async fn exchange(
        self: &Arc<Self>,
        to: &mut Destination,
        mut request: Request<RequestBody>,
        lookup: impl Fn(&[LinkId]) -> Option<Link>,
    ) -> Result<Response<OriginBody>, Failure> {
        let began = Instant::now();
        let mut reuse = Reuse::Any;
        let mut tries = 1;
        let mut was_stale = false;
        let mut failed_over = Vec::new();
        loop {
            let unanswered = match self.try_once(to, request, reuse).await {
                Ok(response) => return Ok(response),
                Err(unanswered) => unanswered,
            };
            let failure = unanswered.failure;
            let since = Reuse::OpenedSince(began);
            let (worth_it, next) = match unanswered.cause {
                Cause::Refused(by) => (tries < MOST_TRIES, Reuse::Besides(by)),
                Cause::Closed => (tries < MOST_TRIES, since),
                Cause::Stale => (!was_stale, since),
                Cause::NotTaken => {
                    failed_over.push(to.link.id());
                    let in_time = began.elapsed() < OPEN_DEADLINE;
                    (tries == 1 || (in_time && tries < MOST_TRIES), since)
                }
                Cause::Ended => {
                    failed_over.push(to.link.id());
                    (tries == 1, since)
                }
            };
            if !worth_it {
                return Err(failure);
            }
            let (Some(again), Some(link)) = (unanswered.again, lookup(&failed_over)) else {
                return Err(failure);
            };
            tries += 1;
            was_stale |= matches!(unanswered.cause, Cause::Stale);
            self.metrics.retries.inc();
            tracing::debug!(service = %to.service, code = failure.code(), "request is sent again");
            to.link = link;
            request = again;
            reuse = next;
        }
    }

    /// Sends a request over the connection that it gets.
    async fn try_once(
        self: &Arc<Self>,
        to: &Destination,
        request: Request<RequestBody>,
        reuse: Reuse,
    ) -> Result<Response<OriginBody>, Unanswered> {
        let pool = self.pool(to);
        let mut lease = match self.lease(&pool, to, reuse).await {
            Ok(lease) => lease,
            Err(failure) => {
                return Err(Unanswered {
                    failure,
                    again: (doubt(failure) == Doubt::Untouched).then_some(request),
                    cause: Cause::NotTaken,
                });
            }
        };
        let replay = lease.may_be_refused() || request.method().is_idempotent();
        let replay = replay.then(|| Replay::of(&request));
        match lease.send(request).await {
            Ok(response) => {
                if let Some(replay) = replay {
                    replay.forget();
                }
                Ok(Lease::from(lease).attach(response))
            }
            Err(error) => Err(Unanswered {
                failure: error.failure,
                cause: lease.cause(&error),
                again: match error.unsent {
                    Some(request) => Some(*request),
                    None => replay.and_then(|replay| replay.again(error.doubt)),
                },
            }),
        }
    }

    async fn lease(
        &self,
        pool: &Arc<Pool>,
        to: &Destination,
        reuse: Reuse,
    ) -> Result<PoolLease, Failure> {
        let protocol = match to.protocol {
            AppProtocol::Tcp | AppProtocol::Http1 => Protocol::Http1,
            AppProtocol::H2 => Protocol::H2,
        };
        let lease = match protocol {
            Protocol::Http1 => PoolLease::Http1(self.lease_http1(pool, to, reuse).await?),
            Protocol::H2 => PoolLease::Http2(self.lease_http2(pool, to, reuse).await?),
        };
        if lease.is_reused() {
            self.metrics.reused(protocol);
        }
        Ok(lease)
    }

    /// The connections to one service. The first request to a session also sets up the watch
    /// that forgets them when the session ends.
    fn pool(self: &Arc<Self>, to: &Destination) -> Arc<Pool> {
        let id = to.link.id();
        let mut links = self.links.lock();
        let services = links.entry(id).or_insert_with(|| {
            let forget = forget_when_closed(Arc::downgrade(self), to.link.clone());
            to.link.spawn(self.tasks.tasks().owned(forget));
            HashMap::new()
        });
        if let Some(pool) = services.get(&to.service) {
            return pool.clone();
        }
        services.entry(to.service.clone()).or_default().clone()
    }

    /// Closes idle connections that are gone or old, again and again. Never returns.
    pub(super) async fn sweep(&self) {
        let mut interval = tokio::time::interval(SWEEP_INTERVAL);
        loop {
            interval.tick().await;
            let pools: Vec<Arc<Pool>> = {
                let links = self.links.lock();
                links.values().flat_map(HashMap::values).cloned().collect()
            };
            for pool in pools {
                pool.sweep(Instant::now());
            }
        }
    }

    /// Closes every idle connection.
    pub(super) fn clear(&self) {
        let links = std::mem::take(&mut *self.links.lock());
        drop(links);
    }

    #[cfg(test)]
    pub(super) fn links(&self) -> usize {
        self.links.lock().len()
    }

    #[cfg(test)]
    pub(super) fn ready(&self, to: &Destination) -> usize {
        let pool = self.links.lock()[&to.link.id()][&to.service].clone();
        pool.http1.lock().ready(Http1::health) + pool.http2.lock().len()
    }
}

async fn forget_when_closed(origins: Weak<Origins>, link: Link) {
    link.closed().await;
    if let Some(origins) = origins.upgrade() {
        let pools = origins.links.lock().remove(&link.id());
        drop(pools);
    }
}

/// How often a request goes out at most, while origins leave it unprocessed.
const MOST_TRIES: usize = 5;

/// Which connections that are there already may carry a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reuse {
    /// Every one.
    Any,
    /// Every one but the one that has refused it, however new that is.
    Besides(Http2Id),
    /// One that somebody began to open at this time or later; kept ones of HTTP/1.1 never.
    OpenedSince(Instant),
}

/// A request that was not answered.
struct Unanswered {
    failure: Failure,
    /// The request, if it may be sent again.
    again: Option<Request<RequestBody>>,
    cause: Cause,
}

/// Why a request was not answered, as far as another connection may do better.
#[derive(Debug, Clone, Copy)]
enum Cause {
    /// The origin has not processed it and says so, on this connection.
    Refused(Http2Id),
    /// The origin had closed the connection before anything of it was sent.
    Closed,
    /// The connection was there before, or its stream was reset before anything was acted upon.
    Stale,
    /// The session did not take the stream, and nothing of the request was sent.
    NotTaken,
    /// A connection that was made for it ended.
    Ended,
}

/// The connections to one service over one session.
#[derive(Debug)]
struct Pool {
    http1: Mutex<IdleStack<Http1>>,
    http2: Mutex<SharedSet<Http2>>,
}

impl Default for Pool {
    fn default() -> Self {
        Self {
            http1: Mutex::new(IdleStack::new(MAX_IDLE)),
            http2: Mutex::new(SharedSet::new()),
        }
    }
}

impl Pool {
    fn sweep(&self, now: Instant) {
        let http1 = self.http1.lock().sweep(now, ORIGIN_IDLE, Http1::health);
        let http2 = self.http2.lock().sweep(now, ORIGIN_IDLE, Http2::limit);
        drop((http1, http2));
    }
}

/// The use of a pool's connection for a request that was not answered yet.
#[derive(Debug)]
enum PoolLease {
    Http1(Http1Lease),
    Http2(Http2Lease),
}

impl PoolLease {
    async fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, SendError> {
        match self {
            Self::Http1(lease) => lease.send(request).await,
            Self::Http2(lease) => lease.send(request).await,
        }
    }

    /// Whether the origin can say that it has consumed nothing.
    fn may_be_refused(&self) -> bool {
        match self {
            Self::Http1(_) => false,
            Self::Http2(_) => true,
        }
    }

    fn cause(&self, error: &SendError) -> Cause {
        match self {
            Self::Http2(lease) if error.refused => Cause::Refused(lease.id()),
            Self::Http1(_) | Self::Http2(_) if error.was_closed() => Cause::Closed,
            Self::Http1(_) | Self::Http2(_) => {
                if self.is_reused() || error.doubt == Doubt::Untouched {
                    Cause::Stale
                } else {
                    Cause::Ended
                }
            }
        }
    }

    /// Whether the connection was there before the request.
    fn is_reused(&self) -> bool {
        match self {
            Self::Http1(lease) => lease.is_reused(),
            Self::Http2(lease) => lease.is_reused(),
        }
    }
}

impl From<PoolLease> for Lease {
    fn from(lease: PoolLease) -> Self {
        match lease {
            PoolLease::Http1(lease) => Self::Http1(lease),
            PoolLease::Http2(lease) => Self::Http2(lease),
        }
    }
}

/// The use of a connection for one request. Dropping it gives the request up.
#[derive(Debug)]
pub(super) enum Lease {
    Http1(Http1Lease),
    Http2(Http2Lease),
    Connect(Box<ConnectLease>),
}

impl Lease {
    /// Where the writer of an upgraded stream is found, if the connection is HTTP/2.
    pub(super) fn handover(&self) -> Option<Handover> {
        match self {
            Self::Http1(_) | Self::Http2(_) => None,
            Self::Connect(lease) => Some(lease.handover()),
        }
    }

    fn attach(self, response: Response<Incoming>) -> Response<OriginBody> {
        let version = response.version();
        response.map(|body| OriginBody::new(body, version, self))
    }

    /// The answer is complete: the connection may carry the next request.
    pub(super) fn finish(self) {
        match self {
            Self::Http1(lease) => lease.finish(),
            Self::Http2(lease) => lease.finish(),
            Self::Connect(lease) => lease.finish(),
        }
    }
}

/// Why a request got no answer.
#[derive(Debug)]
struct SendError {
    failure: Failure,
    doubt: Doubt,
    /// An HTTP/2 origin says that it has not processed it.
    refused: bool,
    /// The request, if the connection has taken nothing of it.
    unsent: Option<Box<Request<RequestBody>>>,
}

impl SendError {
    /// Whether the origin had closed the connection before anything was sent.
    fn was_closed(&self) -> bool {
        self.unsent.is_some() && matches!(self.failure, Failure::OriginClosed)
    }

    fn new(
        mut error: hyper::client::conn::TrySendError<Request<RequestBody>>,
        verdict: &Verdict,
        upload: &Upload,
    ) -> Self {
        let unsent = error.take_message().map(Box::new);
        let error = error.into_error();
        let failure = if upload.is_stalled() {
            Failure::RequestTimeout
        } else {
            failure(&error, verdict)
        };
        let refused = is_refusal(&error) && !upload.is_stalled();
        let doubt = if refused {
            Doubt::Untouched
        } else {
            doubt(failure)
        };
        Self {
            failure,
            doubt,
            refused,
            unsent,
        }
    }

    /// Of an answer that came and is of no use.
    fn of_answer(failure: Failure) -> Self {
        Self {
            failure,
            doubt: doubt(failure),
            refused: false,
            unsent: None,
        }
    }
}

/// Whether an HTTP/2 origin says that it has not processed the request (RFC 9113 §8.7).
fn is_refusal(error: &hyper::Error) -> bool {
    let Some(error) = std::error::Error::source(error) else {
        return false;
    };
    error.downcast_ref::<h2::Error>().is_some_and(|error| {
        let refused = error.reason() == Some(h2::Reason::REFUSED_STREAM);
        // h2 gives up for a GOAWAY of the origin's exactly those streams that it leaves out.
        error.is_remote() && (error.is_go_away() || (error.is_reset() && refused))
    })
}

/// What an exchange failed of. If the tunnel gave a reason, that is it.
fn failure(error: &hyper::Error, verdict: &Verdict) -> Failure {
    tracing::debug!(%error, source = ?std::error::Error::source(error), "no answer");
    if let Some(code) = verdict.get() {
        Failure::Reset(code)
    } else if error.is_user() {
        Failure::RequestIncomplete
    } else if error.is_parse() {
        Failure::OriginProtocol
    } else if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        Failure::OriginClosed
    } else {
        Failure::Reset(relay::ResetCode::OriginReset)
    }
}
