//! A zone kept true against a scripted registry and a name server in memory.

mod histories;
mod looping;
mod many;
mod news;
mod removals;
mod rounds;
pub(super) mod running;
mod server;
mod troubles;
mod world;
