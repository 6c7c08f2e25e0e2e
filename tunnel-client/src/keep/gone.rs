//! What becomes of a session whose edge is taken away while it lives.

use std::time::Duration;

use relay::Session;
use tokio::time::sleep;

use super::attempts::Attempts;
use super::retired::AS_LONG_AS_IT_TAKES;
use super::seek::Begun;
use super::{DialState, Keeper, LONGEST_RETRY_AFTER};
use crate::dial::Way;

impl Keeper {
    /// Waits for the session that new streams go to instead of this one, and says how long this one
    /// may live on: a better way to the edge, or, once DNS no longer names the edge, a way to
    /// another. Cancel-safe: what was begun is closed.
    pub(super) async fn next(
        &self,
        session: &Session,
        way: Way,
        attempts: &mut Attempts,
        grace: Duration,
    ) -> (Begun, Duration) {
        loop {
            tokio::select! {
                better = self.seek(session, way, attempts) => return (better, AS_LONG_AS_IT_TAKES),
                () = self.gone(way) => {}
            }
            if let Some(other) = self.instead(session, way, attempts).await {
                return (other, grace);
            }
        }
    }

    /// Waits until other edges are known, and not this one.
    async fn gone(&self, way: Way) {
        let mut watched = self.discovery.watch();
        let lost = watched.wait_for(|discovered| discovered.has_lost(way.address));
        if lost.await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// A session with another edge, unless the one that there is comes back first. It stays until
    /// there is another: who only changed a name must not have cut anybody off.
    async fn instead(&self, session: &Session, way: Way, attempts: &mut Attempts) -> Option<Begun> {
        session
            .span()
            .in_scope(|| tracing::info!("its edge is no longer named; another is looked for"));
        while self.discovery.now().has_lost(way.address) {
            let retry_after = match self.reach(attempts, Some(session.id())).await {
                Ok(begun) => return Some(begun),
                Err(retry_after) => retry_after,
            };
            self.link
                .update(|dialing| dialing.state = DialState::Connected);
            let asked = retry_after.unwrap_or_default().min(LONGEST_RETRY_AFTER);
            sleep(attempts.next_delay().max(asked)).await;
        }
        None
    }
}
