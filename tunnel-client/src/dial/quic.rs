//! QUIC: a UDP socket and a handshake.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use relay::proto::WorkerHint;
use relay::transport::Connection;
use relay::transport::quic::{self, QuicConnection, SessionBounds, udp_socket};

use super::DialError;

/// What every QUIC connection to an edge begins with.
#[derive(Clone, Debug)]
pub(crate) struct QuicDialer {
    pub(crate) tls: Arc<rustls::ClientConfig>,
    pub(crate) bounds: SessionBounds,
    /// The round trip of an earlier connection to the edge (RFC 9002 §6.2.2).
    pub(crate) expected_rtt: Option<Duration>,
}

impl QuicDialer {
    /// Connects from a socket of its own, so that a change of network is no matter. The connection
    /// lives on the current runtime.
    pub(super) async fn connect(
        &self,
        address: SocketAddr,
        hint: Option<WorkerHint>,
    ) -> Result<Arc<dyn Connection>, DialError> {
        let config = quic::client_config(self.tls.clone(), self.bounds, hint, self.expected_rtt)
            .map_err(|error| DialError::unusable(address, &error))?;
        let endpoint = udp_socket(any_port_towards(address)).and_then(|socket| {
            let runtime = Arc::new(quinn::TokioRuntime);
            quinn::Endpoint::new(quinn::EndpointConfig::default(), None, socket, runtime)
        });
        let endpoint = endpoint.map_err(|error| DialError::Socket { address, error })?;
        let connection = endpoint
            .connect_with(config, address, quic::SERVER_NAME)
            .map_err(|error| DialError::unusable(address, &error))?
            .await
            .map_err(|error| DialError::lost(address, error.into()))?;
        Ok(Arc::new(QuicConnection::new(connection)))
    }
}

fn any_port_towards(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    }
}
