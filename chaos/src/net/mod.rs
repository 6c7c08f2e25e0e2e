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
//! Nothing of it has a name in the system: the kernel takes namespaces and interfaces away with the
//! process that holds them, however that ends.

mod namespace;
mod wire;

pub use namespace::{Error, Host, Namespace};
pub use wire::{Settings, Trace, Translation, Wire};
