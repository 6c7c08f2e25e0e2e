//! One live stream of a session: both directions, and what is still to be said of it.

use std::time::Instant;

use super::rx::{AckUrgency, StreamRx};
use super::tx::StreamTx;
use crate::proto::{Control, ResetCode, StreamId};

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
}

/// What is to be said of a stream, each at most once.
#[derive(Debug, Default)]
pub(super) struct Pending {
    pub(super) reset: bool,
    pub(super) connected: bool,
    pub(super) fin: bool,
    pub(super) release: Option<u64>,
    pub(super) ack: bool,
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
        }
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
