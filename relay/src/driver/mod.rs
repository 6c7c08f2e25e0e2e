//! Runs a session over a connection.
//!
//! ```text
//!              ┌─ control task: timers, writes ◀──┐
//! Connection ──┤  reader task:  control messages ─┼─▶ Shared{SessionState} ◀──▶ Stream ◀──▶ pump
//!              └─ accept task:  headers ──────────┘        (one lock, one thread)
//! ```
//!
//! [`handshake`] exchanges Hello and HelloAck; [`Session::start`] spawns the tasks on the calling
//! worker; a [`Stream`] is used by a [`pump`](crate::pump), or as [`StreamIo`] by whatever reads and
//! writes bytes.

mod accept;
mod control;
pub mod handshake;
mod io;
mod reset;
mod session;
mod shared;
mod span;
mod stream;

pub use accept::{Incoming, StreamHandler};
pub use io::StreamIo;
pub use reset::Reset;
pub use session::{
    OpenError, OpenRequest, Session, SessionOptions, SessionSnapshot, bounds, limits,
};
pub use shared::{Closed, ClosedBy};
pub use stream::{Stream, StreamReceiver, StreamSender};

pub use crate::session::ResetBy;
