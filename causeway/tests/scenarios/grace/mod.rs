//! What callers and origins are told of a lost connection: nothing for as long as the session may go
//! on, and then the truth. And who may go on with a session, and who may not.

mod attacks;
mod fleeting;
mod goes_on;
mod killed;
mod revoked;
mod told;

use std::{
    io::Read,
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};

use chaos::{
    net::Wire,
    wire::{Link, Shape},
};

use crate::{
    support::{Builder, Network, Plane, Server, Side, script, wait_for},
    survive::Numbered,
};

const HEALTHY: Shape = Shape {
    delay: Duration::from_millis(5),
    ..Shape::CLEAR
};

/// A connection that is silent for two seconds is lost.
const QUICK: &str = "\n[session]\nping_interval = \"500ms\"\ndead_after = \"2s\"\nidle_ping_interval = \"500ms\"\nidle_dead_after = \"2s\"\n";

/// A tunnel whose wire can be cut.
struct Line {
    network: Network,
    wire: Arc<Wire>,
}

impl Line {
    /// `None`, said by name, where it cannot be made.
    fn lay() -> Option<Self> {
        let (network, wire) = Network::over(Link::symmetric(HEALTHY))?;
        Some(Self { network, wire })
    }

    /// A plane on it, with these lines about its sessions in both files.
    fn plane(&self, transport: &str, session: &str) -> Builder {
        Plane::builder()
            .on(&self.network)
            .transport(transport)
            .edge_toml(session)
            .client_toml(session)
    }

    /// Nothing passes from now on.
    fn cut(&self) {
        self.wire.set_link(Link::symmetric(Shape {
            cut: true,
            ..HEALTHY
        }));
    }

    fn heal(&self) {
        self.wire.set_link(Link::symmetric(HEALTHY));
    }

    /// A server of `causeway/tests/peers` on the host of one process.
    fn serve(&self, side: Side, name: &str) -> Option<Server> {
        let mut command = script(name)?;
        let host = self.network.host(side);
        Some(host.within(|| Server::start(name, &mut command)))
    }

    /// One of `causeway/tests/peers` that numbers its messages, on the host of one process.
    fn numbered(&self, side: Side, name: &'static str, address: SocketAddr) -> Numbered {
        let mut command = script(name).expect("its server runs by the same Python");
        Numbered::begin(name, self.network.host(side), &mut command, address)
    }
}

/// Waits until both ends know that their connection is lost. They still have their session.
#[track_caller]
fn await_detached(plane: &mut Plane) {
    for side in [Side::Edge, Side::Client] {
        wait_for("the loss of the connection to be known", || {
            let status = plane.status(side);
            let sessions = status["sessions"].as_array()?;
            assert!(!sessions.is_empty(), "{} has given up", side.name());
            let lost = |session: &serde_json::Value| session["connected"] == false;
            sessions.iter().all(lost).then_some(())
        });
    }
}

/// Reads the head of a request and nothing else.
fn read_head(mut at_origin: &TcpStream) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        at_origin.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
}
