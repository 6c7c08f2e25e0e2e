//! An authority's list of who is revoked, from its directory to the one that judges by it.

#![allow(
    clippy::unwrap_used,
    reason = "a test states its expectation by unwrapping"
)]

mod support;

use std::fs;
use std::sync::Arc;
use std::thread;

use certs::authority::{AUTHORITY_LIFE, NotIssuedHere};
use certs::files::{read_certificates, read_lists};
use certs::revocation::RevocationList;
use certs::{
    Authority, Chain, Issued, Overwrite, Reason, Revocations, RevocationsError, RevokeError, Role,
    Serial,
};
use rcgen::{
    CertificateParams, CrlDistributionPoint, CrlIssuingDistributionPoint, Issuer, KeyPair,
    SerialNumber,
};
use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::{CertificateDer, UnixTime};
use support::home::{Home, write_list};
use support::*;
use time::OffsetDateTime;

fn chain(issued: &Issued) -> Chain {
    Chain::of(std::slice::from_ref(issued.certificate()))
}

fn serial(number: u64) -> Serial {
    format!("{number:x}").parse().unwrap()
}

#[test]
fn who_is_on_the_list_is_revoked_and_nobody_else() {
    let home = Home::new();
    let (good, bad) = (home.client(), home.client());
    assert_eq!(home.load().unwrap(), Revocations::default());
    let number = home.authority.serial_of(bad.certificate()).unwrap();
    let reason = Some(Reason::KeyCompromise);
    let before = OffsetDateTime::now_utc() - time::Duration::SECOND;
    let added = home
        .authority
        .revoke(&home.ca(), std::slice::from_ref(&number), reason);
    assert_eq!(added.unwrap(), std::slice::from_ref(&number));
    home.publish();
    let revocations = home.load().unwrap();
    assert_eq!(revocations.of(&chain(&good)), None);
    let entry = revocations.of(&chain(&bad)).unwrap();
    assert_eq!((&entry.serial, entry.reason), (&number, reason));
    assert!(
        entry.at >= before && entry.at <= OffsetDateTime::now_utc(),
        "{entry}"
    );
    assert_eq!(revocations.len(), 1);
    // Also of whoever an authority in between has issued.
    let below = [good.certificate().clone(), bad.certificate().clone()];
    assert_eq!(revocations.of(&Chain::of(&below)), Some(entry));
    // Another authority may give out the same number.
    let (other, _) = Anything::new().sign(&[uri("spiffe://x/edge/a")], |params| {
        params.serial_number = Some(SerialNumber::from_slice(number.as_bytes()));
    });
    assert_eq!(revocations.of(&Chain::of(&[other])), None);
}

