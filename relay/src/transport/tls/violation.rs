//! What a peer may not do.

/// How the peer broke the rules of the frames. Each of them closes the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// There is no such kind of frame; versions are told apart by ALPN, not by new kinds.
    #[error("a frame of the unknown kind {0}")]
    UnknownKind(u8),
    /// Too long, too short, or nothing at all.
    #[error("a frame whose kind does not have {0} bytes")]
    Length(usize),
    /// It belongs to the connection as a whole.
    #[error("a frame of the connection in the name of stream {0}")]
    StreamOfTheConnection(u32),
    /// The reason of a close is for people.
    #[error("a reason that is not UTF-8")]
    NotText,
    /// Numbers are used one after the other, each by its own side, each once.
    #[error("stream {0} is opened and not the next")]
    NotTheNext(u32),
    /// It was never opened.
    #[error("a frame of stream {0}, which does not exist")]
    NeverOpened(u32),
    /// It had ended or was reset before.
    #[error("stream {0} goes on after its end")]
    AfterTheEnd(u32),
    /// The session lets nobody open so many.
    #[error("more than {0} streams at once")]
    TooManyStreams(usize),
    /// The session granted less.
    #[error("stream {0} sends more than it was granted")]
    BeyondTheWindow(u32),
    /// The session granted less to all streams together.
    #[error("more than was granted to all streams")]
    BeyondAllWindows,
    /// One is awaited at most, and by its number.
    #[error("a pong to no ping")]
    PongToNothing,
}
