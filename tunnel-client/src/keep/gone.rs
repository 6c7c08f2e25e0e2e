//! What becomes of a session whose edge is taken away, or stops, while it lives.

use relay::Session;
use tokio::time::sleep;

use super::attempts::Attempts;
use super::seek::Begun;
use super::{Keeper, LONGEST_RETRY_AFTER, NotReached};
use crate::dial::Way;
use crate::link::DialState;

/// Where new streams go instead of a session.
pub(super) enum Next {
    /// To the same edge by a better way.
    Better(Begun),
    /// To another edge, for this one is not named any more or is stopping.
    Instead(Begun),
    /// To the sessions of the other keepers, who have every edge that is still named.
    Enough,
}

impl Keeper {
    /// Waits until new streams had better go elsewhere. Cancel-safe: what was begun is closed.
    pub(super) async fn next(
        &self,
        session: &Session,
        edge: &str,
        way: Way,
        attempts: &mut Attempts,
    ) -> Next {
        loop {
            let leaves = tokio::select! {
                better = self.seek(session, edge, way, attempts) => return Next::Better(better),
                leaves = self.leaves(session, way) => leaves,
            };
            if let Some(next) = self.instead(session, way, leaves, attempts).await {
                return next;
            }
        }
    }

    /// Waits until other edges are known and not this one, or until it stops.
    async fn leaves(&self, session: &Session, way: Way) -> Leaves {
        let mut watched = self.discovery.watch();
        tokio::select! {
            Ok(_) = watched.wait_for(|discovered| discovered.has_lost(way.address)) => Leaves::Gone,
            () = session.peer_draining() => Leaves::Stopping,
        }
    }

    /// A session with another edge, unless this one comes back first. It stays until there is
    /// another: who only changed a name must not have cut anybody off.
    async fn instead(
        &self,
        session: &Session,
        way: Way,
        leaves: Leaves,
        attempts: &mut Attempts,
    ) -> Option<Next> {
        session
            .span()
            .in_scope(|| tracing::info!(because = leaves.label(), "another edge is looked for"));
        loop {
            let discovered = self.discovered().await;
            let is_gone = discovered.has_lost(way.address);
            if leaves == Leaves::Gone && !is_gone {
                return None;
            }
            let mut free = self.free(&discovered);
            match leaves {
                Leaves::Gone => free.retain(|address| *address != way.address),
                // Behind it there may be another edge, or soon the same one again.
                Leaves::Stopping => free.sort_by_key(|address| *address == way.address),
            }
            let reached = match free.is_empty() {
                true => Ok(None),
                false => self.reach(free, attempts, Some(session.id())).await,
            };
            self.link
                .update(self.slot, |dialing| dialing.state = DialState::Connected);
            let retry_after = match reached {
                Ok(Some(begun)) => {
                    self.metrics.left(leaves.label());
                    return Some(Next::Instead(begun));
                }
                Ok(None) if is_gone => {
                    self.metrics.left(leaves.label());
                    return Some(Next::Enough);
                }
                Ok(None) => None,
                Err(NotReached { retry_after }) => retry_after,
            };
            let asked = retry_after.unwrap_or_default().min(LONGEST_RETRY_AFTER);
            sleep(attempts.next_delay().max(asked)).await;
        }
    }
}

/// Why a session's edge is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaves {
    Gone,
    Stopping,
}

impl Leaves {
    fn label(self) -> &'static str {
        match self {
            Self::Gone => "not_named",
            Self::Stopping => "stopping",
        }
    }
}
