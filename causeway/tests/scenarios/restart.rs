//! `kill -9` of either end: the other notices, and traffic flows again without help.

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use crate::support::{Origin, Plane, Side, wait_for};

/// A restarted client supersedes its old session at once: nobody waits for the old one to be
/// judged dead, which takes 15 s.
const AT_ONCE: Duration = Duration::from_secs(5);

#[test]
fn a_restarted_client_supersedes_its_old_session() {
    let origin = Origin::by_hand();
    let mut plane = Plane::builder()
        .expose("db", &origin.tcp())
        .tcp_ingress("db")
        .start();
    let old = plane.sessions()[0]["id"].clone();
    let mut caller = plane.dial_ingress("db");
    let _at_origin = origin.accept();

    plane.client.kill();
    let began = Instant::now();
    plane.start_again(Side::Client);
    plane.await_session();
    let session = plane.sessions()[0]["id"].clone();
    assert_ne!(session, old, "a new process has a new session");

    // The old session's callers are told by a reset, and do not hang.
    let error = caller.read(&mut [0; 16]).expect_err("an end, not a reset");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
    let after = began.elapsed();
    assert!(after < AT_ONCE, "superseded after {after:?}");

    passes(plane.dial_ingress("db"), &origin);
}

#[test]
fn the_edge_notices_a_killed_client() {
    let origin = Origin::by_hand();
    let mut plane = Plane::builder()
        .expose("db", &origin.tcp())
        .tcp_ingress("db")
        .edge_toml(QUICK)
        .client_toml(QUICK)
        .start();
    let mut caller = plane.dial_ingress("db");
    let _at_origin = origin.accept();
    plane.client.kill();
    wait_for("the edge to drop the session", || {
        plane.sessions().is_empty().then_some(())
    });
    let error = caller.read(&mut [0; 16]).expect_err("an end, not a reset");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
}

#[test]
fn the_client_notices_a_killed_edge_and_finds_the_next() {
    let origin = Origin::by_hand();
    let mut plane = Plane::builder()
        .expose("db", &origin.tcp())
        .tcp_ingress("db")
        .edge_toml(QUICK)
        .client_toml(QUICK)
        .fixed_ports()
        .start();
    let _caller = plane.dial_ingress("db");
    let mut at_origin = origin.accept();

    plane.edge.kill();
    // The origin is told by a reset that its caller is gone.
    let error = at_origin
        .read(&mut [0; 16])
        .expect_err("an end, not a reset");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
    wait_for("the client to say that it is not ready", || {
        (plane.status(Side::Client)["ready"] == false).then_some(())
    });

    plane.start_again(Side::Edge);
    plane.await_session();
    passes(plane.dial_ingress("db"), &origin);
}

/// A restarted edge resets its old connections: the client does not wait to judge them dead.
#[test]
fn a_restarted_edge_is_found_at_once() {
    let origin = Origin::by_hand();
    let mut plane = Plane::builder()
        .forward("state", &origin.tcp())
        .fixed_ports()
        .start();
    passes(plane.dial_forward("state"), &origin);

    plane.edge.kill();
    let began = Instant::now();
    plane.start_again(Side::Edge);
    // Idle, the client would ping only every 20 s: a caller makes it find out.
    let address = plane.forward("state");
    wait_for("traffic to flow again", || {
        let mut caller = TcpStream::connect(address).ok()?;
        caller
            .set_read_timeout(Some(Duration::from_millis(500)))
            .unwrap();
        caller.write_all(b"ping").ok()?;
        if origin.accepted() < 2 {
            return None;
        }
        Some(())
    });
    eprintln!(
        "traffic flowed {:?} after the edge was killed",
        began.elapsed()
    );
    plane.await_session();
}

/// A planned stop takes no new callers, lets the old stream finish, and ends with 0.
#[test]
fn a_planned_stop_lets_streams_finish() {
    for side in [Side::Edge, Side::Client] {
        let origin = Origin::by_hand();
        let mut plane = Plane::builder()
            .expose("db", &origin.tcp())
            .tcp_ingress("db")
            .start();
        let mut caller = plane.dial_ingress("db");
        let mut at_origin = origin.accept();
        let process = match side {
            Side::Edge => &mut plane.edge,
            Side::Client => &mut plane.client,
        };
        process.signal("TERM");
        wait_for("the stop to be said", || {
            process.log().contains("stopping").then_some(())
        });
        assert_eq!(process.has_ended(), None, "it waits for the stream");

        caller.write_all(b"ping").unwrap();
        let mut word = [0; 4];
        at_origin.read_exact(&mut word).unwrap();
        at_origin.write_all(b"pong").unwrap();
        caller.read_exact(&mut word).unwrap();
        assert_eq!(&word, b"pong");
        drop(at_origin);
        assert_eq!(caller.read(&mut word).unwrap(), 0, "the end comes through");
        drop(caller);
        assert_eq!(process.ended().code(), Some(0), "{}", process.log());
    }
}

/// Liveness short enough for a test that waits for it.
const QUICK: &str = "\n[session]\nping_interval = \"500ms\"\ndead_after = \"2s\"\nidle_ping_interval = \"500ms\"\nidle_dead_after = \"2s\"\ngrace = \"1s\"\n";

/// A few bytes pass both ways between a caller and the origin.
#[track_caller]
fn passes(mut caller: TcpStream, origin: &Origin) {
    caller.write_all(b"ping").unwrap();
    let mut at_origin = origin.accept();
    let mut word = [0; 4];
    at_origin.read_exact(&mut word).unwrap();
    at_origin.write_all(b"pong").unwrap();
    caller.read_exact(&mut word).unwrap();
    assert_eq!(&word, b"pong");
}
