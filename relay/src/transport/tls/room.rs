//! Who may write, and how much.
//!
//! Little waits to be sent, so many streams wait to write. They stand in one line, in the order of
//! their coming. The carrier calls those in front when there is room; who was called has its share
//! of it before the next has, also if somebody was faster, and keeps the place until the carrier's next turn:
//! writers live on the carrier's worker, and run before it does again. Whoever
//! comes while others stand there stands behind them. Short messages of streams that have nothing else to
//! send do not stand in line, and the room that they take is not what the others wait for.

use std::task::Waker;

use bytes::Bytes;

use super::schedule::{FRAME, Place, Schedule};
use super::streams::{Key, OutEnd, Outgoing, Stream, Streams};

/// What may wait to be sent on all streams, in bytes. A small message waits behind what is beyond
/// it, in TLS and in the kernel, and not behind this; but memory is bounded by it.
pub(super) const SEND_QUEUE: usize = 256 << 10;

/// What all that wait may send until each has had its turn, in bytes; a frame each if they are many. Longer
/// turns need fewer wakeups and system calls on the whole way: eight writers at once are a fifth faster than
/// with turns from what waits to be sent. Shorter ones let others have theirs sooner: this takes 80 ms at
/// 100 Mbit/s.
const ROUND: usize = 1 << 20;

/// What short messages of streams with nothing else to send may have beyond that, in bytes.
const SHORT_MESSAGES: usize = 128 << 10;

/// A message that is short, in bytes.
pub(super) const SHORT: usize = 4 << 10;

/// What one stream that goes ahead may have waiting, in bytes.
const AHEAD: usize = 64 << 10;

/// Whether a stream waits for room. Those that do, and do not go ahead, have a place in line.
#[derive(Debug, Default)]
pub(super) enum Wait {
    #[default]
    No,
    /// Who is to be called, and for how much.
    InLine(Waker, usize),
    /// It was called in this turn of the carrier's for so much, and may take so much.
    Called {
        turn: u64,
        wanted: usize,
        allowed: usize,
    },
}

/// A place in line. One that was left means nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Ticket(u64);

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    Taken,
    Waits,
    Broken,
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
        let wanted = chunk.len();
        let passes = schedule.passes(out, wanted);
        let count = match passes {
            true => wanted,
            false => schedule.room(out, wanted),
        };
        if count == 0 && wanted > 0 {
            // Whoever was called may want nothing any more, which the carrier finds out.
            if schedule.stand_in_line(key, out, waker, wanted) && schedule.common() > 0 {
                self.call_carrier();
            }
            return Written::Waits;
        }
        schedule.takes(out, count);
        out.bytes += count;
        out.queue.push_back(chunk.split_to(count));
        if !out.ahead {
            schedule.queued += count;
        }
        if passes && !out.ahead {
            out.short += count;
            schedule.short += count;
        }
        schedule.enlist(key, out);
        self.call_carrier();
        Written::Taken
    }

    /// Whoever was called before and has not come does not want any more.
    pub(super) fn begin_turn(&mut self) {
        self.schedule.carriers_turn += 1;
    }

    /// Calls those in front of the line for whom there is room. Whether there may be room for more once
    /// these have written, or have not: then this must be called again, in another turn.
    pub(super) fn call_writers(&mut self) -> bool {
        let schedule = &mut self.schedule;
        let (mut common, mut called) = (schedule.common(), false);
        let mut stay = Vec::new();
        while let Some((ticket, key)) = schedule.line.pop_front() {
            let stream = self.table.get_mut(&key).map(Box::as_mut);
            let Some(out) = stream.map(|stream| &mut stream.out) else {
                continue;
            };
            if out.ticket != ticket || out.ahead {
                continue;
            }
            match &out.wait {
                Wait::No => continue,
                Wait::Called { turn, wanted, .. } => {
                    if *turn != schedule.carriers_turn {
                        out.wait = Wait::No;
                        continue;
                    }
                    common = common.saturating_sub(*wanted);
                }
                Wait::InLine(_, wanted) => {
                    let wanted = *wanted;
                    let share = schedule.share(out, schedule.waiting - 1);
                    let room = worth(wanted, share.min(common));
                    if room == 0 && worth(wanted, common) == 0 {
                        schedule.line.push_front((ticket, key));
                        break;
                    }
                    if room > 0 {
                        let turn = schedule.carriers_turn;
                        let calls = Wait::Called {
                            turn,
                            wanted: room,
                            allowed: share,
                        };
                        if let Wait::InLine(waker, _) = std::mem::replace(&mut out.wait, calls) {
                            self.wake.push(waker);
                        }
                        schedule.waiting -= 1;
                        common -= room;
                        called = true;
                    }
                    // Else it has its share, and waits until some of that is sent.
                }
            }
            stay.push((ticket, key));
        }
        while let Some(place) = stay.pop() {
            schedule.line.push_front(place);
        }
        called && schedule.waiting > 0
    }
}

