//! A caller's connection: its socket, what it is busy with, and how long it may be idle.

mod socket;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

pub(super) use self::socket::CallerIo;

use super::limits::WATCH_INTERVAL;
use super::upgrade::Splice;
use crate::config::HttpLimits;

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
///    │ bytes (HTTP/2) │ bytes                  │ last answer and upload over
///    └──────────▶ Idle ◀───────────────────────┘
/// ```
///
/// Over HTTP/2 bytes without a request are pings and the like: the connection is idle. An answer
/// may be over before its request is, of which the rest is then an upload under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing was received yet.
    Silent { since: Instant },
    /// A request's head has begun.
    Head { since: Instant },
    /// Requests are being answered, or come in.
    Busy {
        answers: usize,
        uploads: usize,
        /// When the caller sent something or got the end of an answer.
        heard: Instant,
        http2: bool,
    },
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
        BusyGuard::new(self, Part::Answer, http2)
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
            Phase::Busy { answers: 1.., .. } => return Judgement::Fine(WATCH_INTERVAL),
            // Nobody waits for an answer, and the origin may never take the rest.
            Phase::Busy { heard, .. } => (heard, self.limits.idle_timeout, Judgement::Idle),
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
        let phase = &mut self.state.lock().phase;
        match phase {
            Phase::Silent { .. } if bytes.starts_with(HTTP2_BEGINS) => {
                *phase = Phase::Idle {
                    since: now,
                    http2: true,
                }
            }
            // From the time of connecting on, so that nobody gains by a late first byte.
            Phase::Silent { since } => *phase = Phase::Head { since: *since },
            Phase::Idle { http2: false, .. } => *phase = Phase::Head { since: now },
            Phase::Busy { heard, .. } => *heard = now,
            Phase::Idle { http2: true, .. } | Phase::Head { .. } => {}
        }
    }

    /// A part of an answer was sent, which is only over when the caller has taken it.
    fn answer_sent(&self, now: Instant) {
        if let Phase::Idle { since, .. } = &mut self.state.lock().phase {
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

/// A request that is being answered, or whose body comes in.
#[derive(Debug)]
pub(super) struct BusyGuard {
    caller: Arc<Caller>,
    part: Part,
    http2: bool,
}

/// What of a request keeps its connection busy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Answer,
    Upload,
}

impl BusyGuard {
    fn new(caller: &Arc<Caller>, part: Part, http2: bool) -> Self {
        caller.state.lock().phase.begin(part, http2);
        Self {
            caller: caller.clone(),
            part,
            http2,
        }
    }

    /// Marks the body of the same request as coming in, which may go on after the answer.
    pub(super) fn of_upload(&self) -> Self {
        Self::new(&self.caller, Part::Upload, self.http2)
    }
}

impl Drop for BusyGuard {
    fn drop(&mut self) {
        self.caller.state.lock().phase.end(self.part);
    }
}

impl Phase {
    fn begin(&mut self, part: Part, http2: bool) {
        let (answers, uploads) = match *self {
            Self::Busy {
                answers, uploads, ..
            } => (answers, uploads),
            Self::Silent { .. } | Self::Head { .. } | Self::Idle { .. } => (0, 0),
        };
        *self = Self::Busy {
            answers: answers + usize::from(part == Part::Answer),
            uploads: uploads + usize::from(part == Part::Upload),
            heard: Instant::now(),
            http2,
        };
    }

    fn end(&mut self, part: Part) {
        let Self::Busy {
            answers,
            uploads,
            heard,
            http2,
        } = self
        else {
            return;
        };
        let now = Instant::now();
        match part {
            Part::Answer => {
                *answers -= 1;
                *heard = now;
            }
            Part::Upload => *uploads -= 1,
        }
        if (*answers, *uploads) == (0, 0) {
            *self = Self::Idle {
                since: now,
                http2: *http2,
            };
        }
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
        caller.answer_sent(soon);
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
        caller.received(b"ping", later);
        assert_eq!(caller.judge(later), Judgement::Idle);
        caller.answer_sent(later);
        assert!(matches!(caller.judge(later), Judgement::Fine(_)));
    }

    #[test]
    fn an_upload_outlasts_its_answer_for_as_long_as_bytes_come() {
        for http2 in [false, true] {
            let caller = caller(Instant::now());
            let answer = caller.busy(http2);
            let upload = answer.of_upload();
            drop(answer);
            let mut now = Instant::now();
            for _ in 0..10 {
                now += CALLER_IDLE / 2;
                assert!(matches!(caller.judge(now), Judgement::Fine(_)));
                caller.received(b"more", now);
            }
            assert_eq!(caller.judge(now + CALLER_IDLE), Judgement::Idle);
            drop(upload);
            let idle = Instant::now();
            assert!(matches!(
                caller.judge(idle + HEAD_TIMEOUT * 2),
                Judgement::Fine(_)
            ));
            assert_eq!(caller.judge(idle + CALLER_IDLE), Judgement::Idle);
        }
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
