//! Whether the event loops turn.

use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::{Instant, timeout_at};

/// How long a loop may take to run a task that does nothing.
const PATIENCE: Duration = Duration::from_secs(2);

/// Whether a process is alive, or wants to be restarted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Liveness {
    /// Every event loop turns.
    Live,
    /// Some do not.
    Stuck {
        /// Which, one line each.
        loops: Vec<String>,
    },
}

/// Asks each runtime to run a task that does nothing, all at once, and gives them 2 s.
pub async fn check_loops(loops: Vec<(String, Handle)>) -> Liveness {
    let deadline = Instant::now() + PATIENCE;
    let tasks: Vec<_> = loops
        .into_iter()
        .map(|(name, handle)| (name, handle.spawn(async {})))
        .collect();
    let mut stuck = Vec::new();
    for (name, mut task) in tasks {
        match timeout_at(deadline, &mut task).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => stuck.push(format!("{name}: its event loop has ended")),
            Err(_) => {
                // Or one more would wait there with every probe.
                task.abort();
                stuck.push(format!(
                    "{name}: its event loop has not turned for {} s",
                    PATIENCE.as_secs()
                ));
            }
        }
    }
    if stuck.is_empty() {
        Liveness::Live
    } else {
        Liveness::Stuck { loops: stuck }
    }
}
