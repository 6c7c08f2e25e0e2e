//! What a peer may not do, beyond what the multiplexer itself refuses.

use crate::transport::tls;

/// How the peer broke the rules. Each of them closes the connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::transport) enum Violation {
    /// In the multiplexer's own protocol.
    #[error("{0}")]
    OfTheMultiplexer(String),
    /// In the frames of the connection itself.
    #[error("frames: {0}")]
    OfTheFrames(#[from] tls::Violation),
    /// What the multiplexer carries has no frame beside it.
    #[error("frames: data or a reset, which the multiplexer carries")]
    NotOfTheConnection,
    /// It does not read the frames of the connection.
    #[error("frames: too many that are not read")]
    Deaf,
    /// The session lets nobody open so many.
    #[error("more than {0} streams at once")]
    TooManyStreams(usize),
    /// The session granted less.
    #[error("stream {0} sends more than it was granted")]
    BeyondTheWindow(u32),
    /// The session granted less to all streams together.
    #[error("more than was granted to all streams")]
    BeyondAllWindows,
}
