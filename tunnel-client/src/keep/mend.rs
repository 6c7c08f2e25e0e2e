//! Another connection for a session that has lost its own, or may have.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use parking_lot::Mutex;
use relay::proto::{Close, CloseCode, WorkerHint};
use relay::{NotResumed, Session};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{Instrument, Span};

use super::attempts::Patience;
use super::preference::source_towards;
use super::reach::dial_span;
use super::roam::Source;
use super::{Keeper, LONGEST_RETRY_AFTER};
use crate::dial::{Connected, DialError, Finish, Race, Way, shown};
use crate::revocation::Shown;

/// How long after one round of attempts the next begins beside it: one that began while nothing came
/// through may not notice that something does. Linux sends a SYN again 1, 3 and 7 s after the first: with
/// those of the rounds before, there is one every half second at least, which whole seconds would not do.
const ROUND: Duration = Duration::from_millis(1250);

/// How long an edge that was reached may take to answer Hello.
const ANSWER: Duration = Duration::from_secs(4);

/// How many rounds there are at once: as many as begin before the first is over.
const ROUNDS: usize = 8;

/// How long after an edge has answered, but not carried the session on, it is asked again.
const ASKED_AGAIN: Duration = Duration::from_secs(2);

/// A session, and how it can be carried on.
#[derive(Clone, Debug)]
pub(super) struct Course {
    pub(super) session: Session,
    pub(super) edge: String,
    /// By which way it is connected, or was last.
    pub(super) way: Arc<Mutex<Way>>,
    /// What the edge has shown on that way.
    pub(super) shown: Shown,
    /// Where the packets of that connection come from.
    pub(super) source: Arc<Mutex<Source>>,
    pub(super) hint: Option<WorkerHint>,
    /// Whether the edge answers Pings ahead of Hello.
    pub(super) may_probe: bool,
}

impl Course {
    pub(super) fn way(&self) -> Way {
        *self.way.lock()
    }
}

/// What became of a connection for a session.
pub(super) enum Carried {
    /// It carries the session.
    On,
    /// It does not; perhaps another will, after so long.
    NotYet(Duration),
}

impl Keeper {
    /// Gives the session another connection whenever it has none, or one that may be dead, and finds out
    /// early that it may be. Ends with the session. Cancel-safe: what was begun is closed.
    pub(super) async fn mend(&self, course: &Course) -> Infallible {
        tokio::select! {
            never = self.mend_what_is_suspect(course) => never,
            never = self.watch_source(course) => never,
        }
    }

    async fn mend_what_is_suspect(&self, course: &Course) -> Infallible {
        let session = &course.session;
        if !session.is_resumable() {
            return std::future::pending().await;
        }
        loop {
            session.suspect().await;
            let again = Instant::now() + self.mend_once(course).await;
            sleep_until(again).await;
        }
    }

    /// Tries every way to the session's edge, again and again, until one leads there or nothing is wrong
    /// any more; says how long to wait if that does not carry the session.
    async fn mend_once(&self, course: &Course) -> Duration {
        let mut rounds = FuturesUnordered::new();
        let mut next_round = Instant::now();
        let mut patience = Patience::new(&self.backoff);
        // One at most: the edge is to hear one Hello at a time.
        let mut carrying = FuturesUnordered::new();
        let mut next = None;
        loop {
            if carrying.is_empty()
                && let Some((connected, span)) = next.take()
            {
                let carried = self.carry_on(course, connected, span);
                carrying.push(timeout(ANSWER, carried));
            }
            tokio::select! {
                // Once it has heard Hello, the edge may have left the old connection.
                () = course.session.unsuspect(), if carrying.is_empty() => return Duration::ZERO,
                () = sleep_until(next_round), if rounds.len() < ROUNDS => {
                    rounds.push(self.round(course));
                    // While nobody waits there is no hurry, and thousands of others may be lost too.
                    let pause = match course.session.snapshot().streams {
                        0 => patience.next_delay(),
                        1.. => ROUND,
                    };
                    next_round = Instant::now() + pause;
                }
                // The latest is the likeliest to be there still.
                Some(found) = rounds.next() => next = found.or(next),
                Some(carried) = carrying.next() => match carried {
                    Ok(Carried::On) => return Duration::ZERO,
                    Ok(Carried::NotYet(wait)) => return wait,
                    // What takes longer is given up: the network may have gone again.
                    Err(_) => {}
                },
            }
        }
    }

