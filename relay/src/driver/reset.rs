//! A reset, as users of a stream see it.

use std::fmt;

use crate::proto::ResetCode;
use crate::session::ResetBy;

/// A stream was reset: what was received may be incomplete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reset {
    /// Why.
    pub code: ResetCode,
    /// For people; of the peer, if it was the peer.
    pub message: String,
    /// By which end.
    pub by: ResetBy,
}

impl fmt::Display for Reset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who = match self.by {
            ResetBy::Local => "stream reset",
            ResetBy::Peer => "stream reset by the peer",
        };
        write!(f, "{who}: {}", self.code)?;
        if !self.message.is_empty() {
            write!(f, ": {}", self.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for Reset {}
