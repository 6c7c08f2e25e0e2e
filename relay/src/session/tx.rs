//! The sending direction of a stream.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::chunk::Chunk;
use super::replay::Replay;
use super::violation::Violation;
use crate::proto::{Ack, StreamId};

/// How long a direction must be idle before it gives back what it was granted beyond its base.
pub(super) const RELEASE_AFTER: Duration = Duration::from_secs(1);

/// Counts what was sent against what was granted.
///
/// `consumed ≤ sent ≤ granted − released`, and each of the four only ever grows.
#[derive(Debug)]
pub struct StreamTx {
    stream: StreamId,
    base: u64,
    sent: u64,
    consumed: u64,
    granted: u64,
    released: u64,
    end: TxEnd,
    sent_at: Instant,
    /// What is not consumed yet, if it may have to be sent again.
    replay: Option<Replay>,
    /// How far it is sent again, while it is.
    replayed: Option<u64>,
    /// What is kept is let go of as soon as it was sent again.
    keeps_no_more: bool,
}

/// ```text
/// Open ──finish──▶ Finished ──Ack{ended}──▶ Confirmed
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TxEnd {
    Open,
    Finished,
    Confirmed,
}

impl StreamTx {
    /// A new direction, granted `base` bytes.
    pub fn new(stream: StreamId, base: u32, now: Instant) -> Self {
        Self {
            stream,
            base: base.into(),
            sent: 0,
            consumed: 0,
            granted: base.into(),
            released: 0,
            end: TxEnd::Open,
            sent_at: now,
            replay: None,
            replayed: None,
            keeps_no_more: false,
        }
    }

    /// Keeps what is sent from now on until it is consumed. Nothing was sent yet.
    pub fn keep(&mut self) {
        debug_assert_eq!(self.sent, 0, "what was sent before could not be sent again");
        self.replay.get_or_insert_default();
    }

    /// Keeps nothing any more but what is being sent again.
    pub fn keep_no_more(&mut self) {
        self.keeps_no_more = true;
        if self.replayed.is_none() {
            self.replay = None;
        }
    }

    /// Keeps nothing: the stream is over.
    pub fn forget(&mut self) {
        self.replay = None;
    }

    /// How many bytes are kept.
    pub fn kept(&self) -> u64 {
        self.replay.as_ref().map_or(0, Replay::kept)
    }

    /// How much memory that takes, in bytes.
    pub fn held(&self) -> u64 {
        self.replay.as_ref().map_or(0, Replay::held)
    }

    /// What was sent again on a transport stream that is gone does not count.
    pub fn restart(&mut self) {
        self.replayed = self.replay.as_ref().map(|_| self.consumed);
    }

    /// A piece of what was sent that begins at `offset`, which is not before what was consumed when
    /// this was asked first; `None` once everything was sent again. What comes after it is kept
    /// meanwhile, though it be consumed.
    pub fn replay_at(&mut self, offset: u64) -> Option<Bytes> {
        let replay = self.replay.as_mut()?;
        let piece = replay.piece_at(offset);
        self.replayed = piece.is_some().then_some(offset);
        match piece {
            Some(_) => {}
            None if self.keeps_no_more => self.replay = None,
            None => replay.trim(self.consumed),
        }
        piece
    }

    /// Whose direction it is.
    pub fn stream(&self) -> StreamId {
        self.stream
    }

    /// How many bytes may be sent now.
    pub fn available(&self) -> u64 {
        match self.end {
            TxEnd::Open => self.granted - self.released - self.sent,
            TxEnd::Finished | TxEnd::Confirmed => 0,
        }
    }

    /// How many bytes were sent in all.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// How many bytes the peer has consumed.
    pub fn consumed(&self) -> u64 {
        self.consumed
    }

    /// Counts a chunk that is handed to the transport; never more than [`Self::available`].
    pub fn send(&mut self, chunk: &Chunk, now: Instant) {
        let count = chunk.len() as u64;
        assert!(count <= self.available(), "a pump asks before it sends");
        self.sent += count;
        self.sent_at = now;
        if let Some(replay) = &mut self.replay {
            replay.push(chunk);
        }
    }

