//! Who may be at the other end of a tunnel.
//!
//! A peer is accepted if its chain leads to one of our authorities, is valid now and meant for
//! this use, *and* its URI names the expected role in our own trust domain. DNS names play no part.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, VerifierBuilderError, WebPkiClientVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, OtherError, RootCertStore,
    SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::identity::{Identity, IdentityError, RoleKind};
use crate::name::TrustDomain;

/// Why a peer with a certificate from one of our authorities is refused nevertheless. The peer
/// sees the alert `certificate_unknown`, which nothing else causes in practice.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// The certificate is nobody's identity.
    #[error(transparent)]
    Nobody(#[from] IdentityError),
    /// It is somebody of another trust domain.
    #[error("it belongs to {found}, but this side is of the trust domain {expected}")]
    TrustDomain {
        /// Our own trust domain.
        expected: TrustDomain,
        /// The peer.
        found: Identity,
    },
    /// It is somebody who has no business here.
    #[error("it belongs to {found}, but only the certificate of {} is accepted here", a(*expected))]
    Role {
        /// Who is accepted.
        expected: RoleKind,
        /// The peer.
        found: Identity,
    },
}

/// Whom one side expects at the other.
#[derive(Debug, Clone)]
pub(super) struct PeerPolicy {
    pub(super) trust_domain: TrustDomain,
    pub(super) role: RoleKind,
}

impl PeerPolicy {
    fn admit(&self, certificate: &CertificateDer<'_>) -> Result<(), PeerError> {
        let found = Identity::from_certificate(certificate)?;
        if found.trust_domain != self.trust_domain {
            return Err(PeerError::TrustDomain {
                expected: self.trust_domain.clone(),
                found,
            });
        }
        if found.role.kind() != self.role {
            return Err(PeerError::Role {
                expected: self.role,
                found,
            });
        }
        Ok(())
    }
}

impl From<PeerError> for rustls::Error {
    fn from(error: PeerError) -> Self {
        Self::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(error))))
    }
}

/// How an edge verifies who dials it.
pub(super) struct ClientVerifier {
    chain: Arc<dyn ClientCertVerifier>,
    policy: PeerPolicy,
}

impl ClientVerifier {
    pub(super) fn new(
        roots: Arc<RootCertStore>,
        provider: Arc<CryptoProvider>,
        policy: PeerPolicy,
    ) -> Result<Self, VerifierBuilderError> {
        let chain = WebPkiClientVerifier::builder_with_provider(roots, provider).build()?;
        Ok(Self { chain, policy })
    }
}

impl ClientCertVerifier for ClientVerifier {
    /// None: a client has one certificate to show, and strangers need not learn who our
    /// authorities are.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self
            .chain
            .verify_client_cert(certificate, intermediates, now)?;
        self.policy.admit(certificate)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

impl fmt::Debug for ClientVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientVerifier")
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

/// How a client verifies the edge that it dialled.
pub(super) struct EdgeVerifier {
    pub(super) roots: Arc<RootCertStore>,
    pub(super) algorithms: WebPkiSupportedAlgorithms,
    pub(super) policy: PeerPolicy,
}

impl ServerCertVerifier for EdgeVerifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _dialled: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        verify_server_cert_signed_by_trust_anchor(
            &ParsedCertificate::try_from(certificate)?,
            &self.roots,
            intermediates,
            now,
            self.algorithms.all,
        )?;
        self.policy.admit(certificate)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl fmt::Debug for EdgeVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EdgeVerifier")
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

fn a(role: RoleKind) -> &'static str {
    match role {
        RoleKind::Client => "a client",
        RoleKind::Edge => "an edge",
        RoleKind::Service => "a service",
    }
}
