//! How many files and sockets the process may have open, and keeping some for those who look after it.
//!
//! Callers may take all that there are but for a reserve, and tunnels half of that. What is left is
//! for health, metrics and status, and for reading the configuration again.

use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What callers leave; tunnels leave half of it.
const RESERVE: u64 = 64;

/// How long a listener waits before it looks whether there is room again.
const PAUSE: Duration = Duration::from_millis(100);

/// How many there may be, once that is known.
static LIMIT: AtomicU64 = AtomicU64::new(u64::MAX);

/// Whom a socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Callers, and what is dialled for them.
    Callers,
    /// Connections that carry sessions, of which those of strangers are few and short.
    Tunnels,
}

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

/// Whether `socket`, just opened for `purpose`, is one of those that are to be left.
///
/// A new descriptor has the lowest free number, so one near the limit says that almost all below
/// are taken.
pub fn is_of_reserve(socket: &impl AsFd, purpose: Purpose) -> bool {
    let number = socket.as_fd().as_raw_fd();
    u64::try_from(number)
        .is_ok_and(|number| number >= purpose.share_of(LIMIT.load(Ordering::Relaxed)))
}

/// To be awaited by a listener with the connection that it has just accepted: returns once there is
/// room for more besides. So each listener takes at most one of the reserve, and further connections
/// wait in the kernel's backlog. Cancel-safe.
pub async fn leave_reserve(socket: &impl AsFd, purpose: Purpose) {
    if !is_of_reserve(socket, purpose) {
        return;
    }
    match purpose {
        Purpose::Callers => tracing::warn!("almost all files that may be open are: callers wait"),
        Purpose::Tunnels => tracing::warn!("almost all files that may be open are: clients wait"),
    }
    loop {
        tokio::time::sleep(PAUSE).await;
        let lowest_free = socket.as_fd().try_clone_to_owned();
        if lowest_free.is_ok_and(|lowest| !is_of_reserve(&lowest, purpose)) {
            return;
        }
    }
}

impl Purpose {
    /// How many of `limit` are not to be left. Of a small limit the reserve is a quarter.
    fn share_of(self, limit: u64) -> u64 {
        let reserve = RESERVE.min(limit / 4);
        match self {
            Self::Callers => limit - reserve,
            Self::Tunnels => limit - reserve / 2,
        }
    }
}
