//! Which stream is sent next, and who may write more.
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
use std::task::Waker;
use std::time::Instant;

use bytes::Bytes;

use super::batch::Batch;
use super::frame::{self, HEADER, Header, Kind};
use super::streams::{BackEnd, Key, OutEnd, Outgoing, Stream, Streams};

/// What one frame carries at most, in bytes: with its header, a full TLS record (RFC 8446 §5.1).
pub(super) const FRAME: usize = (16 << 10) - HEADER;

/// What may wait to be sent on all streams, in bytes. A small message waits behind what is beyond
/// it, in TLS and in the kernel, and not behind this; but memory is bounded by it.
pub(super) const SEND_QUEUE: usize = 256 << 10;

/// What short messages of streams with nothing else to send may have beyond that, in bytes.
const SHORT_MESSAGES: usize = 128 << 10;

/// A message that is short, in bytes.
const SHORT: usize = 4 << 10;

/// What one stream that goes ahead may have waiting, in bytes.
const AHEAD: usize = 64 << 10;

/// See the module. A key may stand for a stream that is gone.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    pub(super) urgent: VecDeque<Key>,
    ahead: VecDeque<Key>,
    fresh: VecDeque<Key>,
    turn: VecDeque<Key>,
    /// Who waits for room, in the order of their coming.
    waiters: VecDeque<Key>,
    /// What waits on all streams but those that go ahead, in bytes.
    pub(super) queued: usize,
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

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    Taken,
    Waits,
    Broken,
}

impl Schedule {
    fn next(&mut self) -> Option<(Key, Place)> {
        None.or_else(|| Some((self.ahead.pop_front()?, Place::Ahead)))
            .or_else(|| Some((self.fresh.pop_front()?, Place::Fresh)))
            .or_else(|| Some((self.turn.pop_front()?, Place::Turn)))
    }

    /// Has the stream sent, if it is in no list yet.
    fn enlist(&mut self, key: Key, out: &mut Outgoing) {
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

    /// How much of `wanted` bytes the stream may write, with `queued` bytes waiting on all.
    fn room(&self, out: &Outgoing, wanted: usize, queued: usize) -> usize {
        if out.ahead {
            return wanted.min(AHEAD.saturating_sub(out.bytes));
        }
        let beyond = (SEND_QUEUE + SHORT_MESSAGES).saturating_sub(queued);
        if out.bytes == 0 && wanted <= SHORT.min(beyond) {
            return wanted;
        }
        let newcomer = usize::from(out.place == Place::None);
        let writers = self.fresh.len() + self.turn.len() + self.waiters.len() + newcomer;
        let share = (SEND_QUEUE / writers.max(1)).max(FRAME);
        let common = SEND_QUEUE.saturating_sub(queued);
        let room = wanted.min(common).min(share.saturating_sub(out.bytes));
        // Less would make small frames of large chunks.
        if room < wanted.min(SHORT) { 0 } else { room }
    }
}

impl Streams {
    /// Takes as much off the front of `chunk` as there is room for.
    pub(super) fn write(&mut self, key: Key, chunk: &mut Bytes, waker: &Waker) -> Written {
        let schedule = &mut self.schedule;
        let Some(Stream { out, .. }) = self.table.get_mut(&key).map(Box::as_mut) else {
            return Written::Broken;
        };
        if self.over.is_some() || out.end != OutEnd::Open {
            return Written::Broken;
        }
        let count = schedule.room(out, chunk.len(), schedule.queued);
        if count == 0 && !chunk.is_empty() {
            if out.waiter.is_none() {
                schedule.waiters.push_back(key);
            }
            out.waiter = Some((waker.clone(), chunk.len()));
            return Written::Waits;
        }
        out.waiter = None;
        out.bytes += count;
        out.queue.push_back(chunk.split_to(count));
        if !out.ahead {
            schedule.queued += count;
        }
        schedule.enlist(key, out);
        self.call_carrier();
        Written::Taken
    }

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
            && !std::mem::replace(&mut out.ahead, true)
        {
            self.schedule.queued -= out.bytes;
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
        if !stream.out.ahead {
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

    /// Wakes those for whom there is room, in the order of their coming. Whether there may be room
    /// for more once these have written, or have not: then this must be called again.
    pub(super) fn wake_writers(&mut self) -> bool {
        let schedule = &mut self.schedule;
        let (mut queued, mut woken) = (schedule.queued, false);
        for _ in 0..schedule.waiters.len() {
            if queued >= SEND_QUEUE {
                break;
            }
            let Some(key) = schedule.waiters.pop_front() else {
                break;
            };
            let Some(Stream { out, .. }) = self.table.get_mut(&key).map(Box::as_mut) else {
                continue;
            };
            let Some((waker, wanted)) = out.waiter.take() else {
                continue;
            };
            let room = schedule.room(out, wanted, queued);
            if room == 0 {
                // It has its share, and waits until some of that is sent.
                out.waiter = Some((waker, wanted));
                schedule.waiters.push_back(key);
            } else {
                queued += room;
                woken = true;
                self.wake.push(waker);
            }
        }
        woken && !self.schedule.waiters.is_empty()
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
