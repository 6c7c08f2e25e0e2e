//! What this end does with its streams: the calls of pumps.

use std::time::Instant;

use bytes::Bytes;

use super::{ACK_DELAY, Event, Over, SessionState};
use crate::proto::{Generation, ResetCode, StreamId};
use crate::session::rx::AckUrgency;
use crate::session::stream::{Phase, ResetBy};
use crate::session::{Chunk, Violation};

impl SessionState {
    /// How many bytes may be sent on `id` now; 0 if it is over.
    pub fn credit(&self, id: StreamId) -> u64 {
        match self.streams.get(&id) {
            Some(stream) if !stream.is_resetting() => {
                stream.tx.available().min(self.room_to_keep(stream))
            }
            Some(_) | None => 0,
        }
    }

    /// Takes as much off the front of `chunk` as may be handed to the transport stream of this
    /// generation now; nothing if that is not the stream's any more.
    pub fn send(
        &mut self,
        id: StreamId,
        generation: Generation,
        chunk: &mut Chunk,
        now: Instant,
    ) -> Bytes {
        let credit = usize::try_from(self.credit(id)).unwrap_or(usize::MAX);
        let Some(stream) = self.streams.get_mut(&id) else {
            return Bytes::new();
        };
        if credit == 0 || stream.generation != generation {
            return Bytes::new();
        }
        let taken = chunk.split_to(chunk.len().min(credit));
        self.liveness.sent(now);
        stream.tx.send(&taken, now);
        self.draw_for_kept(id);
        taken.into_bytes()
    }

    /// Ends our direction.
    pub fn finish(&mut self, id: StreamId) {
        if let Some(stream) = self.streams.get_mut(&id).filter(|s| !s.tx.is_finished()) {
            stream.tx.finish();
            stream.pending.fin = true;
            self.enqueue(id);
        }
    }

    /// Counts `count` bytes that came from the transport stream of this generation. `false` if that
    /// is not the stream's any more: they come again by another.
    pub fn received(
        &mut self,
        id: StreamId,
        generation: Generation,
        count: u64,
        now: Instant,
    ) -> Result<bool, Violation> {
        match self.streams.get_mut(&id) {
            Some(stream) if stream.generation != generation => return Ok(false),
            Some(stream) if !stream.is_resetting() => stream.rx.receive(count)?,
            Some(_) | None => {}
        }
        self.liveness.read(count, now);
        Ok(true)
    }

    /// Counts `count` bytes that the local reader took.
    pub fn consumed(&mut self, id: StreamId, count: u64, now: Instant) {
        if let Some(stream) = self.streams.get_mut(&id).filter(|s| !s.is_resetting()) {
            stream.rx.consume(count);
            self.acknowledge_in_time(id, now);
        }
    }

    /// Whether all bytes of the peer's direction have arrived, and it has ended. So it is with a
    /// stream that is over and was not reset.
    pub fn is_all_received(&self, id: StreamId) -> bool {
        self.streams
            .get(&id)
            .is_none_or(|stream| stream.rx.is_all_received())
    }

    /// The acceptor has reached its target.
    pub fn connected(&mut self, id: StreamId) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.connected = true;
            stream.pending.connected = true;
            self.enqueue(id);
        }
    }

    /// Resets a stream. It stays until the peer has confirmed; its user hears [`Event::Over`] now.
    pub fn reset(&mut self, id: StreamId, code: ResetCode, message: String) {
        let Some(stream) = self.streams.get_mut(&id).filter(|s| !s.is_resetting()) else {
            return;
        };
        stream.rx.give_back(&mut self.budget);
        stream.tx.forget();
        stream.phase = Phase::Resetting {
            code,
            message: message.clone(),
        };
        stream.pending.reset = true;
        self.draw_for_kept(id);
        self.enqueue(id);
        let by = ResetBy::Local;
        self.events
            .push_back(Event::Over(id, Over::Reset { code, message, by }));
    }

    /// Its user is gone. What this end has sent and ended still reaches the peer before the reset
    /// that tells that nobody reads here; what it has not ended is incomplete and reset at once.
    pub fn abandon(&mut self, id: StreamId) {
        let stream = self.streams.get(&id);
        if stream.is_none_or(|stream| stream.tx.is_finished()) {
            self.stop_receiving(id);
        } else {
            self.reset(id, ResetCode::Cancelled, String::new());
        }
    }

    /// Nobody reads any more, whether anybody still sends or not. Unless the peer's direction was
    /// read to its end, the stream is reset: the peer would wait for credit that nobody gives. As
    /// with [`Self::abandon`], what this end has sent and ended goes first.
    pub fn stop_receiving(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        if stream.rx.is_complete() {
            return;
        }
        if stream.tx.is_finished() && !stream.tx.is_confirmed() && !stream.stopped_there {
            stream.abandoned = true;
            stream.pending.ack_again = true;
            self.enqueue(id);
        } else {
            self.reset(id, ResetCode::Cancelled, String::new());
        }
    }

    pub(super) fn acknowledge_in_time(&mut self, id: StreamId, now: Instant) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        match stream.ack_urgency() {
            AckUrgency::Now => {
                stream.pending.ack = true;
                self.enqueue(id);
            }
            AckUrgency::Soon if !stream.ack_waits => {
                stream.ack_waits = true;
                self.outbox.later.push_back((now + ACK_DELAY, id));
            }
            AckUrgency::Soon | AckUrgency::None => {}
        }
    }
}
