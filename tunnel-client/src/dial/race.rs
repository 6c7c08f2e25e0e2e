//! Several ways to an edge, tried side by side: the first that leads there is taken (in the manner
//! of RFC 8305).

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use relay::WorkerHandle;
use relay::proto::WorkerHint;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{Instrument, Span};

use super::{Connected, DialError, Dialer, Way};

/// How long a way is tried before the next one begins beside it (RFC 8305 §5).
const HEAD_START: Duration = Duration::from_millis(250);

/// Dropping it gives up whatever is under way.
pub(crate) struct Race {
    dialer: Dialer,
    hint: Option<WorkerHint>,
    worker: WorkerHandle,
    waiting: VecDeque<Way>,
    running: JoinSet<Finish>,
    next_start: Instant,
}

/// What became of one way.
pub(crate) struct Finish {
    pub(crate) way: Way,
    /// Of the attempt, and of the session that comes of it.
    pub(crate) span: Span,
    pub(crate) outcome: Result<Connected, DialError>,
}

impl Race {
    /// Of these ways, the preferred one first. Connections are born on `worker`.
    pub(crate) fn new(
        dialer: Dialer,
        hint: Option<WorkerHint>,
        worker: WorkerHandle,
        ways: impl IntoIterator<Item = Way>,
    ) -> Self {
        Self {
            dialer,
            hint,
            worker,
            waiting: ways.into_iter().collect(),
            running: JoinSet::new(),
            next_start: Instant::now(),
        }
    }

    /// The next way that has led somewhere or failed; `None` when all have. `span` is asked for
    /// one when an attempt begins. Cancel-safe.
    pub(crate) async fn next(&mut self, mut span: impl FnMut(Way) -> Span) -> Option<Finish> {
        loop {
            if self.running.is_empty() && self.waiting.is_empty() {
                return None;
            }
            if self.running.is_empty() || self.next_start <= Instant::now() {
                self.start_next(&mut span);
            }
            tokio::select! {
                Some(finished) = self.running.join_next() => {
                    // Nobody need wait for what has failed.
                    self.next_start = Instant::now();
                    if let Ok(finish) = finished {
                        return Some(finish);
                    }
                }
                () = tokio::time::sleep_until(self.next_start), if !self.waiting.is_empty() => {}
            }
        }
    }

    /// Tries no other way to this address: the edge there has said what it had to say.
    pub(crate) fn leave_out(&mut self, address: SocketAddr) {
        self.waiting.retain(|way| way.address != address);
    }

    fn start_next(&mut self, span: &mut impl FnMut(Way) -> Span) {
        let Some(way) = self.waiting.pop_front() else {
            return;
        };
        self.next_start = Instant::now() + HEAD_START;
        let span = span(way);
        let (dialer, hint, of_it) = (self.dialer.clone(), self.hint, span.clone());
        let attempt = async move {
            let outcome = dialer.connect(way, hint).await;
            Finish {
                way,
                span: of_it,
                outcome,
            }
        };
        self.running
            .spawn_on(attempt.instrument(span), self.worker.runtime());
    }
}
