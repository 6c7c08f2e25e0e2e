//! The transports over TLS on TCP: a TCP connection and a handshake.

use std::net::SocketAddr;
use std::sync::Arc;

use relay::proto::WorkerHint;
use relay::transport::over_tcp::{carry, hint_protocol};
use relay::transport::quic::SERVER_NAME;
use relay::transport::tls::lost_by_io;
use relay::transport::{Connection, SessionBounds};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, TlsStream};

use super::DialError;

/// What every connection over TCP to an edge begins with.
#[derive(Clone, Debug)]
pub(crate) struct TcpDialer {
    pub(crate) tls: Arc<rustls::ClientConfig>,
    pub(crate) bounds: SessionBounds,
}

impl TcpDialer {
    /// Connects. The connection lives on the current runtime.
    pub(super) async fn connect(
        &self,
        address: SocketAddr,
        hint: Option<WorkerHint>,
    ) -> Result<Arc<dyn Connection>, DialError> {
        let socket = TcpStream::connect(address)
            .await
            .map_err(|error| DialError::Connect { address, error })?;
        let stream = self
            .connector(hint)
            .connect(server_name(), socket)
            .await
            .map_err(|error| DialError::lost(address, lost_by_io(&error)))?;
        carry(TlsStream::Client(stream), self.bounds).map_err(|lost| DialError::lost(address, lost))
    }

    fn connector(&self, hint: Option<WorkerHint>) -> TlsConnector {
        let Some(hint) = hint else {
            return self.tls.clone().into();
        };
        let mut tls = rustls::ClientConfig::clone(&self.tls);
        tls.alpn_protocols.push(hint_protocol(hint));
        Arc::new(tls).into()
    }
}

fn server_name() -> ServerName<'static> {
    ServerName::try_from(SERVER_NAME).expect("the name is a DNS name")
}
