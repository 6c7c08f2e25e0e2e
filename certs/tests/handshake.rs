//! Who is let in and who is not, by real handshakes between both ends' configurations.

#![allow(
    clippy::unwrap_used,
    reason = "a test states its expectation by unwrapping"
)]

mod support;

use std::sync::Arc;

use certs::tls::{self, PeerError};
use certs::{Authority, Identity, IdentityError, Material, RoleKind};
use rcgen::CustomExtension;
use rustls::client::WebPkiServerVerifier;
use rustls::{CertificateError, ClientConfig, Error, NamedGroup, OtherError, ProtocolVersion};
use rustls::{CipherSuite, HandshakeKind};
use support::*;
use time::Duration;

#[test]
fn client_and_edge_of_one_authority_meet() {
    let authority = authority();
    let (edge, client) = (
        material(&authority, edge_role()),
        material(&authority, client_role()),
    );
    let (at_client, at_edge) = handshake(client_config(&client), server_config(&edge)).unwrap();

    assert!(!at_client.is_handshaking() && !at_edge.is_handshaking());
    assert_eq!(at_client.protocol_version(), Some(ProtocolVersion::TLSv1_3));
    let group = at_client.negotiated_key_exchange_group().unwrap();
    assert_eq!(group.name(), NamedGroup::X25519MLKEM768);
    let suite = at_client.negotiated_cipher_suite().unwrap();
    assert_eq!(suite.suite(), CipherSuite::TLS13_AES_128_GCM_SHA256);
    assert_eq!(at_client.alpn_protocol(), Some(ALPN[0]));

    let seen_by_edge = Identity::from_certificate(&at_edge.peer_certificates().unwrap()[0]);
    let seen_by_client = Identity::from_certificate(&at_client.peer_certificates().unwrap()[0]);
    assert_eq!(&seen_by_edge.unwrap(), client.identity());
    assert_eq!(&seen_by_client.unwrap(), edge.identity());
}

#[test]
fn nothing_is_resumed() {
    let authority = authority();
    let edge = server_config(&material(&authority, edge_role()));
    let client = client_config(&material(&authority, client_role()));
    for _ in 0..3 {
        let (at_client, at_edge) = handshake(client.clone(), edge.clone()).unwrap();
        assert_eq!(at_client.tls13_tickets_received(), 0);
        assert_eq!(at_client.handshake_kind(), Some(HandshakeKind::Full));
        assert_eq!(at_edge.handshake_kind(), Some(HandshakeKind::Full));
    }
}

#[test]
fn a_client_presented_as_an_edge_is_refused() {
    // Signed for both uses, so that the role alone decides.
    let (trusting_edge, trusting_client, anything) = trusting_anything();
    let (certificate, key) = anything.sign(
        &[uri("spiffe://causeway.internal/tenant/acme/cluster/prod-1")],
        |_| {},
    );
    let mut server = (*server_config(&trusting_edge)).clone();
    let shown = showing(&client_config(&trusting_client), certificate, &key);
    server.cert_resolver = Arc::new(Shown(shown));

    let outcome = handshake(client_config(&trusting_client), Arc::new(server));
    let (error, heard) = outcome.refused_by_client();
    assert!(matches!(
        refusal(&error),
        PeerError::Role {
            expected: RoleKind::Edge,
            ..
        }
    ));
    let sentence = tls::explain(&error);
    assert!(
        sentence.contains("tenant/acme/cluster/prod-1"),
        "{sentence}"
    );
    assert!(
        sentence.contains("only the certificate of an edge"),
        "{sentence}"
    );
    assert!(
        heard.contains("refuses whom our certificate speaks for"),
        "{heard}"
    );
}

#[test]
fn an_issued_client_certificate_cannot_serve() {
    let authority = authority();
    let pretender = material(&authority, client_role());
    let outcome = handshake(
        client_config(&material(&authority, client_role())),
        server_config(&pretender),
    );
    let (error, heard) = outcome.refused_by_client();
    assert!(
        matches!(
            &error,
            Error::InvalidCertificate(CertificateError::InvalidPurposeContext { .. })
        ),
        "{error:?}"
    );
    assert!(
        tls::explain(&error).contains("certs issue edge"),
        "{}",
        tls::explain(&error)
    );
    assert!(heard.contains("not meant for this use"), "{heard}");
}

#[test]
fn an_edge_or_a_service_presented_as_a_client_is_refused() {
    let authority = authority();
    let edge = material(&authority, edge_role());
    for role in [edge_role(), service_role()] {
        let dialler = material(&authority, role);
        let outcome = handshake(client_config(&dialler), server_config(&edge));
        let (error, heard) = outcome.refused_by_edge();
        assert!(matches!(
            refusal(&error),
            PeerError::Role {
                expected: RoleKind::Client,
                ..
            }
        ));
        assert!(tls::explain(&error).contains(&dialler.identity().to_string()));
        assert!(
            heard.contains("refuses whom our certificate speaks for"),
            "{heard}"
        );
    }
}

