//! The connection that carries the session at the moment, and what is said again on the next one.

use std::time::{Duration, Instant};

use super::{Event, Line, SessionState};
use crate::proto::{Attempt, ResetCode, StreamId};
use crate::session::liveness::Liveness;
use crate::session::stream::Place;

impl SessionState {
    /// Whether there is a connection.
    pub fn is_connected(&self) -> bool {
        matches!(self.line, Line::Connected(_))
    }

    /// Whether there are streams that would end if the session went on with another connection now.
    pub fn has_fleeting(&self) -> bool {
        self.streams
            .values()
            .any(|stream| stream.place == Place::Attached && stream.ends_with_connection())
    }

    /// How many streams the peer has opened that are live.
    pub fn peers_streams(&self) -> usize {
        self.peer_live as usize
    }

    /// Whether `attempt` is the connection that there is. What is heard on any other is too late.
    pub fn is_current(&self, attempt: Attempt) -> bool {
        self.line == Line::Connected(attempt)
    }

    /// Whether a connection with this number may take over: only ever a higher one than all before.
    pub fn may_connect(&self, attempt: Attempt) -> bool {
        self.config.resume && attempt > self.last_attempt
    }

    /// The session is on this connection from now on, which [`Self::may_connect`]. Its streams are
    /// detached from the one before, and whatever the peer may have missed is said again.
    pub fn connect(&mut self, attempt: Attempt, now: Instant) {
        assert!(self.may_connect(attempt), "an attempt that is too late");
        self.detach_all();
        self.line = Line::Connected(attempt);
        self.last_attempt = attempt;
        let seed = self.config.seed ^ attempt.0;
        self.liveness = Liveness::new(self.config.liveness, self.config.side, seed, now);
        self.liveness.set_busy(!self.streams.is_empty(), now);
        (self.outbox.ping, self.outbox.pong) = (None, None);
        // Who still wants to know asks again.
        self.outbox.over.clear();
        self.outbox.services.repeat();
        self.outbox.edges.repeat();
        self.outbox.drain.repeat();
        let mut ids: Vec<_> = self.stream_ids().collect();
        ids.sort_unstable();
        for id in ids {
            self.repeat(id);
        }
        if !self.to_attach.is_empty() {
            self.events.push_back(Event::Attach);
        }
    }

    /// Whether Pings prove that full-size packets pass, from the next connection on.
    pub fn set_full_size(&mut self, full_size: bool) {
        self.config.liveness.full_size = full_size;
    }

    /// The connection that there is was lost. Streams wait for the next one, for the grace at most
    /// since anything was heard; those that cannot are reset.
    pub fn disconnect(&mut self, now: Instant) {
        if !self.is_connected() {
            return;
        }
        let grace = self.config.local.grace.min(self.config.peer.grace);
        let expires = (self.last_heard() + grace).max(now);
        self.line = Line::Lost { expires };
        self.detach_all();
    }

    /// There is reason to think that the path is gone; see [`Liveness::doubt`].
    pub fn doubt(&mut self, patience: Duration) {
        if self.is_connected() {
            self.liveness.doubt(patience);
        }
    }

    /// Until when a session without a connection is kept.
    pub fn expires(&self) -> Option<Instant> {
        match self.line {
            Line::Connected(_) => None,
            Line::Lost { expires } => Some(expires),
        }
    }

    /// The round trip as the transport measures it.
    pub fn set_transport_rtt(&mut self, rtt: Duration) {
        self.transport_rtt = rtt;
    }

    /// How many bytes have arrived on the connection in all, whoever they are for.
    pub fn set_arrived(&mut self, total: u64, now: Instant) {
        self.liveness.arrived(total, now);
    }

    /// The same, when that is looked at only because something is due.
    pub fn set_arrived_since(&mut self, total: u64, now: Instant) {
        self.liveness.arrived_since(total, now);
    }

    /// How many acknowledgements the transport has had of its own from the peer.
    pub fn set_acknowledged(&mut self, count: u64, now: Instant) {
        self.liveness.acknowledged(count, now);
    }

    /// The round trip as the last Ping measured it.
    pub fn rtt(&self) -> Option<Duration> {
        self.liveness.rtt()
    }

    /// When a byte of the peer arrived last.
    pub fn last_heard(&self) -> Instant {
        self.liveness.last_heard()
    }

    /// Whether a Ping is answered later than it should be.
    pub fn is_suspect(&self, now: Instant) -> bool {
        self.liveness.is_suspect(now)
    }

    fn detach_all(&mut self) {
        self.to_attach.clear();
        let mut lost = Vec::new();
        for (id, stream) in &mut self.streams {
            if stream.place == Place::Attached {
                stream.place = Place::Detached;
                if stream.ends_with_connection() {
                    lost.push(*id);
                }
            }
        }
        lost.sort_unstable();
        for id in lost {
            let message = "its connection was lost".to_owned();
            self.reset(id, ResetCode::SessionClosed, message);
        }
    }

    fn repeat(&mut self, id: StreamId) {
        let opened_here = id.opener() == self.config.side;
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        if stream.place == Place::Nowhere && opened_here && !stream.is_resetting() {
            // Its header is on its way to the new connection already.
            return;
        }
        stream.repeat(opened_here);
        if opened_here && stream.resumable && stream.moves_bytes() {
            self.to_attach.push_back(id);
        }
        self.enqueue(id);
    }
}