impl Schedule {
    /// Whether the stream need not stand in line for this.
    fn passes(&self, out: &Outgoing, wanted: usize) -> bool {
        !out.ahead && out.bytes == 0 && wanted <= SHORT && self.short + wanted <= SHORT_MESSAGES
    }

    /// How much of `wanted` bytes the stream may write now.
    fn room(&self, out: &Outgoing, wanted: usize) -> usize {
        if out.ahead {
            return wanted.min(AHEAD.saturating_sub(out.bytes));
        }
        let allowed = match &out.wait {
            Wait::No if self.line.is_empty() => usize::MAX,
            Wait::No | Wait::InLine(..) => 0,
            Wait::Called { allowed, .. } => *allowed,
        };
        let share = self.share(out, self.waiting);
        worth(wanted, allowed.min(share).min(self.common()))
    }

    /// What of the room that all have in common is free, in bytes.
    fn common(&self) -> usize {
        SEND_QUEUE.saturating_sub(self.queued - self.short)
    }

    /// How much more the stream may have in the queue beside so many that wait, in bytes.
    fn share(&self, out: &Outgoing, waiting: usize) -> usize {
        let newcomer = usize::from(out.place == Place::None);
        let writers = self.fresh.len() + self.turn.len() + waiting + newcomer;
        let share = (ROUND / writers.max(1)).max(FRAME);
        share.saturating_sub(out.bytes)
    }

    /// Whether it did not before.
    fn stand_in_line(
        &mut self,
        key: Key,
        out: &mut Outgoing,
        waker: &Waker,
        wanted: usize,
    ) -> bool {
        let before = std::mem::replace(&mut out.wait, Wait::InLine(waker.clone(), wanted));
        if out.ahead {
            // It is called when its frame is sent.
            return false;
        }
        match before {
            Wait::InLine(..) => return false,
            // Somebody was faster: its place is kept.
            Wait::Called { allowed, .. } if worth(wanted, allowed) > 0 => {}
            Wait::Called { .. } | Wait::No => {
                self.last_ticket.0 += 1;
                out.ticket = self.last_ticket;
                self.line.push_back((out.ticket, key));
            }
        }
        self.waiting += 1;
        true
    }

    /// The stream writes so much.
    fn takes(&mut self, out: &mut Outgoing, count: usize) {
        match &mut out.wait {
            Wait::No => {}
            Wait::Called { allowed, .. } if *allowed > count => *allowed -= count,
            Wait::Called { .. } | Wait::InLine(..) => drop(self.leaves(out)),
        }
    }

    /// The stream stands in line no more; who was to be called.
    pub(super) fn leaves(&mut self, out: &mut Outgoing) -> Option<Waker> {
        match std::mem::take(&mut out.wait) {
            Wait::InLine(waker, _) => {
                self.waiting -= usize::from(!out.ahead);
                Some(waker)
            }
            Wait::Called { .. } | Wait::No => None,
        }
    }
}

/// How much of `wanted` bytes is written where there is room for so many. Less would make small frames of
/// large chunks.
fn worth(wanted: usize, room: usize) -> usize {
    let count = wanted.min(room);
    if count < wanted.min(SHORT) { 0 } else { count }
}
