//! Faults on demand, and the proof that nothing is lost.
//!
//! - [`wire`]: a link that delays, loses, reorders, copies, corrupts and vanishes, packet by packet.
//!   Pure: the same seed gives the same faults.
//! - `net`, on Linux and for root: hosts of their own, joined by such wires, for programs that know
//!   nothing of it.
//! - [`proxy`]: a fault proxy in front of any TCP or UDP server, without root.
//! - [`control`]: wires and proxies changed over HTTP while they run.
//!
//! The scenario runner and the reference planes will live here. Until then the
//! scenarios with real processes are in `causeway/tests/`, and those of the session over real
//! connections in `relay/tests/`.

pub mod control;
#[cfg(target_os = "linux")]
pub mod net;
pub mod proxy;
pub mod wire;
