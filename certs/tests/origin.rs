//! Origins with an `https://` target: ordinary server authentication.

#![allow(
    clippy::unwrap_used,
    reason = "a test states its expectation by unwrapping"
)]

mod support;

use std::fs;
use std::sync::Arc;

use certs::tls::{self, OriginTrust, OriginTrustError};
use rustls::version::{TLS12, TLS13};
use rustls::{CertificateError, Error, ProtocolVersion, ServerConfig, SupportedProtocolVersion};
use rustls_pki_types::PrivateKeyDer;
use support::*;

#[test]
fn origins_are_known_by_their_name_or_address() {
    let (anything, trust) = anything();
    for (version, expected) in [
        (&TLS12, ProtocolVersion::TLSv1_2),
        (&TLS13, ProtocolVersion::TLSv1_3),
    ] {
        let server = origin(
            &anything,
            rcgen::SanType::IpAddress([203, 0, 113, 7].into()),
            version,
        );
        let (client, _) = handshake(tls::origin(trust.clone(), &[b"h2"]), server).unwrap();
        assert_eq!(client.protocol_version(), Some(expected));
        assert_eq!(client.alpn_protocol(), Some(&b"h2"[..]));
    }
}

#[test]
fn an_origin_with_another_name_is_refused() {
    let (anything, trust) = anything();
    let name = rcgen::SanType::DnsName("db.internal".try_into().unwrap());
    let server = origin(&anything, name, &TLS13);
    let (error, _) = handshake(tls::origin(trust, &[b"h2"]), server).refused_by_client();
    let sentence = tls::explain_origin(&error);
    assert!(
        sentence.contains("another name") && sentence.contains("db.internal"),
        "{sentence}"
    );
}

#[test]
fn an_origin_of_an_unknown_authority_is_refused() {
    let (anything, _) = anything();
    let server = origin(
        &anything,
        rcgen::SanType::IpAddress([203, 0, 113, 7].into()),
        &TLS13,
    );
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ca.pem");
    fs::write(&path, Anything::new().root_pem()).unwrap();
    let trust = OriginTrust::from_file(&path).unwrap();
    let (error, _) = handshake(tls::origin(trust, &[b"h2"]), server).refused_by_client();
    assert!(matches!(
        error,
        Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature)
    ));
}

#[test]
fn a_bundle_that_is_missing_or_empty_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ca.pem");
    let error = OriginTrust::from_file(&path).unwrap_err();
    assert!(matches!(error, OriginTrustError::File(_)), "{error}");
    assert!(error.to_string().contains("ca.pem"), "{error}");
    fs::write(&path, "").unwrap();
    assert!(
        OriginTrust::from_file(&path)
            .unwrap_err()
            .to_string()
            .contains("no certificate")
    );
}

fn anything() -> (Anything, OriginTrust) {
    let anything = Anything::new();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ca.pem");
    fs::write(&path, anything.root_pem()).unwrap();
    let trust = OriginTrust::from_file(&path).unwrap();
    (anything, trust)
}

fn origin(
    anything: &Anything,
    name: rcgen::SanType,
    version: &'static SupportedProtocolVersion,
) -> Arc<ServerConfig> {
    let (certificate, key) = anything.sign(&[name], |_| {});
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Arc::new(config)
}
