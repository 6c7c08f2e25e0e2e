//! Identities that are not what they should be, at home and shown to the other side.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

use quinn::ConnectionError;
use time::Duration;

use super::{Bystander, ended_saying};
use crate::support::{
    Authority, Plane, Process, Side, causeway, eventually,
    stranger::{Stranger, forge, shown},
    wait_for,
};

const CLIENT: &str = "spiffe://causeway.internal/tenant/acme/cluster/demo";
const HOUR: Duration = Duration::HOUR;

/// The alerts of RFC 8446, section 6, by which a peer is refused.
const CERTIFICATE_EXPIRED: u8 = 45;
const CERTIFICATE_UNKNOWN: u8 = 46;
const UNKNOWN_CA: u8 = 48;
const CERTIFICATE_REQUIRED: u8 = 116;

#[test]
fn a_missing_key_file() {
    let home = Home::new();
    fs::remove_file(home.state("client").join("key.pem")).unwrap();
    home.refuses(
        "client",
        &["key.pem", "does not exist", "causeway certs issue"],
    );
}

#[test]
fn a_key_file_that_others_can_read() {
    let home = Home::new();
    for side in ["edge", "client"] {
        let key = home.state(side).join("key.pem");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
        home.refuses(side, &["0640", "chmod 600", "key.pem"]);
    }
}

#[test]
fn a_key_of_another_certificate() {
    let home = Home::new();
    let other = home.path("other");
    home.authority.issue(&["client", "acme/demo"], &other);
    fs::copy(other.join("key.pem"), home.state("client").join("key.pem")).unwrap();
    home.refuses("client", &["does not belong to the certificate"]);
}

#[test]
fn a_list_of_who_is_revoked_that_is_torn_or_foreign() {
    let home = Home::new();
    let foreign = Authority::create(&home.path("another"));
    foreign.issue(&["edge", "edge-1"], &home.path("theirs"));
    for side in ["edge", "client"] {
        let list = home.state(side).join("crl.pem");
        fs::write(&list, "-----BEGIN X509 CRL-----\nMIIB").unwrap();
        home.refuses(side, &["crl.pem", "copy crl.pem of the authority again"]);
        foreign.revoke(&home.path("theirs"), &home.state(side));
        home.refuses(
            side,
            &["crl.pem", "not signed by an authority in", "ca.pem"],
        );
    }
}

#[test]
fn expired() {
    let home = Home::new();
    home.forge("client", &[CLIENT], -2 * HOUR, -HOUR);
    home.refuses("client", &["expired", "causeway certs issue"]);
    shown_to_an_edge(&[CLIENT], -2 * HOUR, -HOUR, CERTIFICATE_EXPIRED);
}

#[test]
fn not_valid_yet() {
    let home = Home::new();
    home.forge("client", &[CLIENT], HOUR, 2 * HOUR);
    home.refuses("client", &["not valid before", "clock"]);
    shown_to_an_edge(&[CLIENT], HOUR, 2 * HOUR, CERTIFICATE_EXPIRED);
}

#[test]
fn two_uris() {
    let uris = [
        CLIENT,
        "spiffe://causeway.internal/tenant/other/cluster/demo",
    ];
    let home = Home::new();
    home.forge("client", &uris, -HOUR, HOUR);
    home.refuses("client", &["cert.pem", "URI"]);
    shown_to_an_edge(&uris, -HOUR, HOUR, CERTIFICATE_UNKNOWN);
}

#[test]
fn no_uri() {
    let home = Home::new();
    home.forge("client", &[], -HOUR, HOUR);
    home.refuses("client", &["cert.pem", "URI"]);
    shown_to_an_edge(&[], -HOUR, HOUR, CERTIFICATE_UNKNOWN);
}

#[test]
fn another_trust_domain() {
    let uri = ["spiffe://elsewhere.internal/tenant/acme/cluster/demo"];
    shown_to_an_edge(&uri, -HOUR, HOUR, CERTIFICATE_UNKNOWN);
}

#[test]
fn none_at_all() {
    let mut bystander = Bystander::new(|builder| builder);
    let good = bystander.plane.path(Side::Client).join("state");
    let stranger = Stranger::dialing(&good, None);
    refused(&mut bystander, &stranger, CERTIFICATE_REQUIRED);
}

/// A certificate of another authority, as an edge sees it: and the client that shows it says
/// what is wrong, and keeps trying.
#[test]
fn foreign() {
    let mut bystander = Bystander::new(|builder| builder);
    let directory = tempfile::tempdir().unwrap();
    let foreign = Authority::create(&directory.path().join("authority"));
    let identity = directory.path().join("state");
    foreign.issue(&["client", "acme/demo"], &identity);
    let good = bystander.plane.path(Side::Client).join("state");
    let stranger = Stranger::dialing(&good, Some(shown(&identity)));
    refused(&mut bystander, &stranger, UNKNOWN_CA);

    let tunnel = bystander.plane.tunnel();
    let mut client = client(directory.path(), &tunnel.to_string());
    wait_for("the client to say whose fault it is", || {
        client.log().contains("authority").then_some(())
    });
    assert_eq!(client.has_ended(), None, "it keeps trying");
    bystander.is_undisturbed();
}

