//! Faults on demand, and the proof that nothing is lost.
//!
//! - [`wire`]: a link that delays, loses, reorders, copies, corrupts and vanishes, packet by packet.
//!   Pure: the same seed gives the same faults.
//!
//! The fault proxies, the scenario runner and the reference planes will live here. Until then the
//! scenarios with real processes are in `causeway/tests/`, and those of the session over real
//! connections in `relay/tests/`.

pub mod wire;
