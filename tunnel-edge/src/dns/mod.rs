//! DNS records that follow tunnels.
//!
//! ```text
//! registry ──View──▶ desired ──┐
//! provider ─Snapshot───────────┼──▶ plan ──Change──▶ provider
//! memory: since when unwanted ─┘
//! ```
//!
//! * `view`: what names are made from, and the trait of the registry that knows it.
//! * `desired`, `ownership`, `memory`, `zone`, `plan`, `round`, `reconciler`, `report`: pure decisions.
//! * `provider`: where records are published.
//! * `start`: from the configuration to a reconciler; `run`: the loop that drives it; `api`, `metrics`:
//!   what can be seen and asked of it; `news`: what the log is told.

mod api;
mod desired;
mod memory;
mod metrics;
mod news;
mod ownership;
mod plan;
mod provider;
mod reconciler;
mod records;
mod report;
mod round;
mod run;
mod start;
#[cfg(test)]
mod tests;
mod this_edge;
mod view;
mod zone;

pub(crate) use api::{INDEX, Standing, routes};
pub(crate) use report::NameState;
pub(crate) use run::Dns;
pub(crate) use start::Prepared;
pub(crate) use this_edge::ThisEdge;
