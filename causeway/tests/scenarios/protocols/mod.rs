//! Every protocol that the two planes speak, by clients and servers that others wrote: what they
//! make of each other must not depend on whether the tunnel is between them.
//!
//! One suite a module; each runs *direct* and then *through the tunnel*, and [`Comparison`] holds
//! the two results against each other. The peers' programs are in `causeway/tests/peers`.

mod comparison;
mod grpc;

pub(crate) use comparison::{Comparison, Report, Way};
