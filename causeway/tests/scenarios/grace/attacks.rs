//! Who may not go on with a session: everybody but the client that began it, though they know all
//! that it knows; and not that client either once its certificate is no good any more.

use std::{
    io::{ErrorKind, Read},
    path::Path,
    thread,
    time::{Duration, SystemTime},
};

use aws_lc_rs::hmac;
use quinn::{Connection as Quic, ConnectionError};
use relay::{
    CloseCode, SessionId,
    driver::handshake::{Established, HandshakeError},
    proto::{Attempt, Continue, ContinueMode, Features, Hello, Instance, SOFTWARE, VersionRange},
    transport::{Connection, quic::QuicConnection},
};

use super::{Line, QUICK, await_detached};
use crate::support::{
    Authority, CLUSTER, Origin, Plane, Side,
    stranger::{Stranger, forge, shown},
    wait_for,
};

/// The alert of RFC 8446, section 6, for an unknown authority, as a code of QUIC (RFC 9001,
/// section 4.8).
const UNKNOWN_CA: u64 = 0x100 + 48;

/// What is said of a session by whoever goes on with it, as `docs/protocol.md` has it.
struct Secret {
    session: SessionId,
    key: hmac::Key,
}

impl Secret {
    fn of(established: &Established) -> Self {
        let session = established.ack.session;
        let connection = &established.connection;
        let label = b"EXPORTER-causeway-session-secret";
        let secret = connection.export_keying_material(label, session.as_bytes());
        let key = hmac::Key::new(hmac::HMAC_SHA256, &secret.unwrap());
        Self { session, key }
    }

    /// The proof that belongs to this connection and this attempt.
    fn continuing(&self, connection: &Quic, attempt: u64) -> Continue {
        let connection = QuicConnection::new(connection.clone());
        let label = b"EXPORTER-causeway-session-binding";
        let binding = connection.export_keying_material(label, self.session.as_bytes());
        let mut message = binding.unwrap().to_vec();
        message.extend_from_slice(self.session.as_bytes());
        message.extend_from_slice(&attempt.to_be_bytes());
        message.push(2);
        let proof = hmac::sign(&self.key, &message).as_ref().to_vec();
        Continue {
            session: self.session,
            mode: ContinueMode::Replace,
            proof: proof.into(),
        }
    }
}

/// What a client says that exposes nothing.
fn hello(attempt: u64) -> Hello {
    Hello {
        versions: VersionRange::SUPPORTED,
        features: Features::SUPPORTED,
        software: SOFTWARE.into(),
        replica: "r1".parse().unwrap(),
        instance: Instance::from_bytes([7; 16]),
        attempt: Attempt(attempt),
        limits: relay::driver::limits(&relay::settings::SessionSettings::client()),
        services: Vec::new(),
        continues: None,
        beside: Vec::new(),
    }
}

/// A peer whose certificate is in `directory`.
fn with_certificate(directory: &Path) -> Stranger {
    Stranger::dialing(directory, Some(shown(directory)))
}

/// What comes of an attempt to go on with the session, by someone who knows its secret.
fn try_on(
    stranger: &Stranger,
    plane: &mut Plane,
    secret: &Secret,
    attempt: u64,
    change: impl FnOnce(&mut Hello),
) -> Result<Established, HandshakeError> {
    let connection = stranger.connect(plane.tunnel()).unwrap();
    let mut hello = hello(attempt);
    hello.continues = Some(secret.continuing(&connection, attempt));
    change(&mut hello);
    stranger.greet(&connection, hello)
}

