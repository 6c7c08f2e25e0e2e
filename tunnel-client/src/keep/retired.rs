//! Sessions that live on only for the streams that they have.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use relay::Session;
use relay::proto::{MAX_BESIDE, SessionId};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use super::Keeper;
use super::mend::Course;
use crate::dial::Way;

/// Longer than any stream: a session that is not stopped ends with its last one.
pub(super) const AS_LONG_AS_IT_TAKES: Duration = Duration::from_millis(u32::MAX as u64);

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Retired {
    sessions: Arc<Mutex<Vec<Leaving>>>,
    tasks: TaskTracker,
}

/// A session that is drained.
#[derive(Clone, Debug)]
pub(crate) struct Leaving {
    pub(super) course: Course,
    /// How long that may take.
    pub(super) patience: Duration,
}

impl Leaving {
    pub(crate) fn session(&self) -> &Session {
        &self.course.session
    }

    /// The edge that it is with.
    pub(crate) fn edge(&self) -> &str {
        &self.course.edge
    }

    pub(super) fn way(&self) -> Way {
        *self.course.way.lock()
    }
}

impl Keeper {
    /// Lets a session end with its last stream, within its patience at most, or within `grace` after
    /// `stop`. Until then it is given another connection when it loses its own.
    pub(super) fn retire(&self, leaving: Leaving, stop: CancellationToken, grace: Duration) {
        let (keeper, retired) = (self.clone(), &self.retired);
        let Leaving { course, patience } = leaving.clone();
        retired.sessions.lock().push(leaving);
        let sessions = retired.sessions.clone();
        let span = course.session.span().clone();
        let ending = async move {
            let session = &course.session;
            let drained = async {
                tokio::select! {
                    () = session.drain(patience) => {}
                    () = stop.cancelled() => session.drain(grace).await,
                }
            };
            tokio::select! {
                () = drained => {}
                never = keeper.mend(&course) => match never {},
                never = keeper.end_when_revoked(&course) => match never {},
            }
            session.finished().await;
            sessions
                .lock()
                .retain(|other| other.session().id() != session.id());
            tracing::info!("the last stream of a session that was left is over");
        };
        retired.tasks.spawn(ending.instrument(span));
    }
}

impl Retired {
    /// Whether the session that there is with an edge may live on beside a new one, too.
    pub(super) fn has_room(&self, edge: &str) -> bool {
        self.ids(edge).len() < MAX_BESIDE
    }

    /// Those with an edge, for Hello.
    pub(super) fn ids(&self, edge: &str) -> Vec<SessionId> {
        let sessions = self.sessions.lock();
        let with = sessions.iter().filter(|leaving| leaving.edge() == edge);
        with.map(|leaving| leaving.session().id()).collect()
    }

    /// For status.
    pub(crate) fn sessions(&self) -> Vec<Leaving> {
        self.sessions.lock().clone()
    }

    /// Waits until all are over.
    pub(super) async fn finished(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}
