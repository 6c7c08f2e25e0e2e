//! One attempt to reach an edge: socket, TLS, Hello.

mod quic;

use std::net::SocketAddr;
use std::time::Duration;

use certs::{Identity, Role};
use relay::driver::handshake::{Established, HandshakeError, initiate};
use relay::proto::{Close, Hello, WorkerHint};
use relay::transport::{Connection, ConnectionLost};

pub(crate) use quic::QuicDialer;

/// What every attempt needs.
#[derive(Clone, Debug)]
pub(crate) struct Dialer {
    pub(crate) quic: QuicDialer,
    /// One deadline over everything.
    pub(crate) timeout: Duration,
}

/// A connection to an edge, and which edge proved to be at its other end.
#[derive(Debug)]
pub(crate) struct Reached {
    pub(crate) established: Established,
    pub(crate) edge: String,
}

/// Why an attempt failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    #[error("{address}: no UDP socket: {error}")]
    Socket {
        address: SocketAddr,
        error: std::io::Error,
    },
    #[error("{address}: {0}", address = .1)]
    Unusable(String, SocketAddr),
    #[error("{address}: no answer within {timeout:?}; is UDP let through to it?")]
    Timeout {
        address: SocketAddr,
        timeout: Duration,
    },
    #[error("{address}: TLS failed: {explanation}")]
    Tls {
        address: SocketAddr,
        explanation: String,
    },
    #[error("{address}: {error}")]
    Handshake {
        address: SocketAddr,
        error: HandshakeError,
    },
}

impl DialError {
    /// What the edge said, if it was the edge that refused.
    pub(crate) fn refusal(&self) -> Option<&Close> {
        match self {
            Self::Handshake {
                error: HandshakeError::Refused(close),
                ..
            } => Some(close),
            Self::Socket { .. }
            | Self::Unusable(..)
            | Self::Timeout { .. }
            | Self::Tls { .. }
            | Self::Handshake { .. } => None,
        }
    }

    fn unusable(address: SocketAddr, why: &dyn std::fmt::Display) -> Self {
        Self::Unusable(format!("cannot be dialled: {why}"), address)
    }

    fn lost(address: SocketAddr, lost: ConnectionLost) -> Self {
        let explanation = match lost {
            ConnectionLost::TlsByPeer { alert } => certs::tls::explain_alert(alert),
            ConnectionLost::TlsHere { alert, message } => {
                certs::tls::explain_refusal(alert, &message)
            }
            ConnectionLost::ByPeer { .. }
            | ConnectionLost::Locally
            | ConnectionLost::TimedOut
            | ConnectionLost::Reset
            | ConnectionLost::Other(_) => {
                let error = lost.into();
                return Self::Handshake { address, error };
            }
        };
        Self::Tls {
            address,
            explanation,
        }
    }
}

impl Dialer {
    /// Reaches the edge at `address`, or says why not.
    pub(crate) async fn dial(
        &self,
        address: SocketAddr,
        hint: Option<WorkerHint>,
        hello: Hello,
    ) -> Result<Reached, DialError> {
        let timeout = self.timeout;
        tokio::time::timeout(timeout, self.dial_now(address, hint, hello))
            .await
            .unwrap_or(Err(DialError::Timeout { address, timeout }))
    }

    async fn dial_now(
        &self,
        address: SocketAddr,
        hint: Option<WorkerHint>,
        hello: Hello,
    ) -> Result<Reached, DialError> {
        let connection = self.quic.connect(address, hint).await?;
        let edge =
            edge_name(connection.as_ref()).map_err(|error| DialError::unusable(address, &error))?;
        match initiate(connection, hello).await {
            Ok(established) => Ok(Reached { established, edge }),
            Err(HandshakeError::Lost(lost)) => Err(DialError::lost(address, lost)),
            Err(error) => Err(DialError::Handshake { address, error }),
        }
    }
}

/// The name in the certificate that TLS has verified.
fn edge_name(connection: &dyn Connection) -> Result<String, String> {
    let chain = connection.peer_certificates();
    let certificate = chain.first().ok_or("the edge showed no certificate")?;
    let identity = Identity::from_certificate(certificate).map_err(|error| error.to_string())?;
    match identity.role {
        Role::Edge(name) => Ok(name.to_string()),
        Role::Client(_) | Role::Service(_) => Err(format!("{identity} is no edge")),
    }
}
