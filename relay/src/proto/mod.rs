//! The protocol's words: ids, codes, versions, messages and their bytes. Pure.
//!
//! ```text
//! bytes ──codec──▶ frame ──wire (prost)──▶ Control | StreamHeader | StreamAnswer ──▶ session
//! ```
//!
//! What arrives is parsed once, here, into types that cannot hold an impossible value;
//! `docs/protocol.md` describes every message byte by byte.

#![cfg_attr(
    not(test),
    deny(clippy::disallowed_methods, reason = "the pure core is told the time")
)]

mod codec;
mod codes;
mod health;
mod ids;
mod message;
mod name;
mod parse;
mod version;

/// The generated protobuf types; only `health`, `message` and `parse` look at them.
mod wire {
    #![allow(missing_docs, clippy::all, unreachable_pub, reason = "generated code")]
    include!(concat!(env!("OUT_DIR"), "/causeway.v1.rs"));
}

pub use codec::{FrameBuffer, FrameError, MAX_CONTROL_FRAME, MAX_HEADER_FRAME};
pub use codes::{CloseCode, ResetCode};
pub use health::{HealthReason, HealthState, MAX_HEALTH_DETAIL, ServiceHealth};
pub use ids::{Attempt, Generation, Instance, Opener, ReplicaId, SessionId, StreamId, WorkerHint};
pub use message::{
    Ack, AppProtocol, Attach, Caller, Close, Continue, ContinueMode, Control, Echo, Hello,
    HelloAck, Limits, MAX_BESIDE, MAX_EDGES, MAX_PADDING, Open, ServiceInfo, StreamAnswer,
    StreamHeader,
};
pub use name::{InvalidServiceName, ServiceName};
pub use parse::ParseError;
pub(crate) use parse::plain;
pub use version::{Features, NegotiationError, SOFTWARE, Version, VersionRange};
