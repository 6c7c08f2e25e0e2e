//! What a service's streams are connected to.

pub mod target;

pub use target::{HttpsTarget, Target, TargetError};
