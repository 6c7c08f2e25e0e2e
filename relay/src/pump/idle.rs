//! How long a pump may move nothing.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

use super::PumpError;

/// Ends a pump that moves nothing for too long. The timer is set again only when it fires, so that
/// what is moved costs no more than a look at the clock.
#[derive(Debug)]
pub(super) struct IdleWatch {
    limit: Duration,
    moved: u64,
    since: Instant,
    timer: Pin<Box<Sleep>>,
}

impl IdleWatch {
    /// Call it within the runtime that polls the watch.
    pub(super) fn new(limit: Duration) -> Self {
        Self {
            limit,
            moved: 0,
            since: Instant::now(),
            timer: Box::pin(sleep(limit)),
        }
    }

    /// Ready with [`PumpError::Idle`] once `moved`, the bytes of both directions, has stayed the
    /// same for the limit; never ready otherwise.
    pub(super) fn poll(&mut self, moved: u64, cx: &mut Context<'_>) -> Poll<Result<(), PumpError>> {
        if self.moved != moved {
            self.moved = moved;
            self.since = Instant::now();
        }
        loop {
            ready!(self.timer.as_mut().poll(cx));
            let over = self.since + self.limit;
            if over <= Instant::now() {
                return Poll::Ready(Err(PumpError::Idle(self.limit)));
            }
            self.timer.as_mut().reset(over);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn silence_counts_from_the_last_byte() {
        let began = Instant::now();
        let mut watch = IdleWatch::new(LIMIT);
        tokio::time::advance(LIMIT / 2).await;
        let moved = poll_fn(|cx| Poll::Ready(watch.poll(1, cx))).await;
        assert!(moved.is_pending());
        let ended = poll_fn(|cx| watch.poll(1, cx)).await;
        assert!(matches!(ended, Err(PumpError::Idle(LIMIT))));
        assert_eq!(began.elapsed(), LIMIT / 2 + LIMIT);
    }
}
