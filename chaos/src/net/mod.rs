//! Hosts of their own and bad networks between them. Linux, and for root.
//!
//! ```text
//!   namespace of the client                                     namespace of the server
//!  ┌───────────────────────┐   ┌──── a thread each way ────┐   ┌───────────────────────┐
//!  │ programs ── wire (TUN)┼──▶│ NAT ─▶ wire::Direction ──▶│──▶┼(TUN) wire ── programs │
//!  │                       │◀──┼ NAT ◀─ wire::Direction ◀──┼◀──│                       │
//!  └───────────────────────┘   └───────────────────────────┘   └───────────────────────┘
//! ```
//!
//! A [`Topology`] has hosts by name, each a network namespace with an IPv4 and an IPv6 address. A
//! [`Wire`] joins two of them, and any number of wires may end at a host. Programs are started in a
//! host with [`Topology::start`], or [`Namespace::run`] to their end, and know nothing of all this.
//! Sockets of this process are put there by [`Namespace::within`]. [`control`] changes wires over HTTP.
//!
//! ```no_run
//! use std::{net::TcpStream, process::Command};
//!
//! use chaos::{
//!     net::{Settings, Topology},
//!     wire::{Shape, Way, ladder},
//! };
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let topology = Topology::create()?;
//! let client = topology.add_host("client")?;
//! let server = topology.add_host("server")?;
//! let wire = topology.lay_wire(
//!     "client",
//!     "server",
//!     Settings {
//!         link: ladder::SATELLITE,
//!         ..Settings::default()
//!     },
//! )?;
//! let web = topology.start("server", "web", Command::new("python3").args(["-um", "http.server"]))?;
//! let address = server.v4().to_string();
//! println!("{}", client.run(Command::new("ping").args(["-c3", &address]), "")?);
//!
//! // Nothing comes back from now on.
//! let cut = Shape {
//!     cut: true,
//!     ..ladder::SATELLITE.down
//! };
//! wire.set(Way::Down, cut);
//! let refused = client.within(|| TcpStream::connect((server.v4(), 8000)));
//! println!("{refused:?}, {:?}, {:?}", wire.tally(Way::Down), web.seen());
//! # Ok(())
//! # }
//! ```
//!
//! Nothing of it has a name in the system: the kernel takes namespaces and interfaces away with the
//! process that holds them, and ends what was started in them, however that process ends.

pub mod control;
mod error;
mod keeper;
mod namespace;
mod program;
mod topology;
mod wire;
mod wires;

pub use error::Error;
pub use namespace::{Host, Namespace};
pub use program::{Late, Program, Seen, Signal};
pub use topology::Topology;
pub use wire::{Settings, Trace, Translation, Wire};
pub use wires::Wires;
