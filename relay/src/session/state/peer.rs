//! What the peer says.

use std::time::Instant;

use super::{Event, Over, SessionState, wrong};
use crate::proto::{Ack, Control, Opener, ResetCode, StreamId};
use crate::session::Violation;
use crate::session::stream::{LiveStream, Phase, ResetBy};
use crate::session::tx::RELEASE_AFTER;

impl SessionState {
    /// Takes a control message.
    pub fn handle_control(&mut self, message: Control, now: Instant) -> Result<(), Violation> {
        self.liveness.heard(now);
        match message {
            Control::Hello(_) | Control::HelloAck(_) => {
                return Err(Violation::Unexpected("a second hello"));
            }
            Control::Ping(echo) => self.outbox.pong = Some(echo),
            Control::Pong(echo) => {
                let rtt = self.liveness.pong(echo, now);
                self.events.extend(rtt.map(Event::RoundTrip));
            }
            Control::Ack(ack) => self.handle_ack(&ack, now)?,
            Control::Release { stream, released } => {
                self.live_or_past(stream)?;
                if let Some(live) = self.streams.get_mut(&stream) {
                    live.rx.release(released, &mut self.budget)?;
                }
            }
            Control::Connected { stream } => {
                if stream.opener() != self.config.side {
                    return Err(wrong(stream, "connected by the end that opened it"));
                }
                if let Some(live) = self.live_or_past(stream)? {
                    live.header = None;
                    // It may be said again.
                    if !std::mem::replace(&mut live.connected, true) {
                        self.events.push_back(Event::Connected(stream));
                    }
                }
            }
            Control::Fin { stream, last } => self.handle_fin(stream, last, now)?,
            Control::Reset {
                stream,
                code,
                message,
            } => {
                self.handle_reset(stream, code, message, now)?;
            }
            Control::Drain { grace, opened } => {
                self.peer_opened = Some(opened);
                // Else it is the answer to our own.
                if self.outbox.drain.last.is_none() {
                    // So that the peer knows which streams to wait for.
                    self.drain(grace);
                    self.events.push_back(Event::Draining);
                }
                self.look_whether_idle();
            }
            Control::HealthReport(services) => self.events.push_back(Event::Services(services)),
            // Only a responder is an edge; from another it means as little as an unknown message.
            Control::EdgeList(edges) if self.config.side == Opener::Initiator => {
                self.events.push_back(Event::Edges(edges));
            }
            Control::EdgeList(_) => {}
            Control::Close(close) => self.events.push_back(Event::Closed(close)),
            Control::Unknown => {}
        }
        Ok(())
    }

    fn handle_ack(&mut self, ack: &Ack, now: Instant) -> Result<(), Violation> {
        let id = ack.stream;
        let Some(stream) = self.live_or_past(id)? else {
            return Ok(());
        };
        if stream.is_resetting() {
            // Only what answers a reset, or speaks of a stream that is over, grants nothing at all. Any
            // other is the older word that our direction has ended, and the peer may not have heard
            // of the reset yet, nor hear of it on this connection.
            if ack.ended && ack.limit == 0 && !stream.pending.reset {
                self.retire(id, now);
            }
            return Ok(());
        }
        // The end of an empty direction may overtake the header, and is confirmed without it.
        if ack.consumed > 0 {
            stream.header = None;
        }
        let before = stream.tx.consumed();
        stream.tx.acknowledge(ack)?;
        let progress = stream.tx.consumed() - before;
        self.liveness.moved(progress, now);
        self.draw_for_kept(id);
        let Some(stream) = self.streams.get_mut(&id) else {
            return Ok(());
        };
        if stream.is_over() {
            self.events.push_back(Event::Over(id, Over::Complete));
            self.retire(id, now);
            return Ok(());
        }
        stream.stopped_there |= ack.stopped;
        // With nobody at either end, what is still under way never arrives.
        let has_unread = !stream.rx.is_complete();
        if stream.abandoned && has_unread && (stream.tx.is_confirmed() || stream.stopped_there) {
            self.reset(id, ResetCode::Cancelled, String::new());
            return Ok(());
        }
        if stream.tx.is_grown() && !stream.grown {
            stream.grown = true;
            self.grown.push(id);
            self.release_at.get_or_insert(now + RELEASE_AFTER);
        }
        self.events.push_back(Event::Writable(id));
        Ok(())
    }

    fn handle_fin(&mut self, id: StreamId, last: u64, now: Instant) -> Result<(), Violation> {
        if self.is_unseen(id) {
            self.see(id)?;
            self.insert(id, Phase::Announced, now);
            if self.peer_live > self.most_peer_streams() {
                return Err(wrong(
                    id,
                    "ended beyond the number of streams that may be open",
                ));
            }
        }
        let Some(stream) = self.live_or_past(id)? else {
            return self.tell_over(id, last);
        };
        if stream.is_resetting() {
            return Ok(());
        }
        stream.header = None;
        stream.rx.finish(last)?;
        self.events.push_back(Event::Finished(id));
        self.acknowledge_in_time(id, now);
        Ok(())
    }

    fn handle_reset(
        &mut self,
        id: StreamId,
        code: ResetCode,
        message: String,
        now: Instant,
    ) -> Result<(), Violation> {
        if self.is_unseen(id) {
            self.see(id)?;
            self.look_whether_idle();
        } else if let Some(stream) = self.live_or_past(id)? {
            if !stream.is_resetting() {
                let by = ResetBy::Peer;
                let over = Over::Reset { code, message, by };
                self.events.push_back(Event::Over(id, over));
            }
            self.retire(id, now);
        }
        self.tell_over(id, 0)
    }

    /// Whether a message speaks of a stream of the peer whose header has not come yet.
    fn is_unseen(&self, id: StreamId) -> bool {
        id.opener() != self.config.side && !self.seen.contains(id.index())
    }

    /// The stream, or nothing if it is retired; an error if it never was.
    fn live_or_past(&mut self, id: StreamId) -> Result<Option<&mut LiveStream>, Violation> {
        let exists = if id.opener() == self.config.side {
            id.index() < self.next_index
        } else {
            self.seen.contains(id.index())
        };
        if exists {
            Ok(self.streams.get_mut(&id).map(Box::as_mut))
        } else {
            Err(wrong(id, "never opened"))
        }
    }

    /// The peer asks of a stream that is over here. It asks once per Fin or Reset it has sent, so
    /// more questions than it can have streams are a flood.
    fn tell_over(&mut self, id: StreamId, consumed: u64) -> Result<(), Violation> {
        let own = u64::from(self.config.peer.max_streams).min(self.next_index);
        let most = 4 * own.max(self.config.local.max_streams.into()) + 64;
        if self.outbox.over.len() as u64 > most {
            return Err(Violation::Unexpected("a flood of ends and resets"));
        }
        self.outbox.over.push_back((id, consumed));
        Ok(())
    }
}
