//! Which stream is sent next.
//!
//! ```text
//! urgent    resets and stops                      first
//! ahead     streams that go ahead of all others   then
//! fresh     short messages of streams that had     then, one frame each
//!           nothing to send
//! turn      all others, one after the other       one frame each
//! ```
//!
//! So a small message passes the bulk of other streams, and no stream is kept from its turn: what
//! was fresh takes a place in the turn before it can be fresh again (as flows do in RFC 8290 §4.2).

use std::collections::VecDeque;
use std::time::Instant;

use super::batch::Batch;
use super::frame::{self, HEADER, Header, Kind};
use super::room::{SHORT, Ticket};
use super::streams::{BackEnd, Key, OutEnd, Outgoing, Stream, Streams};

/// What one frame carries at most, in bytes: with its header, a full TLS record (RFC 8446 §5.1).
pub(super) const FRAME: usize = (16 << 10) - HEADER;

/// See the module. A key may stand for a stream that is gone.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    pub(super) urgent: VecDeque<Key>,
    ahead: VecDeque<Key>,
    pub(super) fresh: VecDeque<Key>,
    pub(super) turn: VecDeque<Key>,
    /// Who waits for room, and who was called, in the order of their coming.
    pub(super) line: VecDeque<(Ticket, Key)>,
    pub(super) last_ticket: Ticket,
    /// How many of them were not called yet.
    pub(super) waiting: usize,
    /// Counts the turns of the carrier.
    pub(super) carriers_turn: u64,
    /// What waits on all streams but those that go ahead, in bytes.
    pub(super) queued: usize,
    /// What of that has passed the line, in bytes.
    pub(super) short: usize,
}

/// In which of the lists a stream is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Place {
    #[default]
    None,
    Ahead,
    Fresh,
    Turn,
}

impl Schedule {
    fn next(&mut self) -> Option<(Key, Place)> {
        None.or_else(|| Some((self.ahead.pop_front()?, Place::Ahead)))
            .or_else(|| Some((self.fresh.pop_front()?, Place::Fresh)))
            .or_else(|| Some((self.turn.pop_front()?, Place::Turn)))
    }

    /// Has the stream sent, if it is in no list yet.
    pub(super) fn enlist(&mut self, key: Key, out: &mut Outgoing) {
        if out.place == Place::None {
            out.place = if out.ahead {
                Place::Ahead
            } else if out.bytes <= SHORT {
                Place::Fresh
            } else {
                Place::Turn
            };
            self.put(key, out.place);
        }
    }

    fn put(&mut self, key: Key, place: Place) {
        match place {
            Place::None => {}
            Place::Ahead => self.ahead.push_back(key),
            Place::Fresh => self.fresh.push_back(key),
            Place::Turn => self.turn.push_back(key),
        }
    }
}

impl Streams {
    /// Says with the last of what was written that it is the last.
    pub(super) fn finish(&mut self, key: Key) {
        if let Some(Stream { out, .. }) = self.table.get_mut(&key).map(Box::as_mut)
            && out.end == OutEnd::Open
            && self.over.is_none()
        {
            out.end = OutEnd::Ending;
            self.schedule.enlist(key, out);
            self.call_carrier();
        }
    }

    /// From now on what the stream writes goes ahead of all others.
    pub(super) fn prioritize(&mut self, key: Key) {
        if let Some(Stream { out, .. }) = self.table.get_mut(&key).map(Box::as_mut)
            && !out.ahead
        {
            self.wake.extend(self.schedule.leaves(out));
            out.ahead = true;
            self.schedule.queued -= out.bytes;
            self.schedule.short -= std::mem::take(&mut out.short);
            if out.place != Place::None {
                // Its old place in the other lists means nothing any more.
                out.place = Place::Ahead;
                self.schedule.put(key, Place::Ahead);
            }
        }
    }

