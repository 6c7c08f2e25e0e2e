//! What the tasks and streams of a session share: its pure state, who waits for what, its fate.

mod lines;
mod streams;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Waker;
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tracing::Span;

pub(super) use streams::{Slot, Waiter};

use super::line::Line;
use super::reset::Reset;
use crate::audit::Parties;
use crate::metrics::RelayMetrics;
use crate::proto::{Close, CloseCode, ResetCode, ServiceInfo, StreamId};
use crate::session::{Event, ResetBy, SessionState, Violation};

/// See the module. Only ever locked for the time of a few table look-ups.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(super) metrics: Arc<RelayMetrics>,
    /// Who the ends are, if streams are recorded.
    pub(super) parties: Option<Parties>,
    /// What log lines about the session are in.
    pub(super) span: Span,
    locked: Mutex<Locked>,
    /// The connection that carries the session, or did last.
    line: watch::Sender<Arc<Line>>,
    /// Streams may outlive their connection.
    resume: bool,
    /// Streams wait to be attached.
    attach_due: Notify,
    /// A stream may be opened again.
    room: Notify,
    /// The last live stream is over.
    idle: Notify,
    services: watch::Sender<Vec<ServiceInfo>>,
    /// What the peer told of edges; `None` until it did.
    edges: watch::Sender<Option<Vec<String>>>,
    draining: CancellationToken,
    suspect: watch::Sender<bool>,
    closed: CancellationToken,
    reason: OnceLock<Closed>,
    answered: CancellationToken,
    pub(super) bytes_sent: AtomicU64,
    pub(super) bytes_received: AtomicU64,
}

#[derive(Debug)]
struct Locked {
    session: SessionState,
    slots: HashMap<StreamId, Slot>,
    /// As in [`Shared`].
    line: Arc<Line>,
    /// When the control task wakes by itself.
    armed: Instant,
    /// The session is over and its streams were reset: whatever is opened now is too late.
    all_reset: bool,
}

/// Why a session is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// Who ended it.
    pub by: ClosedBy,
    /// What was said, or would have been.
    pub close: Close,
}

/// Who ended a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClosedBy {
    /// This end.
    Local,
    /// The other end.
    Peer,
    /// The network: the connection was lost.
    Network,
    /// Nobody: there was no connection for the whole grace.
    Grace,
}

impl ClosedBy {
    /// For the label of a metric.
    fn label(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Peer => "peer",
            Self::Network => "network",
            Self::Grace => "grace",
        }
    }
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who = match self.by {
            ClosedBy::Local => "closed here",
            ClosedBy::Peer => "closed by the peer",
            ClosedBy::Network | ClosedBy::Grace => "connection lost",
        };
        write!(f, "{who}: {}", self.close.code)?;
        if !self.close.message.is_empty() {
            write!(f, ": {}", self.close.message)?;
        }
        Ok(())
    }
}

impl Shared {
    pub(super) fn new(
        line: Arc<Line>,
        session: SessionState,
        resume: bool,
        services: Vec<ServiceInfo>,
        metrics: Arc<RelayMetrics>,
        parties: Option<Parties>,
        span: Span,
    ) -> Self {
        Self {
            line: watch::Sender::new(line.clone()),
            resume,
            metrics,
            parties,
            span,
            locked: Mutex::new(Locked {
                session,
                slots: HashMap::new(),
                line,
                armed: now(),
                all_reset: false,
            }),
            attach_due: Notify::new(),
            room: Notify::new(),
            idle: Notify::new(),
            services: watch::Sender::new(services),
            edges: watch::Sender::new(None),
            draining: CancellationToken::new(),
            suspect: watch::Sender::new(false),
            closed: CancellationToken::new(),
            reason: OnceLock::new(),
            answered: CancellationToken::new(),
            bytes_sent: AtomicU64::new(0),
            bytes_received: AtomicU64::new(0),
        }
    }

    /// Calls into the pure session, then wakes whoever waited for what came of it.
    pub(super) fn with<R>(&self, call: impl FnOnce(&mut SessionState, Instant) -> R) -> R {
        self.with_locked(|locked, now| call(&mut locked.session, now))
    }

    fn with_locked<R>(&self, call: impl FnOnce(&mut Locked, Instant) -> R) -> R {
        let mut locked = self.locked.lock();
        let result = call(&mut locked, now());
        let mut wakers = Vec::new();
        while let Some(event) = locked.session.poll_event() {
            self.dispatch(event, &mut locked, &mut wakers);
        }
        if locked.session.has_control() || locked.session.deadline() < locked.armed {
            locked.line.control_due.notify_one();
        }
        drop(locked);
        wakers.into_iter().for_each(Waker::wake);
        result
    }

