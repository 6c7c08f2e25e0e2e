//! One link of a bad network, packet by packet. Pure.
//!
//! ```text
//!              blocked, lost,            rate          delay, jitter
//!              corrupted, copied           │                 │
//!  handle_packet ──────┬──────▶ queue ─────┴────▶ in flight ─┴──▶ poll_deliver
//!                      ▼          └─ full: dropped
//!                   dropped
//! ```
//!
//! A [`Direction`] is one way of a link, shaped by a [`Shape`]; a [`Link`] is the shapes of both
//! ways. [`ladder`] names links that people really have, [`document`] is how a link is written, and
//! [`Nat`] rewrites the addresses of who is behind one.
//!
//! Nothing here knows a socket or a clock: time is passed in, and all that looks random follows
//! from a [`Seed`]. The same seed, settings and packets at the same times give the same
//! [`Decision`]s and deliveries. Every kind of fault draws from a sequence of its own, one number
//! for each packet whether it is needed or not, so that packet 17 is lost under a seed whatever
//! else is set.

#![cfg_attr(
    not(test),
    deny(clippy::disallowed_methods, reason = "the pure core is told the time")
)]

mod chances;
mod decision;
mod direction;
pub mod document;
pub mod ladder;
mod moment;
mod nat;
mod packet;
mod shape;
mod share;

pub use chances::Seed;
pub use decision::{Carried, Cause, Decision, Fate, Tally};
pub use direction::Direction;
pub use moment::Moment;
pub use nat::{Nat, PublicAddress};
pub use packet::{NotIp, Packet, Protocol};
pub use shape::{Bursts, Link, Loss, NotAProbability, Probability, Rate, Reorder, Shape, Way};
pub use share::Share;
