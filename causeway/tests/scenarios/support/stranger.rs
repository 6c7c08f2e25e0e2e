//! A peer that speaks QUIC, or TLS on TCP, as a client or an edge would, and then does what none of them
//! does: shows any certificate, says anything or nothing.

use std::{
    io::Read,
    net::{SocketAddr, TcpStream},
    path::Path,
    sync::{Arc, mpsc},
    thread,
};

use certs::Material;
use quinn::{
    ClientConfig, Connection, ConnectionError, Endpoint, ServerConfig,
    crypto::rustls::{QuicClientConfig, QuicServerConfig},
};
use rcgen::{CertificateParams, DistinguishedName, Issuer, KeyPair, SanType};
use relay::{
    driver::handshake::{Established, HandshakeError, initiate},
    proto::Hello,
    transport::quic::QuicConnection,
};
use rustls::{
    crypto::aws_lc_rs::sign::any_supported_type,
    sign::{CertifiedKey, SingleCertAndKey},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use time::{Duration, OffsetDateTime};
use tokio::runtime::Runtime;

/// What the tunnel speaks over QUIC, and over TLS on TCP.
const ALPN: &[&[u8]] = &[b"causeway/1"];
const TLS_ALPN: &[u8] = b"causeway-tls/1";

/// A QUIC endpoint of a stranger. It lives while one of its methods runs.
#[derive(Debug)]
pub(crate) struct Stranger {
    runtime: Runtime,
    endpoint: Endpoint,
    tls: rustls::ClientConfig,
}

impl Stranger {
    /// One that dials and shows `shown`, or no certificate at all. It trusts whom the identity
    /// in `trusts` trusts.
    pub(crate) fn dialing(trusts: &Path, shown: Option<CertifiedKey>) -> Self {
        let mut tls = (*certs::tls::client(&material(trusts), ALPN)).clone();
        tls.client_auth_cert_resolver = match shown {
            Some(shown) => Arc::new(SingleCertAndKey::from(shown)),
            None => {
                let nobody =
                    rustls::ClientConfig::builder_with_provider(tls.crypto_provider().clone())
                        .with_protocol_versions(&[&rustls::version::TLS13])
                        .unwrap()
                        .with_root_certificates(rustls::RootCertStore::empty())
                        .with_no_client_auth();
                nobody.client_auth_cert_resolver
            }
        };
        let config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls.clone()).unwrap()));
        let runtime = runtime();
        let entered = runtime.enter();
        let mut endpoint = Endpoint::client(loopback()).unwrap();
        drop(entered);
        endpoint.set_default_client_config(config);
        Self {
            runtime,
            endpoint,
            tls,
        }
    }

    /// One that listens as an edge would until the test ends, shows `shown` and lets in whom
    /// `trusts` trusts: where it listens.
    pub(crate) fn listening(trusts: &Path, shown: CertifiedKey) -> SocketAddr {
        let mut tls = (*certs::tls::edge_server(&material(trusts), ALPN).unwrap()).clone();
        tls.cert_resolver = Arc::new(SingleCertAndKey::from(shown));
        let config = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls).unwrap()));
        let (sender, address) = mpsc::channel();
        thread::spawn(move || {
            runtime().block_on(async {
                let endpoint = Endpoint::server(config, loopback()).unwrap();
                sender.send(endpoint.local_addr().unwrap()).unwrap();
                while let Some(incoming) = endpoint.accept().await {
                    // Whoever dials is left to find out for itself.
                    tokio::spawn(async move {
                        if let Ok(connection) = incoming.await {
                            connection.closed().await;
                        }
                    });
                }
            });
        });
        address.recv().unwrap()
    }

    /// A connection to the edge at `to`, whose certificate must be an edge's. Over QUIC, that
    /// the edge refuses ours is heard only afterwards, by [`Self::closed`].
    pub(crate) fn connect(&self, to: SocketAddr) -> Result<Connection, ConnectionError> {
        self.runtime
            .block_on(async { self.endpoint.connect(to, "edge").unwrap().await })
    }

    /// Waits until the edge closes the connection, and says why.
    pub(crate) fn closed(&self, connection: &Connection) -> Option<ConnectionError> {
        self.runtime.block_on(async {
            tokio::time::timeout(super::DEADLINE, connection.closed())
                .await
                .ok()
        })
    }

    /// Waits until every connection that was closed here is over, and the edge has been told.
    pub(crate) fn settle(&self) {
        self.runtime.block_on(self.endpoint.wait_idle());
    }

    /// Connects to the edge at `to` over TLS on TCP, and waits for the alert by which it refuses.
    pub(crate) fn refused_over_tcp(&self, to: SocketAddr) -> rustls::AlertDescription {
        let mut tls = self.tls.clone();
        tls.alpn_protocols = vec![TLS_ALPN.to_vec()];
        let name = "edge".try_into().unwrap();
        let session = rustls::ClientConnection::new(Arc::new(tls), name).unwrap();
        let socket = TcpStream::connect(to).unwrap();
        socket.set_read_timeout(Some(super::DEADLINE)).unwrap();
        let mut stream = rustls::StreamOwned::new(session, socket);
        // The handshake is over here before the edge has seen our certificate.
        let error = stream.read(&mut [0]).expect_err("the edge refuses");
        let reason = error.get_ref().and_then(|error| error.downcast_ref());
        match reason {
            Some(rustls::Error::AlertReceived(alert)) => *alert,
            _ => panic!("not refused by an alert: {error:?}"),
        }
    }

    /// Says what a client says first, and hears the answer.
    pub(crate) fn greet(
        &self,
        connection: &Connection,
        hello: Hello,
    ) -> Result<Established, HandshakeError> {
        let connection = Arc::new(QuicConnection::new(connection.clone()));
        self.runtime.block_on(initiate(connection, hello))
    }

    /// Opens a stream and writes `bytes` on it, without ending it.
    pub(crate) fn say(
        &self,
        connection: &Connection,
        bytes: &[u8],
    ) -> (quinn::SendStream, quinn::RecvStream) {
        self.runtime.block_on(async {
            let (mut send, receive) = connection.open_bi().await.unwrap();
            send.write_all(bytes).await.unwrap();
            (send, receive)
        })
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn material(directory: &Path) -> Material {
    certs::load(directory).unwrap()
}

/// What an identity directory shows, whatever is wrong with it.
pub(crate) fn shown(directory: &Path) -> CertifiedKey {
    let read = |name: &str| std::fs::read(directory.join(name)).unwrap();
    let chain = CertificateDer::pem_slice_iter(&read("cert.pem"))
        .collect::<Result<Vec<_>, _>>()
        .unwrap();
    let key = PrivateKeyDer::from_pem_slice(&read("key.pem")).unwrap();
    CertifiedKey::new(chain, any_supported_type(&key).unwrap())
}

/// Signs with an authority's key what that authority would never issue: any URIs, valid from so
/// long from now until so long from now. Written as an identity directory.
pub(crate) fn forge(authority: &Path, uris: &[&str], from: Duration, until: Duration, into: &Path) {
    let read = |name: &str| std::fs::read_to_string(authority.join(name)).unwrap();
    let key = KeyPair::from_pem(&read("ca-key.pem")).unwrap();
    let issuer = Issuer::from_ca_cert_pem(&read("ca.pem"), key).unwrap();

    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = uris
        .iter()
        .map(|uri| SanType::URI((*uri).try_into().unwrap()))
        .collect();
    params.not_before = OffsetDateTime::now_utc() + from;
    params.not_after = OffsetDateTime::now_utc() + until;
    params.extended_key_usages = vec![
        rcgen::ExtendedKeyUsagePurpose::ClientAuth,
        rcgen::ExtendedKeyUsagePurpose::ServerAuth,
    ];
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();

    std::fs::create_dir_all(into).unwrap();
    let write = |name: &str, text: &str| std::fs::write(into.join(name), text).unwrap();
    write("cert.pem", &certificate.pem());
    write("key.pem", &key.serialize_pem());
    write("ca.pem", &read("ca.pem"));
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(into.join("key.pem"), mode).unwrap();
}
