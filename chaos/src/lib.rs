//! Faults on demand, and the proof that nothing is lost.
//!
//! The link emulator, the fault proxies, the scenario runner and the reference planes will live
//! here. Until then the scenarios with real processes are in `causeway/tests/`, and those of the
//! session over real connections in `relay/tests/`.
