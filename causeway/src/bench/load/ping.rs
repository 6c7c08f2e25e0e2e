//! Latency: one byte there and back, again and again; alone, beside bulk, and beside callers that
//! never read.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use super::bulk::{Moved, receive};
use super::call;
use crate::bench::origin::Service;
use crate::bench::steady::{Seen, Steady};
use crate::bench::usage::cpu_seconds;

/// How many bulk streams there are beside a ping.
pub(in crate::bench) const BESIDE: usize = 4;

/// How many callers never read beside a ping.
pub(in crate::bench) const STALLED: usize = 100;

/// When nothing has arrived for those, and nothing has been done on their way, for so long that
/// it is all that will.
const STEADY: Steady = Steady {
    for_so_long: Duration::from_millis(500),
    patience: Duration::from_secs(30),
};

/// More than the kernel keeps of what a caller has not read.
const UNREAD: usize = 8 << 20;

/// How long a byte took there and back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::bench) struct Latency {
    /// Half of all were as fast.
    pub(in crate::bench) p50: Duration,
    /// Of a hundred, 99 were as fast.
    pub(in crate::bench) p99: Duration,
}

impl Latency {
    /// Of at least one round trip.
    pub(super) fn of(mut took: Vec<Duration>) -> Self {
        took.sort_unstable();
        // The nearest rank: the smallest that so many in a hundred do not exceed.
        let rank = |percent: usize| took[(took.len() * percent).div_ceil(100) - 1];
        Self {
            p50: rank(50),
            p99: rank(99),
        }
    }
}

/// Pings for as long as `duration`, once at least.
pub(in crate::bench) fn ping(path: SocketAddr, duration: Duration) -> io::Result<Latency> {
    let mut stream = call(path, Service::Echo, b"x")?;
    // Until the stream has been accepted at the other end, this is a figure of opening it.
    stream.read_exact(&mut [0])?;
    let mut took = Vec::new();
    let end = Instant::now() + duration;
    loop {
        let sent = Instant::now();
        stream.write_all(b"x")?;
        stream.read_exact(&mut [0])?;
        let now = Instant::now();
        took.push(now - sent);
        if now >= end {
            return Ok(Latency::of(took));
        }
    }
}

/// The same while streams move all that they can to the control plane.
pub(in crate::bench) fn ping_beside_bulk(
    path: SocketAddr,
    duration: Duration,
) -> io::Result<(Latency, Moved)> {
    let enough = &AtomicBool::new(false);
    thread::scope(|scope| {
        let (moves, moving) = mpsc::channel();
        let started = Instant::now();
        let mut callers = Vec::new();
        for _ in 0..BESIDE {
            let mut moves = Some(moves.clone());
            callers.push(scope.spawn(move || {
                let stream = call(path, Service::Source, &[])?;
                receive(stream, || {
                    if let Some(moves) = moves.take() {
                        let _ = moves.send(());
                    }
                    enough.load(Ordering::Relaxed)
                })
            }));
        }
        drop(moves);
        // Whoever breaks off before has dropped its end without a word.
        let under_way = moving.iter().take(BESIDE).count() == BESIDE;
        let latency = if under_way {
            ping(path, duration)
        } else {
            Err(io::Error::other("a bulk stream broke off before it moved"))
        };
        enough.store(true, Ordering::Relaxed);
        let bytes = callers
            .into_iter()
            .map(|caller| caller.join().expect("a caller does not panic"))
            .sum::<io::Result<u64>>()?;
        let took = started.elapsed();
        Ok((latency?, Moved { bytes, took }))
    })
}

/// The same beside callers to whom an origin sends without end, and who never read. `pids` lie on
/// the way.
pub(in crate::bench) fn ping_beside_stalled(
    path: SocketAddr,
    pids: &[u32],
    duration: Duration,
) -> io::Result<Latency> {
    let stalled: Vec<_> = (0..STALLED)
        .map(|_| call(path, Service::Source, &[]))
        .collect::<io::Result<_>>()?;
    wait_until_stalled(&stalled, pids)?;
    ping(path, duration)
}

/// Until nothing more arrives for any of them, nor fills what lies on the way.
fn wait_until_stalled(callers: &[TcpStream], pids: &[u32]) -> io::Result<()> {
    let mut room = vec![0; UNREAD];
    let progress = || {
        let unread = callers.iter().map(|caller| caller.peek(&mut room));
        io::Result::Ok((unread.collect::<io::Result<Vec<_>>>()?, cpu_seconds(pids)?))
    };
    match STEADY.wait(progress, PartialEq::eq)? {
        Seen::Steady(_) => Ok(()),
        Seen::StillChanging(_) => {
            let endless = "callers that never read are still sent something";
            Err(io::Error::new(io::ErrorKind::TimedOut, endless))
        }
    }
}
