//! What comes out of a session, and when.

use std::time::Instant;

use super::{Event, Line, Outbox, Over, SessionState};
use crate::proto::{Ack, Control, StreamId};
use crate::session::liveness::Verdict;
use crate::session::rx::AckUrgency;
use crate::session::tx::RELEASE_AFTER;

impl SessionState {
    /// When [`Self::handle_timeout`] wants to be called.
    pub fn deadline(&self) -> Instant {
        let ack = self.outbox.later.front().map(|(due, _)| *due);
        let fate = match self.line {
            Line::Connected(_) => self.liveness.deadline(),
            Line::Lost { expires } => expires,
        };
        [ack, self.release_at]
            .into_iter()
            .flatten()
            .fold(fate, Instant::min)
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((_, id)) = self
            .outbox
            .later
            .front()
            .filter(|(due, _)| *due <= now)
            .copied()
        {
            self.outbox.later.pop_front();
            if let Some(stream) = self.streams.get_mut(&id) {
                stream.ack_waits = false;
                stream.pending.ack = stream.ack_urgency() != AckUrgency::None;
                self.enqueue(id);
            }
        }
        if self.release_at.is_some_and(|due| due <= now) {
            self.release_idle(now);
        }
        if let Line::Lost { expires } = self.line {
            if expires <= now {
                self.events.push_back(Event::Expired);
            }
            return;
        }
        match self.liveness.check(now) {
            Verdict::Alive => {}
            Verdict::Ping(echo) => self.outbox.ping = Some(echo),
            Verdict::Suspect => self.events.push_back(Event::Suspect),
            Verdict::Dead => self.events.push_back(Event::Dead),
        }
    }

    fn release_idle(&mut self, now: Instant) {
        let mut still_grown = Vec::new();
        for id in std::mem::take(&mut self.grown) {
            let Some(stream) = self.streams.get_mut(&id) else {
                continue;
            };
            if let Some(released) = stream.tx.release(now) {
                stream.pending.release = Some(released);
                stream.grown = false;
                self.enqueue(id);
            } else {
                still_grown.push(id);
            }
        }
        self.release_at = (!still_grown.is_empty()).then_some(now + RELEASE_AFTER);
        self.grown = still_grown;
    }

    /// The next thing that has happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The next message to write: what keeps the connection alive first.
    pub fn poll_control(&mut self, now: Instant) -> Option<Control> {
        if !self.is_connected() {
            return None;
        }
        if let Some(echo) = self.outbox.pong.take() {
            return Some(Control::Pong(echo));
        }
        if let Some(echo) = self.outbox.ping.take() {
            return Some(Control::Ping(echo));
        }
        if let Some((stream, consumed)) = self.outbox.over.pop_front() {
            return Some(Control::Ack(Ack {
                stream,
                consumed,
                limit: 0,
                ended: true,
                stopped: false,
            }));
        }
        while let Some(id) = self.outbox.streams.front().copied() {
            if let Some(message) = self.next_of_stream(id, now) {
                return Some(message);
            }
            self.outbox.streams.pop_front();
            if let Some(stream) = self.streams.get_mut(&id) {
                stream.queued = false;
            }
        }
        if self.outbox.services.take_due() {
            return self.outbox.services.last.clone().map(Control::HealthReport);
        }
        if self.outbox.edges.take_due() {
            return self.outbox.edges.last.clone().map(Control::EdgeList);
        }
        if self.outbox.drain.take_due() {
            let grace = self.outbox.drain.last?;
            let opened = self.next_index;
            return Some(Control::Drain { grace, opened });
        }
        None
    }

    /// Whether [`Self::poll_control`] has anything to say.
    pub fn has_control(&self) -> bool {
        if !self.is_connected() {
            return false;
        }
        let Outbox {
            ping,
            pong,
            over,
            streams,
            later: _,
            services,
            edges,
            drain,
        } = &self.outbox;
        let whole = services.due || edges.due || drain.due;
        whole || ping.is_some() || pong.is_some() || !over.is_empty() || !streams.is_empty()
    }

    fn next_of_stream(&mut self, id: StreamId, now: Instant) -> Option<Control> {
        let stream = self.streams.get_mut(&id)?;
        if let Some(message) = stream.next_message(id) {
            return Some(message);
        }
        let again = std::mem::take(&mut stream.pending.ack_again);
        let due =
            std::mem::take(&mut stream.pending.ack) && stream.ack_urgency() != AckUrgency::None;
        if stream.is_resetting() || !(due || again) {
            return None;
        }
        let rtt = self.liveness.rtt().unwrap_or(self.transport_rtt);
        let rtt = rtt.max(self.transport_rtt);
        let window = self.config.stream_window;
        let ack = Ack {
            stopped: stream.abandoned,
            ..stream.rx.acknowledge(now, rtt, window, &mut self.budget)
        };
        if stream.is_over() {
            self.events.push_back(Event::Over(id, Over::Complete));
            self.retire(id, now);
        }
        Some(Control::Ack(ack))
    }
}
