//! What is to be felt of a live session, and not remembered: it differs at each time of asking.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

/// Gives the [`Vitals`] of one session.
pub(super) trait Pulse: fmt::Debug + Send + Sync {
    fn feel(&self) -> Vitals;
}

/// How a session is at this moment.
#[derive(Clone, Debug)]
pub(super) struct Vitals {
    pub(super) transport: &'static str,
    pub(super) remote: SocketAddr,
    pub(super) key_exchange: String,
    pub(super) rtt: Duration,
    /// How long ago anything of the client arrived.
    pub(super) silence: Duration,
    pub(super) suspect: bool,
    pub(super) streams: usize,
}

impl Pulse for relay::Session {
    fn feel(&self) -> Vitals {
        let snapshot = self.snapshot();
        Vitals {
            transport: snapshot.transport.label(),
            remote: snapshot.remote,
            key_exchange: snapshot.key_exchange,
            rtt: snapshot.rtt,
            silence: snapshot.silence,
            suspect: snapshot.suspect,
            streams: snapshot.streams,
        }
    }
}
