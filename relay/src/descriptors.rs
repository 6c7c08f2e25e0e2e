//! How many files and sockets the process may have open, and keeping some for those who look after it.
//!
//! Callers may take all that there are but for a reserve. What is left is for health, metrics and
//! status, for reading the configuration again, and for sessions.

use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What callers leave.
const RESERVE: u64 = 64;

/// How long a listener waits before it looks whether there is room again.
const PAUSE: Duration = Duration::from_millis(100);

/// How many there may be, once that is known.
static LIMIT: AtomicU64 = AtomicU64::new(u64::MAX);

/// Raises the limit as far as the process may: to the hard one. Answers how many descriptors there
/// may be from now on; `u64::MAX` if as many as the system has.
pub fn raise_limit() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    let limit = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => maximum,
        Err(error) => {
            tracing::warn!(%error, "the limit of open files stays as it is");
            current
        }
    };
    let limit = limit.unwrap_or(u64::MAX);
    LIMIT.store(limit, Ordering::Relaxed);
    limit
}

/// Warns if `needed` descriptors, which the configuration allows callers to take, are more than there may be.
pub fn warn_if_short(limit: u64, needed: u64) {
    let needed = needed.saturating_add(RESERVE);
    if needed > limit {
        tracing::warn!(
            limit,
            needed,
            "fewer files may be open than callers may need: raise the limit (LimitNOFILE, ulimit -n) or lower max_connections"
        );
    }
}

/// Whether `socket`, just opened, is one of those that callers are to leave.
///
/// A new descriptor has the lowest free number, so one near the limit says that almost all below
/// are taken.
pub fn is_of_reserve(socket: &impl AsFd) -> bool {
    let number = socket.as_fd().as_raw_fd();
    u64::try_from(number).is_ok_and(|number| number >= ordinary(LIMIT.load(Ordering::Relaxed)))
}

/// To be awaited by a listener with the caller that it has just accepted: returns once there is room
/// for more besides. So each listener takes at most one of the reserve, and further callers wait in the
/// kernel's backlog. Cancel-safe.
pub async fn leave_reserve(socket: &impl AsFd) {
    if !is_of_reserve(socket) {
        return;
    }
    tracing::warn!("almost all files that may be open are: callers wait");
    loop {
        tokio::time::sleep(PAUSE).await;
        let lowest_free = socket.as_fd().try_clone_to_owned();
        if lowest_free.is_ok_and(|lowest| !is_of_reserve(&lowest)) {
            return;
        }
    }
}

/// How many are not of the reserve. Of a small limit the reserve is a quarter.
fn ordinary(limit: u64) -> u64 {
    limit - RESERVE.min(limit / 4)
}
