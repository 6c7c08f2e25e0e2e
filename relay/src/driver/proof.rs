//! The proof that a connection is made by an end of the session: an HMAC that only its two ends can
//! make, over what both see of the new connection.

use aws_lc_rs::hmac;
use bytes::Bytes;

use crate::proto::{Attempt, ContinueMode, SessionId};
use crate::transport::{Connection, ConnectionLost};

/// What keying material is exported for (RFC 8446 §7.5): the session's secret from its first
/// connection, and what tells each further connection from all others.
const SECRET: &[u8] = b"EXPORTER-causeway-session-secret";
const BINDING: &[u8] = b"EXPORTER-causeway-session-binding";

/// What both ends of a session know and nobody else.
pub(super) struct Secret(hmac::Key);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// What is to be proved.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim {
    pub(super) session: SessionId,
    pub(super) attempt: Attempt,
    pub(super) mode: ContinueMode,
}

impl Secret {
    /// Of the session that begins on this connection.
    pub(super) fn of(
        connection: &dyn Connection,
        session: SessionId,
    ) -> Result<Self, ConnectionLost> {
        let secret = connection.export_keying_material(SECRET, session.as_bytes())?;
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &secret)))
    }

    /// That the one who makes `claim` on this connection knows the secret.
    pub(super) fn prove(
        &self,
        claim: Claim,
        connection: &dyn Connection,
    ) -> Result<Bytes, ConnectionLost> {
        let message = claim.on(connection)?;
        Ok(Bytes::copy_from_slice(
            hmac::sign(&self.0, &message).as_ref(),
        ))
    }

    /// Whether `proof` proves that, in a time that does not tell how much of it is right.
    pub(super) fn is_proved(
        &self,
        claim: Claim,
        connection: &dyn Connection,
        proof: &[u8],
    ) -> bool {
        let message = claim.on(connection);
        message.is_ok_and(|message| hmac::verify(&self.0, &message, proof).is_ok())
    }
}

impl Claim {
    fn on(self, connection: &dyn Connection) -> Result<Vec<u8>, ConnectionLost> {
        let mode = match self.mode {
            ContinueMode::Join => 1,
            ContinueMode::Replace => 2,
        };
        let binding = connection.export_keying_material(BINDING, self.session.as_bytes())?;
        let mut message = binding.to_vec();
        message.extend_from_slice(self.session.as_bytes());
        message.extend_from_slice(&self.attempt.0.to_be_bytes());
        message.push(mode);
        Ok(message)
    }
}
