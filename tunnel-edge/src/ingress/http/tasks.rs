//! Tasks that end with their owner, and those of hyper's that get another owner.

use std::pin::Pin;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;
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
            handover: None,
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
    handover: Option<Handover>,
}

impl Tasks {
    /// The same, for a connection on which only one stream will stop speaking HTTP: its writer is
    /// left there.
    pub(super) fn with_handover(&self, handover: Handover) -> Self {
        Self {
            handover: Some(handover),
            ..self.clone()
        }
    }

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

/// Sends what is written to an HTTP/2 stream that no longer speaks HTTP, for as long as it is
/// polled. Dropping it before it ends keeps the stream from ending: it is reset.
pub(super) type Writer = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Where the [`Writer`] of a stream is left by hyper's task for that stream.
///
/// hyper would spawn it, and end the stream in an orderly way as soon as the stream's upgraded
/// half is dropped, for whatever reason. In the hands of whoever moves the bytes, it goes down with
/// them, and tells a reset of the other end from its end.
#[derive(Clone, Default)]
pub(super) struct Handover(Arc<(Mutex<Option<Writer>>, Notify)>);

impl Handover {
    /// That of the request which is being answered on this task, if it came over HTTP/2.
    pub(super) fn of_this_request() -> Option<Self> {
        HANDOVER.try_with(Self::clone).ok()
    }

    fn put(&self, writer: Writer) {
        let (slot, put) = &*self.0;
        *slot.lock() = Some(writer);
        put.notify_one();
    }

    /// The writer, once it is there. Cancel safe.
    pub(super) async fn take(&self) -> Writer {
        let (slot, put) = &*self.0;
        loop {
            let writer = slot.lock().take();
            match writer {
                Some(writer) => return writer,
                None => put.notified().await,
            }
        }
    }
}

impl std::fmt::Debug for Handover {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handover").finish_non_exhaustive()
    }
}

tokio::task_local! {
    /// Set on the tasks that hyper runs: what one of them in turn wants to have run is the writer
    /// of its stream, and nothing else.
    static HANDOVER: Handover;
}

/// hyper runs each request and each body of HTTP/2 on a task of its own, on the current thread.
impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Tasks {
    fn execute(&self, future: F) {
        match Handover::of_this_request() {
            Some(handover) => handover.put(Box::pin(future)),
            None => {
                let handover = self.handover.clone().unwrap_or_default();
                drop(tokio::spawn(HANDOVER.scope(handover, self.owned(future))));
            }
        }
    }
}
