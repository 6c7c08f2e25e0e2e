//! What becomes of a session whose edge is taken away, or stops, while it lives.

use std::time::Duration;

use relay::Session;
use tokio::time::{sleep, timeout};

use super::attempts::{Attempts, Patience};
use super::mend::Course;
use super::seek::Begun;
use super::{Keeper, LONGEST_RETRY_AFTER, NotReached};
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
    pub(super) async fn next(&self, course: &Course, attempts: &mut Attempts) -> Next {
        loop {
            let leaves = tokio::select! {
                better = self.seek(course, attempts) => return Next::Better(better),
                leaves = self.leaves(course) => leaves,
            };
            if let Some(next) = self.instead(course, leaves, attempts).await {
                return next;
            }
        }
    }

    /// Waits until other edges are known and not this one, until it stops, or until it was lost and has
    /// not come back at once.
    async fn leaves(&self, course: &Course) -> Leaves {
        let session = &course.session;
        let mut watched = self.discovery.watch();
        tokio::select! {
            Ok(_) = watched.wait_for(|discovered| discovered.has_lost(course.way().address)) => Leaves::Gone,
            () = session.peer_draining() => Leaves::Stopping,
            () = stays_detached(session) => Leaves::Lost,
        }
    }

    /// A session with another edge, unless this one comes back first. It stays until there is
    /// another: who only changed a name must not have cut anybody off.
    async fn instead(
        &self,
        course: &Course,
        leaves: Leaves,
        attempts: &mut Attempts,
    ) -> Option<Next> {
        let session = &course.session;
        let mut patience = Patience::new(&self.backoff);
        session
            .span()
            .in_scope(|| tracing::info!(because = leaves.label(), "another edge is looked for"));
        loop {
            let discovered = self.discovered().await;
            let way = course.way();
            let is_gone = discovered.has_lost(way.address);
            if leaves == Leaves::Gone && !is_gone
                || leaves == Leaves::Lost && session.is_connected()
            {
                return None;
            }
            let mut free = self.free(&discovered);
            match leaves {
                Leaves::Gone => free.retain(|address| *address != way.address),
                // Behind it there may be another edge, or soon the same one again.
                Leaves::Stopping | Leaves::Lost => {
                    free.sort_by_key(|address| *address == way.address)
                }
            }
            // Whoever gives the session another connection is at that edge already.
            let avoided = (leaves == Leaves::Lost).then_some(course.edge.as_str());
            let reached = match free.is_empty() {
                true => Ok(None),
                false => {
                    self.reach(free, attempts, Some(session.id()), avoided)
                        .await
                }
            };
            if session.is_connected() {
                self.link
                    .update(self.slot, |dialing| dialing.state = DialState::Connected);
            }
            let retry_after = match reached {
                Ok(Some(begun)) => {
                    self.metrics.left(leaves.label());
                    return Some(Next::Instead(begun));
                }
                Ok(None) if is_gone && leaves != Leaves::Lost => {
                    self.metrics.left(leaves.label());
                    return Some(Next::Enough);
                }
                Ok(None) => None,
                Err(NotReached { retry_after }) => retry_after,
            };
            let asked = retry_after.unwrap_or_default().min(LONGEST_RETRY_AFTER);
            sleep(patience.next_delay().max(asked)).await;
        }
    }
}

/// Why a session's edge is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaves {
    Gone,
    Stopping,
    Lost,
}

/// How long a lost connection may take to be replaced before other edges are looked for.
const LOST_AFTER: Duration = Duration::from_secs(2);

/// Waits until the session has been without a connection for a while.
async fn stays_detached(session: &Session) {
    loop {
        session.detached().await;
        if timeout(LOST_AFTER, session.connected()).await.is_err() {
            return;
        }
    }
}

impl Leaves {
    fn label(self) -> &'static str {
        match self {
            Self::Gone => "not_named",
            Self::Stopping => "stopping",
            Self::Lost => "lost",
        }
    }
}
