//! A caller's connection: its socket, what it is busy with, and how long it may be idle.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::limits::WATCH_INTERVAL;
use super::upgrade::Splice;
use crate::config::HttpLimits;

/// The most bytes over HTTP/2 that are taken for a ping or the like, and not for an answer.
const HOUSEKEEPING: usize = 64;

/// What every connection with prior knowledge of HTTP/2 begins with (RFC 9113 §3.4); no method of
/// HTTP/1.1 does.
const HTTP2_BEGINS: &[u8] = b"PRI";

/// What the socket, the requests and the watch of one caller's connection share.
#[derive(Debug)]
pub(super) struct Caller {
    peer: SocketAddr,
    limits: HttpLimits,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    /// How many things are under way after which an orderly close would be a lie.
    cuts: usize,
    /// Whether something of the kind is complete, but not yet with the kernel.
    unflushed: bool,
    splice: Option<Splice>,
}

/// ```text
///           bytes                 request
/// Silent ──────────▶ Head ───────────────────▶ Busy ◀──┐ another request (HTTP/2)
///    │                ▲                        │  └────┘
///    │ bytes (HTTP/2) │ bytes                  │ last answer over
///    └──────────▶ Idle ◀───────────────────────┘
/// ```
///
/// Over HTTP/2 bytes without a request are pings and the like: the connection is idle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing was received yet.
    Silent { since: Instant },
    /// A request's head has begun.
    Head { since: Instant },
    /// Requests are being answered.
    Busy { requests: usize, http2: bool },
    /// There is no request.
    Idle { since: Instant, http2: bool },
}

/// What the watch is to do with a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Judgement {
    /// Look again after this time.
    Fine(Duration),
    /// Close it in an orderly way: nobody uses it.
    Idle,
    /// Cut it: a request's head takes too long.
    TooSlow,
}

impl Caller {
    pub(super) fn new(peer: SocketAddr, limits: HttpLimits, now: Instant) -> Arc<Self> {
        Arc::new(Self {
            peer,
            limits,
            state: Mutex::new(State {
                phase: Phase::Silent { since: now },
                cuts: 0,
                unflushed: false,
                splice: None,
            }),
        })
    }

    /// What its ingress allows it.
    pub(super) fn limits(&self) -> &HttpLimits {
        &self.limits
    }

    /// Where the connection comes from: its other end, or whoever that says (PROXY protocol).
    pub(super) fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Marks a request as being answered until the guard is dropped.
    pub(super) fn busy(self: &Arc<Self>, http2: bool) -> BusyGuard {
        let mut state = self.state.lock();
        let requests = match state.phase {
            Phase::Busy { requests, .. } => requests + 1,
            Phase::Silent { .. } | Phase::Head { .. } | Phase::Idle { .. } => 1,
        };
        state.phase = Phase::Busy { requests, http2 };
        BusyGuard(self.clone())
    }

    /// From now on the connection may only end with a reset, until the guard is disarmed.
    pub(super) fn cut_unless_disarmed(self: &Arc<Self>) -> CutGuard {
        self.state.lock().cuts += 1;
        CutGuard(self.clone())
    }

    /// Leaves what is to be done once HTTP is over on this connection.
    pub(super) fn set_splice(&self, splice: Splice) {
        self.state.lock().splice = Some(splice);
    }

    pub(super) fn take_splice(&self) -> Option<Splice> {
        self.state.lock().splice.take()
    }

    /// Looks at the deadlines.
    pub(super) fn judge(&self, now: Instant) -> Judgement {
        let (since, limit, late) = match self.state.lock().phase {
            Phase::Busy { .. } => return Judgement::Fine(WATCH_INTERVAL),
            Phase::Silent { since } | Phase::Head { since } => {
                (since, self.limits.head_timeout, Judgement::TooSlow)
            }
            Phase::Idle { since, .. } => (since, self.limits.idle_timeout, Judgement::Idle),
        };
        match limit.checked_sub(now.saturating_duration_since(since)) {
            None | Some(Duration::ZERO) => late,
            Some(left) => Judgement::Fine(left.min(WATCH_INTERVAL)),
        }
    }

