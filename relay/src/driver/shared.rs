//! What the tasks and streams of a session share: its pure state, who waits for what, its fate.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tracing::Span;

use super::reset::Reset;
use crate::audit::{Parties, Recording};
use crate::metrics::RelayMetrics;
use crate::proto::{Close, CloseCode, Control, ResetCode, ServiceInfo, StreamId};
use crate::session::{Event, Over, ResetBy, SessionState, Violation};
use crate::transport::{Connection, ConnectionLost};

/// See the module. Only ever locked for the time of a few table look-ups.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(super) connection: Arc<dyn Connection>,
    pub(super) metrics: Arc<RelayMetrics>,
    /// Who the ends are, if streams are recorded.
    pub(super) parties: Option<Parties>,
    /// What log lines about the session are in.
    pub(super) span: Span,
    locked: Mutex<Locked>,
    /// The control task has something to write, or an earlier deadline.
    control_due: Notify,
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
    /// When the control task wakes by itself.
    armed: Instant,
    /// The session is over and its streams were reset: whatever is opened now is too late.
    all_reset: bool,
}

/// Who waits for what of a stream whose handle is held.
#[derive(Debug, Default)]
pub(super) struct Slot {
    sender: Option<Waker>,
    receiver: Option<Waker>,
    watcher: Option<Waker>,
    connected: bool,
    over: Option<Over>,
    /// Set once the handle is gone, if the stream is recorded.
    record: Option<Recording>,
}

/// Which of a stream's users waits.
#[derive(Clone, Copy, Debug)]
pub(super) enum Waiter {
    Sender,
    Receiver,
    Watcher,
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
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who = match self.by {
            ClosedBy::Local => "closed here",
            ClosedBy::Peer => "closed by the peer",
            ClosedBy::Network => "connection lost",
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
        connection: Arc<dyn Connection>,
        session: SessionState,
        services: Vec<ServiceInfo>,
        metrics: Arc<RelayMetrics>,
        parties: Option<Parties>,
        span: Span,
    ) -> Self {
        Self {
            connection,
            metrics,
            parties,
            span,
            locked: Mutex::new(Locked {
                session,
                slots: HashMap::new(),
                armed: now(),
                all_reset: false,
            }),
            control_due: Notify::new(),
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
            self.dispatch(event, &mut locked.slots, &mut wakers);
        }
        let due = locked.session.has_control() || locked.session.deadline() < locked.armed;
        drop(locked);
        wakers.into_iter().for_each(Waker::wake);
        if due {
            self.control_due.notify_one();
        }
        result
    }

