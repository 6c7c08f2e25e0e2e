//! Every rustls configuration of Causeway.
//!
//! Between client and edge: TLS 1.3 only, both sides prove their identity, X25519MLKEM768 first,
//! no tickets, no resumption, no early data: a resumed connection would keep an identity whose
//! certificate has since expired or been revoked. Towards an origin with an `https://` target:
//! ordinary server authentication by DNS name with TLS 1.2 or 1.3.
//!
//! In TLS 1.3 a client has finished its handshake before the server has looked at its
//! certificate. Its refusal arrives as an alert on the first read; [`explain`] says what it means.

mod explain;
mod origin;
mod peer;

use std::path::Path;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider, kx_group};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, VerifierBuilderError};
use rustls::sign::SingleCertAndKey;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ServerConfig};
use rustls_pki_types::{ServerName, UnixTime};
use time::OffsetDateTime;

pub use explain::{explain, explain_alert, explain_origin, explain_refusal};
pub use origin::{OriginTrust, OriginTrustError};
pub use peer::PeerError;

use crate::identity::{Role, RoleKind};
use crate::material::Material;
use peer::{ClientVerifier, EdgeVerifier, PeerPolicy};

/// What an edge uses on its tunnel listener: it accepts clients of its own trust domain.
/// `alpn` lists the protocols that it speaks, the preferred one first.
///
/// # Errors
/// If the identity's authorities cannot be used to verify peers.
pub fn edge_server(material: &Material, alpn: &[&[u8]]) -> Result<Arc<ServerConfig>, TlsError> {
    let verifier = client_verifier(material, RoleKind::Client)?;
    let mut config = ServerConfig::builder_with_provider(tunnel_provider())
        .with_protocol_versions(&[&TLS13])
        .expect("the tunnel's provider has cipher suites for TLS 1.3")
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(
            material.certified_key().clone(),
        )));
    config.alpn_protocols = owned(alpn);
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(Arc::new(config))
}

/// What a client uses to dial an edge: it accepts edges of its own trust domain, under whatever
/// name or address they were dialled. `alpn` lists the protocols that it offers, the preferred one
/// first.
#[must_use]
pub fn client(material: &Material, alpn: &[&[u8]]) -> Arc<ClientConfig> {
    let mut config = ClientConfig::builder_with_provider(tunnel_provider())
        .with_protocol_versions(&[&TLS13])
        .expect("the tunnel's provider has cipher suites for TLS 1.3")
        .dangerous() // Edges are known by their URI, not by a DNS name: see EdgeVerifier.
        .with_custom_certificate_verifier(Arc::new(edge_verifier(material)))
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(
            material.certified_key().clone(),
        )));
    config.alpn_protocols = owned(alpn);
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    Arc::new(config)
}

/// What a client or an edge uses to reach an origin with an `https://` target: the origin's
/// certificate must be issued for its DNS name or address by an authority in `trust`.
#[must_use]
pub fn origin(trust: OriginTrust, alpn: &[&[u8]]) -> Arc<ClientConfig> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .expect("the default provider has cipher suites for TLS 1.2 and 1.3")
        .with_root_certificates(trust.into_roots())
        .with_no_client_auth();
    config.alpn_protocols = owned(alpn);
    Arc::new(config)
}

/// The same, for a target whose authorities are in the file `ca`, or else are the system's.
///
/// # Errors
/// What is wrong with the authorities.
pub fn origin_for(ca: Option<&Path>, h2: bool) -> Result<Arc<ClientConfig>, OriginTrustError> {
    let trust = match ca {
        Some(file) => OriginTrust::from_file(file)?,
        None => OriginTrust::system()?,
    };
    let alpn: &[u8] = if h2 { b"h2" } else { b"http/1.1" };
    Ok(origin(trust, &[alpn]))
}

/// Why a configuration cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The authorities are of no use.
    #[error("peers cannot be verified with the authorities in ca.pem: {0}")]
    Verifier(#[from] VerifierBuilderError),
}

/// Whether a peer with the same authorities would accept this chain at `now`, as what it is used
/// for.
pub(crate) fn check_own_chain(
    material: &Material,
    now: OffsetDateTime,
) -> Result<(), rustls::Error> {
    let seconds = u64::try_from(now.unix_timestamp()).unwrap_or_default();
    let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
    let (certificate, intermediates) = material
        .chain()
        .split_first()
        .expect("material has a certificate");
    match material.identity().role {
        Role::Edge(_) => {
            let dialled = ServerName::IpAddress(std::net::Ipv4Addr::LOCALHOST.into());
            edge_verifier(material)
                .verify_server_cert(certificate, intermediates, &dialled, &[], now)
                .map(|_| ())
        }
        Role::Client(_) | Role::Service(_) => {
            client_verifier(material, material.identity().role.kind())
                .map_err(|error| rustls::Error::General(error.to_string()))?
                .verify_client_cert(certificate, intermediates, now)
                .map(|_| ())
        }
    }
}

fn client_verifier(
    material: &Material,
    role: RoleKind,
) -> Result<Arc<ClientVerifier>, VerifierBuilderError> {
    let policy = PeerPolicy {
        trust_domain: material.identity().trust_domain.clone(),
        role,
    };
    let roots = material.roots().clone();
    Ok(Arc::new(ClientVerifier::new(
        roots,
        tunnel_provider(),
        policy,
    )?))
}

fn edge_verifier(material: &Material) -> EdgeVerifier {
    let trust_domain = material.identity().trust_domain.clone();
    EdgeVerifier {
        roots: material.roots().clone(),
        algorithms: tunnel_provider().signature_verification_algorithms,
        policy: PeerPolicy {
            trust_domain,
            role: RoleKind::Edge,
        },
    }
}

/// AES-128-GCM comes first because QUIC's initial packets need it anyway and it is the fastest.
fn tunnel_provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        cipher_suites: vec![
            cipher_suite::TLS13_AES_128_GCM_SHA256,
            cipher_suite::TLS13_AES_256_GCM_SHA384,
            cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        ],
        kx_groups: vec![
            kx_group::X25519MLKEM768,
            kx_group::X25519,
            kx_group::SECP256R1,
        ],
        ..default_provider()
    })
}

fn owned(alpn: &[&[u8]]) -> Vec<Vec<u8>> {
    alpn.iter().map(|protocol| protocol.to_vec()).collect()
}
