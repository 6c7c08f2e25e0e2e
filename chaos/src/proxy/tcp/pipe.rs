//! One direction of a TCP connection, as a state machine without sockets or a clock of its own:
//! what was read goes in, what is to be written comes out when it is time.
//!
//! ```text
//! handle_bytes, handle_end ─▶ corrupted ─▶ queue, each piece with its time ─▶ next ─▶ wrote
//!                                           cut: nothing goes in or out      sliced, throttled, counted
//! ```

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use crate::proxy::dice::Dice;
use crate::proxy::lane::{Counted, Lane, Trigger};
use crate::proxy::throttle::{Throttle, bytes_within, piece_at};

/// What each piece is counted for besides its bytes, so that tiny ones are bounded as well.
const OVERHEAD: usize = 64;

/// The least that may wait, so that a slow link still carries whole segments.
const LEAST_QUEUE: usize = 16 * 1024;

/// One direction of a connection. Call [`Pipe::next`] after every other call, and do what it says.
#[derive(Debug)]
pub(super) struct Pipe {
    lane: Lane,
    dice: Dice,
    throttle: Arc<Throttle>,
    buffer: usize,
    opened: Instant,
    queue: VecDeque<Piece>,
    queued: usize,
    /// When the last piece is due; no later one is due before.
    last_due: Instant,
    /// Between two slices.
    not_before: Instant,
    last_written: Instant,
    /// Towards a truncation.
    truncation: Count,
    /// Towards a reset.
    reset: Count,
    reading: Reading,
    /// Whether bytes were thrown away that the reader will never have.
    swallowed: bool,
}

#[derive(Debug)]
struct Piece {
    due: Instant,
    what: What,
}

#[derive(Debug)]
enum What {
    Bytes(Bytes),
    End(End),
}

/// How one side ended what it sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// FIN.
    Finished,
    /// RST.
    Reset,
}

/// What is to be done now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Write these bytes, or some of them, and say how many: [`Pipe::wrote`].
    Write(Bytes),
    /// Pass on the end, then call [`Pipe::ended`].
    End(End),
    /// The connection is over.
    Close(Close),
    /// Nothing before this time, unless something comes in.
    Wait(Instant),
    /// Nothing unless something comes in.
    Idle,
}

/// Why a fault ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Close {
    /// Truncated, or silent for long enough.
    Finished,
    /// By [`crate::proxy::Kind::Reset`].
    Reset,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    Open,
    /// Its end is in the queue.
    Ended,
    /// Its end has been passed on.
    Over,
}

/// Bytes since a fault was set.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    revision: Option<u64>,
    bytes: u64,
}

impl Pipe {
    /// `buffer` bounds what may wait here.
    pub(super) fn new(
        dice: Dice,
        throttle: Arc<Throttle>,
        buffer: usize,
        lane: Lane,
        now: Instant,
    ) -> Self {
        let mut pipe = Self {
            lane,
            dice,
            throttle,
            buffer,
            opened: now,
            queue: VecDeque::new(),
            queued: 0,
            last_due: now,
            not_before: now,
            last_written: now,
            truncation: Count::default(),
            reset: Count::default(),
            reading: Reading::Open,
            swallowed: false,
        };
        pipe.set(lane);
        pipe
    }

    /// Other faults are in force. What is on its way keeps its time.
    pub(super) fn set(&mut self, lane: Lane) {
        self.truncation.of(lane.truncate);
        self.reset.of(match lane.reset {
            Some(Trigger::Counted(counted)) => Some(counted),
            Some(Trigger::After { .. }) | None => None,
        });
        self.lane = lane;
    }

    /// The most to read now; nothing must be read if it is 0.
    pub(super) fn room(&self) -> usize {
        if self.reading != Reading::Open || self.lane.cut {
            return 0;
        }
        self.limit().saturating_sub(self.queued)
    }

    /// Whether a reset is still to be noticed, though all that was said has been read.
    pub(super) fn can_still_break(&self) -> bool {
        self.reading != Reading::Open && !self.lane.cut && self.lane.timeout.is_none()
    }

    /// These bytes were read.
    pub(super) fn handle_bytes(&mut self, now: Instant, mut bytes: BytesMut) {
        if self.lane.timeout.is_some() {
            self.swallowed = true;
            return;
        }
        if let Some(rate) = self.lane.corrupt {
            self.dice.corrupt(rate, &mut bytes);
        }
        self.queued += bytes.len() + OVERHEAD;
        self.push(now, What::Bytes(bytes.freeze()));
    }

    /// What is read has ended.
    pub(super) fn handle_end(&mut self, now: Instant, end: End) {
        self.reading = Reading::Ended;
        if self.lane.timeout.is_some() {
            self.swallowed = true;
            return;
        }
        self.push(now, What::End(end));
    }

    /// What is to be done now.
    pub(super) fn next(&self, now: Instant) -> Next {
        let (close, deadline) = self.close(now);
        if let Some(close) = close {
            return Next::Close(close);
        }
        let next = self.pass(now);
        match (next, deadline) {
            (Next::Wait(until), Some(deadline)) => Next::Wait(until.min(deadline)),
            (Next::Idle, Some(deadline)) => Next::Wait(deadline),
            (next, _) => next,
        }
    }