    fn dispatch(&self, event: Event, locked: &mut Locked, wake: &mut Vec<Waker>) {
        let slots = &mut locked.slots;
        match event {
            Event::Writable(id) => {
                wake.extend(slots.get_mut(&id).and_then(|slot| slot.sender.take()));
            }
            Event::Finished(id) => {
                wake.extend(slots.get_mut(&id).and_then(|slot| slot.receiver.take()));
            }
            Event::Connected(id) => {
                if let Some(slot) = slots.get_mut(&id) {
                    slot.connected = true;
                    wake.extend(slot.watcher.take());
                }
            }
            Event::Over(id, over) => {
                self.metrics.stream_over(&over);
                let nobodys = |slot: &mut Slot| slot.record.take();
                if let Some(record) = slots.get_mut(&id).and_then(nobodys) {
                    slots.remove(&id);
                    record.end(id, &over);
                } else if let Some(slot) = slots.get_mut(&id) {
                    slot.over = Some(over);
                    wake.extend(slot.take_wakers());
                }
            }
            Event::Room => self.room.notify_waiters(),
            Event::Idle => self.idle.notify_waiters(),
            Event::Services(services) => {
                self.services.send_replace(services);
            }
            Event::Edges(edges) => {
                self.edges.send_replace(Some(edges));
            }
            Event::Draining => self.draining.cancel(),
            Event::RoundTrip(rtt) => {
                self.metrics.round_trip.observe(rtt.as_secs_f64());
                self.answered.cancel();
                self.suspect.send_replace(false);
            }
            Event::Suspect => {
                self.suspect.send_replace(true);
            }
            Event::Closed(close) if self.outlives(close.code) => self.disconnect(locked, wake),
            Event::Closed(close) => self.end(ClosedBy::Peer, close),
            Event::Dead if self.resume => {
                self.waits_for_next(SILENT);
                self.disconnect(locked, wake);
            }
            Event::Dead => self.end(ClosedBy::Network, close(CloseCode::Dead, SILENT)),
            Event::Attach => self.attach_due.notify_one(),
            Event::Expired => self.end(
                ClosedBy::Grace,
                close(CloseCode::Dead, "no connection came back in time"),
            ),
        }
    }

    pub(super) fn room(&self) -> tokio::sync::futures::Notified<'_> {
        self.room.notified()
    }

    pub(super) fn idle(&self) -> tokio::sync::futures::Notified<'_> {
        self.idle.notified()
    }

    /// Ends the session: every stream is reset, and every task hears of it. The first reason stays.
    pub(super) fn end(&self, by: ClosedBy, close: Close) {
        let code = close.code;
        if self.reason.set(Closed { by, close }).is_ok() {
            self.metrics.session_over(code, by.label());
            self.closed.cancel();
        }
    }

    /// Resets all streams of a session that is over.
    pub(super) fn reset_all(&self) {
        let Reset { code, message, .. } = self.session_reset();
        self.with_locked(
            |Locked {
                 session, all_reset, ..
             },
             _| {
                *all_reset = true;
                let ids: Vec<_> = session.stream_ids().collect();
                for id in ids {
                    session.reset(id, code, message.clone());
                }
            },
        );
        self.room.notify_waiters();
    }

    fn session_reset(&self) -> Reset {
        let reason = self.reason.get();
        let why = reason.map(ToString::to_string);
        let expired = reason.is_some_and(|closed| closed.by == ClosedBy::Grace);
        Reset {
            code: match expired {
                true => ResetCode::GraceExpired,
                false => ResetCode::SessionClosed,
            },
            message: why.unwrap_or_else(|| "the session is over".into()),
            by: ResetBy::Local,
        }
    }

    /// The peer broke a rule: the connection is closed.
    pub(super) fn violated(&self, violation: &Violation) {
        self.metrics.violation(violation.close_code());
        self.span.in_scope(|| {
            tracing::warn!(code = %violation.close_code(), %violation, "the peer broke the protocol");
        });
        self.end(
            ClosedBy::Local,
            close(violation.close_code(), &violation.to_string()),
        );
    }

    pub(super) fn closed(&self) -> &CancellationToken {
        &self.closed
    }

    pub(super) fn closed_because(&self) -> Closed {
        self.reason.get().cloned().unwrap_or_else(|| Closed {
            by: ClosedBy::Local,
            close: close(CloseCode::Shutdown, ""),
        })
    }

    /// Waits until an answer to a Ping is overdue.
    pub(super) async fn suspect(&self) {
        let mut suspect = self.suspect.subscribe();
        // The sender is here, so it cannot fail.
        let _ = suspect.wait_for(|suspect| *suspect).await;
    }

    /// Waits until none is.
    pub(super) async fn unsuspect(&self) {
        let mut suspect = self.suspect.subscribe();
        // The sender is here, so it cannot fail.
        let _ = suspect.wait_for(|suspect| !*suspect).await;
    }

    pub(super) fn draining(&self) -> &CancellationToken {
        &self.draining
    }

    /// Cancelled when the peer has answered a Ping: a round trip worked.
    pub(super) fn answered(&self) -> &CancellationToken {
        &self.answered
    }

    pub(super) fn edges(&self) -> watch::Receiver<Option<Vec<String>>> {
        self.edges.subscribe()
    }

    pub(super) fn services(&self) -> watch::Receiver<Vec<ServiceInfo>> {
        self.services.subscribe()
    }

    pub(super) fn count_sent(&self, bytes: u64) {
        self.bytes_sent.fetch_add(bytes, Ordering::Relaxed);
        self.metrics.bytes_sent.inc_by(bytes);
    }

    pub(super) fn count_received(&self, bytes: u64) {
        self.bytes_received.fetch_add(bytes, Ordering::Relaxed);
        self.metrics.bytes_received.inc_by(bytes);
    }
}

impl Locked {
    /// Who waits for anything of a stream.
    fn waiting(&mut self) -> Vec<Waker> {
        let slots = self.slots.values_mut();
        slots.flat_map(Slot::take_wakers).collect()
    }
}

/// Why a connection is dead that nobody has closed.
const SILENT: &str = "nothing was heard for too long";

/// A Close with a code and a message.
pub(super) fn close(code: CloseCode, message: &str) -> Close {
    Close {
        code,
        message: message.to_owned(),
        retry_after: None,
    }
}

/// The clock of the runtime, which tests can stop.
pub(super) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
