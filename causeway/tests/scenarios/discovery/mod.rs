//! A client that finds its edges by names, in a zone that BIND serves.

mod away;
mod closed_loop;
mod field;
mod following;
mod naming;
mod several;
mod told;
