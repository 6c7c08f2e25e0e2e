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

use super::line::Line;
use super::reset::Reset;
use super::stream::MovedReceiver;
use crate::audit::{Parties, Recording};
use crate::metrics::RelayMetrics;
use crate::proto::{Close, CloseCode, Control, Generation, ResetCode, ServiceInfo, StreamId};
use crate::session::{Event, Over, Replayed, ResetBy, SessionState, Violation};
use crate::transport::{ConnectionLost, SendHalf};

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
    /// Halves of a newer transport stream, until the stream's user takes them over.
    pub(super) moved_sender: Option<(Generation, Box<dyn SendHalf>)>,
    pub(super) moved_receiver: Option<Box<MovedReceiver>>,
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
    /// Nobody: there was no connection for the whole grace.
    Grace,
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
            Event::Dead if self.resume => self.disconnect(locked, wake),
            Event::Dead => self.end(
                ClosedBy::Network,
                close(CloseCode::Dead, "nothing was heard for too long"),
            ),
            Event::Attach => self.attach_due.notify_one(),
            Event::Expired => self.end(
                ClosedBy::Grace,
                close(CloseCode::Dead, "no connection came back in time"),
            ),
        }
    }

    /// What the control task of a line writes next, at most about `limit` bytes of it; and the
    /// deadline after which it must look again.
    pub(super) fn next_control(
        &self,
        line: &Line,
        out: &mut bytes::BytesMut,
        limit: usize,
    ) -> Instant {
        self.with_locked(|Locked { session, armed, .. }, now| {
            if !session.is_current(line.attempt) {
                return now;
            }
            session.set_transport_rtt(line.connection.rtt());
            do_what_is_due(line, session, now);
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
    pub(super) fn keep_time(&self, line: &Line) -> Instant {
        self.with_locked(|Locked { session, armed, .. }, now| {
            if session.is_current(line.attempt) {
                do_what_is_due(line, session, now);
            }
            *armed = session.deadline();
            *armed
        })
    }

    pub(super) fn handle_control(&self, line: &Line, message: Control) -> Result<(), Violation> {
        self.metrics.control_received(&message);
        let handled = self.on_line(line, |session, now| session.handle_control(message, now));
        handled.unwrap_or(Ok(()))
    }

    /// Calls into the pure session for a line, unless that carries the session no more.
    pub(super) fn on_line<R>(
        &self,
        line: &Line,
        call: impl FnOnce(&mut SessionState, Instant) -> R,
    ) -> Option<R> {
        self.with(|session, now| session.is_current(line.attempt).then(|| call(session, now)))
    }

    // ---- lines ----

    /// The connection that carries the session, or did last.
    pub(super) fn line(&self) -> Arc<Line> {
        self.line.borrow().clone()
    }

    /// The connection that carries the session, as soon as there is one. Cancel-safe.
    pub(super) async fn connected_line(&self) -> Arc<Line> {
        let mut lines = self.line.subscribe();
        let found = lines.wait_for(|line| !line.over.is_cancelled()).await;
        let found = found.map(|line| line.clone());
        match found {
            Ok(line) => line,
            // The sender is here, so it cannot fail.
            Err(_) => std::future::pending().await,
        }
    }

    pub(super) fn is_connected(&self) -> bool {
        !self.line.borrow().over.is_cancelled()
    }

    /// The session is on this line from now on. `false` if a later attempt came before.
    pub(super) fn connect(&self, line: &Arc<Line>) -> bool {
        let connected = self.with_locked(|locked, now| {
            if self.closed.is_cancelled() || !locked.session.may_connect(line.attempt) {
                return false;
            }
            locked.line.over.cancel();
            locked.line = line.clone();
            locked.session.connect(line.attempt, now);
            locked.wake_all();
            self.line.send_replace(line.clone());
            true
        });
        if connected {
            self.suspect.send_replace(false);
        }
        connected
    }

    /// A line was lost; if it carried the session, that waits for the next.
    pub(super) fn detach(&self, line: &Line) {
        self.with_locked(|locked, _| {
            if locked.session.is_current(line.attempt) {
                let mut wakers = Vec::new();
                self.disconnect(locked, &mut wakers);
                wakers.into_iter().for_each(Waker::wake);
            }
        });
        line.over.cancel();
    }

    fn disconnect(&self, locked: &mut Locked, wake: &mut Vec<Waker>) {
        locked.session.disconnect(now());
        locked.line.over.cancel();
        self.line.send_modify(|_| {});
        self.suspect.send_replace(true);
        for slot in locked.slots.values_mut() {
            wake.extend(slot.take_wakers());
        }
    }

    /// Waits until no connection carries the session. Cancel-safe.
    pub(super) async fn disconnected(&self) {
        let mut lines = self.line.subscribe();
        // The sender is here, so it cannot fail.
        let _ = lines.wait_for(|line| line.over.is_cancelled()).await;
    }

    /// Judges a session without a connection; says until when that may last.
    pub(super) fn check_grace(&self) -> Option<Instant> {
        self.with(|session, now| {
            let expires = session.expires()?;
            session.handle_timeout(now);
            Some(expires)
        })
    }

    /// Whether streams outlive their connection.
    pub(super) fn resumes(&self) -> bool {
        self.resume
    }

    pub(super) async fn attach_due(&self) {
        self.attach_due.notified().await;
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
        found: impl FnOnce(&SessionState, &mut Slot) -> Option<T>,
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

    /// A stream's receiver goes on at another transport stream.
    pub(super) fn hand_receiver(&self, id: StreamId, moved: MovedReceiver) {
        self.with_locked(|locked, _| {
            if let Some(slot) = locked.slots.get_mut(&id) {
                slot.moved_receiver = Some(Box::new(moved));
                slot.receiver.take()
            } else {
                None
            }
        })
        .into_iter()
        .for_each(Waker::wake);
    }

    /// What is to be sent again at `offset`. Once that is nothing, the stream's sender has the half,
    /// unless its direction has ended.
    pub(super) fn replayed(
        &self,
        id: StreamId,
        generation: Generation,
        offset: u64,
        half: Box<dyn SendHalf>,
    ) -> (Replayed, Option<Box<dyn SendHalf>>) {
        let (replayed, half, waker) = self.with_locked(|locked, _| {
            let replayed = locked.session.replayed(id, generation, offset);
            match (&replayed, locked.slots.get_mut(&id)) {
                (Replayed::Everything { finished: false }, Some(slot)) => {
                    slot.moved_sender = Some((generation, half));
                    (replayed, None, slot.sender.take())
                }
                _ => (replayed, Some(half), None),
            }
        });
        waker.into_iter().for_each(Waker::wake);
        (replayed, half)
    }

    /// The half that waits for a stream's sender.
    pub(super) fn take_sender(&self, id: StreamId) -> Option<(Generation, Box<dyn SendHalf>)> {
        self.locked.lock().slots.get_mut(&id)?.moved_sender.take()
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

    /// A line was lost, and why. The session waits for the next one, if it may.
    pub(super) fn lost(&self, line: &Line, lost: ConnectionLost) {
        let (by, close) = match lost {
            _ if line.over.is_cancelled() => return,
            ConnectionLost::ByPeer { code, .. } if self.outlives(code) => return self.detach(line),
            ConnectionLost::ByPeer { code, message } => (ClosedBy::Peer, close(code, &message)),
            ConnectionLost::Locally if !self.resume => {
                (ClosedBy::Local, close(CloseCode::Shutdown, ""))
            }
            ConnectionLost::Locally
            | ConnectionLost::TlsHere { .. }
            | ConnectionLost::TlsByPeer { .. }
            | ConnectionLost::TimedOut
            | ConnectionLost::Reset
            | ConnectionLost::Other(_)
                if self.resume =>
            {
                self.span.in_scope(
                    || tracing::info!(%lost, "connection lost, streams wait for the next"),
                );
                return self.detach(line);
            }
            ConnectionLost::Locally
            | ConnectionLost::TlsHere { .. }
            | ConnectionLost::TlsByPeer { .. }
            | ConnectionLost::TimedOut
            | ConnectionLost::Reset
            | ConnectionLost::Other(_) => {
                (ClosedBy::Network, close(CloseCode::Dead, &lost.to_string()))
            }
        };
        self.end(by, close);
    }

    /// Whether the session goes on when a connection is closed with this code.
    fn outlives(&self, code: CloseCode) -> bool {
        self.resume && matches!(code, CloseCode::Dead | CloseCode::Moved)
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
    /// Whoever waits looks for itself.
    fn wake_all(&mut self) {
        for slot in self.slots.values_mut() {
            slot.take_wakers().for_each(Waker::wake);
        }
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

fn do_what_is_due(line: &Line, session: &mut SessionState, now: Instant) {
    if session.deadline() <= now {
        session.set_acknowledged(line.connection.acknowledgements(), now);
        session.handle_timeout(now);
    }
}

/// The clock of the runtime, which tests can stop.
pub(super) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
