//! What is written can be read again; what does not fit together is refused, and says why.

#![allow(
    clippy::unwrap_used,
    reason = "a test states its expectation by unwrapping"
)]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration as Length;

use certs::authority::{AUTHORITY_LIFE, ISSUED_LIFE};
use certs::{Authority, AuthorityError, CertificateInfo, CertsError, FileError, Overwrite};
use rustls_pki_types::CertificateDer;
use support::*;
use tempfile::TempDir;
use time::{Duration, OffsetDateTime};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::FromDer;

#[test]
fn an_issued_identity_is_read_back() {
    let dir = TempDir::new().unwrap();
    let issued = issue(&authority(), client_role());
    issued.write(dir.path(), Overwrite::Refuse).unwrap();
    let material = certs::load(dir.path()).unwrap();
    assert_eq!(material.identity(), issued.identity());
    assert_eq!(material.chain(), [issued.certificate().clone()]);
    assert_eq!(mode(&dir.path().join("key.pem")), 0o600);
    let debug = format!("{material:?}");
    assert!(!debug.contains("key"), "{debug}");
}

#[test]
fn an_authority_is_read_back_and_issues_for_its_own() {
    let dir = TempDir::new().unwrap();
    let made = create(dir.path(), Overwrite::Refuse).unwrap();
    let read = Authority::load(dir.path()).unwrap();
    assert_eq!(read.trust_domain(), made.trust_domain());
    assert_eq!(read.certificate(), made.certificate());
    assert_eq!(mode(&dir.path().join("ca-key.pem")), 0o600);
    let (client, edge) = (material(&read, client_role()), material(&made, edge_role()));
    handshake(client_config(&client), server_config(&edge)).unwrap();
}

#[test]
fn nothing_is_overwritten_unless_asked() {
    let dir = TempDir::new().unwrap();
    let first = create(dir.path(), Overwrite::Refuse).unwrap();
    let error = create(dir.path(), Overwrite::Refuse).unwrap_err();
    assert!(
        matches!(error, AuthorityError::File(FileError::Exists { .. })),
        "{error}"
    );
    assert_eq!(
        Authority::load(dir.path()).unwrap().certificate(),
        first.certificate()
    );
    let second = create(dir.path(), Overwrite::Replace).unwrap();
    assert_eq!(
        Authority::load(dir.path()).unwrap().certificate(),
        second.certificate()
    );

    let dir = TempDir::new().unwrap();
    issue(&first, client_role())
        .write(dir.path(), Overwrite::Refuse)
        .unwrap();
    let next = issue(&second, client_role());
    assert!(matches!(
        next.write(dir.path(), Overwrite::Refuse),
        Err(FileError::Exists { .. })
    ));
    next.write(dir.path(), Overwrite::Replace).unwrap();
    assert_eq!(
        certs::load(dir.path()).unwrap().chain()[0],
        *next.certificate()
    );
}

#[test]
fn a_missing_file_is_named() {
    for name in ["key.pem", "cert.pem", "ca.pem"] {
        let dir = identity();
        fs::remove_file(dir.path().join(name)).unwrap();
        let error = certs::load(dir.path()).unwrap_err();
        assert!(matches!(error, CertsError::Missing { .. }));
        assert!(error.to_string().contains(name), "{error}");
    }
    let error = Authority::load(TempDir::new().unwrap().path()).unwrap_err();
    assert!(error.to_string().contains("causeway certs init"), "{error}");
}

