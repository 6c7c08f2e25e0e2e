//! TCP: accepting callers, and reaching the server for each.

mod connection;
mod pipe;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use relay::listen::Listener;
use relay::pump::Socket;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::Passing;
use super::dice::Dice;
use super::direction::Direction;
use connection::{Connection, reset_on_close};
use pipe::Pipe;

/// How long the server may take to accept a connection.
const DIALLING: Duration = Duration::from_secs(10);

/// Accepts until dropped, which resets all connections.
///
/// A handshake needs both ways: while either is cut nobody is accepted, and callers wait in the
/// system's backlog, as they do when there are as many connections as there may be.
pub(super) async fn accept(listener: Listener, passing: Passing) {
    let places = Arc::new(Semaphore::new(passing.options.max_connections));
    let mut faults = passing.faults.watch();
    let mut connections = JoinSet::new();
    loop {
        // Neither is ever closed: `passing` has the sender, and the semaphore is here.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        if faults.wait_for(|it| !it.is_cut()).await.is_err() {
            return;
        }
        tokio::select! {
            // In order, since who comes just after a cut shall wait.
            biased;
            changed = faults.changed() => if changed.is_err() { return },
            (socket, caller) = listener.accept() => {
                if let (Socket::Tcp(socket), Some(caller)) = (socket, caller) {
                    // Before anything else, since the proxy may stop at any time.
                    reset_on_close(&socket);
                    let number = passing.ledger.next_number();
                    let serving = serve(passing.clone(), number, socket, caller, place);
                    connections.spawn(serving);
                }
            }
            Some(ended) = connections.join_next() => if let Err(error) = ended
                && error.is_panic()
            {
                tracing::error!(%error, "a connection panicked");
            },
        }
    }
}

async fn serve(
    passing: Passing,
    number: u64,
    caller: TcpStream,
    address: SocketAddr,
    _place: OwnedSemaphorePermit,
) {
    let server = match dial(&passing).await {
        Ok(server) => server,
        Err(error) => {
            tracing::warn!(to = %passing.to, %error, "cannot connect to the server, so its caller is reset");
            passing.ledger.refused();
            return;
        }
    };
    // What was written at once goes at once.
    let nodelay = caller.set_nodelay(true).and(server.set_nodelay(true));
    let local = nodelay.and_then(|()| server.local_addr());
    let Ok(local) = local else {
        // One of both has hung up already.
        return;
    };
    let mut faults = passing.faults.watch();
    let in_force = faults.borrow_and_update().clone();
    let pipe = |direction| {
        let dice = Dice::new(passing.options.seed, number, direction);
        let throttle = passing.faults.throttle(direction);
        let lane = in_force.lane(direction);
        Pipe::new(dice, throttle, passing.options.buffer, lane, Instant::now())
    };
    tracing::debug!(number, caller = %address, "connection open");
    let connection = Connection {
        up: pipe(Direction::Up),
        down: pipe(Direction::Down),
        entry: passing.ledger.open(number, "tcp", address, local),
        caller,
        server,
        faults,
    };
    connection.run().await;
}

async fn dial(passing: &Passing) -> std::io::Result<TcpStream> {
    let to = passing.to.to_string();
    match timeout(DIALLING, TcpStream::connect(to)).await {
        Ok(connected) => connected,
        Err(_) => Err(std::io::ErrorKind::TimedOut.into()),
    }
}
