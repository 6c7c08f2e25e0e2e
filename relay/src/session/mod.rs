//! The session: its streams, their credit, how they end, and whether the peer is alive. Pure.
//!
//! ```text
//!  pump ── sent, received, consumed, finish ──▶ SessionState ── poll_control ──▶ control stream
//!  control stream ── handle_control ─────────▶      │
//!  clock ── handle_timeout ──────────────────▶      └── poll_event ──▶ wakes pumps
//! ```
//!
//! Nothing here knows a socket, a clock or a source of randomness: time is passed in, and the only
//! random number is a seed given at the start. [`SessionState`] documents the order of calls.

#![cfg_attr(
    not(test),
    deny(clippy::disallowed_methods, reason = "the pure core is told the time")
)]

mod budget;
mod chunk;
mod liveness;
mod ranges;
mod replay;
mod rx;
mod state;
mod stream;
mod tx;
mod violation;

pub use budget::{GrowthBudget, SharedBudget};
pub use chunk::Chunk;
pub use liveness::{Liveness, LivenessConfig, Verdict};
pub use rx::{AckUrgency, StreamRx};
pub use state::{
    Attaching, Event, HeaderOutcome, OpenRefusal, Over, Replayed, SessionConfig, SessionState,
};
pub use stream::ResetBy;
pub use tx::StreamTx;
pub use violation::Violation;
