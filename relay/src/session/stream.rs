//! One live stream of a session: both directions, and what is still to be said of it.

use std::time::Instant;

use super::rx::{AckUrgency, StreamRx};
use super::tx::StreamTx;
use crate::proto::{Control, Generation, Open, ResetCode, StreamId};

/// Which end reset a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResetBy {
    /// This end.
    Local,
    /// The other end.
    Peer,
}

/// ```text
///            header
/// Announced ───────▶ Open ── both directions over and confirmed ──▶ retired
///     │                │ local reset
///     └────────────────┴──────────────▶ Resetting ── confirmed ───▶ retired
/// ```
/// A stream is announced when a control message of the peer overtakes its header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Announced,
    Open,
    Resetting { code: ResetCode, message: String },
}

/// A live stream.
#[derive(Debug)]
pub(super) struct LiveStream {
    pub(super) tx: StreamTx,
    pub(super) rx: StreamRx,
    pub(super) phase: Phase,
    pub(super) pending: Pending,
    /// Is in the session's queue of streams that have something to say.
    pub(super) queued: bool,
    /// Is in the session's queue of acknowledgements that can wait.
    pub(super) ack_waits: bool,
    /// Is in the session's list of streams with credit to give back.
    pub(super) grown: bool,
    /// Nobody reads here any more; it is reset as soon as the peer has all that was sent.
    pub(super) abandoned: bool,
    /// Nobody reads at the other end, but what that has sent is on its way.
    pub(super) stopped_there: bool,
    /// Its user was told that the target was reached, or the peer was.
    pub(super) connected: bool,
    pub(super) place: Place,
    /// Counts the transport streams that it has been on.
    pub(super) generation: Generation,
    /// Outlives its connection.
    pub(super) resumable: bool,
    /// Our own header, until the peer has shown that it knows the stream.
    pub(super) header: Option<Box<Open>>,
    /// How much memory was counted for what is kept, in bytes.
    pub(super) held: u64,
    /// What is drawn from the budget for what of that is beyond the base, in bytes.
    pub(super) drawn: u64,
}

/// Where a stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Nowhere yet: its opener waits for a transport stream.
    Nowhere,
    /// On a transport stream of the connection that there is.
    Attached,
    /// Its connection was lost.
    Detached,
}

/// What is to be said of a stream, each at most once.
#[derive(Debug, Default)]
pub(super) struct Pending {
    pub(super) reset: bool,
    pub(super) connected: bool,
    pub(super) fin: bool,
    pub(super) release: Option<u64>,
    pub(super) ack: bool,
    /// An Ack, also if it says nothing new.
    pub(super) ack_again: bool,
}

impl LiveStream {
    /// `tx_base` is the peer's base, `rx_base` ours.
    pub(super) fn new(
        id: StreamId,
        tx_base: u32,
        rx_base: u32,
        phase: Phase,
        now: Instant,
    ) -> Self {
        Self {
            tx: StreamTx::new(id, tx_base, now),
            rx: StreamRx::new(id, rx_base, now),
            phase,
            pending: Pending::default(),
            queued: false,
            ack_waits: false,
            grown: false,
            abandoned: false,
            stopped_there: false,
            connected: false,
            place: Place::Nowhere,
            generation: Generation(0),
            resumable: false,
            header: None,
            held: 0,
            drawn: 0,
        }
    }

    /// From now on it outlives its connection.
    pub(super) fn make_resumable(&mut self) {
        self.resumable = true;
        self.tx.keep();
    }

    /// It ends with its connection, since the other end keeps nothing of it.
    pub(super) fn make_fleeting(&mut self) {
        self.resumable = false;
        self.tx.keep_no_more();
    }

    /// Whether it is lost with its connection.
    pub(super) fn ends_with_connection(&self) -> bool {
        !self.resumable && self.moves_bytes()
    }

    /// Whether bytes may still have to be moved one way or the other.
    pub(super) fn moves_bytes(&self) -> bool {
        let all_moved = self.tx.is_confirmed() && self.rx.is_all_received();
        !(self.is_resetting() || all_moved)
    }

    /// Says again what the peer may not have heard, since the connection was lost on which it was said.
    pub(super) fn repeat(&mut self, opened_here: bool) {
        if self.is_resetting() {
            self.pending.reset = true;
            return;
        }
        let released = self.tx.released();
        self.pending = Pending {
            reset: false,
            connected: self.connected && !opened_here,
            fin: self.tx.is_finished() && !self.tx.is_confirmed(),
            release: (released > 0).then_some(released),
            ack: true,
            ack_again: self.rx.consumed() > 0 || self.rx.is_end_told() || self.abandoned,
        };
    }

    pub(super) fn is_resetting(&self) -> bool {
        match self.phase {
            Phase::Resetting { .. } => true,
            Phase::Announced | Phase::Open => false,
        }
    }

    /// Whether both directions ended, each with the receiver's word that it knows.
    pub(super) fn is_over(&self) -> bool {
        self.tx.is_confirmed() && self.rx.is_end_told()
    }

    /// How soon to acknowledge; a stream that is being reset has nothing to acknowledge.
    pub(super) fn ack_urgency(&self) -> AckUrgency {
        if self.is_resetting() {
            AckUrgency::None
        } else {
            self.rx.urgency()
        }
    }

    /// The next message that needs no more than this stream to be made. An Ack does; see the caller.
    pub(super) fn next_message(&mut self, stream: StreamId) -> Option<Control> {
        if let Phase::Resetting { code, message } = &self.phase {
            let (code, message) = (*code, message.clone());
            let due = std::mem::take(&mut self.pending).reset;
            return due.then_some(Control::Reset {
                stream,
                code,
                message,
            });
        }
        if std::mem::take(&mut self.pending.connected) {
            return Some(Control::Connected { stream });
        }
        if std::mem::take(&mut self.pending.fin) {
            let last = self.tx.sent();
            return Some(Control::Fin { stream, last });
        }
        let released = self.pending.release.take()?;
        Some(Control::Release { stream, released })
    }
}