#[test]
fn a_foreign_authority_is_refused_on_both_sides() {
    let (ours, foreign) = (authority(), authority());
    let outcome = handshake(
        client_config(&material(&ours, client_role())),
        server_config(&material(&foreign, edge_role())),
    );
    let (error, heard) = outcome.refused_by_client();
    assert_eq!(
        error,
        Error::InvalidCertificate(CertificateError::UnknownIssuer)
    );
    assert!(tls::explain(&error).contains("ca.pem"));
    assert!(heard.contains("does not know the authority"), "{heard}");

    let edge = material(&ours, edge_role());
    let trusting = client_config(&material(&ours, client_role()));
    let stranger = issue(&foreign, client_role()).material().unwrap();
    let mut config = (*trusting).clone();
    config.client_auth_cert_resolver = client_config(&stranger).client_auth_cert_resolver.clone();
    let (error, heard) = handshake(Arc::new(config), server_config(&edge)).refused_by_edge();
    assert_eq!(
        error,
        Error::InvalidCertificate(CertificateError::UnknownIssuer)
    );
    assert!(heard.contains("does not know the authority"), "{heard}");
}

#[test]
fn another_trust_domain_under_the_same_authority_is_refused() {
    let (edge, client, anything) = trusting_anything();
    let (certificate, key) = anything.sign(
        &[uri(
            "spiffe://elsewhere.internal/tenant/acme/cluster/prod-1",
        )],
        |_| {},
    );
    let dialler = showing(&client_config(&client), certificate, &key);
    let (error, _) = handshake(dialler, server_config(&edge)).refused_by_edge();
    assert!(matches!(refusal(&error), PeerError::TrustDomain { .. }));
    assert!(tls::explain(&error).contains("elsewhere.internal"));
}

#[test]
fn expired_and_future_certificates_are_refused_with_their_dates() {
    let authority = authority();
    let edge = material(&authority, edge_role());
    let cases = [
        (
            validity(Duration::hours(-2), Duration::hours(-1)),
            "expired at",
            "1h ago",
        ),
        (
            validity(Duration::hours(3), Duration::hours(9)),
            "is not valid before",
            "from now",
        ),
    ];
    for (validity, what, when) in cases {
        let client = authority
            .issue_for(client_role(), validity)
            .unwrap()
            .material()
            .unwrap();
        let (error, heard) =
            handshake(client_config(&client), server_config(&edge)).refused_by_edge();
        let sentence = tls::explain(&error);
        assert!(
            sentence.contains(what) && sentence.contains(when),
            "{sentence}"
        );
        assert!(heard.contains("expired or is not valid yet"), "{heard}");

        let late_edge = authority
            .issue_for(edge_role(), validity)
            .unwrap()
            .material()
            .unwrap();
        let client = material(&authority, client_role());
        let (error, _) =
            handshake(client_config(&client), server_config(&late_edge)).refused_by_client();
        assert!(tls::explain(&error).contains(what));
    }
}

#[test]
fn certificates_without_exactly_one_good_uri_are_refused() {
    let (edge, client, anything) = trusting_anything();
    let good = "spiffe://causeway.internal/tenant/acme/cluster/prod-1";
    let other = "spiffe://causeway.internal/tenant/evil/cluster/prod-1";
    let dns = rcgen::SanType::DnsName("prod-1.acme".try_into().unwrap());
    let cases = [
        (vec![uri(good), uri(other)], "2 URIs"),
        (vec![uri(good), uri(good)], "2 URIs"),
        (vec![uri(good), uri("https://example.com/")], "2 URIs"),
        (vec![], "no URI"),
        (vec![dns], "no URI"),
        (
            vec![uri("https://causeway.internal/tenant/acme/cluster/prod-1")],
            "not a spiffe:// URI",
        ),
        (
            vec![uri("spiffe://causeway.internal/tenant/acme")],
            "names no role",
        ),
        (
            vec![uri("spiffe://causeway.internal/tenant/Acme/cluster/prod-1")],
            "not a valid name",
        ),
    ];
    for (names, expected) in cases {
        let (certificate, key) = anything.sign(&names, |_| {});
        let dialler = showing(&client_config(&client), certificate, &key);
        let (error, heard) = handshake(dialler, server_config(&edge)).refused_by_edge();
        let sentence = tls::explain(&error);
        assert!(
            matches!(refusal(&error), PeerError::Nobody(_)),
            "{names:?}: {error:?}"
        );
        assert!(sentence.contains(expected), "{names:?}: {sentence}");
        assert!(heard.contains("exactly one URI"), "{heard}");
    }
}

