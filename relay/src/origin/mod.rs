//! What a service's streams are connected to: targets, and how they are dialled.

mod dial;
mod race;
pub mod target;

pub use dial::{DialError, Origin, OriginSocket, Served};
pub use target::{HttpsTarget, Target, TargetError};
