//! What one UDP caller exchanges with the server: a socket towards the server, and [`Datagrams`] for
//! each direction.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::net::{UdpSocket, lookup_host};
use tokio::sync::{mpsc, watch};
use tokio::time::sleep_until;

use super::datagrams::{Datagrams, Next};
use super::{DATAGRAM, widen};
use crate::proxy::Passing;
use crate::proxy::dice::Dice;
use crate::proxy::direction::Direction;
use crate::proxy::faults::InForce;
use crate::proxy::ledger::Entry;

/// How long a caller is remembered who sends nothing, and to whom nothing is sent. NATs forget much
/// sooner; they are not what is tested here unless asked for.
const FORGOTTEN: Duration = Duration::from_secs(180);

/// A caller.
#[derive(Debug)]
pub(super) struct Flow {
    caller: SocketAddr,
    callers: Arc<UdpSocket>,
    to: SocketAddr,
    server: UdpSocket,
    up: Datagrams,
    down: Datagrams,
    entry: Entry,
    faults: watch::Receiver<InForce>,
    rebinds: u64,
    passing: Passing,
}

impl Flow {
    /// The `number`th caller, who is answered by `callers`.
    pub(super) async fn new(
        passing: Passing,
        number: u64,
        caller: SocketAddr,
        callers: Arc<UdpSocket>,
    ) -> io::Result<Self> {
        let to = lookup_host(passing.to.to_string()).await?.next();
        let to = to.ok_or(io::ErrorKind::AddrNotAvailable)?;
        let server = connected(to).await?;
        let mut faults = passing.faults.watch();
        let in_force = faults.borrow_and_update().clone();
        let datagrams = |direction| {
            let dice = Dice::new(passing.options.seed, number, direction);
            let throttle = passing.faults.throttle(direction);
            let lane = in_force.lane(direction);
            Datagrams::new(dice, throttle, passing.options.buffer, lane, Instant::now())
        };
        Ok(Self {
            up: datagrams(Direction::Up),
            down: datagrams(Direction::Down),
            entry: passing
                .ledger
                .open(number, "udp", caller, server.local_addr()?),
            caller,
            callers,
            to,
            server,
            faults,
            rebinds: in_force.rebinds,
            passing,
        })
    }

    /// Passes on what comes in from the caller, and back, until both have been silent for long.
    pub(super) async fn run(mut self, mut coming: mpsc::Receiver<Bytes>) {
        let mut buffer = vec![0; DATAGRAM];
        let mut heard = Instant::now();
        loop {
            let wake = self.send().await.unwrap_or(heard + FORGOTTEN);
            tokio::select! {
                changed = self.faults.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.faults.mark_changed();
                    self.obey().await;
                }
                datagram = coming.recv() => {
                    let Some(datagram) = datagram else { return };
                    self.obey().await;
                    heard = Instant::now();
                    self.up.handle_datagram(heard, &datagram);
                }
                received = self.server.recv(&mut buffer) => {
                    // An error is that of an earlier datagram, such as ICMP's word that nobody listens.
                    if let Ok(length) = received {
                        self.obey().await;
                        heard = Instant::now();
                        self.down.handle_datagram(heard, &buffer[..length]);
                    }
                }
                () = sleep_until(wake.into()) => {
                    if heard.elapsed() >= FORGOTTEN {
                        return;
                    }
                }
            }
        }
    }

    /// Sends what is due; says when more will be.
    async fn send(&mut self) -> Option<Instant> {
        let mut wakes = [None, None];
        for (direction, wake) in Direction::ALL.into_iter().zip(&mut wakes) {
            loop {
                let datagrams = match direction {
                    Direction::Up => &mut self.up,
                    Direction::Down => &mut self.down,
                };
                match datagrams.next(Instant::now()) {
                    Next::Send(bytes) => {
                        let sent = match direction {
                            Direction::Up => self.server.send(&bytes).await,
                            Direction::Down => self.callers.send_to(&bytes, self.caller).await,
                        };
                        // A datagram that cannot be sent is lost, as on any other hop.
                        match sent {
                            Ok(length) => self.entry.passed(direction, length),
                            Err(_) => self.passing.ledger.dropped(1),
                        }
                    }
                    Next::Wait(until) => {
                        *wake = Some(until);
                        break;
                    }
                    Next::Idle => break,
                }
            }
        }
        let dropped = self.up.take_dropped() + self.down.take_dropped();
        self.passing.ledger.dropped(dropped);
        wakes.into_iter().flatten().min()
    }

    /// Looks which faults are in force: also before a datagram is handled, so that what is sent after
    /// a fault was set meets it.
    async fn obey(&mut self) {
        if !self.faults.has_changed().is_ok_and(|it| it) {
            return;
        }
        let in_force = self.faults.borrow_and_update().clone();
        self.up.set(in_force.lane(Direction::Up));
        self.down.set(in_force.lane(Direction::Down));
        if in_force.rebinds != self.rebinds {
            self.rebinds = in_force.rebinds;
            match connected(self.to).await {
                Ok(server) => {
                    if let Ok(local) = server.local_addr() {
                        self.entry.rebound(local);
                    }
                    self.server = server;
                }
                Err(error) => {
                    tracing::warn!(%error, caller = %self.caller, "no new port for a caller, who keeps the old one");
                }
            }
        }
    }
}

/// A socket at a new port that exchanges datagrams with the server only.
async fn connected(to: SocketAddr) -> io::Result<UdpSocket> {
    let any: IpAddr = match to {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    widen(&socket);
    socket.connect(to).await?;
    Ok(socket)
}
