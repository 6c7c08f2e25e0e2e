//! Looking for a better way to the edge while a session lives.

use std::time::Duration;

use rand::RngExt;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{Instrument, Span};

use super::attempts::Attempts;
use super::claims::Claim;
use super::mend::{Carried, Course};
use super::preference::{is_good_enough, source_towards};
use super::reach::dial_span;
use super::{Keeper, LONGEST_RETRY_AFTER};
use crate::dial::{Connected, Finish, Race, Reached, Way};

/// How often the preferred transport is tried while another one is used, ±10 %.
const LOOK: Duration = Duration::from_secs(15);

/// How long to wait before another try while the connection is suspect.
const AGAIN: Duration = Duration::from_secs(2);

/// A session that is better than the one that there was, or the first.
pub(super) struct Begun {
    pub(super) reached: Reached,
    pub(super) claim: Claim,
    pub(super) way: Way,
    pub(super) span: Span,
}

impl Keeper {
    /// Waits for a better session than the one that was reached by `way`: over the preferred
    /// transport, if that is another one and measures well, or over any other, if the connection is
    /// suspect; in any case one that full-size packets pass. Cancel-safe: what was begun is closed.
    pub(super) async fn seek(&self, course: &Course, attempts: &mut Attempts) -> Begun {
        let (session, edge) = (&course.session, course.edge.as_str());
        attempts.way = Some(course.way());
        if self.transports.len() == 1 {
            // There is nothing else to look for.
            return std::future::pending().await;
        }
        let preferred = self.transports[0];
        loop {
            let look_at = Instant::now() + LOOK.mul_f64(rand::rng().random_range(0.9..=1.1));
            let way = course.way();
            if let Some(before) = attempts.way.replace(way)
                && before.transport != way.transport
            {
                self.note_move(attempts, before, way);
            }
            // One that goes on needs no room beside another, and is mended when it is suspect. One that
            // would lose streams by it lives on beside another for them.
            let resumable = session.is_resumable();
            // Asked again once there is another connection: streams come and go.
            let goes_on = || resumable && !session.has_fleeting();
            let has_room = resumable || self.retired.has_room(edge);
            let found = tokio::select! {
                () = session.suspect(), if has_room && !goes_on() => {
                    let others = self.transports.iter().filter(|other| **other != way.transport);
                    let ways = others.map(|transport| Way { transport: *transport, ..way });
                    let found = self.look(ways.collect(), attempts).await;
                    let found = found.filter(|_| session.snapshot().suspect);
                    if found.is_none() {
                        sleep(AGAIN).await;
                    }
                    found
                }
                () = sleep_until(look_at), if way.transport != preferred && has_room => {
                    attempts.preference.now_from(source_towards(way.address));
                    if attempts.preference.held_until(Instant::now()).is_some() {
                        continue;
                    }
                    let ways = vec![Way { transport: preferred, ..way }];
                    let found = self.look(ways, attempts).await;
                    found.filter(|(connected, _)| {
                        let good = is_good_enough(connected.rtt(), session.snapshot().rtt);
                        if !good {
                            self.metrics.attempted(preferred, "worse");
                            attempts.preference.worse(Instant::now());
                        }
                        good
                    })
                }
                // There may be room by then, or the session on another way.
                () = sleep_until(look_at), if resumable && way.transport == preferred || !has_room => None,
            };
            let Some((connected, span)) = found else {
                continue;
            };
            if goes_on() {
                if connected.edge() == edge && !session.is_suspect() {
                    // A move is seen above.
                    if let Carried::NotYet(wait) = self.carry_on(course, connected, span).await {
                        sleep(wait).await;
                    }
                }
                continue;
            }
            if !self.retired.has_room(edge) {
                continue;
            }
            let way = connected.way;
            let found = connected.edge().to_owned();
            let now = Instant::now();
            let Some(claim) = self.claims.claim(self.slot, &found, way.address, now) else {
                // Another edge is at this address by now, and another keeper has it.
                self.metrics.attempted(way.transport, "duplicate");
                sleep(AGAIN).await;
                continue;
            };
            let mut hello = self.hello(&found);
            hello.beside.push(session.id());
            let greeting = self.dialer.greet(connected, hello).instrument(span.clone());
            match greeting.await {
                Ok(reached) => {
                    self.metrics.attempted(way.transport, "reached");
                    return Begun {
                        reached,
                        claim,
                        way,
                        span,
                    };
                }
                Err(error) => {
                    self.metrics.attempted(way.transport, "failed");
                    span.in_scope(|| tracing::warn!(%error, "no better connection"));
                    // The connection may still be suspect, and the edge may still refuse.
                    let asked = error.refusal().and_then(|close| close.retry_after);
                    sleep(asked.unwrap_or_default().clamp(AGAIN, LONGEST_RETRY_AFTER)).await;
                }
            }
        }
    }

    /// Connects by the first of these ways that leads to an edge, and through which full-size packets
    /// come, as far as the edge lets that be tried.
    async fn look(&self, ways: Vec<Way>, attempts: &mut Attempts) -> Option<(Connected, Span)> {
        let (dialer, hint, worker) = (self.dialer.clone(), attempts.hint, self.worker.clone());
        let mut race = Race::new(dialer, hint, worker, ways);
        let mut begin = |way| dial_span(self.next_attempt(), way);
        while let Some(Finish { way, span, outcome }) = race.next(&mut begin).await {
            match outcome {
                Ok(mut connected) => {
                    let probed = match attempts.may_probe {
                        true => {
                            self.dialer
                                .probe(&mut connected)
                                .instrument(span.clone())
                                .await
                        }
                        false => Ok(()),
                    };
                    let Err(error) = probed else {
                        return Some((connected, span));
                    };
                    self.metrics.attempted(way.transport, "worse");
                    if self.is_preferred(way) {
                        attempts.preference.worse(Instant::now());
                    }
                    span.in_scope(|| tracing::info!(%error, "not used"));
                }
                Err(error) => {
                    self.metrics.attempted(way.transport, "failed");
                    span.in_scope(|| tracing::debug!(%error, "edge not reached"));
                }
            }
        }
        None
    }
}