    fn received(&self, bytes: &[u8], now: Instant) {
        let mut state = self.state.lock();
        state.phase = match state.phase {
            Phase::Silent { .. } if bytes.starts_with(HTTP2_BEGINS) => Phase::Idle {
                since: now,
                http2: true,
            },
            // From the time of connecting on, so that nobody gains by a late first byte.
            Phase::Silent { since } => Phase::Head { since },
            Phase::Idle { http2: false, .. } => Phase::Head { since: now },
            phase @ (Phase::Idle { http2: true, .. } | Phase::Head { .. } | Phase::Busy { .. }) => {
                phase
            }
        };
    }

    /// An answer is only over when the caller has taken it.
    fn sent(&self, bytes: usize, now: Instant) {
        if let Phase::Idle { since, http2 } = &mut self.state.lock().phase
            && (!*http2 || bytes > HOUSEKEEPING)
        {
            *since = now;
        }
    }

    /// All that was to be sent so far is with the kernel.
    fn flushed(&self) {
        self.state.lock().unflushed = false;
    }

    fn must_be_cut(&self) -> bool {
        let state = self.state.lock();
        state.cuts > 0 || state.unflushed
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub(super) struct BusyGuard(Arc<Caller>);

impl Drop for BusyGuard {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.phase = match state.phase {
            Phase::Busy { requests, http2 } if requests > 1 => Phase::Busy {
                requests: requests - 1,
                http2,
            },
            Phase::Busy { http2, .. } => Phase::Idle {
                since: Instant::now(),
                http2,
            },
            phase @ (Phase::Silent { .. } | Phase::Head { .. } | Phase::Idle { .. }) => phase,
        };
    }
}

/// Something that is not complete, and must not look so if the connection ends now.
#[derive(Debug)]
#[must_use = "a guard that is dropped leaves the connection to be reset; disarm it when complete"]
pub(super) struct CutGuard(Arc<Caller>);

impl CutGuard {
    /// It is complete: the connection may end in an orderly way.
    pub(super) fn disarm(self) {
        self.0.state.lock().cuts -= 1;
    }

    /// It is complete, but hyper still holds some of it: the connection may end in an orderly way
    /// once the socket is flushed, which hyper does when it holds nothing more.
    pub(super) fn disarm_once_flushed(self) {
        let mut state = self.0.state.lock();
        state.cuts -= 1;
        state.unflushed = true;
    }
}

/// A caller's socket. Resets the connection instead of closing it while a [`CutGuard`] says so.
#[derive(Debug)]
pub(super) struct CallerIo {
    socket: TcpStream,
    caller: Arc<Caller>,
}

impl CallerIo {
    pub(super) fn new(socket: TcpStream, caller: Arc<Caller>) -> Self {
        Self { socket, caller }
    }
}

impl AsyncRead for CallerIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.socket).poll_read(cx, buf))?;
        let received = &buf.filled()[before..];
        if !received.is_empty() {
            self.caller.received(received, Instant::now());
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for CallerIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let sent = ready!(Pin::new(&mut self.socket).poll_write(cx, buf))?;
        self.caller.sent(sent, Instant::now());
        Poll::Ready(Ok(sent))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let sent = ready!(Pin::new(&mut self.socket).poll_write_vectored(cx, bufs))?;
        self.caller.sent(sent, Instant::now());
        Poll::Ready(Ok(sent))
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.socket).poll_flush(cx))?;
        self.caller.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

