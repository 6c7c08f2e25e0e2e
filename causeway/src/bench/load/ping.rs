//! Latency: one byte there and back, again and again.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use super::bulk::{Moved, receive};
use super::call;
use crate::bench::origin::Service;

/// How many bulk streams there are beside a ping.
pub(in crate::bench) const BESIDE: usize = 4;

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
