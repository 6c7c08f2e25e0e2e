//! A client that finds its edges by names, in a zone that BIND serves.

mod away;
mod field;
mod following;
mod naming;
mod several;
mod told;
