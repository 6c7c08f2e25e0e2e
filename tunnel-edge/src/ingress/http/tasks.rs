//! Tasks that end with their owner.

use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// Owns tasks, wherever they run. Dropping it ends them all.
#[derive(Debug)]
pub(super) struct TaskOwner {
    tasks: Tasks,
    _ends_tasks: DropGuard,
}

impl TaskOwner {
    pub(super) fn new() -> Self {
        let tasks = Tasks {
            tracker: TaskTracker::new(),
            ended: CancellationToken::new(),
        };
        Self {
            _ends_tasks: tasks.ended.clone().drop_guard(),
            tasks,
        }
    }

    /// What adds tasks, and does not keep the owner.
    pub(super) fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    /// Waits until all tasks have ended by themselves.
    pub(super) async fn finished(&self) {
        self.tasks.tracker.close();
        self.tasks.tracker.wait().await;
    }
}

/// Adds tasks to a [`TaskOwner`].
#[derive(Debug, Clone)]
pub(super) struct Tasks {
    tracker: TaskTracker,
    ended: CancellationToken,
}

impl Tasks {
    /// The future, made to end with the owner. It is for the caller to spawn it.
    pub(super) fn owned(
        &self,
        future: impl Future<Output = ()> + Send + 'static,
    ) -> impl Future<Output = ()> + Send + 'static {
        self.owned_until(self.ended.clone(), future)
    }

    /// The same for a future that also ends with `token`, which [`token`](Self::token) gave.
    pub(super) fn owned_until(
        &self,
        token: CancellationToken,
        future: impl Future<Output = ()> + Send + 'static,
    ) -> impl Future<Output = ()> + Send + 'static {
        self.tracker.track_future(async move {
            tokio::select! {
                // Before the future gets a chance to end in an orderly way.
                biased;
                () = token.cancelled() => {}
                () = future => {}
            }
        })
    }

    /// A token that is cancelled with the owner, or before.
    pub(super) fn token(&self) -> CancellationToken {
        self.ended.child_token()
    }
}

/// hyper runs each request and each body of HTTP/2 on a task of its own, on the current thread.
impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Tasks {
    fn execute(&self, future: F) {
        drop(tokio::spawn(self.owned(future)));
    }
}
