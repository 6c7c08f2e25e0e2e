//! Connections of each transport, and what they take: a certificate, a listener, a dialler.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use quinn::Endpoint;
use relay::transport::over_tcp::carry;
use relay::transport::quic::{self, QuicConnection};
use relay::transport::{Connection, SessionBounds, TransportKind};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::version::TLS13;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::ends::Setup;

pub(crate) fn loopback() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

/// The certificate and key of whoever listens.
pub(crate) struct Certificate {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

impl Certificate {
    pub(crate) fn new() -> Self {
        let made = rcgen::generate_simple_self_signed([quic::SERVER_NAME.to_owned()]).unwrap();
        Self {
            certificate: made.cert.der().clone(),
            key: PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap(),
        }
    }

    fn server(&self, alpn: &[u8]) -> Arc<rustls::ServerConfig> {
        let mut tls = rustls::ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[&TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![self.certificate.clone()], self.key.clone_key())
            .unwrap();
        tls.alpn_protocols = vec![alpn.to_vec()];
        Arc::new(tls)
    }

    fn client(&self, alpn: &[u8]) -> Arc<rustls::ClientConfig> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let mut tls = rustls::ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[&TLS13])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![alpn.to_vec()];
        Arc::new(tls)
    }

    /// What dials whoever has this certificate.
    pub(crate) fn dialler(&self, setup: &Setup) -> Dialler {
        let bounds = setup.bounds();
        match setup.transport {
            TransportKind::Quic => {
                let tls = self.client(TransportKind::Quic.alpn());
                Dialler::Quic(quic::client_config(tls, bounds, None, None).unwrap())
            }
            kind @ (TransportKind::Tls | TransportKind::Yamux | TransportKind::H2) => {
                Dialler::Tcp(self.client(kind.alpn()).into(), bounds)
            }
        }
    }
}

pub(crate) enum Listener {
    Quic(Endpoint),
    Tcp(TcpListener, TlsAcceptor, SessionBounds),
}

/// Someone who has knocked, before TLS.
pub(crate) enum Arriving {
    Quic(Box<quinn::Incoming>),
    Tcp(TcpStream, TlsAcceptor, SessionBounds),
}

impl Listener {
    /// Call it where the connections shall live.
    pub(crate) async fn bind(certificate: &Certificate, setup: &Setup) -> Self {
        let bounds = setup.bounds();
        match setup.transport {
            TransportKind::Quic => {
                let tls = certificate.server(TransportKind::Quic.alpn());
                let config = quic::server_config(tls, bounds).unwrap();
                Self::Quic(Endpoint::server(config, loopback()).unwrap())
            }
            kind @ (TransportKind::Tls | TransportKind::Yamux | TransportKind::H2) => {
                let listener = TcpListener::bind(loopback()).await.unwrap();
                let tls = certificate.server(kind.alpn());
                Self::Tcp(listener, tls.into(), bounds)
            }
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        match self {
            Self::Quic(endpoint) => endpoint.local_addr().unwrap(),
            Self::Tcp(listener, ..) => listener.local_addr().unwrap(),
        }
    }

    pub(crate) async fn accept(&self) -> Option<Arriving> {
        match self {
            Self::Quic(endpoint) => {
                let incoming = endpoint.accept().await?;
                Some(Arriving::Quic(incoming.into()))
            }
            Self::Tcp(listener, acceptor, bounds) => {
                let (socket, _) = listener.accept().await.ok()?;
                Some(Arriving::Tcp(socket, acceptor.clone(), *bounds))
            }
        }
    }

    /// Waits until what its connections had to say last is said.
    pub(crate) async fn finished(&self) {
        match self {
            Self::Quic(endpoint) => endpoint.wait_idle().await,
            // Each connection has a task of its own for that.
            Self::Tcp(..) => {}
        }
    }
}

impl Arriving {
    /// After its handshake.
    pub(crate) async fn connected(self) -> Option<Arc<dyn Connection>> {
        Some(match self {
            Self::Quic(incoming) => Arc::new(QuicConnection::new((*incoming).await.ok()?)),
            Self::Tcp(socket, acceptor, bounds) => {
                let stream = acceptor.accept(socket).await.ok()?;
                carry(stream.into(), bounds).ok()?
            }
        })
    }
}

#[derive(Clone)]
pub(crate) enum Dialler {
    Quic(quinn::ClientConfig),
    Tcp(TlsConnector, SessionBounds),
}

impl Dialler {
    /// Call it where the connection shall live.
    pub(crate) async fn dial(self, address: SocketAddr) -> Arc<dyn Connection> {
        match self {
            Self::Quic(config) => {
                let endpoint = Endpoint::client(loopback()).unwrap();
                let connecting = endpoint.connect_with(config, address, quic::SERVER_NAME);
                Arc::new(QuicConnection::new(connecting.unwrap().await.unwrap()))
            }
            Self::Tcp(connector, bounds) => {
                let socket = TcpStream::connect(address).await.unwrap();
                let name = ServerName::try_from(quic::SERVER_NAME).unwrap();
                let stream = connector.connect(name, socket).await.unwrap();
                carry(stream.into(), bounds).unwrap()
            }
        }
    }
}
