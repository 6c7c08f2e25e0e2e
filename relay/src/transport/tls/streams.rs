//! The streams of one connection, and what waits to be sent for each. Pure: time is passed in, and
//! whoever has to be woken is handed out.
//!
//! A stream is known here by a key of our own. Its number on the wire is given to it with its first
//! frame, so that numbers go out in order, whichever stream is written first.

use std::collections::VecDeque;
use std::task::Waker;

use bytes::Bytes;

use super::arrived::Arrived;
use super::room::{Ticket, Wait};
use super::round_trip::RoundTrip;
use super::schedule::{Place, Schedule};
use super::table::{Table, give_back_memory};
use crate::proto::{CloseCode, ResetCode};
use crate::transport::{ConnectionLost, SessionBounds};

/// The most streams that the peer may have at once, whatever the session allows.
const MOST_STREAMS: usize = 1 << 20;

/// Streams that the peer has, beyond those of the session: the control stream, and those that the
/// session has retired while a frame about their end is still on its way.
const MORE_STREAMS: usize = 4096;

/// What the session's grants do not count: the header of each stream.
const STREAM_HEADER: usize = 16 << 10;

/// The control stream has no grant. Its reader is never far behind, by this many bytes at most.
const CONTROL: usize = 1 << 20;

/// How many numbers each side has.
pub(super) const NUMBERS: u32 = 1 << 31;

/// Which streams are whose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::transport) enum Side {
    /// Began the TLS handshake. Its streams have even numbers.
    Dialler,
    /// Its streams have odd numbers.
    Listener,
}

/// A stream, within this end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key(u64);

#[derive(Debug)]
pub(super) struct Stream {
    /// On the wire; none before its first frame was made.
    pub(super) number: Option<u32>,
    pub(super) out: Outgoing,
    pub(super) back: Incoming,
}

/// The direction to the peer.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    pub(super) queue: VecDeque<Bytes>,
    pub(super) bytes: usize,
    pub(super) end: OutEnd,
    pub(super) ahead: bool,
    pub(super) place: Place,
    /// What of `bytes` has passed the line.
    pub(super) short: usize,
    pub(super) wait: Wait,
    /// Its place in line, if it waits.
    pub(super) ticket: Ticket,
    pub(super) dropped: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum OutEnd {
    #[default]
    Open,
    /// The last frame will say so.
    Ending,
    /// A reset is due.
    Resetting(u32),
    /// All is said.
    Over,
}

