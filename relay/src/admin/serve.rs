//! Accepting and answering, within limits.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use super::converse::{Spoken, converse};
use super::routes::{self, Hosts};
use super::{Admin, Surface};
use crate::listen::{self, BindError};
use crate::pump::{Socket, tune};
use crate::settings::ListenAddr;

/// What a peer may cost; the module documentation states the defaults.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// From connecting to the end of the request's head.
    pub(super) head: Duration,
    /// From connecting to the end of the answer.
    pub(super) whole: Duration,
    /// Connections at a time.
    pub(super) connections: usize,
    /// Between the pings over a connection of HTTP/2, and for the answer to one.
    pub(super) ping: Duration,
    /// After `stop`, for answers under way.
    pub(super) farewell: Duration,
}

const LIMITS: Limits = Limits {
    head: Duration::from_secs(10),
    whole: Duration::from_secs(30),
    connections: 64,
    ping: Duration::from_secs(20),
    farewell: Duration::from_secs(5),
};

/// How many connections of HTTP/2 there may be, among the others.
const HTTP2_CONNECTIONS: usize = 16;

/// A bound listener that nobody is served at yet.
#[derive(Debug)]
pub struct Listener {
    listener: listen::Listener,
    surface: Surface,
}

impl Listener {
    /// Binds without accepting yet. Call it within the runtime that will serve.
    ///
    /// # Errors
    /// [`BindError`] if the address is taken, is not this machine's, or may not be used.
    pub fn bind(address: &ListenAddr, surface: Surface) -> Result<Self, BindError> {
        let listener = listen::Listener::bind(address, surface.key())?;
        Ok(Self { listener, surface })
    }

    /// Where it listens; the port is the real one if 0 was asked for.
    pub fn address(&self) -> ListenAddr {
        self.listener.address()
    }

    /// Serves until `stop`, then gives answers under way 5 s. A unix socket's file is gone
    /// when this returns. Dropping the future drops all connections.
    pub async fn serve(self, admin: Admin, stop: CancellationToken) {
        self.serve_within(LIMITS, admin, stop).await;
    }

    pub(super) async fn serve_within(self, limits: Limits, admin: Admin, stop: CancellationToken) {
        let hosts = match (self.listener.address(), self.surface) {
            (ListenAddr::Ip(_), Surface::Admin) => Hosts::Local,
            (ListenAddr::Unix(_), Surface::Admin) | (_, Surface::Telemetry) => Hosts::Any,
        };
        let mut peers = Peers {
            router: routes::router(admin, self.surface, hosts),
            limits,
            stop: stop.clone(),
            tasks: JoinSet::new(),
            oldest_first: VecDeque::new(),
            places: Arc::new(Semaphore::new(HTTP2_CONNECTIONS)),
        };
        let accepting = async {
            loop {
                match self.listener.accept().await.0 {
                    Socket::Tcp(io) => {
                        tune(&io, None);
                        peers.admit(io);
                    }
                    Socket::Unix(io) => peers.admit(io),
                }
            }
        };
        let _: Option<()> = stop.run_until_cancelled(accepting).await;
        drop(self.listener);
        let farewell = async { while peers.tasks.join_next().await.is_some_and(note) {} };
        // Who is not done by then is dropped with `peers`.
        let _ = tokio::time::timeout(limits.farewell, farewell).await;
    }
}

/// The connections that are open.
#[derive(Debug)]
struct Peers {
    router: Router,
    limits: Limits,
    stop: CancellationToken,
    tasks: JoinSet<()>,
    oldest_first: VecDeque<(AbortHandle, Arc<Spoken>)>,
    places: Arc<Semaphore>,
}

impl Peers {
    /// Serves one more connection. If there are too many, the oldest ends: an honest one is
    /// over in milliseconds, so the oldest is the one that is not. Those of HTTP/2 have their own
    /// bound, and stay.
    fn admit<IO>(&mut self, io: IO)
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        while let Some(outcome) = self.tasks.try_join_next() {
            note(outcome);
        }
        self.oldest_first.retain(|(task, _)| !task.is_finished());
        let mut oldest_first = self.oldest_first.iter();
        if self.oldest_first.len() >= self.limits.connections
            && let Some(oldest) = oldest_first.position(|(_, spoken)| !spoken.is_http2())
            && let Some((task, _)) = self.oldest_first.remove(oldest)
        {
            task.abort();
        }
        let spoken = Arc::new(Spoken::nothing_yet(self.places.clone()));
        let (router, stop) = (self.router.clone(), self.stop.clone());
        let connection = converse(io, router, self.limits, spoken.clone(), stop);
        let task = self.tasks.spawn(connection);
        self.oldest_first.push_back((task, spoken));
    }
}

/// A panic has been printed by then; here it gets its place in the log. Always true, so
/// that a loop can go on with it.
fn note(outcome: Result<(), JoinError>) -> bool {
    if let Err(error) = outcome
        && error.is_panic()
    {
        tracing::error!(%error, "a request of the admin or telemetry listener panicked");
    }
    true
}
