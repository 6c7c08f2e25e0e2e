//! An edge and a client on this machine, as child processes of a subcommand that plays with them:
//! a directory with identities and files, the two processes, and what people are told meanwhile.
//!
//! The two know nothing of it: they run from their files as they would anywhere.

mod directory;
mod failure;
mod logs;
mod processes;
mod routes;
mod steps;
mod stop;
mod terminal;

pub(crate) use directory::{Author, CLUSTER, Directory, TENANT, Vouched, identity_name};
pub(crate) use failure::{Failure, Step};
pub(crate) use processes::Pair;
pub(crate) use routes::{
    Exposed, Forwarded, Status, Way, exposed, forwarded, session, sessions, tunnel_address,
};
pub(crate) use steps::{ask, bound, joined, start};
pub(crate) use stop::Stop;
pub(crate) use terminal::{Mark, Progress, Style};
