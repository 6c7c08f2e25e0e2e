//! How a peer can break the rules of a session. Each closes the connection.

use crate::proto::{CloseCode, StreamId};

/// A rule that the peer broke.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// It sent more than it was granted.
    #[error("stream {stream}: {received} bytes received, {granted} granted")]
    CreditExceeded {
        /// On which stream.
        stream: StreamId,
        /// How many bytes it has sent.
        received: u64,
        /// How many it might have sent.
        granted: u64,
    },
    /// It sent more than its own Fin said.
    #[error("stream {stream}: bytes beyond its end at {last}")]
    BeyondFin {
        /// On which stream.
        stream: StreamId,
        /// Where the Fin said it ends.
        last: u64,
    },
    /// It said two different ends, or one before what it had sent.
    #[error("stream {stream}: an end at {last} that contradicts what was sent before")]
    ContradictoryFin {
        /// On which stream.
        stream: StreamId,
        /// The end that it says now.
        last: u64,
    },
    /// It acknowledged what was never sent, or an end that was never said.
    #[error("stream {stream}: acknowledged more than was sent")]
    AckBeyondSent {
        /// On which stream.
        stream: StreamId,
    },
    /// It gave back credit that it never had, or had already used.
    #[error("stream {stream}: gave back more credit than it had")]
    ReleaseBeyondGrant {
        /// On which stream.
        stream: StreamId,
    },
    /// It spoke of a stream that cannot exist, or in a way that only the other end may.
    #[error("stream {stream}: {what}")]
    Stream {
        /// Which.
        stream: StreamId,
        /// What is impossible about it.
        what: &'static str,
    },
    /// A message that has no place here.
    #[error("{0}")]
    Unexpected(&'static str),
}

impl Violation {
    /// What the connection is closed with.
    pub fn close_code(&self) -> CloseCode {
        match self {
            Self::CreditExceeded { .. } => CloseCode::CreditExceeded,
            Self::BeyondFin { .. }
            | Self::ContradictoryFin { .. }
            | Self::AckBeyondSent { .. }
            | Self::ReleaseBeyondGrant { .. }
            | Self::Stream { .. }
            | Self::Unexpected(_) => CloseCode::Protocol,
        }
    }
}
