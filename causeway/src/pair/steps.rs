//! The steps from two configuration files to a session: start, bound, joined.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::directory::Directory;
use super::failure::{Failure, Step};
use super::processes::Running;
use super::routes::{Status, session};
use super::terminal::Progress;
use crate::config::Kind;
use crate::status::{AdminAddress, fetch};

/// How long joining may take without a word about what keeps it.
const QUIET: Duration = Duration::from_secs(2);

/// Between two looks at whether the client has joined.
const BEAT: Duration = Duration::from_millis(20);

/// Starts a process from its file in the directory.
pub(crate) fn start(kind: Kind, directory: &Directory) -> Result<Running, Failure> {
    Running::start(kind, directory)
        .map_err(|error| Failure::process(Step::of(kind), &error, &directory.log(kind)))
}

/// Waits until a process has bound everything; says where it can be asked.
pub(crate) async fn bound(
    process: &mut Running,
    deadline: Instant,
) -> Result<AdminAddress, Failure> {
    let bound = process.bound(deadline).await;
    bound.map_err(|error| Failure::process(Step::of(process.kind), &error, &process.log))
}

/// What a process says of itself.
pub(crate) async fn ask(admin: &AdminAddress, step: Step) -> Result<Status, Failure> {
    match fetch(admin).await {
        Ok(answer) => Ok(answer.status),
        Err(error) => Err(Failure::new(step, error.to_string())),
    }
}

/// Waits until both ends hold the session and a round trip has worked on it; says what keeps it
/// when the deadline is over.
pub(crate) async fn joined(
    edge: &AdminAddress,
    client: &AdminAddress,
    deadline: Instant,
    progress: &Progress,
) -> Result<(), String> {
    let mut told = String::new();
    let started = Instant::now();
    loop {
        let keeps = match (fetch(client).await, fetch(edge).await) {
            (Err(error), _) | (_, Err(error)) => error.to_string(),
            (Ok(client), Ok(_)) if !client.ready => client.not_ready.join("; "),
            (Ok(_), Ok(edge)) if session(&edge.status).is_none() => {
                "the edge holds no session yet".to_owned()
            }
            (Ok(_), Ok(_)) => return Ok(()),
        };
        if Instant::now() >= deadline {
            return Err(keeps);
        }
        if started.elapsed() > QUIET && keeps != told {
            progress.step(&format!("waiting for the client to join: {keeps}"));
            told = keeps;
        }
        sleep(BEAT).await;
    }
}