    /// Ends the direction; says where.
    pub fn finish(&mut self) -> u64 {
        if self.end == TxEnd::Open {
            self.end = TxEnd::Finished;
        }
        self.sent
    }

    /// Whether the end was said.
    pub fn is_finished(&self) -> bool {
        self.end != TxEnd::Open
    }

    /// Whether the peer has consumed everything and knows that it is everything.
    pub fn is_confirmed(&self) -> bool {
        self.end == TxEnd::Confirmed
    }

    /// Takes the peer's word. An older word that comes late changes nothing.
    pub fn acknowledge(&mut self, ack: &Ack) -> Result<(), Violation> {
        let stream = self.stream;
        let ended_too_early = ack.ended && (!self.is_finished() || ack.consumed != self.sent);
        if ack.consumed > self.sent || ended_too_early {
            return Err(Violation::AckBeyondSent { stream });
        }
        self.consumed = self.consumed.max(ack.consumed);
        if let Some(replay) = &mut self.replay {
            replay.trim(self.replayed.unwrap_or(u64::MAX).min(self.consumed));
        }
        self.granted = self.granted.max(ack.limit);
        if ack.ended {
            self.end = TxEnd::Confirmed;
        }
        Ok(())
    }

    /// Whether there is credit beyond the base, which is given back when the direction is idle.
    pub fn is_grown(&self) -> bool {
        self.available() > self.base
    }

    /// All that was ever given back, in bytes.
    pub fn released(&self) -> u64 {
        self.released
    }

    /// Gives back what an idle direction does not need; says the total ever given back.
    pub fn release(&mut self, now: Instant) -> Option<u64> {
        let idle = self.consumed == self.sent && now >= self.sent_at + RELEASE_AFTER;
        if !idle || !self.is_grown() {
            return None;
        }
        self.released += self.available() - self.base;
        Some(self.released)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::Opener;

    const ID: fn() -> StreamId = || StreamId::new(Opener::Initiator, 0);

    fn ack(consumed: u64, limit: u64, ended: bool) -> Ack {
        Ack {
            stream: ID(),
            consumed,
            limit,
            ended,
            stopped: false,
        }
    }

    fn zeros(count: usize) -> Chunk {
        Bytes::from(vec![0; count]).into()
    }

    #[test]
    fn it_sends_within_its_grant_and_stops() {
        let now = Instant::now();
        let mut tx = StreamTx::new(ID(), 10, now);
        tx.send(&zeros(10), now);
        assert_eq!(tx.available(), 0);
        tx.acknowledge(&ack(4, 14, false)).unwrap();
        assert_eq!((tx.available(), tx.consumed()), (4, 4));
        tx.acknowledge(&ack(2, 12, false)).unwrap();
        assert_eq!((tx.available(), tx.consumed()), (4, 4), "an old word");
    }

    #[test]
    fn an_impossible_acknowledgement_is_a_violation() {
        let now = Instant::now();
        let mut tx = StreamTx::new(ID(), 10, now);
        tx.send(&zeros(3), now);
        assert!(tx.acknowledge(&ack(4, 20, false)).is_err());
        assert!(tx.acknowledge(&ack(3, 20, true)).is_err(), "no Fin yet");
        assert_eq!(tx.finish(), 3);
        assert!(tx.acknowledge(&ack(2, 20, true)).is_err(), "not all of it");
        tx.acknowledge(&ack(3, 20, true)).unwrap();
        assert!(tx.is_confirmed());
    }

    #[test]
    fn idle_credit_goes_back_once_and_counts_all_time() {
        let now = Instant::now();
        let mut tx = StreamTx::new(ID(), 10, now);
        tx.send(&zeros(5), now);
        tx.acknowledge(&ack(5, 100, false)).unwrap();
        assert_eq!(tx.release(now), None, "not idle for long enough");
        let later = now + RELEASE_AFTER;
        assert_eq!(tx.release(later), Some(85));
        assert_eq!((tx.release(later), tx.available()), (None, 10));
        tx.acknowledge(&ack(5, 185, false)).unwrap();
        assert_eq!(tx.release(later), Some(170));
    }
}
