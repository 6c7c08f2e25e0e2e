//! The connections of a session, one after the other: each has a reader and a writer of its control
//! stream for as long as it carries the session.

use std::convert::Infallible;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::control;
use super::handshake::ControlStream;
use super::shared::Shared;
use crate::proto::{Attempt, CloseCode};
use crate::transport::Connection;

/// A connection that carries the session, or did.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) attempt: Attempt,
    pub(super) connection: Arc<dyn Connection>,
    /// The control task has something to write, or an earlier deadline.
    pub(super) control_due: Notify,
    /// It carries the session no more.
    pub(super) over: CancellationToken,
}

impl Line {
    pub(super) fn new(attempt: Attempt, connection: Arc<dyn Connection>) -> Arc<Self> {
        Arc::new(Self {
            attempt,
            connection,
            control_due: Notify::new(),
            over: CancellationToken::new(),
        })
    }
}

/// A line, and its control stream, on which Hello and its answer were exchanged.
pub(super) type BegunLine = (Arc<Line>, ControlStream);

/// The line that is to be served next, until it is.
#[derive(Debug, Default)]
pub(super) struct NextLine {
    begun: Mutex<Option<BegunLine>>,
    due: Notify,
}

impl NextLine {
    /// Has a line served, or the one of a later attempt that is to be next already.
    pub(super) fn put(&self, begun: BegunLine) {
        let mut next = self.begun.lock();
        let (later, earlier) = match next.take() {
            Some(other) if other.0.attempt > begun.0.attempt => (other, Some(begun)),
            other => (begun, other),
        };
        *next = Some(later);
        drop(next);
        if let Some((earlier, _)) = earlier {
            earlier.connection.close(CloseCode::Moved, "");
        }
        self.due.notify_one();
    }

    /// Cancel-safe.
    async fn take(&self) -> BegunLine {
        loop {
            let due = self.due.notified();
            if let Some(begun) = self.begun.lock().take() {
                return begun;
            }
            due.await;
        }
    }
}

/// Serves the first line, and all that follow it, until the session is over.
pub(super) async fn run(shared: Arc<Shared>, first: BegunLine, next: Arc<NextLine>) {
    let mut lines = JoinSet::new();
    lines.spawn(serve(shared.clone(), first).instrument(shared.span.clone()));
    loop {
        tokio::select! {
            () = shared.closed().cancelled() => break,
            next = next.take() => {
                lines.spawn(serve(shared.clone(), next).instrument(shared.span.clone()));
            }
            Some(ended) = lines.join_next() => super::surface_panic(ended),
            never = keep_for_grace(&shared) => match never {},
        }
    }
    shared.reset_all();
    // It too is told why the session is over.
    if let Some(late) = next.begun.lock().take() {
        lines.spawn(serve(shared.clone(), late).instrument(shared.span.clone()));
    }
    while let Some(ended) = lines.join_next().await {
        super::surface_panic(ended);
    }
}

/// Ends a session that has been without a connection for too long. Cancel-safe.
async fn keep_for_grace(shared: &Shared) -> Infallible {
    loop {
        shared.disconnected().await;
        if let Some(expires) = shared.check_grace() {
            let _counted = shared.metrics.session_detached();
            tokio::select! {
                _ = shared.connected_line() => {}
                () = tokio::time::sleep_until(expires.into()) => {}
            }
        }
    }
}

async fn serve(shared: Arc<Shared>, (line, control): BegunLine) {
    tokio::join!(
        control::write(&shared, &line, control.send),
        control::read(&shared, &line, control.recv, control.frames),
    );
}