impl Drop for CallerIo {
    fn drop(&mut self) {
        if self.caller.must_be_cut()
            && let Err(error) = self.socket.set_zero_linger()
        {
            tracing::debug!(%error, "connection of a caller could not be reset");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD_TIMEOUT: Duration = HttpLimits::HEAD_TIMEOUT;
    const CALLER_IDLE: Duration = HttpLimits::IDLE_TIMEOUT;

    fn caller(now: Instant) -> Arc<Caller> {
        Caller::new("127.0.0.1:1".parse().unwrap(), HttpLimits::default(), now)
    }

    #[test]
    fn a_head_must_come_in_time_after_connecting() {
        let began = Instant::now();
        let caller = caller(began);
        assert_eq!(caller.judge(began), Judgement::Fine(WATCH_INTERVAL));
        caller.received(b"G", began + HEAD_TIMEOUT / 2);
        assert_eq!(caller.judge(began + HEAD_TIMEOUT), Judgement::TooSlow);
    }

    #[test]
    fn whoever_says_nothing_is_too_slow_as_well() {
        let began = Instant::now();
        assert_eq!(
            caller(began).judge(began + HEAD_TIMEOUT),
            Judgement::TooSlow
        );
    }

    #[test]
    fn an_answer_takes_as_long_as_it_takes() {
        let began = Instant::now();
        let caller = caller(began);
        caller.received(b"GET /", began);
        let busy = caller.busy(false);
        let later = began + CALLER_IDLE * 100;
        caller.received(b"GET /next", later);
        assert_eq!(caller.judge(later), Judgement::Fine(WATCH_INTERVAL));
        drop(busy);
    }

    #[test]
    fn between_requests_a_caller_may_be_idle_but_a_next_head_must_not_dawdle() {
        let caller = caller(Instant::now());
        drop(caller.busy(false));
        let began = Instant::now();
        let soon = began + HEAD_TIMEOUT * 2;
        assert!(matches!(caller.judge(soon), Judgement::Fine(_)));
        assert_eq!(caller.judge(began + CALLER_IDLE), Judgement::Idle);
        caller.sent(1, soon);
        assert!(matches!(
            caller.judge(began + CALLER_IDLE),
            Judgement::Fine(_)
        ));
        caller.received(b"G", soon);
        assert!(matches!(caller.judge(soon), Judgement::Fine(_)));
        assert_eq!(caller.judge(soon + HEAD_TIMEOUT), Judgement::TooSlow);
    }

    #[test]
    fn http2_is_idle_whatever_it_says_without_a_request() {
        let began = Instant::now();
        let caller = caller(began);
        caller.received(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", began);
        caller.received(b"ping", began + HEAD_TIMEOUT);
        assert!(matches!(
            caller.judge(began + HEAD_TIMEOUT),
            Judgement::Fine(_)
        ));
        assert_eq!(caller.judge(began + CALLER_IDLE), Judgement::Idle);
        let (first, second) = (caller.busy(true), caller.busy(true));
        drop(first);
        let later = Instant::now() + CALLER_IDLE * 2;
        assert_eq!(caller.judge(later), Judgement::Fine(WATCH_INTERVAL));
        drop(second);
        caller.sent(HOUSEKEEPING, later);
        assert_eq!(caller.judge(later), Judgement::Idle);
        caller.sent(HOUSEKEEPING + 1, later);
        assert!(matches!(caller.judge(later), Judgement::Fine(_)));
    }

    #[test]
    fn only_what_is_incomplete_must_be_cut() {
        let caller = caller(Instant::now());
        let (first, second) = (caller.cut_unless_disarmed(), caller.cut_unless_disarmed());
        first.disarm();
        assert!(caller.must_be_cut());
        second.disarm();
        assert!(!caller.must_be_cut());
        caller.cut_unless_disarmed().disarm_once_flushed();
        assert!(caller.must_be_cut());
        caller.flushed();
        assert!(!caller.must_be_cut());
        drop(caller.cut_unless_disarmed());
        caller.flushed();
        assert!(caller.must_be_cut());
    }
}
