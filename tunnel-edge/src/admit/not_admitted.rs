//! Why a connection leads to no session.

use certs::{ClusterId, Revoked};
use relay::CloseCode;
use relay::driver::handshake::HandshakeError;
use relay::transport::ConnectionLost;

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotAdmitted {
    #[error("TLS and Hello were not done in time")]
    Timeout,
    #[error("TLS failed: {0}")]
    Tls(String),
    #[error("{0}")]
    Handshake(HandshakeError),
    #[error("{0}")]
    Identity(String),
    #[error("the certificate of {0} is revoked: {1}")]
    Revoked(ClusterId, Revoked),
    #[error("refused: {0}")]
    Policy(CloseCode),
    #[error("this edge is stopping")]
    Stopping,
}

impl NotAdmitted {
    /// Whether anyone who can send a packet can cause it: counted, but not worth a line each.
    pub(super) fn is_a_strangers(&self) -> bool {
        match self {
            Self::Handshake(HandshakeError::Lost(lost)) => {
                // Also a client that has reached an edge another way in the meantime.
                matches!(
                    lost,
                    ConnectionLost::Other(_)
                        | ConnectionLost::TimedOut
                        | ConnectionLost::ByPeer { .. }
                )
            }
            Self::Timeout
            | Self::Tls(_)
            | Self::Handshake(_)
            | Self::Identity(_)
            | Self::Revoked(..)
            | Self::Policy(_)
            | Self::Stopping => false,
        }
    }

    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Tls(_) => "tls",
            Self::Handshake(_) => "protocol",
            Self::Identity(_) => "identity",
            Self::Revoked(..) => "revoked",
            Self::Policy(_) => "refused",
            Self::Stopping => "stopping",
        }
    }
}

impl From<ConnectionLost> for NotAdmitted {
    fn from(lost: ConnectionLost) -> Self {
        match lost {
            ConnectionLost::TlsByPeer { alert } => Self::Tls(certs::tls::explain_alert(alert)),
            ConnectionLost::TlsHere { alert, message } => {
                Self::Tls(certs::tls::explain_refusal(alert, &message))
            }
            ConnectionLost::ByPeer { .. }
            | ConnectionLost::Locally
            | ConnectionLost::TimedOut
            | ConnectionLost::Reset
            | ConnectionLost::Other(_) => Self::Handshake(lost.into()),
        }
    }
}

impl From<HandshakeError> for NotAdmitted {
    fn from(error: HandshakeError) -> Self {
        match error {
            HandshakeError::Lost(lost) => lost.into(),
            HandshakeError::Refused(_) | HandshakeError::Protocol(_) | HandshakeError::Frame(_) => {
                Self::Handshake(error)
            }
        }
    }
}
