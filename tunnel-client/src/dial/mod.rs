//! Attempts to reach an edge: socket, TLS, Hello.
//!
//! ```text
//! ways ──▶ race: socket, TLS, who is it ──first of them──▶ greet: Hello ──▶ a session
//! ```

mod quic;
mod race;
mod tcp;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use certs::{Chain, Identity, Revoked, Role};
use relay::driver::handshake::{Dialled, Established, HandshakeError};
use relay::proto::{Close, CloseCode, Hello, WorkerHint};
use relay::transport::{Connection, ConnectionLost, TransportKind};
use tokio::time::{Instant, timeout_at};

pub(crate) use quic::QuicDialer;
pub(crate) use race::{Finish, Race};
pub(crate) use tcp::TcpDialer;

use crate::revocation::Revocation;

/// How many round trips of 16 KiB a connection is probed with.
const PROBES: usize = 4;

/// How long each may take: a first flight, the rest, one loss; and what a slow path and a busy machine
/// need.
const PROBE_ROUND_TRIPS: u32 = 4;
const PROBE_SLACK: Duration = Duration::from_secs(1);

/// What every attempt needs.
#[derive(Clone, Debug)]
pub(crate) struct Dialer {
    pub(crate) quic: QuicDialer,
    pub(crate) tcp: TcpDialer,
    pub(crate) revocation: Arc<Revocation>,
    /// One deadline over everything.
    pub(crate) timeout: Duration,
}

/// How an edge may be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Way {
    pub(crate) address: SocketAddr,
    pub(crate) transport: TransportKind,
}

/// A connection to an edge, and which edge proved to be at its other end.
#[derive(Debug)]
pub(crate) struct Connected {
    pub(crate) way: Way,
    dialled: Dialled,
    edge: String,
    /// For Hello too.
    deadline: Instant,
}

impl Connected {
    /// The name that the edge has proved.
    pub(crate) fn edge(&self) -> &str {
        &self.edge
    }

    /// The connection, for what is bound to it.
    pub(crate) fn connection(&self) -> &dyn Connection {
        self.dialled.connection().as_ref()
    }

    /// The round trip of its handshake.
    pub(crate) fn rtt(&self) -> Duration {
        self.dialled.connection().rtt()
    }
}

/// A session with an edge that has begun.
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
    #[error("{address}: {error}; does an edge listen there, and is TCP let through to it?")]
    Connect {
        address: SocketAddr,
        error: std::io::Error,
    },
    #[error("{address}: no answer within {timeout:?}; is {over} let through to it?")]
    Timeout {
        address: SocketAddr,
        timeout: Duration,
        over: &'static str,
    },
    #[error("{address}: {over} lets short packets through, but not enough full-size ones")]
    Narrow {
        address: SocketAddr,
        over: &'static str,
    },
    #[error("{address}: the certificate of the edge {edge} is revoked: {revoked}")]
    Revoked {
        address: SocketAddr,
        edge: String,
        revoked: Revoked,
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
            | Self::Connect { .. }
            | Self::Unusable(..)
            | Self::Timeout { .. }
            | Self::Narrow { .. }
            | Self::Revoked { .. }
            | Self::Tls { .. }
            | Self::Handshake { .. } => None,
        }
    }

    fn unusable(address: SocketAddr, why: &dyn std::fmt::Display) -> Self {
        Self::Unusable(format!("cannot be dialled: {why}"), address)
    }

    fn broken_off(address: SocketAddr, error: HandshakeError) -> Self {
        match error {
            HandshakeError::Lost(lost) => Self::lost(address, lost),
            HandshakeError::Refused(_) | HandshakeError::Protocol(_) | HandshakeError::Frame(_) => {
                Self::Handshake { address, error }
            }
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
    /// Connects over one transport, as far as the proof that an edge is at the other end.
    async fn connect(&self, way: Way, hint: Option<WorkerHint>) -> Result<Connected, DialError> {
        let address = way.address;
        let deadline = Instant::now() + self.timeout;
        let connecting = async {
            match way.transport {
                TransportKind::Quic => self.quic.connect(address, hint).await,
                kind @ (TransportKind::Tls | TransportKind::Yamux | TransportKind::H2) => {
                    self.tcp.connect(address, kind, hint).await
                }
            }
        };
        let connected = timeout_at(deadline, connecting).await;
        let connection = connected.unwrap_or_else(|_| Err(self.timed_out(way)))?;
        let edge =
            edge_name(connection.as_ref()).map_err(|error| DialError::unusable(address, &error))?;
        if let Some(revoked) = self.revocation.of(&shown(connection.as_ref())) {
            connection.close(CloseCode::Revoked, &why_revoked(&revoked));
            return Err(DialError::Revoked {
                address,
                edge,
                revoked,
            });
        }
        Ok(Connected {
            way,
            dialled: Dialled::new(connection),
            edge,
            deadline,
        })
    }

    /// Finds out whether a connection carries more than its handshake. The edge must be known to
    /// answer Pings ahead of Hello.
    pub(crate) async fn probe(&self, connected: &mut Connected) -> Result<(), DialError> {
        let way = connected.way;
        for _ in 0..PROBES {
            let until = Instant::now() + connected.rtt() * PROBE_ROUND_TRIPS + PROBE_SLACK;
            let probed = timeout_at(until, connected.dialled.probe()).await;
            probed
                .map_err(|_| DialError::Narrow {
                    address: way.address,
                    over: beneath(way.transport),
                })?
                .map_err(|error| DialError::broken_off(way.address, error))?;
        }
        Ok(())
    }

    /// Says Hello on a connection. Only the one that is to be used hears it.
    pub(crate) async fn greet(
        &self,
        connected: Connected,
        hello: Hello,
    ) -> Result<Reached, DialError> {
        let Connected {
            way,
            dialled,
            edge,
            deadline,
        } = connected;
        let resumes = hello.continues.is_some();
        let mut given_up = GivenUp(resumes.then(|| dialled.connection().clone()));
        match timeout_at(deadline, dialled.greet(hello)).await {
            Ok(Ok(established)) => {
                given_up.0 = None;
                Ok(Reached { established, edge })
            }
            Ok(Err(error)) => Err(DialError::broken_off(way.address, error)),
            Err(_) => Err(self.timed_out(way)),
        }
    }

    fn timed_out(&self, way: Way) -> DialError {
        DialError::Timeout {
            address: way.address,
            timeout: self.timeout,
            over: beneath(way.transport),
        }
    }
}

/// A connection that was to carry a session on. Dropped before it does, it must not end the session
/// if Hello still arrives.
struct GivenUp(Option<Arc<dyn Connection>>);

impl Drop for GivenUp {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            connection.close(CloseCode::Moved, "");
        }
    }
}

fn beneath(transport: TransportKind) -> &'static str {
    match transport {
        TransportKind::Quic => "UDP",
        TransportKind::Tls | TransportKind::Yamux | TransportKind::H2 => "TCP",
    }
}

/// What the edge has shown of itself.
pub(crate) fn shown(connection: &dyn Connection) -> Chain {
    Chain::of(&connection.peer_certificates())
}

/// What an edge reads whose certificate is revoked.
pub(crate) fn why_revoked(revoked: &Revoked) -> String {
    format!("this edge's certificate is revoked ({revoked}); it needs another one, and a restart")
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
