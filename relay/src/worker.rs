//! The threads that sessions live on: each has its own current-thread runtime, so that a session,
//! its connections and its pumps never wait for another thread.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use tokio::runtime;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::proto::WorkerHint;
use crate::pump::release_unused_blocks;

/// All workers of a process. Dropping it stops them; what still runs on them is dropped there.
#[derive(Debug)]
pub struct Workers {
    handles: Vec<WorkerHandle>,
    threads: Vec<thread::JoinHandle<()>>,
    stop: CancellationToken,
    placement: Placement,
}

/// A worker, for spawning on it from anywhere.
#[derive(Clone, Debug)]
pub struct WorkerHandle {
    index: usize,
    runtime: runtime::Handle,
    sessions: Arc<AtomicUsize>,
}

/// How hints name workers: a random tag, so that hints of another process mean nothing, then the
/// worker's number.
#[derive(Clone, Copy, Debug)]
struct Placement {
    tag: [u8; 6],
}

impl Workers {
    /// Starts `count` threads, at least one, named `name-0` and so on.
    pub fn start(count: usize, name: &str) -> io::Result<Self> {
        let stop = CancellationToken::new();
        let mut workers = Self {
            handles: Vec::new(),
            threads: Vec::new(),
            stop: stop.clone(),
            placement: Placement {
                tag: rand::random(),
            },
        };
        for index in 0..count.max(1) {
            let runtime = runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            workers.handles.push(WorkerHandle {
                index,
                runtime: runtime.handle().clone(),
                sessions: Arc::default(),
            });
            let stopped = stop.clone();
            let run = move || {
                runtime.block_on(async {
                    tokio::select! {
                        () = stopped.cancelled() => {}
                        never = release_unused_blocks() => match never {},
                    }
                });
                runtime.shutdown_timeout(Duration::from_secs(1));
            };
            let thread = thread::Builder::new().name(format!("{name}-{index}"));
            workers.threads.push(thread.spawn(run)?);
        }
        Ok(workers)
    }

    /// All of them, by number.
    pub fn handles(&self) -> &[WorkerHandle] {
        &self.handles
    }

    /// The first, which also holds what belongs to no session.
    pub fn first(&self) -> &WorkerHandle {
        &self.handles[0]
    }

    /// The worker that `hint` names, else the one with the fewest sessions.
    pub fn place(&self, hint: Option<WorkerHint>) -> &WorkerHandle {
        let hinted = hint.and_then(|hint| self.handles.get(self.placement.read(hint)?));
        hinted.unwrap_or_else(|| self.least_loaded())
    }

    /// What leads a client back to `worker`.
    pub fn hint(&self, worker: &WorkerHandle) -> WorkerHint {
        self.placement.write(worker.index)
    }

    fn least_loaded(&self) -> &WorkerHandle {
        self.handles
            .iter()
            .min_by_key(|worker| worker.sessions.load(Ordering::Relaxed))
            .expect("there is at least one worker")
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.stop.cancel();
        let here = thread::current().id();
        for thread in self.threads.drain(..) {
            // The last owner may be a task of a worker, which cannot wait for itself.
            if thread.thread().id() != here && thread.join().is_err() {
                tracing::error!("a worker thread had panicked");
            }
        }
    }
}

impl WorkerHandle {
    /// Runs a future on this worker's thread.
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.runtime.spawn(future)
    }

    /// Its number.
    pub fn index(&self) -> usize {
        self.index
    }

    /// The runtime of its thread.
    pub fn runtime(&self) -> &runtime::Handle {
        &self.runtime
    }

    /// Counts a session that lives here, until the guard is dropped.
    pub fn count_session(&self) -> SessionOnWorker {
        self.sessions.fetch_add(1, Ordering::Relaxed);
        SessionOnWorker(self.sessions.clone())
    }
}

/// A session that is counted where it lives.
#[derive(Debug)]
pub struct SessionOnWorker(Arc<AtomicUsize>);

impl Drop for SessionOnWorker {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Placement {
    fn write(self, worker: usize) -> WorkerHint {
        let mut hint = [0; 8];
        hint[..6].copy_from_slice(&self.tag);
        hint[6..].copy_from_slice(&(worker as u16).to_be_bytes());
        WorkerHint(hint)
    }

    fn read(self, hint: WorkerHint) -> Option<usize> {
        let (tag, number) = hint.0.split_at(6);
        let number = <[u8; 2]>::try_from(number).expect("two bytes are left of eight");
        (tag == self.tag).then(|| u16::from_be_bytes(number).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_leads_back_to_its_worker_and_a_strange_one_to_the_least_loaded() {
        let workers = Workers::start(3, "test").unwrap();
        for worker in workers.handles() {
            assert_eq!(
                workers.place(Some(workers.hint(worker))).index(),
                worker.index()
            );
        }
        let _busy = workers.first().count_session();
        assert_eq!(workers.place(None).index(), 1);
        assert_eq!(workers.place(Some(WorkerHint([7; 8]))).index(), 1);
    }

    #[test]
    fn each_worker_is_a_thread_of_its_own_and_turns() {
        let workers = Workers::start(2, "test").unwrap();
        let name = || thread::current().name().map(str::to_owned);
        let names: Vec<_> = workers
            .handles()
            .iter()
            .map(|worker| {
                let (tell, told) = std::sync::mpsc::channel();
                worker.spawn(async move { tell.send(name()).unwrap() });
                told.recv().unwrap().unwrap()
            })
            .collect();
        assert_eq!(names, ["test-0", "test-1"]);
    }
}
