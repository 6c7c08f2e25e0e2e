//! Two ends of a TLS connection in memory, and certificates that Causeway never issues.

#![allow(dead_code, reason = "each test file uses a part of it")]

pub(crate) mod home;

use std::sync::Arc;

use certs::{Authority, Issued, Material, Role, Validity, tls};
use rcgen::{
    CertificateParams, DistinguishedName, ExtendedKeyUsagePurpose, Issuer, KeyPair, SanType,
};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    ClientConfig, ClientConnection, Connection, Error, ServerConfig, ServerConnection,
    SignatureScheme,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use time::{Duration, OffsetDateTime};

pub(crate) const ALPN: &[&[u8]] = &[b"causeway-test/1"];

pub(crate) fn authority() -> Authority {
    Authority::in_memory("causeway.internal".parse().unwrap()).unwrap()
}

pub(crate) fn client_role() -> Role {
    Role::Client("acme/prod-1".parse().unwrap())
}

pub(crate) fn edge_role() -> Role {
    Role::Edge("eu-1".parse().unwrap())
}

pub(crate) fn service_role() -> Role {
    Role::Service("queue".parse().unwrap())
}

pub(crate) fn issue(authority: &Authority, role: Role) -> Issued {
    authority
        .issue(role, std::time::Duration::from_secs(3600))
        .unwrap()
}

pub(crate) fn material(authority: &Authority, role: Role) -> Material {
    issue(authority, role).material().unwrap()
}

/// Valid from `from` until `until`, both relative to now.
pub(crate) fn validity(from: Duration, until: Duration) -> Validity {
    let now = OffsetDateTime::now_utc();
    Validity {
        not_before: now + from,
        not_after: now + until,
    }
}

pub(crate) fn server_config(edge: &Material) -> Arc<ServerConfig> {
    tls::edge_server(edge, ALPN).unwrap()
}

pub(crate) fn client_config(client: &Material) -> Arc<ClientConfig> {
    tls::client(client, ALPN)
}

/// How a handshake went, seen from both ends.
pub(crate) struct Handshake {
    pub(crate) client: Result<ClientConnection, Error>,
    pub(crate) server: Result<ServerConnection, Error>,
}

impl Handshake {
    pub(crate) fn unwrap(self) -> (ClientConnection, ServerConnection) {
        (self.client.unwrap(), self.server.unwrap())
    }

    /// The edge refused: its own error, and what the client makes of the alert.
    pub(crate) fn refused_by_edge(self) -> (Error, String) {
        let alert = self.client.expect_err("the client hears of the refusal");
        assert!(matches!(alert, Error::AlertReceived(_)), "{alert:?}");
        (
            self.server.expect_err("the edge refuses"),
            tls::explain(&alert),
        )
    }

    /// The client refused: its own error, and what the edge makes of the alert.
    pub(crate) fn refused_by_client(self) -> (Error, String) {
        let alert = self.server.expect_err("the edge hears of the refusal");
        assert!(matches!(alert, Error::AlertReceived(_)), "{alert:?}");
        (
            self.client.expect_err("the client refuses"),
            tls::explain(&alert),
        )
    }
}

/// Runs a handshake until both ends are done or have failed.
pub(crate) fn handshake(client: Arc<ClientConfig>, server: Arc<ServerConfig>) -> Handshake {
    let name = ServerName::try_from("203.0.113.7").unwrap();
    let mut client = Connection::from(ClientConnection::new(client, name).unwrap());
    let mut server = Connection::from(ServerConnection::new(server).unwrap());
    let (mut client_error, mut server_error) = (None, None);
    for _ in 0..10 {
        transfer(&mut client, &mut server, &mut server_error);
        transfer(&mut server, &mut client, &mut client_error);
    }
    let (Connection::Client(client), Connection::Server(server)) = (client, server) else {
        unreachable!("each is what it was made from")
    };
    Handshake {
        client: client_error.map_or(Ok(client), Err),
        server: server_error.map_or(Ok(server), Err),
    }
}

fn transfer(from: &mut Connection, to: &mut Connection, error: &mut Option<Error>) {
    let mut bytes = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut bytes).unwrap();
    }
    let mut bytes = &bytes[..];
    while error.is_none() && !bytes.is_empty() {
        to.read_tls(&mut bytes).unwrap();
        *error = to.process_new_packets().err();
    }
}

/// An authority that signs anything: what a broken or hostile one might.
pub(crate) struct Anything {
    issuer: Issuer<'static, KeyPair>,
    root: rcgen::Certificate,
}

impl Anything {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let root = params.self_signed(&key).unwrap();
        Self {
            issuer: Issuer::new(params, key),
            root,
        }
    }

    pub(crate) fn root_pem(&self) -> String {
        self.root.pem()
    }

    /// A certificate with these names and whatever `adjust` makes of it.
    pub(crate) fn sign(
        &self,
        names: &[SanType],
        adjust: impl FnOnce(&mut CertificateParams),
    ) -> (CertificateDer<'static>, KeyPair) {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = names.to_vec();
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ClientAuth,
            ExtendedKeyUsagePurpose::ServerAuth,
        ];
        adjust(&mut params);
        let key = KeyPair::generate().unwrap();
        (
            params.signed_by(&key, &self.issuer).unwrap().der().clone(),
            key,
        )
    }
}

pub(crate) fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

/// `config`, but showing this certificate.
pub(crate) fn showing(
    config: &ClientConfig,
    certificate: CertificateDer<'static>,
    key: &KeyPair,
) -> Arc<ClientConfig> {
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let key = default_provider()
        .key_provider
        .load_private_key(key)
        .unwrap();
    let mut config = config.clone();
    config.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(CertifiedKey::new(
        vec![certificate],
        key,
    )));
    Arc::new(config)
}

/// What a client would show, shown by a server.
#[derive(Debug)]
pub(crate) struct Shown(pub(crate) Arc<ClientConfig>);

impl rustls::server::ResolvesServerCert for Shown {
    fn resolve(&self, _hello: rustls::server::ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.client_auth_cert_resolver.resolve(&[], &[])
    }
}

/// A dialler that has nothing to show.
#[derive(Debug)]
pub(crate) struct Nothing;

impl rustls::client::ResolvesClientCert for Nothing {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}