    /// Puts together what is sent next.
    pub(super) fn fill(&mut self, batch: &mut Batch, now: Instant) {
        if let Some(nonce) = self.pong.take() {
            batch.copy(&frame::small(0, Kind::Pong, &nonce.to_be_bytes()));
        }
        if self.schedule.queued > 0
            && let Some(nonce) = self.round_trip.ask(now)
        {
            batch.copy(&frame::small(0, Kind::Ping, &nonce.to_be_bytes()));
        }
        while batch.has_room()
            && let Some(key) = self.schedule.urgent.pop_front()
        {
            self.reset_and_stop(key, batch);
        }
        while batch.has_room()
            && let Some((key, place)) = self.schedule.next()
        {
            self.one_frame(key, place, batch);
        }
    }

    fn reset_and_stop(&mut self, key: Key, batch: &mut Batch) {
        let Some(stream) = self.table.get_mut(&key) else {
            return;
        };
        // Without a number there is nothing yet that the peer could stop.
        let Some(number) = stream.number else { return };
        if let OutEnd::Resetting(code) = stream.out.end {
            stream.out.end = OutEnd::Over;
            batch.copy(&frame::small(number, Kind::Reset, &code.to_be_bytes()));
        }
        if let Some(code) = stream.back.stop.take()
            && stream.back.end == BackEnd::Open
        {
            batch.copy(&frame::small(number, Kind::Stop, &code.to_be_bytes()));
        }
        self.retire(key);
    }

    fn one_frame(&mut self, key: Key, place: Place, batch: &mut Batch) {
        let Some(stream) = self.table.get_mut(&key) else {
            return;
        };
        if stream.out.place != place {
            return;
        }
        stream.out.place = Place::None;
        let count = stream.out.bytes.min(FRAME);
        let ends = stream.out.end == OutEnd::Ending && count == stream.out.bytes;
        if count == 0 && !ends {
            return;
        }
        let opens = stream.number.is_none();
        if opens {
            self.give_number(key);
        }
        let Some(stream) = self.table.get_mut(&key) else {
            return;
        };
        if opens && stream.back.stop.is_some() {
            self.schedule.urgent.push_back(key);
        }
        batch.header(Header {
            stream: stream.number.expect("it has one by now"),
            kind: Kind::Data { opens, ends },
            length: count,
        });
        stream.out.take(count, batch);
        if stream.out.ahead {
            self.wake.extend(self.schedule.leaves(&mut stream.out));
        } else {
            let short = std::mem::take(&mut stream.out.short);
            stream.out.short = short.saturating_sub(count);
            self.schedule.short -= short - stream.out.short;
            self.schedule.queued -= count;
        }
        if ends {
            stream.out.end = OutEnd::Over;
            self.retire(key);
            return;
        }
        // Also with nothing left it takes its place, so that it is not fresh again at once.
        if stream.out.bytes > 0 || place == Place::Fresh {
            let next = if stream.out.ahead {
                Place::Ahead
            } else {
                Place::Turn
            };
            stream.out.place = next;
            self.schedule.put(key, next);
        }
    }

    /// Whether there is something to write.
    pub(super) fn has_output(&self) -> bool {
        let Schedule {
            urgent,
            ahead,
            fresh,
            turn,
            ..
        } = &self.schedule;
        self.pong.is_some()
            || ![urgent, ahead, fresh, turn]
                .iter()
                .all(|list| list.is_empty())
    }
}

impl Outgoing {
    /// Moves `count` bytes off the front of the queue.
    fn take(&mut self, mut count: usize, batch: &mut Batch) {
        self.bytes -= count;
        while count > 0
            && let Some(chunk) = self.queue.front_mut()
        {
            if chunk.len() > count {
                batch.push(chunk.split_to(count));
                return;
            }
            count -= chunk.len();
            batch.push(std::mem::take(chunk));
            self.queue.pop_front();
        }
        if self.queue.is_empty() {
            // An idle stream holds no memory.
            self.queue = VecDeque::new();
        }
    }
}
