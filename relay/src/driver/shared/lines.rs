//! The connections of a session, and what is said and heard on them.

use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

use super::{ClosedBy, Locked, Shared, close, now};
use crate::driver::line::Line;
use crate::proto::{CloseCode, Control, StreamId};
use crate::session::{SessionState, Violation};
use crate::transport::ConnectionLost;

impl Shared {
    /// What the control task of a line writes next, at most about `limit` bytes of it; and the
    /// deadline after which it must look again.
    pub(in crate::driver) fn next_control(
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
    pub(in crate::driver) fn keep_time(&self, line: &Line) -> Instant {
        self.with_locked(|Locked { session, armed, .. }, now| {
            if session.is_current(line.attempt) {
                do_what_is_due(line, session, now);
            }
            *armed = session.deadline();
            *armed
        })
    }

    pub(in crate::driver) fn handle_control(
        &self,
        line: &Line,
        message: Control,
    ) -> Result<(), Violation> {
        self.metrics.control_received(&message);
        let handled = self.on_line(line, |session, now| {
            session.set_arrived(line.connection.arrived(), now);
            session.handle_control(message, now)
        });
        handled.unwrap_or(Ok(()))
    }

    /// Calls into the pure session for a line, unless that carries the session no more.
    pub(in crate::driver) fn on_line<R>(
        &self,
        line: &Line,
        call: impl FnOnce(&mut SessionState, Instant) -> R,
    ) -> Option<R> {
        self.with(|session, now| session.is_current(line.attempt).then(|| call(session, now)))
    }

    /// The connection that carries the session, or did last.
    pub(in crate::driver) fn line(&self) -> Arc<Line> {
        self.line.borrow().clone()
    }

    /// The connection that carries the session, as soon as there is one. Cancel-safe.
    pub(in crate::driver) async fn connected_line(&self) -> Arc<Line> {
        let mut lines = self.line.subscribe();
        let found = lines.wait_for(|line| !line.over.is_cancelled()).await;
        let found = found.map(|line| line.clone());
        match found {
            Ok(line) => line,
            // The sender is here, so it cannot fail.
            Err(_) => std::future::pending().await,
        }
    }

    pub(in crate::driver) fn is_connected(&self) -> bool {
        !self.line.borrow().over.is_cancelled()
    }

    /// The session is on this line from now on. `false` if a later attempt came before.
    pub(in crate::driver) fn connect(&self, line: &Arc<Line>) -> bool {
        let connected = self.with_locked(|locked, now| {
            if self.closed.is_cancelled() || !locked.session.may_connect(line.attempt) {
                return None;
            }
            locked.line.over.cancel();
            locked.line = line.clone();
            locked.session.connect(line.attempt, now);
            self.line.send_replace(line.clone());
            // Whoever waits looks for itself.
            Some(locked.waiting())
        });
        let Some(waiting) = connected else {
            return false;
        };
        waiting.into_iter().for_each(Waker::wake);
        self.suspect.send_replace(false);
        true
    }

    /// A line was lost; if it carried the session, that waits for the next.
    pub(in crate::driver) fn detach(&self, line: &Line) {
        let waiting = self.with_locked(|locked, _| {
            let mut waiting = Vec::new();
            if locked.session.is_current(line.attempt) {
                self.disconnect(locked, &mut waiting);
            }
            waiting
        });
        waiting.into_iter().for_each(Waker::wake);
        line.over.cancel();
    }

    pub(super) fn disconnect(&self, locked: &mut Locked, wake: &mut Vec<Waker>) {
        locked.session.disconnect(now());
        locked.line.over.cancel();
        self.line.send_modify(|_| {});
        self.suspect.send_replace(true);
        wake.extend(locked.waiting());
    }

    /// Waits until no connection carries the session. Cancel-safe.
    pub(in crate::driver) async fn disconnected(&self) {
        let mut lines = self.line.subscribe();
        // The sender is here, so it cannot fail.
        let _ = lines.wait_for(|line| line.over.is_cancelled()).await;
    }

    /// Judges a session without a connection; says until when that may last.
    pub(in crate::driver) fn check_grace(&self) -> Option<Instant> {
        self.with(|session, now| {
            let expires = session.expires()?;
            session.handle_timeout(now);
            Some(expires)
        })
    }

    /// Whether streams outlive their connection.
    pub(in crate::driver) fn resumes(&self) -> bool {
        self.resume
    }

    /// The next stream to attach, and to which line.
    pub(in crate::driver) fn next_attach(&self) -> Option<(Arc<Line>, StreamId)> {
        self.with_locked(|locked, _| {
            let id = locked.session.poll_attach()?;
            Some((locked.line.clone(), id))
        })
    }

    pub(in crate::driver) async fn attach_due(&self) {
        self.attach_due.notified().await;
    }

    /// A line was lost, and why. The session waits for the next one, if it may.
    pub(in crate::driver) fn lost(&self, line: &Line, lost: ConnectionLost) {
        let (by, close) = match lost {
            _ if line.over.is_cancelled() => return,
            ConnectionLost::ByPeer { code, .. } if self.outlives(code) => return self.detach(line),
            ConnectionLost::ByPeer { code, message } => (ClosedBy::Peer, close(code, &message)),
            lost if self.resume => {
                self.waits_for_next(&lost.to_string());
                return self.detach(line);
            }
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

    pub(super) fn waits_for_next(&self, lost: &str) {
        self.span.in_scope(
            || tracing::info!(%lost, "connection lost, streams that resume wait for the next"),
        );
    }

    /// Whether the session goes on when a connection is closed with this code.
    pub(super) fn outlives(&self, code: CloseCode) -> bool {
        self.resume && matches!(code, CloseCode::Dead | CloseCode::Moved)
    }
}

fn do_what_is_due(line: &Line, session: &mut SessionState, now: Instant) {
    if session.deadline() <= now {
        session.set_arrived_since(line.connection.arrived(), now);
        session.set_acknowledged(line.connection.acknowledgements(), now);
        session.handle_timeout(now);
    }
}
