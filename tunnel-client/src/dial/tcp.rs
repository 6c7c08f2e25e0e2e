//! The transports over TLS on TCP: a TCP connection and a handshake.

use std::net::SocketAddr;
use std::sync::Arc;

use relay::proto::WorkerHint;
use relay::transport::over_tcp::{carry, hint_protocol};
use relay::transport::quic::SERVER_NAME;
use relay::transport::tls::lost_by_io;
use relay::transport::{Connection, SessionBounds, TransportKind};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, TlsStream};

use super::DialError;

/// What every connection over TCP to an edge begins with.
#[derive(Clone, Debug)]
pub(crate) struct TcpDialer {
    /// Whatever protocols it offers are replaced.
    pub(crate) tls: Arc<rustls::ClientConfig>,
    pub(crate) bounds: SessionBounds,
}

impl TcpDialer {
    /// Connects by `transport` and no other. The connection lives on the current runtime.
    pub(super) async fn connect(
        &self,
        address: SocketAddr,
        transport: TransportKind,
        hint: Option<WorkerHint>,
    ) -> Result<Arc<dyn Connection>, DialError> {
        let socket = TcpStream::connect(address)
            .await
            .map_err(|error| DialError::Connect { address, error })?;
        let stream = self
            .connector(transport, hint)
            .connect(server_name(), socket)
            .await
            .map_err(|error| DialError::lost(address, lost_by_io(&error)))?;
        carry(TlsStream::Client(stream), self.bounds).map_err(|lost| DialError::lost(address, lost))
    }

    fn connector(&self, transport: TransportKind, hint: Option<WorkerHint>) -> TlsConnector {
        let mut tls = rustls::ClientConfig::clone(&self.tls);
        tls.alpn_protocols = vec![transport.alpn().to_vec()];
        // What is offered can be read on the way, and who lets only HTTP/2 through may read it.
        let hint = hint.filter(|_| transport != TransportKind::H2);
        tls.alpn_protocols.extend(hint.map(hint_protocol));
        Arc::new(tls).into()
    }
}

fn server_name() -> ServerName<'static> {
    ServerName::try_from(SERVER_NAME).expect("the name is a DNS name")
}
