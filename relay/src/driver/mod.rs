//! Runs a session over one connection after the other.
//!
//! ```text
//! connections, one at a time               ┌─ attach task: moves streams to the next connection
//!       │      ┌─ control task: timers, writes ◀──┐
//!       └──────┤  reader task:  control messages ─┼─▶ Shared{SessionState} ◀──▶ Stream ◀──▶ pump
//!              └─ accept task:  headers ──────────┘        (one lock, one thread)
//! ```
//!
//! [`handshake`] exchanges Hello and HelloAck; [`Session::start`] spawns the tasks on the calling
//! worker; a [`Stream`] is used by a [`pump`](crate::pump), or as [`StreamIo`] by whatever reads and
//! writes bytes.

mod accept;
mod attach;
mod control;
pub mod handshake;
mod io;
mod line;
mod proof;
mod reset;
mod session;
mod shared;
mod span;
mod stream;

pub use accept::{HandleStreams, Incoming, StreamHandler};
pub use io::StreamIo;
pub use reset::Reset;
pub use session::{
    NotResumed, OpenError, OpenRequest, Session, SessionOptions, SessionSnapshot, bounds, limits,
};
pub use shared::{Closed, ClosedBy};
pub use stream::{Stream, StreamReceiver, StreamSender};

pub use crate::session::ResetBy;

/// A panic of a task belongs in the log, and nowhere else.
fn surface_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a task of a session panicked");
    }
}
