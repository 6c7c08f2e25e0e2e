//! The places for sessions at an edge, and who needs one.

use std::{collections::BTreeSet, time::Duration};

use quinn::Connection;
use relay::{
    driver::handshake::{Established, HandshakeError},
    proto::{
        Attempt, CloseCode, Features, Hello, Instance, Limits, SOFTWARE, SessionId, VersionRange,
    },
};

use crate::support::{
    Plane, Side,
    stranger::{Stranger, shown},
    wait_for,
};

/// Places at the edge. The first is the plane's own client's.
const PLACES: usize = 3;

#[test]
fn a_session_that_lives_on_beside_another_needs_a_place() {
    let mut plane = Plane::builder()
        .edge_toml(&format!("[session]\nmax_sessions = {PLACES}\n"))
        .start();
    let own = sessions(&mut plane);
    let mut client = Client::of(&mut plane, "mover");
    let first = client.begin(&[]).unwrap();
    let second = client.begin(&[first.id()]).unwrap();
    await_sessions(&mut plane, &own, &[&first, &second]);

    let full = client.begin(&[first.id(), second.id()]);
    assert_eq!(full.unwrap_err(), CloseCode::Overload);
    let stranger = Client::of(&mut plane, "another").begin(&[]);
    assert_eq!(stranger.unwrap_err(), CloseCode::Overload);
    await_sessions(&mut plane, &own, &[&first, &second]);

    // The first is not named any more, so the third takes its place.
    let third = client.begin(&[second.id()]).unwrap();
    await_sessions(&mut plane, &own, &[&second, &third]);
    assert!(client.stranger.closed(&first.connection).is_some());
}

/// One client, which begins sessions as it likes.
struct Client {
    stranger: Stranger,
    edge: std::net::SocketAddr,
    hello: Hello,
}

#[derive(Debug)]
struct Begun {
    connection: Connection,
    established: Established,
}

impl Begun {
    fn id(&self) -> SessionId {
        self.established.ack.session
    }
}

impl Client {
    /// One with the identity of the plane's client, and a name of its own.
    fn of(plane: &mut Plane, replica: &str) -> Self {
        let identity = plane.path(Side::Client).join("state");
        Self {
            stranger: Stranger::dialing(&identity, Some(shown(&identity))),
            edge: plane.tunnel(),
            hello: Hello {
                versions: VersionRange::SUPPORTED,
                features: Features::SUPPORTED,
                software: SOFTWARE.to_owned(),
                replica: replica.parse().unwrap(),
                instance: Instance::from_bytes([7; 16]),
                attempt: Attempt(0),
                limits: Limits {
                    stream_base: 16 * 1024,
                    max_streams: 16,
                    grace: Duration::ZERO,
                },
                services: Vec::new(),
                continues: None,
                beside: Vec::new(),
            },
        }
    }

    /// Begins a session beside others, or hears why not.
    fn begin(&mut self, beside: &[SessionId]) -> Result<Begun, CloseCode> {
        self.hello.attempt = Attempt(self.hello.attempt.0 + 1);
        self.hello.beside = beside.to_vec();
        let connection = self.stranger.connect(self.edge).unwrap();
        match self.stranger.greet(&connection, self.hello.clone()) {
            Ok(established) => Ok(Begun {
                connection,
                established,
            }),
            Err(HandshakeError::Refused(close)) => Err(close.code),
            Err(error) => panic!("{error}"),
        }
    }
}

fn sessions(plane: &mut Plane) -> BTreeSet<String> {
    let id = |session: serde_json::Value| session["id"].as_str().unwrap().to_owned();
    plane.sessions().into_iter().map(id).collect()
}

/// Waits until the edge has these, besides those that were there before.
#[track_caller]
fn await_sessions(plane: &mut Plane, before: &BTreeSet<String>, begun: &[&Begun]) {
    let begun = begun.iter().map(|begun| begun.id().to_string());
    let expected: BTreeSet<_> = before.iter().cloned().chain(begun).collect();
    wait_for("the sessions", || {
        (sessions(plane) == expected).then_some(())
    });
}