/// At home, an edge refuses an identity that is not an edge's; a client refuses one elsewhere.
#[test]
fn a_client_as_an_edge() {
    let home = Home::new();
    let edge = home.state("edge");
    fs::remove_dir_all(&edge).unwrap();
    home.authority.issue(&["client", "acme/demo"], &edge);
    home.refuses("edge", &[CLIENT, "causeway certs issue edge"]);

    let pretender = Stranger::listening(&edge_identity(&home), shown(&edge));
    let directory = tempfile::tempdir().unwrap();
    home.authority
        .issue(&["client", "acme/demo"], &directory.path().join("state"));
    let client = client(directory.path(), &pretender.to_string());
    wait_for("the client to refuse it", || {
        client
            .log()
            .contains("edge")
            .then_some(())
            .filter(|()| client.log().contains("certificate"))
    });
    let never = eventually(std::time::Duration::from_secs(1), || {
        client.log().contains("connected").then_some(())
    });
    assert_eq!(never, None, "it let a client be its edge: {}", client.log());
}

#[test]
fn an_edge_as_a_client() {
    let home = Home::new();
    let client = home.state("client");
    fs::remove_dir_all(&client).unwrap();
    home.authority.issue(&["edge", "edge-2"], &client);
    home.refuses("client", &["edge", "causeway certs issue client"]);

    let uri = ["spiffe://causeway.internal/edge/edge-2"];
    shown_to_an_edge(&uri, -HOUR, HOUR, CERTIFICATE_UNKNOWN);
}

/// What a running edge makes of such a certificate, signed by its own authority.
#[track_caller]
fn shown_to_an_edge(uris: &[&str], from: Duration, until: Duration, alert: u8) {
    let mut bystander = Bystander::new(|builder| builder);
    let plane: &Plane = &bystander.plane;
    let forged = plane.path(Side::Client).join("forged");
    forge(plane.authority().directory(), uris, from, until, &forged);
    let good = plane.path(Side::Client).join("state");
    let stranger = Stranger::dialing(&good, Some(shown(&forged)));
    refused(&mut bystander, &stranger, alert);
}

/// The edge refuses the stranger by this alert, over QUIC and over TLS, and nobody else notices.
#[track_caller]
fn refused(bystander: &mut Bystander, stranger: &Stranger, alert: u8) {
    let tunnel = bystander.plane.tunnel();
    let error = match stranger.connect(tunnel) {
        Ok(connection) => stranger.closed(&connection).expect("the edge refuses"),
        Err(error) => error,
    };
    // A QUIC error code for a TLS alert is 0x100 and the alert (RFC 9001, section 4.8).
    let ConnectionError::ConnectionClosed(close) = &error else {
        panic!("not refused by an alert: {error:?}")
    };
    assert_eq!(
        u64::from(close.error_code),
        0x100 + u64::from(alert),
        "{error}"
    );
    assert_eq!(u8::from(stranger.refused_over_tcp(tunnel)), alert);
    bystander.is_undisturbed();
}

/// A `causeway client` with the identity in `directory/state`.
fn client(directory: &std::path::Path, edge: &str) -> Process {
    let file = directory.join("client.toml");
    fs::write(
        &file,
        format!(
            "[identity]\ndir = \"state\"\n[edge]\naddress = \"{edge}\"\n[admin]\nlisten = \"off\"\n"
        ),
    )
    .unwrap();
    Process::start(
        "another client",
        causeway().args(["client", "--config"]).arg(file),
        &directory.join("client.log"),
    )
}

/// An edge and a client that are configured and not started.
#[derive(Debug)]
struct Home {
    authority: Authority,
    directory: tempfile::TempDir,
}

impl Home {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::create(&directory.path().join("authority"));
        let home = Self {
            authority,
            directory,
        };
        home.authority
            .issue(&["edge", "edge-1"], &home.state("edge"));
        home.authority
            .issue(&["client", "acme/demo"], &home.state("client"));
        let (edge, client) = (home.path("edge/edge.toml"), home.path("client/client.toml"));
        fs::write(edge, "[identity]\ndir = \"state\"\n[listen]\ntunnel = \"127.0.0.1:0\"\n[admin]\nlisten = \"off\"\n").unwrap();
        fs::write(client, "[identity]\ndir = \"state\"\n[edge]\naddress = \"127.0.0.1:9\"\n[admin]\nlisten = \"off\"\n").unwrap();
        home
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn state(&self, side: &str) -> PathBuf {
        self.path(side).join("state")
    }

    fn forge(&self, side: &str, uris: &[&str], from: Duration, until: Duration) {
        forge(
            self.authority.directory(),
            uris,
            from,
            until,
            &self.state(side),
        );
    }

    /// Starting this side ends with a configuration error that says all of `words`.
    #[track_caller]
    fn refuses(&self, side: &str, words: &[&str]) {
        let output = causeway()
            .args([side, "--config"])
            .arg(self.path(side).join(format!("{side}.toml")))
            .output()
            .unwrap();
        ended_saying(&output, 2, words);
    }
}

/// An edge's identity of the same authority, for what a stranger trusts.
fn edge_identity(home: &Home) -> PathBuf {
    let directory = home.path("stranger");
    home.authority.issue(&["edge", "edge-9"], &directory);
    directory
}
