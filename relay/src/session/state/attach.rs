//! How streams get onto transport streams: a new one onto its first, a live one onto the next.
//!
//! ```text
//! opener                                                     acceptor
//!   │ new connection: generation + 1, stops reading the old one   │
//!   │ ── Attach{received, start}, bytes from `start` on ────────▶ │ stops reading the old one,
//!   │                                                             │ drops what it has already
//!   │ ◀── answer{received, start}, bytes from `start` on ──────── │ goes on from the opener's `received`
//! ```
//! `start` is where what the other end has *consumed* ends, as far as is known: all that it may have
//! received and lost again is sent once more. A header that was never answered is sent again as it
//! was, with a higher generation, so that an acceptor that knows the stream does not open it twice.

use std::time::Instant;

use bytes::Bytes;

use super::{SessionState, wrong};
use crate::proto::{Attach, Generation, Open, ResetCode, StreamAnswer, StreamHeader, StreamId};
use crate::session::Violation;
use crate::session::stream::{LiveStream, Phase, Place};

/// What the header of a transport stream leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderOutcome {
    /// The stream is live.
    New {
        /// What comes first in the other direction.
        answer: StreamAnswer,
    },
    /// A live stream goes on here.
    Moved {
        /// What comes first in the other direction. Its `start` is where to go on from.
        answer: StreamAnswer,
        /// How many of the bytes that come first are here already.
        skip: u64,
    },
    /// The stream is over, or has moved further meanwhile: nothing is to be done.
    TooLate,
    /// The peer has too many open; it was reset.
    Overload,
}

/// A stream of this end that goes on a new transport stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attaching {
    /// What comes first.
    pub header: StreamHeader,
    /// Which transport stream of the stream's this is.
    pub generation: Generation,
    /// Where to go on from; see [`SessionState::replayed`].
    pub start: u64,
}

/// What is to be sent at some offset again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replayed {
    /// These bytes, and then what follows them.
    Bytes(Bytes),
    /// Nothing: all was sent. Whether the direction has ended.
    Everything {
        /// It has.
        finished: bool,
    },
    /// Nothing on this transport stream any more.
    TooLate,
}

impl SessionState {
    /// Has an own stream that was just opened outlive its connection, if both ends can. `header` is
    /// sent again until the peer has shown that it knows the stream.
    pub fn keep(&mut self, header: &Open) {
        if self.config.resume
            && header.resumable
            && let Some(stream) = self.streams.get_mut(&header.stream)
        {
            stream.make_resumable();
            stream.header = Some(Box::new(header.clone()));
        }
    }

    /// There is a transport stream for the header of an own stream that was just opened. `false` if
    /// the stream is over by now.
    pub fn begin(&mut self, id: StreamId) -> bool {
        let stream = self.streams.get_mut(&id).filter(|s| !s.is_resetting());
        stream
            .map(|stream| stream.place = Place::Attached)
            .is_some()
    }

    /// The next own stream that wants a transport stream on the connection that there is.
    pub fn poll_attach(&mut self) -> Option<StreamId> {
        self.to_attach.pop_front()
    }

    /// Takes a transport stream for an own stream of [`Self::poll_attach`]. Nothing is read from its
    /// former one from now on. `None` if the stream is over or was attached meanwhile.
    pub fn attach(&mut self, id: StreamId) -> Option<Attaching> {
        let stream = self.streams.get_mut(&id)?;
        if stream.place == Place::Attached || !stream.resumable || !stream.moves_bytes() {
            return None;
        }
        stream.place = Place::Attached;
        stream.tx.restart();
        let generation = Generation(stream.generation.0 + 1);
        stream.generation = generation;
        let start = stream.tx.consumed();
        let header = match &stream.header {
            Some(open) => StreamHeader::Open(Open {
                generation,
                ..(**open).clone()
            }),
            None => StreamHeader::Attach(Attach {
                stream: id,
                generation,
                received: stream.rx.received(),
                start,
            }),
        };
        Some(Attaching {
            header,
            generation,
            start,
        })
    }

    /// The peer has answered the header of an own stream, so it knows the stream. Whether the answer
    /// belongs to the header of this generation.
    pub fn handle_answer(
        &mut self,
        id: StreamId,
        generation: Generation,
        answer: &StreamAnswer,
    ) -> Result<(), Violation> {
        let Some(stream) = self.streams.get_mut(&id) else {
            return Ok(());
        };
        if answer.stream != id {
            return Err(wrong(id, "answered by another stream"));
        }
        if !self.config.resume || stream.generation != generation {
            return Ok(());
        }
        let goes_on = answer.generation == generation && answer.start == stream.rx.received();
        if !goes_on || answer.received > stream.tx.sent() {
            return Err(wrong(id, "answered as if it were elsewhere"));
        }
        stream.header = None;
        if stream.resumable && !answer.resumable {
            stream.make_fleeting();
            self.draw_for_kept(id);
        }
        Ok(())
    }

    /// What is to be sent at `offset` on the transport stream of this generation, until everything
    /// that was sent before is sent again.
    pub fn replayed(&mut self, id: StreamId, generation: Generation, offset: u64) -> Replayed {
        let stream = self.streams.get_mut(&id).map(Box::as_mut);
        let is_there =
            |s: &&mut LiveStream| s.generation == generation && s.place == Place::Attached;
        let Some(stream) = stream.filter(|s| !s.is_resetting()).filter(is_there) else {
            return Replayed::TooLate;
        };
        let piece = stream.tx.replay_at(offset);
        let finished = stream.tx.is_finished();
        self.draw_for_kept(id);
        piece.map_or(Replayed::Everything { finished }, Replayed::Bytes)
    }