#[test]
fn a_key_that_others_can_read_is_refused() {
    let dir = identity();
    let key = dir.path().join("key.pem");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let error = certs::load(dir.path()).unwrap_err().to_string();
    assert!(
        error.contains("mode 0644") && error.contains("chmod 600"),
        "{error}"
    );

    let dir = TempDir::new().unwrap();
    create(dir.path(), Overwrite::Refuse).unwrap();
    let key = dir.path().join("ca-key.pem");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    let error = Authority::load(dir.path()).unwrap_err().to_string();
    assert!(
        error.contains("mode 0640") && error.contains("chmod 600"),
        "{error}"
    );
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let (dir, other) = (identity(), identity());
    fs::copy(other.path().join("key.pem"), dir.path().join("key.pem")).unwrap();
    assert!(matches!(
        certs::load(dir.path()),
        Err(CertsError::KeyMismatch { .. })
    ));

    let (dir, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    create(dir.path(), Overwrite::Refuse).unwrap();
    create(other.path(), Overwrite::Refuse).unwrap();
    fs::copy(
        other.path().join("ca-key.pem"),
        dir.path().join("ca-key.pem"),
    )
    .unwrap();
    let error = Authority::load(dir.path()).unwrap_err();
    assert!(
        matches!(error, AuthorityError::KeyMismatch { .. }),
        "{error}"
    );
}

#[test]
fn a_certificate_of_another_authority_is_refused() {
    for role in [client_role(), edge_role(), service_role()] {
        let (dir, other) = (TempDir::new().unwrap(), identity());
        issue(&authority(), role)
            .write(dir.path(), Overwrite::Refuse)
            .unwrap();
        fs::copy(other.path().join("ca.pem"), dir.path().join("ca.pem")).unwrap();
        let error = certs::load(dir.path()).unwrap_err();
        assert!(matches!(error, CertsError::Untrusted { .. }), "{error}");
    }
}

#[test]
fn certificates_out_of_their_time_are_refused_with_the_dates() {
    let authority = authority();
    let load = |from, until| {
        let dir = TempDir::new().unwrap();
        let issued = authority
            .issue_for(client_role(), validity(from, until))
            .unwrap();
        issued.write(dir.path(), Overwrite::Refuse).unwrap();
        certs::load(dir.path()).unwrap_err()
    };
    let error = load(Duration::hours(-9), Duration::hours(-2));
    assert!(matches!(error, CertsError::Expired { .. }));
    let date = certs::validity::rfc3339(OffsetDateTime::now_utc() - Duration::hours(2));
    assert!(error.to_string().contains(&date[..13]), "{error}");
    assert!(error.to_string().contains("2h ago"), "{error}");
    let error = load(Duration::days(2), Duration::days(3));
    assert!(matches!(error, CertsError::NotYetValid { .. }));
    assert!(error.to_string().contains("1d 23h from now"), "{error}");
}

#[test]
fn files_in_the_wrong_place_are_refused() {
    let dir = identity();
    let path = |name| dir.path().join(name);
    fs::copy(path("ca.pem"), path("cert.pem")).unwrap();
    assert!(matches!(
        certs::load(dir.path()),
        Err(CertsError::Nobody { .. })
    ));
    fs::copy(path("key.pem"), path("cert.pem")).unwrap();
    let error = certs::load(dir.path()).unwrap_err();
    assert!(
        matches!(error, CertsError::File(FileError::NoCertificate { .. })),
        "{error}"
    );

    let dir = TempDir::new().unwrap();
    create(dir.path(), Overwrite::Refuse).unwrap();
    fs::copy(
        identity().path().join("cert.pem"),
        dir.path().join("ca.pem"),
    )
    .unwrap();
    let error = Authority::load(dir.path()).unwrap_err();
    assert!(
        matches!(error, AuthorityError::NotAnAuthority { .. }),
        "{error}"
    );
}

#[test]
fn certificates_say_what_they_should() {
    let authority = authority();
    let root = parse(authority.certificate());
    let constraints = root.basic_constraints().unwrap().unwrap();
    assert!(constraints.critical && constraints.value.ca);
    assert_eq!(constraints.value.path_len_constraint, Some(0));
    let usage = root.key_usage().unwrap().unwrap().value;
    assert!(usage.key_cert_sign() && usage.crl_sign() && !usage.digital_signature());
    assert!(has_key_ids(&root));

    for (role, serves) in [
        (client_role(), false),
        (service_role(), false),
        (edge_role(), true),
    ] {
        let issued = issue(&authority, role);
        let certificate = parse(issued.certificate());
        let usage = certificate.extended_key_usage().unwrap().unwrap().value;
        assert!(usage.client_auth);
        assert_eq!(usage.server_auth, serves);
        assert!(!usage.any && !certificate.is_ca());
        assert!(
            certificate
                .key_usage()
                .unwrap()
                .unwrap()
                .value
                .digital_signature()
        );
        assert!(certificate.subject().iter().next().is_none());
        assert!(
            certificate
                .subject_alternative_name()
                .unwrap()
                .unwrap()
                .critical
        );
        assert!(has_key_ids(&certificate));
        assert_eq!(certificate.issuer(), root.subject());
        certificate
            .verify_signature(Some(root.public_key()))
            .unwrap();
    }
}

#[test]
fn serials_are_sixteen_positive_bytes_and_never_the_same() {
    let authority = authority();
    let serials: Vec<_> = (0..20)
        .map(|_| CertificateInfo::read(issue(&authority, client_role()).certificate()).unwrap())
        .map(|info| info.serial)
        .collect();
    for (n, serial) in serials.iter().enumerate() {
        assert_eq!(serial.as_bytes().len(), 16);
        assert!(serial.as_bytes()[0] < 0x80);
        assert!(!serials[..n].contains(serial));
    }
}

#[test]
fn certificates_live_as_long_as_asked_and_no_longer_than_their_authority() {
    let now = OffsetDateTime::now_utc();
    let near = |moment: OffsetDateTime, expected: OffsetDateTime| {
        assert!(
            (moment - expected).abs() < Duration::minutes(1),
            "{moment} {expected}"
        );
    };
    let authority = authority();
    near(authority.validity().not_after, now + AUTHORITY_LIFE);
    let material = authority
        .issue(client_role(), ISSUED_LIFE)
        .unwrap()
        .material()
        .unwrap();
    near(material.not_before(), now - Duration::minutes(5));
    near(material.not_after(), now + Duration::days(90));
    assert!(material.remaining(now) > Length::from_secs(89 * 86_400));
    assert_eq!(material.remaining(now + Duration::days(91)), Length::ZERO);

    let dir = TempDir::new().unwrap();
    let hour = Length::from_secs(3_600);
    let domain = "causeway.internal".parse().unwrap();
    let short = Authority::create(dir.path(), domain, hour, Overwrite::Refuse).unwrap();
    let material = short
        .issue(client_role(), ISSUED_LIFE)
        .unwrap()
        .material()
        .unwrap();
    near(material.not_after(), now + Duration::hours(1));
}

#[test]
fn an_expired_authority_does_not_issue() {
    let dir = TempDir::new().unwrap();
    let domain = "causeway.internal".parse().unwrap();
    let gone = Authority::create(dir.path(), domain, Length::ZERO, Overwrite::Refuse).unwrap();
    let error = gone.issue(client_role(), ISSUED_LIFE).unwrap_err();
    assert!(
        matches!(error, AuthorityError::NotValidNow { .. }),
        "{error}"
    );
}

fn identity() -> TempDir {
    let dir = TempDir::new().unwrap();
    issue(&authority(), client_role())
        .write(dir.path(), Overwrite::Refuse)
        .unwrap();
    dir
}

fn create(dir: &Path, overwrite: Overwrite) -> Result<Authority, AuthorityError> {
    Authority::create(
        dir,
        "causeway.internal".parse().unwrap(),
        AUTHORITY_LIFE,
        overwrite,
    )
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn parse<'a>(certificate: &'a CertificateDer<'_>) -> X509Certificate<'a> {
    X509Certificate::from_der(certificate.as_ref()).unwrap().1
}

fn has_key_ids(certificate: &X509Certificate<'_>) -> bool {
    let has = |is: fn(&ParsedExtension<'_>) -> bool| {
        certificate
            .extensions()
            .iter()
            .any(|extension| is(extension.parsed_extension()))
    };
    has(|extension| matches!(extension, ParsedExtension::SubjectKeyIdentifier(_)))
        && has(|extension| matches!(extension, ParsedExtension::AuthorityKeyIdentifier(_)))
}