    /// So many of the bytes that were to be written are.
    pub(super) fn wrote(&mut self, now: Instant, count: usize) {
        self.last_written = now;
        if let Some(bandwidth) = self.lane.bandwidth {
            self.throttle.take(now, count, bandwidth.rate);
        }
        if let Some((_, pause)) = self.lane.slice {
            self.not_before = now + pause;
        }
        self.truncation.bytes += count as u64;
        self.reset.bytes += count as u64;
        self.queued -= count;
        if let Some(Piece {
            what: What::Bytes(bytes),
            ..
        }) = self.queue.front_mut()
        {
            drop(bytes.split_to(count));
            if bytes.is_empty() {
                self.queue.pop_front();
                self.queued -= OVERHEAD;
            }
        }
    }

    /// The end has been passed on.
    pub(super) fn ended(&mut self) {
        self.queue.clear();
        self.queued = 0;
        self.reading = Reading::Over;
    }

    /// Whether nothing can come any more.
    pub(super) fn is_over(&self) -> bool {
        self.reading == Reading::Over
    }

    /// Whether a reset is in force.
    pub(super) fn resets(&self) -> bool {
        self.lane.reset.is_some()
    }

    /// Why the connection is over now, or when it will be.
    fn close(&self, now: Instant) -> (Option<Close>, Option<Instant>) {
        let mut deadline: Option<Instant> = None;
        let mut due = |since: Instant, time: Duration| {
            let at = since.max(self.opened) + time;
            if now < at {
                deadline = Some(deadline.map_or(at, |earlier| earlier.min(at)));
            }
            now >= at
        };
        let reset = match self.lane.reset {
            Some(Trigger::After { since, time }) => due(since, time),
            Some(Trigger::Counted(counted)) => self.reset.bytes >= counted.bytes,
            None => false,
        };
        let silent = match self.lane.timeout {
            Some(silence) => silence.closes.is_some_and(|time| due(silence.since, time)),
            // What was thrown away is missing from now on.
            None => self.swallowed,
        };
        let truncated = self
            .lane
            .truncate
            .is_some_and(|counted| self.truncation.bytes >= counted.bytes);
        let close = if reset {
            Some(Close::Reset)
        } else if silent || truncated {
            Some(Close::Finished)
        } else {
            None
        };
        (close, deadline)
    }

    /// What could be passed on now.
    fn pass(&self, now: Instant) -> Next {
        if self.lane.cut || self.lane.timeout.is_some() {
            return Next::Idle;
        }
        let Some(Piece { due, what }) = self.queue.front() else {
            return Next::Idle;
        };
        let bytes = match what {
            What::Bytes(bytes) => bytes,
            What::End(end) => {
                let due = match (end, self.lane.slow_close) {
                    (End::Finished, Some(delay)) => (*due).max(self.last_written) + delay,
                    (End::Finished | End::Reset, _) => *due,
                };
                return if now < due {
                    Next::Wait(due)
                } else {
                    Next::End(*end)
                };
            }
        };
        let busy_until = match self.lane.bandwidth {
            Some(_) => self.throttle.busy_until(now),
            None => None,
        };
        let ready = [Some(*due), busy_until, Some(self.not_before)];
        let ready = ready.into_iter().flatten().max();
        match ready {
            Some(ready) if now < ready => Next::Wait(ready),
            Some(_) | None => Next::Write(bytes.slice(..self.most(bytes.len()))),
        }
    }

    /// How much of so many bytes may go at once. Never nothing.
    fn most(&self, length: usize) -> usize {
        let left = |counted: Option<Counted>, count: &Count| {
            counted.map(|it| usize::try_from(it.bytes - count.bytes).unwrap_or(usize::MAX))
        };
        let reset = match self.lane.reset {
            Some(Trigger::Counted(counted)) => Some(counted),
            Some(Trigger::After { .. }) | None => None,
        };
        let bounds = [
            self.lane.slice.map(|(size, _)| size),
            self.lane.bandwidth.map(|it| piece_at(it.rate)),
            left(self.lane.truncate, &self.truncation),
            left(reset, &self.reset),
        ];
        bounds.into_iter().flatten().fold(length, usize::min)
    }

    /// How much may wait here.
    fn limit(&self) -> usize {
        let Some(bandwidth) = self.lane.bandwidth else {
            return self.buffer;
        };
        let (delay, jitter) = self.lane.latency.unwrap_or_default();
        let on_the_way = bytes_within(bandwidth.rate, delay + jitter + bandwidth.queue);
        on_the_way.max(LEAST_QUEUE).min(self.buffer)
    }

    fn push(&mut self, now: Instant, what: What) {
        let delay = match self.lane.latency {
            Some((delay, jitter)) => self.dice.delay(delay, jitter),
            None => Duration::ZERO,
        };
        let due = (now + delay).max(self.last_due);
        self.last_due = due;
        self.queue.push_back(Piece { due, what });
    }
}

impl Count {
    /// Begins anew if this is another fault than the one that is counted for.
    fn of(&mut self, counted: Option<Counted>) {
        let revision = counted.map(|it| it.revision);
        if self.revision != revision {
            *self = Self { revision, bytes: 0 };
        }
    }
}

#[cfg(test)]
mod tests;
