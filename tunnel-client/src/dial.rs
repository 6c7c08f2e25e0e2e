//! One attempt to reach an edge: UDP socket, TLS, Hello.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use certs::{Identity, Role};
use relay::driver::handshake::{Established, HandshakeError, initiate};
use relay::proto::{Close, Hello, WorkerHint};
use relay::transport::quic::{self, QuicConnection, SessionBounds, udp_socket};
use relay::transport::{Connection, ConnectionLost};

/// What every attempt needs.
#[derive(Clone, Debug)]
pub(crate) struct Dialer {
    pub(crate) tls: Arc<rustls::ClientConfig>,
    pub(crate) bounds: SessionBounds,
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
        let unusable = |error: &dyn std::fmt::Display| {
            DialError::Unusable(format!("cannot be dialled: {error}"), address)
        };
        let config = quic::client_config(self.tls.clone(), self.bounds, hint)
            .map_err(|error| unusable(&error))?;
        // A socket for each attempt, so that a change of network is no matter.
        let endpoint = udp_socket(any_port_towards(address)).and_then(|socket| {
            let runtime = Arc::new(quinn::TokioRuntime);
            quinn::Endpoint::new(quinn::EndpointConfig::default(), None, socket, runtime)
        });
        let endpoint = endpoint.map_err(|error| DialError::Socket { address, error })?;
        let connection = endpoint
            .connect_with(config, address, quic::SERVER_NAME)
            .map_err(|error| unusable(&error))?
            .await
            .map_err(|error| DialError::lost(address, error.into()))?;
        let connection: Arc<dyn Connection> = Arc::new(QuicConnection::new(connection));
        let edge = edge_name(connection.as_ref()).map_err(|error| unusable(&error))?;
        match initiate(connection, hello).await {
            Ok(established) => Ok(Reached { established, edge }),
            Err(HandshakeError::Lost(lost)) => Err(DialError::lost(address, lost)),
            Err(error) => Err(DialError::Handshake { address, error }),
        }
    }
}

fn any_port_towards(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
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
