//! The pure parts by themselves, then both ends over real TLS on loopback.

mod connection;
mod fairness;
mod frames;
mod peers;
mod table;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::version::TLS13;
use rustls_pki_types::{PrivateKeyDer, ServerName};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use super::ALPN;

pub(in crate::transport) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(Duration::from_secs(30), future).await {
        Ok(value) => value,
        Err(_) => panic!("not in time: {what}"),
    }
}

pub(in crate::transport) async fn eventually(what: &str, mut state: impl FnMut() -> bool) {
    within(what, async {
        while !state() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

/// A dialler's and a listener's end of TLS.
pub(in crate::transport) async fn tls_pair() -> (TlsStream<TcpStream>, TlsStream<TcpStream>) {
    tls_pair_with(&[ALPN], &[ALPN]).await
}

/// One of which offers some protocols, and the other speaks some.
pub(in crate::transport) async fn tls_pair_with(
    offered: &[&[u8]],
    spoken: &[&[u8]],
) -> (TlsStream<TcpStream>, TlsStream<TcpStream>) {
    let made = rcgen::generate_simple_self_signed(["edge.test".to_owned()]).unwrap();
    let certificate = made.cert.der().clone();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let mut server = rustls::ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate).unwrap();
    let mut client = rustls::ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let owned = |protocols: &[&[u8]]| protocols.iter().map(|name| name.to_vec()).collect();
    client.alpn_protocols = owned(offered);
    server.alpn_protocols = owned(spoken);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let accept = async {
        let socket = listener.accept().await.unwrap().0;
        TlsAcceptor::from(Arc::new(server))
            .accept(socket)
            .await
            .unwrap()
    };
    let dial = async {
        let socket = TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from("edge.test").unwrap();
        TlsConnector::from(Arc::new(client))
            .connect(name, socket)
            .await
            .unwrap()
    };
    let (dialled, accepted) = tokio::join!(dial, accept);
    (dialled.into(), accepted.into())
}