    /// The generation of the transport stream that a stream is on; `None` while it is on none.
    pub fn generation(&self, id: StreamId) -> Option<Generation> {
        let stream = self.streams.get(&id)?;
        (stream.place == Place::Attached).then_some(stream.generation)
    }

    /// Takes the header of a stream that the peer opened, or opens again.
    pub fn handle_open(&mut self, open: &Open, now: Instant) -> Result<HeaderOutcome, Violation> {
        let (id, generation) = (open.stream, open.generation);
        if id.opener() == self.config.side {
            return Err(wrong(id, "opened by the end that did not open it"));
        }
        let resumable = open.resumable && self.config.resume;
        let new = HeaderOutcome::New {
            answer: StreamAnswer {
                stream: id,
                generation,
                received: 0,
                start: 0,
                resumable,
            },
        };
        if let Some(stream) = self.streams.get_mut(&id) {
            return match stream.phase {
                Phase::Announced => {
                    begin(stream, generation, resumable);
                    Ok(new)
                }
                Phase::Open if generation > stream.generation && stream.resumable => {
                    let received = 0;
                    move_here(stream, generation, received, 0)
                }
                Phase::Open | Phase::Resetting { .. } if generation.0 > 0 => {
                    Ok(HeaderOutcome::TooLate)
                }
                Phase::Open | Phase::Resetting { .. } => Err(wrong(id, "opened twice")),
            };
        }
        if self.seen.contains(id.index()) {
            return Ok(HeaderOutcome::TooLate);
        }
        self.see(id)?;
        self.insert(id, Phase::Announced, now);
        let most = self.most_peer_streams();
        if self.peer_live > most.saturating_mul(2) {
            // It hears that it is too much, does not say that it has heard, and goes on.
            return Err(wrong(id, "opened beyond all that may be open"));
        }
        if let Some(stream) = self.streams.get_mut(&id) {
            begin(stream, generation, resumable);
        }
        if self.peer_live > most {
            let message = "too many streams are open".to_owned();
            self.reset(id, ResetCode::Overload, message);
            return Ok(HeaderOutcome::Overload);
        }
        Ok(new)
    }

    /// Takes the header of a stream that the peer moves to another transport stream.
    pub fn handle_attach(&mut self, attach: &Attach) -> Result<HeaderOutcome, Violation> {
        let id = attach.stream;
        if id.opener() == self.config.side {
            return Err(wrong(id, "attached by the end that did not open it"));
        }
        if !self.config.resume {
            return Err(Violation::Unexpected(
                "an attachment, which was not negotiated",
            ));
        }
        if !self.seen.contains(id.index()) {
            return Err(wrong(id, "attached before it was opened"));
        }
        let Some(stream) = self.streams.get_mut(&id) else {
            return Ok(HeaderOutcome::TooLate);
        };
        match stream.phase {
            // Its opener may not have heard yet that it is not; what it waits for is said again.
            Phase::Open if !stream.resumable => Ok(HeaderOutcome::TooLate),
            Phase::Open if attach.generation > stream.generation => {
                move_here(stream, attach.generation, attach.received, attach.start)
            }
            Phase::Open | Phase::Resetting { .. } => Ok(HeaderOutcome::TooLate),
            Phase::Announced => Err(wrong(id, "attached before it was opened")),
        }
    }

    /// What may be kept of a stream beyond what is, in bytes.
    pub(super) fn room_to_keep(&self, stream: &LiveStream) -> u64 {
        if !stream.resumable {
            return u64::MAX;
        }
        let base = self.kept_base();
        let beyond = self.budget.remaining() + stream.drawn;
        let most = base + beyond.min(self.config.stream_window);
        most.saturating_sub(stream.tx.kept())
    }

    /// What may be kept of every stream. A peer that grants more than we do does not decide it.
    fn kept_base(&self) -> u64 {
        let limits = [self.config.local, self.config.peer];
        let bases = limits.map(|limits| u64::from(limits.stream_base));
        bases[0].min(bases[1])
    }

    /// Counts the memory that is kept, and draws from the budget for what of it is beyond the base, or
    /// gives that back.
    pub(super) fn draw_for_kept(&mut self, id: StreamId) {
        let base = self.kept_base();
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        let held = stream.tx.held();
        if held != stream.held {
            self.budget.count_kept(stream.held, held);
            stream.held = held;
        }
        let wanted = held.saturating_sub(base);
        if wanted > stream.drawn {
            stream.drawn += self.budget.take(wanted - stream.drawn);
        } else if wanted < stream.drawn {
            self.budget.give_back(stream.drawn - wanted);
            stream.drawn = wanted;
        }
    }
}

fn begin(stream: &mut LiveStream, generation: Generation, resumable: bool) {
    stream.phase = Phase::Open;
    stream.generation = generation;
    stream.place = Place::Attached;
    if resumable {
        stream.make_resumable();
    }
}

/// Goes on at the transport stream of this generation, whose opener has `received` so much and sends
/// from `start` on.
fn move_here(
    stream: &mut LiveStream,
    generation: Generation,
    received: u64,
    start: u64,
) -> Result<HeaderOutcome, Violation> {
    let (id, here) = (stream.tx.stream(), stream.rx.received());
    if received > stream.tx.sent() || received < stream.tx.consumed() {
        return Err(wrong(id, "attached with more or less than was received"));
    }
    if start > here {
        return Err(wrong(id, "attached with a gap"));
    }
    stream.generation = generation;
    stream.place = Place::Attached;
    stream.tx.restart();
    Ok(HeaderOutcome::Moved {
        answer: StreamAnswer {
            stream: id,
            generation,
            received: here,
            start: received,
            resumable: true,
        },
        skip: here - start,
    })
}
