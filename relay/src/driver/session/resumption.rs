//! Going on with a session on another connection.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep_until;

use super::Session;
use crate::driver::ClosedBy;
use crate::driver::handshake::Established;
use crate::driver::line::{Line, NextLine};
use crate::driver::proof::{Claim, Secret};
use crate::proto::{Attempt, Close, CloseCode, Continue, ContinueMode, Hello};
use crate::transport::{Connection, ConnectionLost};

/// How the session goes on when its connection is lost.
#[derive(Debug)]
pub(super) struct Resumption {
    /// `None` if it does not.
    pub(super) secret: Option<Secret>,
    pub(super) next: Arc<NextLine>,
}

/// Why a connection does not carry the session on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotResumed {
    /// The session is over, or was never to be resumed.
    #[error("the session is over")]
    Over,
    /// A connection that was begun later carries it, or did.
    #[error("a later attempt came before")]
    TooLate,
}

impl Session {
    /// What to say in Hello so that a connection carries this session on, instead of the one that it
    /// has or had; `None` if it ends with that.
    pub fn continuing(
        &self,
        connection: &dyn Connection,
        attempt: Attempt,
    ) -> Result<Option<Continue>, ConnectionLost> {
        let Some(secret) = &self.resumption.secret else {
            return Ok(None);
        };
        let (session, mode) = (self.id, ContinueMode::Replace);
        let claim = Claim {
            session,
            attempt,
            mode,
        };
        let proof = secret.prove(claim, connection)?;
        Ok(Some(Continue {
            session,
            mode,
            proof,
        }))
    }

    /// Whether a Hello that came on `connection` proves that its sender is the other end of this session.
    pub fn is_continued_by(&self, connection: &dyn Connection, hello: &Hello) -> bool {
        let (
            Some(secret),
            Some(Continue {
                session,
                mode,
                proof,
            }),
        ) = (&self.resumption.secret, &hello.continues)
        else {
            return false;
        };
        let claim = Claim {
            session: *session,
            attempt: hello.attempt,
            mode: *mode,
        };
        let is_meant = *session == self.id && *mode == ContinueMode::Replace;
        is_meant && secret.is_proved(claim, connection, proof)
    }

    /// Goes on with this connection, instead of the one that there is or was.
    ///
    /// # Errors
    /// If the session is over, or has gone on with a later attempt. The connection is closed then, by
    /// a word that ends no session.
    pub fn resume(&self, established: Established) -> Result<(), NotResumed> {
        let Established {
            connection,
            ack,
            control,
            ..
        } = established;
        let line = Line::new(ack.attempt, connection.clone());
        if !self.shared.connect(&line) {
            let (code, error) = match self.is_open() {
                true => (CloseCode::Moved, NotResumed::TooLate),
                false => (CloseCode::Unknown, NotResumed::Over),
            };
            connection.close(code, &error.to_string());
            return Err(error);
        }
        connection.expect(self.shared.with(|session, _| session.peers_streams()));
        self.shared.metrics.session_resumed();
        self.resumption.next.put((line, control));
        Ok(())
    }

    /// Whether Pings shall prove that full-size packets pass, from the next connection on; see
    /// [`LivenessConfig::full_size`](crate::session::LivenessConfig::full_size).
    pub fn set_full_size(&self, full_size: bool) {
        self.shared
            .with(|session, _| session.set_full_size(full_size));
    }

    /// There is reason to think that the connection's path is gone: a Ping asks at once, and it is suspect
    /// once nothing was heard for two round trips and `patience`. Cancel-safe.
    pub async fn doubt(&self, patience: Duration) {
        let line = self.shared.line();
        self.shared.with(|session, _| session.doubt(patience));
        // Whoever writes to the peer may wait for room, and look at the clock once a second.
        let answered_by = self.shared.keep_time(&line);
        sleep_until(answered_by.into()).await;
        self.shared.keep_time(&line);
    }

    /// Gives a session up that the peer goes on with no more, as it said.
    pub fn give_up(&self, close: Close) {
        self.shared.end(ClosedBy::Network, close);
    }

    /// Whether the session goes on when its connection is lost.
    pub fn is_resumable(&self) -> bool {
        self.shared.resumes()
    }

    /// Whether some of its streams would end if it went on with another connection now.
    pub fn has_fleeting(&self) -> bool {
        self.shared.with(|session, _| session.has_fleeting())
    }

    /// Whether there is a connection now.
    pub fn is_connected(&self) -> bool {
        self.shared.is_connected()
    }

    /// Waits until there is a connection. Cancel-safe.
    pub async fn connected(&self) {
        self.shared.connected_line().await;
    }

    /// Waits until there is no connection. Cancel-safe.
    pub async fn detached(&self) {
        self.shared.disconnected().await;
    }
}
