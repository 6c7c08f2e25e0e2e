//! A session that outlives its connections: the pure state of both ends, joined by connections that
//! may be cut at every byte, under schedules that are random, simulated or all that there are.
#![allow(
    clippy::unwrap_used,
    reason = "a test states its expectation by unwrapping"
)]

mod attacks;
mod checks;
mod credit;
mod crossings;
mod cuts;
mod declined;
mod end;
mod exploration;
mod hear;
mod link;
mod network;
mod properties;
mod random;
mod simulation;
mod sizes;
mod stream;
mod world;
