//! Accepting and answering, within limits.

use std::collections::VecDeque;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::{AbortHandle, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

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
    /// After `stop`, for answers under way.
    pub(super) farewell: Duration,
}

const LIMITS: Limits = Limits {
    head: Duration::from_secs(10),
    whole: Duration::from_secs(30),
    connections: 64,
    farewell: Duration::from_secs(5),
};

/// The most that a request's head may be.
const HEAD_BYTES: usize = 16 * 1024;

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
    oldest_first: VecDeque<AbortHandle>,
}

impl Peers {
    /// Serves one more connection. If there are too many, the oldest ends: an honest one is
    /// over in milliseconds, so the oldest is the one that is not.
    fn admit<IO>(&mut self, io: IO)
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        while let Some(outcome) = self.tasks.try_join_next() {
            note(outcome);
        }
        self.oldest_first.retain(|task| !task.is_finished());
        if self.oldest_first.len() >= self.limits.connections
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            oldest.abort();
        }
        let connection = converse(io, self.router.clone(), self.limits, self.stop.clone());
        self.oldest_first.push_back(self.tasks.spawn(connection));
    }
}

async fn converse<IO>(io: IO, router: Router, limits: Limits, stop: CancellationToken)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(HEAD_BYTES)
        .keep_alive(false)
        .half_close(true)
        .serve_connection(TokioIo::new(io), TowerToHyperService::new(router));
    let conversation = async {
        let mut connection = pin!(connection);
        tokio::select! {
            outcome = connection.as_mut() => outcome,
            () = stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        }
    };
    match tokio::time::timeout(limits.whole, conversation).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::debug!(%error, "a peer of the admin or telemetry listener broke off")
        }
        Err(_) => tracing::debug!("a peer of the admin or telemetry listener took too long"),
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
