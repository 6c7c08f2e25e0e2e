//! Accepting and answering, within limits.

use std::collections::VecDeque;
use std::io;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::{AbortHandle, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use super::listener::{Bound, Listener};
use super::routes::{self, Hosts};
use super::{Admin, Surface};

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

/// Before accepting again when the process has no file descriptor left.
const OUT_OF_DESCRIPTORS: Duration = Duration::from_millis(100);

impl Listener {
    /// Serves until `stop`, then gives answers under way 5 s. A unix socket's file is gone
    /// when this returns. Dropping the future drops all connections.
    pub async fn serve(self, admin: Admin, stop: CancellationToken) {
        self.serve_within(LIMITS, admin, stop).await;
    }

    pub(super) async fn serve_within(self, limits: Limits, admin: Admin, stop: CancellationToken) {
        let hosts = match (&self.socket, self.surface) {
            (Bound::Tcp(..), Surface::Admin) => Hosts::Local,
            (Bound::Unix(..), Surface::Admin) | (_, Surface::Telemetry) => Hosts::Any,
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
                let outcome = match &self.socket {
                    Bound::Tcp(listener, _) => {
                        listener.accept().await.map(|(io, _)| peers.admit(io))
                    }
                    Bound::Unix(listener, _) => {
                        listener.accept().await.map(|(io, _)| peers.admit(io))
                    }
                };
                if let Err(error) = outcome {
                    pause_if_exhausted(&error).await;
                }
            }
        };
        let _: Option<()> = stop.run_until_cancelled(accepting).await;
        drop(self.socket);
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

/// accept(2) returns errors that belong to one connection, and those that will come again
/// at once until a descriptor is free.
async fn pause_if_exhausted(error: &io::Error) {
    let of_one_connection = [
        io::ErrorKind::ConnectionAborted,
        io::ErrorKind::ConnectionReset,
        io::ErrorKind::Interrupted,
    ];
    if !of_one_connection.contains(&error.kind()) {
        tracing::warn!(%error, "cannot accept on the admin or telemetry listener; trying again");
        tokio::time::sleep(OUT_OF_DESCRIPTORS).await;
    }
}
