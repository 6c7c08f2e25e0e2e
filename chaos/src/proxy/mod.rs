//! A fault proxy: in front of any TCP or UDP server, without root, it passes on what callers and
//! server say to each other, and does to it what a bad network does.
//!
//! ```text
//!                    up ──▶
//! caller ──▶ listen [ Pipe / Datagrams ] to ──▶ server
//!                    ◀── down
//!               ▲ faults in force ◀── arguments, control over HTTP, timeline
//! ```
//!
//! * [`Kind`]: the catalogue of faults; [`Fault`]: one with its parameters; [`Placed`]: and its direction.
//! * [`Faults`]: what is in force, which changes while connections run.
//! * [`Proxy`]: the sockets. Without faults it is transparent: half-close, resets and the limits of
//!   datagrams are kept; only addresses, TCP's urgent data and ICMP are not.
//! * [`Timeline`]: faults by the clock. [`control`]: faults over HTTP.
//!
//! What happens to bytes is decided by state machines that know no socket and no clock
//! (`tcp/pipe.rs`, `udp/datagrams.rs`); what is random there comes from the seed, the number of the
//! connection and the direction, each fault by a sequence of its own.

pub mod control;
mod dice;
mod direction;
mod fault;
mod faults;
mod kind;
mod lane;
mod ledger;
mod rate;
mod tcp;
#[cfg(test)]
mod tests;
mod throttle;
mod timeline;
mod udp;

use std::io;
use std::net::SocketAddr;

use relay::listen::{BindError, Listener};
use relay::settings::{HostPort, ListenAddr};
use serde_json::Value;
use tokio::net::UdpSocket;

pub use direction::{Direction, Directions};
pub use fault::{Fault, FaultError, Placed};
pub use faults::{Faults, Hold, InForce, NoEffect, Protocols};
pub use kind::{Applies, Description, Kind, Parameter, Unit, UnknownKind};
use ledger::Ledger;
pub use ledger::Totals;
pub use timeline::{Timeline, TimelineError};

/// How many ports are looked at until one is free for TCP and UDP.
const PORTS: usize = 32;

/// What a proxy does besides its faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Where random decisions come from: the same seed and the same traffic give the same ones.
    pub seed: u64,
    /// The most bytes that wait in each direction of each connection. With a delay, no more than
    /// this passes within it. Worst case of memory: twice this for each connection, three times and
    /// a datagram for each UDP caller.
    pub buffer: usize,
    /// The most connections, beyond which new ones wait; and besides that the most UDP callers, of
    /// whom the one that has been silent longest makes room.
    pub max_connections: usize,
}

/// A bound proxy.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    tcp: Option<Listener>,
    udp: Option<UdpSocket>,
    passing: Passing,
}

/// What tells of a proxy while it runs.
#[derive(Clone, Debug)]
pub struct Observer {
    ledger: Ledger,
}

/// What all connections share.
#[derive(Clone, Debug)]
struct Passing {
    to: HostPort,
    faults: Faults,
    ledger: Ledger,
    options: Options,
}

/// Why a proxy cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// TCP cannot be listened on.
    #[error(transparent)]
    Tcp(#[from] BindError),
    /// UDP cannot be received.
    #[error("cannot receive UDP on {address}: {error}; take another port with {key}")]
    Udp {
        /// Where.
        address: SocketAddr,
        /// What says where.
        key: &'static str,
        /// What the system said.
        error: io::Error,
    },
}

impl Default for Options {
    fn default() -> Self {
        Self {
            seed: 0,
            buffer: 1 << 20,
            max_connections: 1_000,
        }
    }
}

impl Proxy {
    /// Binds without passing anything on yet, for the protocols that the faults are for. Call it
    /// within the runtime that will run it. Port 0 takes a free one, the same for TCP and UDP. `key`
    /// is the argument that an error tells to change.
    ///
    /// # Errors
    /// If the address is taken, is not this machine's, or may not be used.
    pub fn bind(
        listen: SocketAddr,
        to: HostPort,
        faults: Faults,
        options: Options,
        key: &'static str,
    ) -> Result<Self, ProxyError> {
        let (address, tcp, udp) = bind(listen, faults.protocols(), key)?;
        Ok(Self {
            address,
            tcp,
            udp,
            passing: Passing {
                to,
                faults,
                ledger: Ledger::default(),
                options,
            },
        })
    }

    /// Where it listens; the port is the real one.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its faults.
    pub fn faults(&self) -> Faults {
        self.passing.faults.clone()
    }

    /// What tells of it.
    pub fn observer(&self) -> Observer {
        Observer {
            ledger: self.passing.ledger.clone(),
        }
    }

    /// Passes on until dropped, which drops all connections.
    pub async fn run(self) {
        let Self {
            tcp, udp, passing, ..
        } = self;
        let tcp = async {
            if let Some(listener) = tcp {
                tcp::accept(listener, passing.clone()).await;
            }
        };
        let udp = async {
            if let Some(socket) = udp {
                udp::receive(socket, passing.clone()).await;
            }
        };
        tokio::join!(tcp, udp);
    }
}

impl Observer {
    /// What has passed.
    pub fn totals(&self) -> Totals {
        self.ledger.totals()
    }

    /// The open connections as a document, oldest first.
    pub fn connections(&self) -> Value {
        self.ledger.to_json()
    }
}

type Bound = (SocketAddr, Option<Listener>, Option<UdpSocket>);

fn bind(listen: SocketAddr, protocols: Protocols, key: &'static str) -> Result<Bound, ProxyError> {
    let mut looked_at = 1;
    loop {
        let (tcp, address) = if protocols.has_tcp() {
            let listener = Listener::bind(&ListenAddr::Ip(listen), key)?;
            let address = match listener.address() {
                ListenAddr::Ip(address) => address,
                ListenAddr::Unix(_) => listen,
            };
            (Some(listener), address)
        } else {
            (None, listen)
        };
        if !protocols.has_udp() {
            return Ok((address, tcp, None));
        }
        match bind_udp(address) {
            Ok((socket, address)) => return Ok((address, tcp, Some(socket))),
            // A port that is free for TCP may be taken for UDP: another one, if any will do.
            Err(_) if listen.port() == 0 && looked_at < PORTS => looked_at += 1,
            Err(error) => {
                return Err(ProxyError::Udp {
                    address,
                    key,
                    error,
                });
            }
        }
    }
}

fn bind_udp(address: SocketAddr) -> io::Result<(UdpSocket, SocketAddr)> {
    let socket = std::net::UdpSocket::bind(address)?;
    socket.set_nonblocking(true)?;
    let address = socket.local_addr()?;
    Ok((UdpSocket::from_std(socket)?, address))
}