    /// Tries every way once. The first that leads to the session's edge. Instead of a connection that
    /// may be dead, but still is there, only one is taken that full-size packets pass, and by another
    /// transport, if there is another and the machine still has the connection's address.
    async fn round(&self, course: &Course) -> Option<(Connected, Span)> {
        let way = course.way();
        let only_suspect = course.session.is_connected();
        if only_suspect && course.session.has_fleeting() {
            // Some of its streams would end, and the connection may live.
            return None;
        }
        self.metrics.connected(self.link.connected());
        let mut addresses = self.known_addresses();
        addresses.retain(|address| *address != way.address);
        addresses.insert(0, way.address);
        let mut ways = self.ways(addresses, None);
        // What is at fault is known then, and it is not the transport.
        let is_gone = course.source.lock().is_gone();
        if only_suspect && !is_gone && self.transports.len() > 1 {
            ways.retain(|other| other.transport != way.transport);
        }
        let (mut dialer, worker) = (self.dialer.clone(), self.worker.clone());
        dialer.quic.expected_rtt = Some(course.session.snapshot().rtt);
        let mut race = Race::new(dialer, course.hint, worker, ways);
        let mut begin = |way| dial_span(self.next_attempt(), way);
        while let Some(Finish { way, span, outcome }) = race.next(&mut begin).await {
            match outcome {
                Ok(mut connected) if connected.edge() == course.edge => {
                    if !(only_suspect && course.may_probe) {
                        return Some((connected, span));
                    }
                    let probing = self.dialer.probe(&mut connected);
                    match probing.instrument(span.clone()).await {
                        Ok(()) => return Some((connected, span)),
                        Err(error) => {
                            self.metrics.attempted(way.transport, "worse");
                            span.in_scope(|| tracing::info!(%error, "not used"));
                        }
                    }
                }
                Ok(_) => race.leave_out(way.address),
                Err(error) => {
                    self.metrics.attempted(way.transport, "failed");
                    span.in_scope(|| tracing::debug!(%error, "edge not reached"));
                    self.link
                        .update(self.slot, |it| it.last_error = Some(error.to_string()));
                }
            }
        }
        None
    }

    /// Has a connection to the session's edge carry the session, instead of the one that it has or had.
    pub(super) async fn carry_on(
        &self,
        course: &Course,
        connected: Connected,
        span: Span,
    ) -> Carried {
        let Course {
            session, edge, way, ..
        } = course;
        let new_way = connected.way;
        let mut hello = self.hello(edge);
        let Ok(continues) = session.continuing(connected.connection(), hello.attempt) else {
            return Carried::NotYet(ASKED_AGAIN);
        };
        hello.continues = continues;
        session.set_full_size(self.proves_full_size(new_way.transport));
        let greeting = self.dialer.greet(connected, hello).instrument(span.clone());
        let resumed = match greeting.await {
            Ok(reached) => {
                let shown = shown(reached.established.connection.as_ref());
                let resumed = session.resume(reached.established);
                resumed
                    .map(|()| self.goes_on_with(course, shown))
                    .map_err(|error| match error {
                        NotResumed::Over | NotResumed::TooLate => Duration::ZERO,
                    })
            }
            Err(error) => {
                span.in_scope(|| tracing::warn!(%error, "the session does not go on"));
                Err(self.not_carried(session, &error))
            }
        };
        if let Err(wait) = resumed {
            self.metrics.attempted(new_way.transport, "failed");
            return Carried::NotYet(wait);
        }
        self.metrics.attempted(new_way.transport, "resumed");
        self.metrics.connected(self.link.connected());
        let old_way = std::mem::replace(&mut *way.lock(), new_way);
        *course.source.lock() = Source::new(source_towards(new_way.address));
        if old_way.transport != new_way.transport {
            let (from, to) = (old_way.transport, new_way.transport);
            self.metrics.moved(to);
            session
                .span()
                .in_scope(|| tracing::info!(%from, %to, "streams use another transport"));
        }
        let (transport, address) = (new_way.transport, new_way.address);
        session
            .span()
            .in_scope(|| tracing::info!(%transport, %address, "reconnected, streams go on"));
        Carried::On
    }

    /// Ends the session if the edge will never go on with it; else says how long to wait.
    fn not_carried(&self, session: &Session, error: &DialError) -> Duration {
        let Some(refusal) = error.refusal() else {
            return ASKED_AGAIN;
        };
        let asked = refusal.retry_after.unwrap_or_default();
        match refusal.code {
            CloseCode::Overload | CloseCode::Superseded => {
                asked.clamp(ASKED_AGAIN, LONGEST_RETRY_AFTER)
            }
            CloseCode::Shutdown
            | CloseCode::Refused
            | CloseCode::WrongEdge
            | CloseCode::Version
            | CloseCode::Protocol
            | CloseCode::CreditExceeded
            | CloseCode::TooLarge
            | CloseCode::HandshakeTimeout
            | CloseCode::Dead
            | CloseCode::Revoked
            | CloseCode::Internal
            | CloseCode::Moved
            | CloseCode::Unknown => {
                // One that has a connection is not ended by what another process at its edge's place says.
                if !session.is_connected() {
                    let message = match refusal.code == CloseCode::Revoked {
                        true => refusal.message.clone(),
                        false => format!("the edge knows it no more: {}", refusal.code),
                    };
                    session.give_up(Close {
                        message,
                        ..refusal.clone()
                    });
                }
                ASKED_AGAIN
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// However the moment falls at which a network is there again.
    #[test]
    fn a_syn_leaves_every_half_second() {
        const SENT_AGAIN: [u64; 4] = [0, 1000, 3000, 7000];
        let round = u64::try_from(ROUND.as_millis()).unwrap();
        let rounds = u64::try_from(ROUNDS).unwrap();
        let begun = (0..rounds).map(|nth| nth * round);
        let mut sent: Vec<u64> = begun
            .flat_map(|begun| SENT_AGAIN.map(|after| begun + after))
            .filter(|at| (2_500..=rounds * round).contains(at))
            .collect();
        sent.sort();
        for pair in sent.windows(2) {
            assert!(pair[1] - pair[0] <= 500, "{pair:?} of {sent:?}");
        }
    }
}
