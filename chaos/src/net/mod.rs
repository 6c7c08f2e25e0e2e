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
//! A [`Host`] is a network namespace with an IPv4 and an IPv6 address. A [`Wire`] joins two of them,
//! and any number of wires may end at a host. Programs are started in a host with
//! [`Namespace::run`] or [`Namespace::within`], and know nothing of all this.
//!
//! ```no_run
//! use std::{net::TcpStream, process::Command};
//!
//! use chaos::{
//!     net::{Host, Settings, Wire},
//!     wire::{Shape, Way, ladder},
//! };
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Host::create("192.0.2.1".parse()?, "2001:db8::1".parse()?)?;
//! let server = Host::create("192.0.2.2".parse()?, "2001:db8::2".parse()?)?;
//! let wire = Wire::lay(
//!     &client,
//!     &server,
//!     Settings {
//!         link: ladder::SATELLITE,
//!         ..Settings::default()
//!     },
//! )?;
//! println!("{}", client.run(Command::new("ping").args(["-c3", "192.0.2.2"]), "")?);
//!
//! // Nothing comes back from now on.
//! let cut = Shape {
//!     cut: true,
//!     ..ladder::SATELLITE.down
//! };
//! wire.set(Way::Down, cut);
//! let refused = client.within(|| TcpStream::connect((server.v4(), 80)));
//! println!("{refused:?}, {:?}", wire.tally(Way::Down));
//! # Ok(())
//! # }
//! ```
//!
//! Nothing of it has a name in the system: the kernel takes namespaces and interfaces away with the
//! process that holds them, however that ends.

mod namespace;
mod wire;

pub use namespace::{Error, Host, Namespace};
pub use wire::{Settings, Trace, Translation, Wire};
