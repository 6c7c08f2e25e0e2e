//! A clock: what `/events` streams, and what the WebSocket ticks with.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::time::{Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::{Body, BoxError};

/// The time at the service, once a second: at once, then on the beat. A beat that nobody
/// could take is left out, never caught up with.
#[derive(Debug)]
pub(super) struct Clock {
    beat: Interval,
    tick: u64,
}

#[derive(Serialize)]
struct Tick {
    /// How many came before on this connection.
    tick: u64,
    /// RFC 3339, UTC, milliseconds.
    clock: String,
}

impl Clock {
    pub(super) fn new() -> Self {
        let mut beat = tokio::time::interval(Duration::from_secs(1));
        beat.set_missed_tick_behavior(MissedTickBehavior::Skip);
        Self { beat, tick: 0 }
    }

    /// The next beat as one line of JSON. Cancel-safe.
    pub(super) async fn next(&mut self) -> String {
        self.beat.tick().await;
        let now = OffsetDateTime::now_utc();
        let now = now
            .replace_nanosecond(now.nanosecond() / 1_000_000 * 1_000_000)
            .expect("rounded down, it is still below one second");
        let tick = Tick {
            tick: self.tick,
            clock: now
                .format(&Rfc3339)
                .expect("the year has four digits for some time to come"),
        };
        self.tick += 1;
        serde_json::to_string(&tick).expect("a number and a string always encode")
    }
}

/// The clock as server-sent events (WHATWG HTML, section 9.2), until `stop`.
pub(super) fn events(stop: CancellationToken) -> Response<Body> {
    let ticks = stream::unfold((Clock::new(), stop), |(mut clock, stop)| async move {
        let tick = stop.run_until_cancelled(clock.next()).await?;
        let event = format!("data: {tick}\n\n");
        Some((
            Ok::<_, BoxError>(Frame::data(Bytes::from(event))),
            (clock, stop),
        ))
    });
    let mut response = Response::new(StreamBody::new(ticks).boxed_unsync());
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    response
}