/// The direction from the peer.
#[derive(Debug, Default)]
pub(super) struct Incoming {
    pub(super) arrived: Arrived,
    pub(super) end: BackEnd,
    pub(super) reader: Option<Waker>,
    /// A stop that is due.
    pub(super) stop: Option<u32>,
    /// What comes is of no interest any more.
    pub(super) refused: bool,
    pub(super) dropped: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum BackEnd {
    #[default]
    Open,
    /// Its last frame has come.
    Ended,
    /// It was reset.
    Broken,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Streams {
    pub(super) side: Side,
    /// In boxes, since a table has more room than it has streams.
    pub(super) table: Table<Key, Box<Stream>>,
    by_number: Table<u32, Key>,
    next_key: u64,
    /// Opened by this end, with or without a number.
    opened: u32,
    /// How many numbers this end has given.
    pub(super) numbered: u32,
    /// How many streams the peer has opened.
    pub(super) peers: u32,
    pub(super) peers_live: usize,
    pub(super) limits: Limits,
    /// Not accepted yet.
    pub(super) unaccepted: VecDeque<Key>,
    pub(super) schedule: Schedule,
    /// On all streams together, and not read yet, in bytes.
    pub(super) arrived: usize,
    pub(super) round_trip: RoundTrip,
    /// The ping that waits for our answer. A peer that asks again before it gets one gets the last.
    pub(super) pong: Option<u64>,
    pub(super) over: Option<ConnectionLost>,
    /// What is said before the connection is closed.
    pub(super) farewell: Option<(CloseCode, String)>,
    /// Whoever writes to the socket, when there is nothing to write.
    pub(super) carrier: Option<Waker>,
    /// Whoever is to be woken once the lock is free.
    pub(super) wake: Vec<Waker>,
}

/// What the peer may do, in streams and bytes.
#[derive(Clone, Copy, Debug)]
pub(in crate::transport) struct Limits {
    pub(in crate::transport) streams: usize,
    pub(in crate::transport) one_stream: usize,
    pub(in crate::transport) all_streams: usize,
}

impl Limits {
    pub(in crate::transport) fn new(bounds: SessionBounds) -> Self {
        let bytes = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        let streams = bytes(bounds.streams);
        let headers = streams.saturating_mul(STREAM_HEADER);
        let all_streams = bytes(bounds.all_windows).saturating_add(headers);
        Self {
            // The session reacts to twice as many as it allows; it comes first.
            streams: streams
                .saturating_mul(4)
                .saturating_add(MORE_STREAMS)
                .min(MOST_STREAMS),
            one_stream: bytes(bounds.stream_window).saturating_add(STREAM_HEADER + CONTROL),
            all_streams: all_streams.saturating_add(CONTROL),
        }
    }
}

impl Streams {
    pub(super) fn new(side: Side, bounds: SessionBounds) -> Self {
        Self {
            side,
            table: Table::default(),
            by_number: Table::default(),
            next_key: 0,
            opened: 0,
            numbered: 0,
            peers: 0,
            peers_live: 0,
            limits: Limits::new(bounds),
            unaccepted: VecDeque::new(),
            schedule: Schedule::default(),
            arrived: 0,
            round_trip: RoundTrip::default(),
            pong: None,
            over: None,
            farewell: None,
            carrier: None,
            wake: Vec::new(),
        }
    }

    /// A stream of this end. Nothing is sent yet.
    pub(super) fn open(&mut self) -> Result<Key, ConnectionLost> {
        if let Some(over) = &self.over {
            return Err(over.clone());
        }
        if self.opened == NUMBERS {
            let used_up = "all stream numbers of the connection are used up";
            self.close(
                CloseCode::Shutdown,
                used_up,
                ConnectionLost::Other(used_up.into()),
            );
            return Err(ConnectionLost::Other(used_up.into()));
        }
        self.opened += 1;
        Ok(self.insert(None))
    }

    pub(super) fn insert(&mut self, number: Option<u32>) -> Key {
        let key = Key(self.next_key);
        self.next_key += 1;
        let stream = Stream {
            number,
            out: Outgoing::default(),
            back: Incoming::default(),
        };
        self.table.insert(key, Box::new(stream));
        if let Some(number) = number {
            self.by_number.insert(number, key);
        }
        key
    }

    pub(super) fn by_number(&self, number: u32) -> Option<Key> {
        self.by_number.get(&number).copied()
    }

    /// The next number of this end goes to `key`.
    pub(super) fn give_number(&mut self, key: Key) {
        let number = 2 * self.numbered + u32::from(self.side == Side::Listener);
        self.numbered += 1;
        self.by_number.insert(number, key);
        if let Some(stream) = self.table.get_mut(&key) {
            stream.number = Some(number);
        }
    }

    /// The connection is over, first of all for the reason that was given first; `code` and
    /// `reason` are still said.
    pub(super) fn close(&mut self, code: CloseCode, reason: &str, why: ConnectionLost) {
        if self.over.is_none() {
            self.farewell = Some((code, reason.to_owned()));
            self.lose(why);
        }
    }

    /// The connection is gone. What has arrived can still be read.
    pub(super) fn lose(&mut self, why: ConnectionLost) {
        if self.over.is_some() {
            return;
        }
        self.over = Some(why);
        for stream in self.table.values_mut() {
            stream.out.queue = VecDeque::new();
            stream.out.bytes = 0;
            stream.out.short = 0;
            self.wake.extend(self.schedule.leaves(&mut stream.out));
            self.wake.extend(stream.back.reader.take());
        }
        self.schedule = Schedule::default();
        self.wake.extend(self.carrier.take());
    }

    /// What the other streams wait for has changed, or there is something to write.
    pub(super) fn call_carrier(&mut self) {
        self.wake.extend(self.carrier.take());
    }

    /// Nobody holds the sending half any more.
    pub(super) fn drop_out(&mut self, key: Key) {
        if let Some(stream) = self.table.get_mut(&key) {
            stream.out.dropped = true;
            drop(self.schedule.leaves(&mut stream.out));
            if stream.out.end == OutEnd::Open {
                self.reset(key, ResetCode::Cancelled.number());
            }
            self.retire(key);
        }
    }

    /// Nobody holds the receiving half any more.
    pub(super) fn drop_back(&mut self, key: Key) {
        if let Some(stream) = self.table.get_mut(&key) {
            stream.back.dropped = true;
            self.stop(key, ResetCode::Cancelled.number());
            self.retire(key);
        }
    }

    /// Gives up what was not sent.
    pub(super) fn reset(&mut self, key: Key, code: u32) {
        let Some(stream) = self.table.get_mut(&key) else {
            return;
        };
        if matches!(stream.out.end, OutEnd::Resetting(_) | OutEnd::Over) {
            return;
        }
        let dropped = std::mem::take(&mut stream.out.bytes);
        stream.out.queue = VecDeque::new();
        let short = std::mem::take(&mut stream.out.short);
        if !stream.out.ahead {
            self.schedule.queued -= dropped;
            self.schedule.short -= short;
        }
        self.wake.extend(self.schedule.leaves(&mut stream.out));
        if stream.number.is_some() {
            stream.out.end = OutEnd::Resetting(code);
            self.schedule.urgent.push_back(key);
        } else {
            // The peer has never heard of it and never will.
            stream.out.end = OutEnd::Over;
            stream.back.end = BackEnd::Broken;
            self.wake.extend(stream.back.reader.take());
        }
        // Others may have waited for its room.
        self.call_carrier();
        self.retire(key);
    }

    /// Refuses what the peer still sends.
    pub(super) fn stop(&mut self, key: Key, code: u32) {
        let Some(stream) = self.table.get_mut(&key) else {
            return;
        };
        self.arrived -= stream.back.arrived.discard();
        stream.back.reader = None;
        if !std::mem::replace(&mut stream.back.refused, true) && stream.back.end == BackEnd::Open {
            stream.back.stop = Some(code);
            if stream.number.is_some() {
                self.schedule.urgent.push_back(key);
                self.call_carrier();
            }
        }
    }

    /// Forgets the number of a stream that both ends have said all of, and the stream itself once
    /// nobody holds it.
    pub(super) fn retire(&mut self, key: Key) {
        let Some(stream) = self.table.get(&key) else {
            return;
        };
        let said = stream.out.end == OutEnd::Over || self.over.is_some();
        let heard = stream.back.end != BackEnd::Open || self.over.is_some();
        if !said || !heard {
            return;
        }
        let number = stream.number;
        let held = !stream.out.dropped || !stream.back.dropped;
        if let Some(number) = number {
            self.by_number.remove(&number);
        }
        if held {
            return;
        }
        self.table.remove(&key);
        if number.is_some_and(|number| self.is_peers(number)) {
            self.peers_live -= 1;
        }
        give_back_memory(&mut self.table);
        give_back_memory(&mut self.by_number);
    }

    pub(super) fn is_peers(&self, number: u32) -> bool {
        let theirs = match self.side {
            Side::Dialler => 1,
            Side::Listener => 0,
        };
        number % 2 == theirs
    }

    /// How many streams are held in memory.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.table.len()
    }

    #[cfg(test)]
    pub(super) fn pretend_opened(&mut self, count: u32) {
        self.opened = count;
        self.numbered = count;
    }
}