/// As others read it: the verifier of rustls finds the list good, and one of the two on it.
#[test]
fn other_software_reads_the_list_alike() {
    let home = Home::new();
    let (good, bad) = (home.client(), home.client());
    let number = home.authority.serial_of(bad.certificate()).unwrap();
    home.revoke(&[number]).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(home.authority.certificate().clone()).unwrap();
    let provider = Arc::new(default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .with_crls(read_lists(&home.ca().join("crl.pem")).unwrap())
        .enforce_revocation_expiration()
        .build()
        .unwrap();
    let verify =
        |issued: &Issued| verifier.verify_client_cert(issued.certificate(), &[], UnixTime::now());
    verify(&good).unwrap();
    let error = verify(&bad).unwrap_err();
    assert!(format!("{error:?}").contains("Revoked"), "{error:?}");
}

#[test]
fn revoking_again_changes_nothing() {
    let home = Home::new();
    home.revoke(&[serial(1), serial(1), serial(2)]).unwrap();
    let path = home.ca().join("crl.pem");
    let before = fs::read(&path).unwrap();
    assert_eq!(home.revoke(&[serial(2), serial(1)]).unwrap(), []);
    assert_eq!(fs::read(&path).unwrap(), before);
    assert_eq!(home.revoke(&[serial(2), serial(3)]).unwrap(), [serial(3)]);
    let list = RevocationList::read(&read_lists(&path).unwrap()[0]).unwrap();
    assert_eq!(list.number.as_ref().unwrap().to_string(), "2");
    let serials: Vec<_> = list.revoked().iter().map(|it| it.serial.clone()).collect();
    assert_eq!(serials, [serial(1), serial(2), serial(3)]);
    assert_eq!(list.next, Some(home.authority.validity().not_after));
}

/// Far more than anyone revokes by hand, in several goes.
#[test]
fn many_entries_stay_and_keep_what_they_say() {
    let home = Home::new();
    let first = home
        .authority
        .revoke(&home.ca(), &[serial(0)], Some(Reason::Superseded));
    first.unwrap();
    let mut next = 1;
    for count in [1, 300, 20_000] {
        let serials: Vec<_> = (next..next + count).map(serial).collect();
        assert_eq!(home.revoke(&serials).unwrap(), serials);
        next += count;
    }
    home.publish();
    let revocations = home.load().unwrap();
    let [list] = revocations.lists() else {
        panic!("one list: {}", revocations.lists().len())
    };
    assert_eq!(revocations.len() as u64, next);
    assert_eq!(list.number.as_ref().unwrap().to_string(), "4");
    assert!((0..next).all(|number| list.entry(&serial(number)).is_some()));
    assert_eq!(list.entry(&serial(next)), None);
    let superseded = list.entry(&serial(0)).unwrap();
    assert_eq!(superseded.reason, Some(Reason::Superseded));
}

#[test]
fn two_at_a_time_lose_nothing() {
    let home = Home::new();
    thread::scope(|scope| {
        for number in 1..=16 {
            let home = &home;
            scope.spawn(move || home.revoke(&[serial(number)]).unwrap());
        }
    });
    home.publish();
    let revocations = home.load().unwrap();
    assert_eq!(revocations.len(), 16);
    let number = revocations.lists()[0].number.clone();
    assert_eq!(number.unwrap().to_string(), "16");
}

#[test]
fn a_list_that_is_torn_is_refused_and_left_as_it_is() {
    let home = Home::new();
    home.revoke(&[serial(1)]).unwrap();
    let path = home.ca().join("crl.pem");
    let whole = fs::read_to_string(&path).unwrap();
    let lines = whole.lines().collect::<Vec<_>>();
    let torn = [
        String::new(),
        lines[..2].join("\n"),
        lines[..lines.len() - 1].join("\n"),
        whole.replace(lines[2], ""),
        whole.replacen(lines[1], &lines[1].replace('M', "N"), 1),
    ];
    for text in torn {
        for path in [&path, &home.state().join("crl.pem")] {
            fs::write(path, &text).unwrap();
        }
        let error = home.revoke(&[serial(2)]).unwrap_err().to_string();
        assert!(
            error.contains("ca/crl.pem") && error.contains("put "),
            "{error}"
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
        let error = home.load().unwrap_err().to_string();
        assert!(
            error.contains("edge/crl.pem") && error.contains("copy crl.pem"),
            "{error}"
        );
    }
}

#[test]
fn the_list_of_another_authority_is_refused() {
    let home = Home::new();
    let other = Home::new();
    other.revoke(&[serial(1)]).unwrap();
    for to in [home.ca(), home.state()] {
        fs::copy(other.ca().join("crl.pem"), to.join("crl.pem")).unwrap();
    }
    let error = home.revoke(&[serial(2)]).unwrap_err();
    assert!(matches!(error, RevokeError::Foreign { .. }), "{error}");
    let error = home.load().unwrap_err();
    assert!(matches!(error, RevocationsError::Foreign { .. }), "{error}");
    let text = error.to_string();
    assert!(
        text.contains("ca.pem") && text.contains("Causeway authority"),
        "{text}"
    );

    // Nor one in this authority's name by another key.
    let (ca, _) = home.edge.authorities().split_first().unwrap();
    let forged = Issuer::from_ca_cert_der(ca, KeyPair::generate().unwrap()).unwrap();
    write_list(&home, &forged, |_| {});
    let error = home.load().unwrap_err();
    assert!(matches!(error, RevocationsError::Foreign { .. }), "{error}");
}

/// RFC 5280, section 5.2: it would say that somebody is not revoked of whom it says nothing.
#[test]
fn a_part_of_a_list_is_refused() {
    let home = Home::new();
    let key = fs::read_to_string(home.ca().join("ca-key.pem")).unwrap();
    let ca = home.authority.certificate();
    let issuer = Issuer::from_ca_cert_der(ca, KeyPair::from_pem(&key).unwrap()).unwrap();
    write_list(&home, &issuer, |_| {});
    home.load().unwrap();
    write_list(&home, &issuer, |params| {
        params.issuing_distribution_point = Some(CrlIssuingDistributionPoint {
            distribution_point: CrlDistributionPoint {
                uris: vec!["http://example.com/part".to_owned()],
            },
            scope: None,
        });
    });
    let error = home.load().unwrap_err().to_string();
    assert!(error.contains("critical extension 2.5.29.28"), "{error}");
}

#[test]
fn only_what_this_authority_has_issued_is_its_to_revoke() {
    let home = Home::new();
    let own = home.client();
    assert!(home.authority.serial_of(own.certificate()).is_ok());
    let other = issue(&authority(), client_role());
    let refused = |certificate: &CertificateDer<'_>| {
        let refused = home.authority.serial_of(certificate);
        refused.expect_err("it is not its own")
    };
    assert!(matches!(
        refused(other.certificate()),
        NotIssuedHere::Another { .. }
    ));
    assert_eq!(
        refused(home.authority.certificate()),
        NotIssuedHere::Authority
    );
    // One that only says to be of this authority.
    let ca = home.authority.certificate();
    let forged = Issuer::from_ca_cert_der(ca, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let forged = CertificateParams::default().signed_by(&key, &forged);
    assert!(matches!(
        refused(forged.unwrap().der()),
        NotIssuedHere::Another { .. }
    ));
}

#[test]
fn what_was_revoked_stays_revoked_by_mistakes() {
    let home = Home::new();
    let list = home.state().join("crl.pem");
    let nothing = home.load().unwrap();
    assert_eq!(nothing.reread(&home.state(), &home.edge).unwrap(), None);
    home.revoke(&[serial(1)]).unwrap();
    let first = fs::read(home.ca().join("crl.pem")).unwrap();
    home.revoke(&[serial(2)]).unwrap();
    home.publish();
    let second = nothing.reread(&home.state(), &home.edge).unwrap().unwrap();
    assert_eq!(second.len(), 2);
    let again = second.reread(&home.state(), &home.edge).unwrap();
    assert_eq!(again.unwrap(), second);

    fs::write(&list, first).unwrap();
    let error = second.reread(&home.state(), &home.edge).unwrap_err();
    assert!(
        error.to_string().contains("number 1 after number 2"),
        "{error}"
    );
    fs::remove_file(&list).unwrap();
    let error = second.reread(&home.state(), &home.edge).unwrap_err();
    assert!(matches!(error, RevocationsError::Gone { .. }), "{error}");
}

/// An authority's directory may be restored from before, and revoke somebody else then.
#[test]
fn of_two_lists_with_one_number_the_first_stays() {
    let home = Home::new();
    let list = home.state().join("crl.pem");
    home.revoke(&[serial(1)]).unwrap();
    home.publish();
    let nothing = Revocations::default();
    let first = nothing.reread(&home.state(), &home.edge).unwrap().unwrap();
    fs::remove_file(home.ca().join("crl.pem")).unwrap();
    home.revoke(&[serial(2)]).unwrap();
    fs::copy(home.ca().join("crl.pem"), &list).unwrap();
    let error = first.reread(&home.state(), &home.edge).unwrap_err();
    assert!(
        matches!(error, RevocationsError::NotLater { .. }),
        "{error}"
    );
}

/// While one authority takes the place of another, both are trusted, and each has its list.
#[test]
fn each_authority_of_a_directory_has_its_own_list() {
    let (old, new) = (Home::new(), Home::new());
    let ca = |home: &Home| fs::read_to_string(home.ca().join("ca.pem")).unwrap();
    fs::write(old.state().join("ca.pem"), ca(&old) + &ca(&new)).unwrap();
    let edge = certs::load(&old.state()).unwrap();
    let (of_old, of_new) = (old.client(), new.client());
    for (home, client) in [(&old, &of_old), (&new, &of_new)] {
        let serial = home.authority.serial_of(client.certificate()).unwrap();
        home.revoke(&[serial]).unwrap();
    }
    let list = |home: &Home| fs::read_to_string(home.ca().join("crl.pem")).unwrap();
    let write = |text: String| fs::write(old.state().join("crl.pem"), text).unwrap();
    let load = || Revocations::load(&old.state(), &edge);
    write(list(&old) + &list(&new));
    let both = load().unwrap();
    for client in [&of_old, &of_new] {
        assert!(both.of(&chain(client)).is_some());
    }
    assert!(both.of(&chain(&old.client())).is_none());
    write(list(&new));
    assert!(load().unwrap().of(&chain(&of_old)).is_none());
    let error = both.reread(&old.state(), &edge).unwrap_err();
    assert!(
        matches!(error, RevocationsError::ListGone { .. }),
        "{error}"
    );
    write(list(&new) + &list(&new));
    let error = load().unwrap_err();
    assert!(matches!(error, RevocationsError::Twice { .. }), "{error}");
}

#[test]
fn a_new_identity_comes_with_the_list() {
    let home = Home::new();
    let write = |name: &str| {
        let list = home.authority.list(&home.ca()).unwrap();
        let dir = home.dir.path().join(name);
        let issued = issue(&home.authority, Role::Edge("eu-2".parse().unwrap()));
        issued
            .with_list(list)
            .write(&dir, Overwrite::Refuse)
            .unwrap();
        dir.join("crl.pem")
    };
    assert!(!write("before").exists());
    let old = home.dir.path().join("replaced");
    fs::create_dir(&old).unwrap();
    fs::write(old.join("crl.pem"), "of another authority").unwrap();
    let issued = issue(&home.authority, Role::Edge("eu-2".parse().unwrap()));
    issued.write(&old, Overwrite::Replace).unwrap();
    assert!(!old.join("crl.pem").exists());
    home.revoke(&[serial(1)]).unwrap();
    let list = fs::read(home.ca().join("crl.pem")).unwrap();
    assert_eq!(fs::read(write("after")).unwrap(), list);
}

#[test]
fn a_new_authority_begins_without_the_list_of_the_one_before() {
    let home = Home::new();
    home.revoke(&[serial(1)]).unwrap();
    let replace = |overwrite| {
        let domain = "causeway.internal".parse().unwrap();
        Authority::create(&home.ca(), domain, AUTHORITY_LIFE, overwrite)
    };
    replace(Overwrite::Refuse).unwrap_err();
    let new = replace(Overwrite::Replace).unwrap();
    assert!(!home.ca().join("crl.pem").exists());
    new.revoke(&home.ca(), &[serial(2)], None).unwrap();
    read_certificates(&home.ca().join("crl.pem")).unwrap_err();
}
