//! What one UDP caller exchanges with the server: a socket towards the server, and [`Datagrams`] for
//! each direction.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::io::Interest;
use tokio::net::{UdpSocket, lookup_host};
use tokio::sync::watch;
use tokio::time::sleep_until;

use super::callers::{Caller, Shared};
use super::datagrams::{Datagrams, Next};
use super::widen;
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
    caller: Caller,
    shared: Shared,
    /// After how long a silence it is over.
    forgotten: Duration,
    /// Whether it was said that nobody listens there.
    refused: bool,
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
    /// Its own socket towards the server.
    pub(super) async fn new(passing: Passing, caller: Caller, shared: Shared) -> io::Result<Self> {
        let found = lookup_host(passing.to.to_string()).await?;
        let to = preferred(found, caller.address).ok_or(io::ErrorKind::AddrNotAvailable)?;
        let server = connected(to).await?;
        let mut faults = passing.faults.watch();
        let in_force = faults.borrow_and_update().clone();
        let datagrams = |direction| {
            let dice = Dice::new(passing.options.seed, caller.number, direction);
            let throttle = passing.faults.throttle(direction);
            let lane = in_force.lane(direction);
            Datagrams::new(dice, throttle, passing.options.buffer, lane, Instant::now())
        };
        Ok(Self {
            up: datagrams(Direction::Up),
            down: datagrams(Direction::Down),
            entry: passing
                .ledger
                .open(caller.number, "udp", caller.address, server.local_addr()?),
            caller,
            shared,
            forgotten: FORGOTTEN,
            refused: false,
            to,
            server,
            faults,
            rebinds: in_force.rebinds,
            passing,
        })
    }

    /// Passes on what comes in from the caller, and back, until both have been silent for long and
    /// nothing is on its way.
    pub(super) async fn run(mut self) {
        loop {
            let due = self.send().await;
            let over = self.caller.standing.heard() + self.forgotten;
            tokio::select! {
                changed = self.faults.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.faults.mark_changed();
                    self.obey().await;
                }
                datagram = self.caller.recv() => {
                    let Some(datagram) = datagram else { return };
                    self.obey().await;
                    self.up.handle_datagram(Instant::now(), datagram);
                }
                received = receive(&self.server, &self.shared.buffer) => match received {
                    Ok(datagram) => {
                        self.obey().await;
                        self.caller.standing.hear();
                        self.down.handle_datagram(Instant::now(), datagram);
                    }
                    Err(error) => self.handle_refusal(&error),
                },
                () = sleep_until(due.unwrap_or(over).into()) => {
                    let is_silent = self.caller.standing.heard().elapsed() >= self.forgotten;
                    if due.is_none() && is_silent && self.caller.waiting() == 0 {
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
                            Direction::Down => {
                                let Shared { socket, .. } = &self.shared;
                                socket.send_to(&bytes, self.caller.address).await
                            }
                        };
                        // A datagram that cannot be sent is lost, as on any other hop.
                        match sent {
                            Ok(length) => {
                                self.caller.standing.hear();
                                self.entry.passed(direction, length);
                            }
                            Err(error) => {
                                self.passing.ledger.dropped(1);
                                self.handle_refusal(&error);
                            }
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

    /// An error of a socket is that of an earlier datagram, such as ICMP's word that nobody listens.
    fn handle_refusal(&mut self, error: &io::Error) {
        if error.kind() == io::ErrorKind::ConnectionRefused && !self.refused {
            self.refused = true;
            tracing::warn!("nobody listens at {} (UDP)", self.to);
        }
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
                    tracing::warn!(%error, caller = %self.caller.address, "no new port for a caller, who keeps the old one");
                }
            }
        }
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        // It may have made room for another caller.
        let lost = self.up.waiting() + self.down.waiting() + self.caller.waiting();
        self.passing.ledger.dropped(lost as u64);
    }
}

/// The address of the caller's family, if there is one: a server known by a name such as localhost
/// often listens on one of several.
fn preferred(found: impl Iterator<Item = SocketAddr>, caller: SocketAddr) -> Option<SocketAddr> {
    let is_v4 = caller.ip().to_canonical().is_ipv4();
    let found: Vec<_> = found.collect();
    let alike = found.iter().find(|it| it.is_ipv4() == is_v4);
    alike.or(found.first()).copied()
}

/// The next datagram, or what became of an earlier one. Cancel-safe.
async fn receive(socket: &UdpSocket, buffer: &Mutex<Vec<u8>>) -> io::Result<Bytes> {
    loop {
        let ready = socket.ready(Interest::READABLE | Interest::ERROR).await?;
        if ready.is_error() {
            // One that sending has been told of is none any more, and then this shall wait anew.
            let looked = socket.try_io(Interest::ERROR, || match socket.take_error()? {
                Some(error) => Err(error),
                None => Err::<(), _>(io::ErrorKind::WouldBlock.into()),
            });
            match looked {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        let mut buffer = buffer.lock();
        match socket.try_recv(&mut buffer) {
            Ok(length) => return Ok(Bytes::copy_from_slice(&buffer[..length])),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
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

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;
    use crate::proxy::ledger::Ledger;
    use crate::proxy::{Faults, Options, Protocols};

    const DEADLINE: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn what_is_on_its_way_longer_than_a_caller_is_remembered_arrives() {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let server = UdpSocket::bind(any).await.unwrap();
        let callers = UdpSocket::bind(any).await.unwrap();
        let passing = Passing {
            to: server.local_addr().unwrap().to_string().parse().unwrap(),
            faults: Faults::none(Protocols::Udp),
            ledger: Ledger::default(),
            options: Options::default(),
        };
        let late = "up latency delay=200ms".parse().unwrap();
        passing.faults.set(late).unwrap();
        let (sends, caller) = Caller::new(any, 1);
        let ledger = passing.ledger.clone();
        let flow = Flow::new(passing, caller, Shared::of(callers)).await;
        let mut flow = flow.unwrap();
        flow.forgotten = Duration::from_millis(50);
        sends.send(Bytes::from_static(b"late")).await.unwrap();
        let running = tokio::spawn(flow.run());
        let mut buffer = [0; 16];
        let came = timeout(DEADLINE, server.recv(&mut buffer)).await;
        assert_eq!(came.unwrap().unwrap(), 4);
        // Then there is nothing to wait for.
        timeout(DEADLINE, running).await.unwrap().unwrap();
        assert_eq!(ledger.totals().datagrams_dropped, 0);
    }

    #[test]
    fn a_server_is_addressed_in_the_family_of_the_caller() {
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        let both = [address("[::1]:53"), address("127.0.0.1:53")];
        for (found, caller, to) in [
            (&both[..], "127.0.0.1:4000", both[1]),
            (&both, "[::1]:4000", both[0]),
            (&both, "[::ffff:127.0.0.1]:4000", both[1]),
            (&both[..1], "127.0.0.1:4000", both[0]),
        ] {
            let preferred = preferred(found.iter().copied(), address(caller));
            assert_eq!(preferred, Some(to));
        }
        assert_eq!(preferred([].into_iter(), both[0]), None);
    }
}