    fn dispatch(&self, event: Event, slots: &mut HashMap<StreamId, Slot>, wake: &mut Vec<Waker>) {
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
            Event::Closed(close) => self.end(ClosedBy::Peer, close),
            Event::Dead => self.end(
                ClosedBy::Network,
                close(CloseCode::Dead, "nothing was heard for too long"),
            ),
        }
    }

    /// What the control task writes next, at most about `limit` bytes of it; and the deadline after
    /// which it must look again.
    pub(super) fn next_control(&self, out: &mut bytes::BytesMut, limit: usize) -> Instant {
        self.with_locked(|Locked { session, armed, .. }, now| {
            session.set_transport_rtt(self.connection.rtt());
            self.do_what_is_due(session, now);
            while out.len() < limit {
                let Some(message) = session.poll_control(now) else {
                    break;
                };
                self.metrics.control_sent(&message);
                message.encode(out);
            }
            // Under the same lock, so that nobody sees an earlier deadline and an older alarm.
            *armed = session.deadline();
            *armed
        })
    }

    /// Does what is due while nothing can be written; says when something is due again.
    pub(super) fn keep_time(&self) -> Instant {
        self.with_locked(|Locked { session, armed, .. }, now| {
            self.do_what_is_due(session, now);
            *armed = session.deadline();
            *armed
        })
    }

    fn do_what_is_due(&self, session: &mut SessionState, now: Instant) {
        if session.deadline() <= now {
            session.set_acknowledged(self.connection.acknowledgements(), now);
            session.handle_timeout(now);
        }
    }

    pub(super) fn handle_control(&self, message: Control) -> Result<(), Violation> {
        self.metrics.control_received(&message);
        self.with(|session, now| session.handle_control(message, now))
    }

    pub(super) async fn control_due(&self) {
        self.control_due.notified().await;
    }

    pub(super) fn room(&self) -> tokio::sync::futures::Notified<'_> {
        self.room.notified()
    }

    pub(super) fn idle(&self) -> tokio::sync::futures::Notified<'_> {
        self.idle.notified()
    }

    // ---- streams whose handles are held ----

    /// From now on someone holds the stream. Of a session that is over, it is over too.
    pub(super) fn add_slot(&self, id: StreamId) {
        let mut locked = self.locked.lock();
        let over = locked.all_reset.then(|| {
            let Reset { code, message, by } = self.session_reset();
            Over::Reset { code, message, by }
        });
        let slot = Slot {
            over,
            ..Slot::default()
        };
        locked.slots.insert(id, slot);
    }

    /// The handle of a stream was dropped: what was not settled is reset, and `record` made as soon
    /// as it is known how the stream ended.
    pub(super) fn drop_slot(&self, id: StreamId, record: Option<Recording>) {
        self.with(|session, _| session.abandon(id));
        let mut locked = self.locked.lock();
        let over = match (locked.slots.get_mut(&id), record) {
            (Some(slot @ Slot { over: None, .. }), Some(record)) => {
                slot.record = Some(record);
                return;
            }
            (slot, record) => slot.and_then(|slot| slot.over.take()).zip(record),
        };
        locked.slots.remove(&id);
        drop(locked);
        if let Some((over, record)) = over {
            record.end(id, &over);
        }
    }

    /// Ready with what `found` finds, or with the reset of the stream; else `waiter` is woken when
    /// something changes.
    pub(super) fn poll_stream<T>(
        &self,
        id: StreamId,
        waiter: Waiter,
        cx: &mut Context<'_>,
        found: impl FnOnce(&SessionState, &Slot) -> Option<T>,
    ) -> Poll<Result<T, Reset>> {
        let mut locked = self.locked.lock();
        let Locked { session, slots, .. } = &mut *locked;
        let Some(slot) = slots.get_mut(&id) else {
            return Poll::Ready(Err(self.session_reset()));
        };
        match &slot.over {
            Some(Over::Reset { code, message, by }) => {
                let (code, message, by) = (*code, message.clone(), *by);
                return Poll::Ready(Err(Reset { code, message, by }));
            }
            Some(Over::Complete) | None => {}
        }
        if let Some(found) = found(session, slot) {
            return Poll::Ready(Ok(found));
        }
        slot.wait(waiter, cx);
        Poll::Pending
    }

    /// Ready when the acceptor has reached its target.
    pub(super) fn poll_connected(
        &self,
        id: StreamId,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Reset>> {
        self.poll_stream(id, Waiter::Watcher, cx, |_, slot| {
            (slot.connected || slot.is_complete()).then_some(())
        })
    }

    /// Ready when the stream is over, however.
    pub(super) fn poll_over(&self, id: StreamId, cx: &mut Context<'_>) -> Poll<Result<(), Reset>> {
        self.poll_stream(id, Waiter::Watcher, cx, |_, slot| {
            slot.is_complete().then_some(())
        })
    }

    // ---- the session's fate ----

    /// Ends the session: every stream is reset, and every task hears of it. The first reason stays.
    pub(super) fn end(&self, by: ClosedBy, close: Close) {
        if self.reason.set(Closed { by, close }).is_ok() {
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
        let why = self.reason.get().map(ToString::to_string);
        Reset {
            code: ResetCode::SessionClosed,
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

    pub(super) fn lost(&self, lost: ConnectionLost) {
        let (by, close) = match lost {
            ConnectionLost::ByPeer { code, message } => (ClosedBy::Peer, close(code, &message)),
            ConnectionLost::Locally => (ClosedBy::Local, close(CloseCode::Shutdown, "")),
            ConnectionLost::TlsHere { .. }
            | ConnectionLost::TlsByPeer { .. }
            | ConnectionLost::TimedOut
            | ConnectionLost::Reset
            | ConnectionLost::Other(_) => {
                (ClosedBy::Network, close(CloseCode::Dead, &lost.to_string()))
            }
        };
        self.end(by, close);
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

impl Slot {
    fn wait(&mut self, waiter: Waiter, cx: &mut Context<'_>) {
        let place = match waiter {
            Waiter::Sender => &mut self.sender,
            Waiter::Receiver => &mut self.receiver,
            Waiter::Watcher => &mut self.watcher,
        };
        match place {
            Some(waker) => waker.clone_from(cx.waker()),
            None => *place = Some(cx.waker().clone()),
        }
    }

    fn is_complete(&self) -> bool {
        self.over == Some(Over::Complete)
    }

    fn take_wakers(&mut self) -> impl Iterator<Item = Waker> + use<> {
        [
            self.sender.take(),
            self.receiver.take(),
            self.watcher.take(),
        ]
        .into_iter()
        .flatten()
    }
}

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
