//! Topologies where they can be made.

use chaos::net::{Error, Topology};

/// A network of its own, still without hosts. `None`, and said, where it cannot be made.
pub(crate) fn topology() -> Option<Topology> {
    match Topology::create() {
        Ok(topology) => Some(topology),
        Err(error @ Error::NeedsRoot) => {
            assert!(std::env::var_os("CI").is_none(), "{error}");
            eprintln!("skipped: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}