#[test]
fn alternative_names_that_can_be_read_in_two_ways_are_refused() {
    let good = uri("spiffe://causeway.internal/tenant/acme/cluster/prod-1");
    let read = |names: &[rcgen::SanType], more: &[u8]| {
        let subject_alt_name = CustomExtension::from_oid_content(&[2, 5, 29, 17], more.to_vec());
        let (certificate, _) = Anything::new().sign(names, |params| {
            params.custom_extensions = vec![subject_alt_name]
        });
        Identity::from_certificate(&certificate).unwrap_err()
    };
    let second_uri = [0x30, 0x05, 0x86, 0x03, b'a', b':', b'b'];
    let not_even_text = [0x30, 0x03, 0x86, 0x01, 0xff];
    assert_eq!(
        read(std::slice::from_ref(&good), &second_uri),
        IdentityError::SeveralUris(2)
    );
    assert_eq!(read(&[good], &not_even_text), IdentityError::MalformedNames);
    assert_eq!(read(&[], &not_even_text), IdentityError::MalformedNames);
    assert_eq!(read(&[], &[0x04, 0x00]), IdentityError::MalformedNames);
}

#[test]
fn a_certificate_that_was_tampered_with_is_refused() {
    let authority = authority();
    let edge = material(&authority, edge_role());
    let client = material(&authority, client_role());
    let mut altered = client.chain()[0].to_vec();
    let at = altered
        .windows(4)
        .position(|bytes| bytes == b"acme")
        .unwrap();
    altered[at..at + 4].copy_from_slice(b"evil");
    let mut config = (*client_config(&client)).clone();
    let certified =
        rustls::sign::CertifiedKey::new(vec![altered.into()], client.certified_key().key.clone());
    config.client_auth_cert_resolver = Arc::new(rustls::sign::SingleCertAndKey::from(certified));
    let (error, _) = handshake(Arc::new(config), server_config(&edge)).refused_by_edge();
    assert_eq!(
        error,
        Error::InvalidCertificate(CertificateError::BadSignature)
    );
    assert!(tls::explain(&error).contains("altered or forged"));
}

#[test]
fn a_certificate_shown_without_its_key_is_refused() {
    let authority = authority();
    let edge = material(&authority, edge_role());
    let (client, thief) = (
        material(&authority, client_role()),
        material(&authority, client_role()),
    );
    let mut config = (*client_config(&thief)).clone();
    let stolen =
        rustls::sign::CertifiedKey::new(client.chain().to_vec(), thief.certified_key().key.clone());
    config.client_auth_cert_resolver = Arc::new(rustls::sign::SingleCertAndKey::from(stolen));
    let (error, _) = handshake(Arc::new(config), server_config(&edge)).refused_by_edge();
    assert_eq!(
        error,
        Error::InvalidCertificate(CertificateError::BadSignature)
    );
}

#[test]
fn a_dialler_without_a_certificate_is_refused() {
    let authority = authority();
    let edge = material(&authority, edge_role());
    let mut config = (*client_config(&material(&authority, client_role()))).clone();
    config.client_auth_cert_resolver = Arc::new(Nothing);
    let (error, heard) = handshake(Arc::new(config), server_config(&edge)).refused_by_edge();
    assert_eq!(error, Error::NoCertificatesPresented);
    assert!(tls::explain(&error).contains("showed no certificate"));
    assert!(heard.contains("demands a certificate"), "{heard}");
}

#[test]
fn tls_1_2_and_foreign_protocols_are_refused() {
    let authority = authority();
    let edge = server_config(&material(&authority, edge_role()));
    let client = material(&authority, client_role());

    let outcome = handshake(tls::client(&client, &[b"h3"]), edge.clone());
    assert_eq!(outcome.client.err(), Some(Error::AlertReceived(120.into())));
    let error = outcome.server.err().unwrap();
    assert_eq!(error, Error::NoApplicationProtocol);
    assert!(tls::explain(&error).contains("ALPN"));

    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier =
        WebPkiServerVerifier::builder_with_provider(client.roots().clone(), provider.clone());
    let old = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_webpki_verifier(verifier.build().unwrap())
        .with_no_client_auth();
    let (error, heard) = handshake(Arc::new(old), edge).refused_by_edge();
    assert!(matches!(error, Error::PeerIncompatible(_)), "{error:?}");
    assert!(tls::explain(&error).contains("TLS 1.3"));
    assert!(heard.contains("TLS alert 70"), "{heard}");
}

/// An edge and a client, both of `causeway.internal`, that also trust an authority which signs
/// anything.
fn trusting_anything() -> (Material, Material, Anything) {
    let (authority, anything) = (authority(), Anything::new());
    let edge = trusting(&authority, &anything, edge_role());
    let client = trusting(&authority, &anything, client_role());
    (edge, client, anything)
}

fn trusting(authority: &Authority, anything: &Anything, role: certs::Role) -> Material {
    let dir = tempfile::tempdir().unwrap();
    issue(authority, role)
        .write(dir.path(), certs::Overwrite::Refuse)
        .unwrap();
    let path = dir.path().join("ca.pem");
    let both = std::fs::read_to_string(&path).unwrap() + &anything.root_pem();
    std::fs::write(&path, both).unwrap();
    certs::load(dir.path()).unwrap()
}

fn refusal(error: &Error) -> &PeerError {
    let Error::InvalidCertificate(CertificateError::Other(OtherError(inner))) = error else {
        panic!("not our own refusal: {error:?}")
    };
    inner.downcast_ref().unwrap()
}