#[test]
fn another_certificate_does_not_go_on_with_a_session_whatever_it_knows() {
    let mut plane = Plane::builder().start();
    let at = plane.path(Side::Client);
    let identity = |name: &str, words: &[&str]| {
        let directory = at.join(name);
        plane.authority().issue(words, &directory);
        directory
    };
    let own = identity("own", &["client", "victim/own"]);
    let renewed = identity("renewed", &["client", "victim/own"]);
    let foreign = [
        identity("cluster", &["client", "victim/other"]),
        identity("tenant", &["client", "other/own"]),
    ];
    let another = Authority::create(&at.join("another"));
    another.issue(&["client", "victim/own"], &at.join("unknown"));

    // The client's session, which it lost its connection of.
    let victim = with_certificate(&own);
    let connection = victim.connect(plane.tunnel()).unwrap();
    let established = victim.greet(&connection, hello(1)).unwrap();
    let secret = Secret::of(&established);
    established.connection.close(CloseCode::Dead, "cut");
    victim.settle();
    let named = secret.session.to_string();
    let is_detached = |plane: &mut Plane| {
        let sessions = plane.sessions();
        let mut named = sessions.iter().filter(|it| it["id"] == *named);
        named.any(|session| session["connected"] == false)
    };
    wait_for("the edge to know the loss", || {
        is_detached(&mut plane).then_some(())
    });

    for (nth, directory) in foreign.iter().enumerate() {
        let result = try_on(&with_certificate(directory), &mut plane, &secret, 2, |_| {});
        is_refused(result.map(drop));
        assert!(is_detached(&mut plane), "{}", directory.display());
        are_counted(&plane, "refused", nth as u64 + 1);
    }
    // Of the right cluster, but another client of it, or not the same process.
    let others: [fn(&mut Hello); 2] = [
        |hello| hello.replica = "r2".parse().unwrap(),
        |hello| hello.instance = Instance::from_bytes([8; 16]),
    ];
    for change in others {
        is_refused(try_on(&victim, &mut plane, &secret, 2, change).map(drop));
        assert!(is_detached(&mut plane));
    }
    // A proof that was made for another connection.
    let connection = victim.connect(plane.tunnel()).unwrap();
    let replayed = secret.continuing(&connection, 2);
    let result = try_on(&victim, &mut plane, &secret, 2, |hello| {
        hello.continues = Some(replayed);
    });
    is_refused(result.map(drop));
    are_counted(&plane, "refused", 5);
    wait_for("as many lines in its log", || {
        (plane.edge.log().matches("not admitted").count() == 5).then_some(())
    });

    // One of another authority does not even get to say anything.
    let stranger = Stranger::dialing(&own, Some(shown(&at.join("unknown"))));
    let error = match stranger.connect(plane.tunnel()) {
        Ok(connection) => stranger.closed(&connection).expect("the edge refuses"),
        Err(error) => error,
    };
    let ConnectionError::ConnectionClosed(close) = &error else {
        panic!("not refused by an alert: {error:?}")
    };
    assert_eq!(u64::from(close.error_code), UNKNOWN_CA, "{error}");
    assert!(is_detached(&mut plane));

    // All of this was right but for who it was: with the next certificate of the same client it is.
    let renewed = with_certificate(&renewed);
    let resumed = try_on(&renewed, &mut plane, &secret, 2, |_| {}).unwrap();
    assert_eq!(resumed.ack.session, secret.session);
    wait_for("the session to go on", || {
        (!is_detached(&mut plane)).then_some(())
    });
    are_counted(&plane, "resumed", 1);
    assert_eq!(plane.sessions().len(), 2, "{CLUSTER} and the victim's");
}

/// A certificate that ends while its session is without a connection.
#[test]
fn a_certificate_that_has_expired_does_not_go_on_with_its_session() {
    const VALID: Duration = Duration::from_secs(10);
    let Some(line) = Line::lay() else {
        return;
    };
    let origin = line.network.client.within(Origin::by_hand);
    let mut plane = line
        .plane("tls", &format!("{QUICK}grace = \"15s\"\n"))
        .expose("db", &origin.tcp())
        .tcp_ingress("db")
        .start();
    plane.client.kill();
    let state = plane.path(Side::Client).join("state");
    let (tenant, cluster) = CLUSTER.split_once('/').unwrap();
    let uri = format!("spiffe://causeway.internal/tenant/{tenant}/cluster/{cluster}");
    let until = time::Duration::try_from(VALID).unwrap();
    let expires = SystemTime::now() + VALID;
    let authority = plane.authority().directory().to_owned();
    forge(&authority, &[&uri], -time::Duration::HOUR, until, &state);
    plane.start_again(Side::Client);
    plane.await_session();
    let mut caller = plane.dial_ingress("db");
    let mut at_origin = origin.accept();

    line.cut();
    await_detached(&mut plane);
    // What is awaited is the time itself.
    let left = expires.duration_since(SystemTime::now());
    thread::sleep(left.unwrap_or_default() + Duration::from_secs(1));
    line.heal();
    wait_for("the edge to say why it refuses", || {
        let log = plane.edge.log();
        let line = log.lines().find(|line| line.contains("not admitted"))?;
        line.contains("expired").then_some(())
    });
    assert!(handshakes(&plane, "tls") >= 1);
    for (socket, whose) in [(&mut caller, "the caller"), (&mut at_origin, "the origin")] {
        let error = socket.read(&mut [0]).expect_err(whose);
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{whose}: {error}");
    }
    assert_eq!(handshakes(&plane, "resumed"), 0);
}

#[track_caller]
fn is_refused(result: Result<(), HandshakeError>) {
    match result {
        Err(HandshakeError::Refused(close)) => {
            assert_eq!(close.code, CloseCode::Refused);
            assert_eq!(close.message, "refused", "it learns what was wrong");
        }
        other => panic!("not refused: {other:?}"),
    }
}

/// So many handshakes have ended so at the edge, as soon as it has heard the last word of them.
#[track_caller]
fn are_counted(plane: &Plane, outcome: &str, count: u64) {
    wait_for("the handshakes to be counted", || {
        (handshakes(plane, outcome) == count).then_some(())
    });
}

fn handshakes(plane: &Plane, outcome: &str) -> u64 {
    let series = format!("causeway_handshakes_total{{outcome=\"{outcome}\"}} ");
    let metrics = plane.metrics(Side::Edge);
    let count = metrics.lines().find_map(|line| line.strip_prefix(&series));
    count.map_or(0, |count| count.parse().unwrap())
}
