//! Connections per second: connect, one byte there and back, close.

use std::io::{self, Read};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::call;
use crate::bench::origin::Service;

/// How many connect at once.
pub(in crate::bench) const CALLERS: u64 = 32;

/// No more are made in one go. Each leaves its port in TIME-WAIT, where Linux takes one again after
/// a second at the earliest, and by default there are 28,232 ports.
const MOST: u64 = 20_000;

/// How many connections a second pass through a path.
pub(in crate::bench) fn connections(path: SocketAddr, duration: Duration) -> io::Result<f64> {
    let begun = AtomicU64::new(0);
    let started = Instant::now();
    let end = started + duration;
    let connect_over_and_over = || {
        let mut made = 0_u32;
        while Instant::now() < end && begun.fetch_add(1, Ordering::Relaxed) < MOST {
            let mut stream = call(path, Service::Echo, b"x")?;
            stream.read_exact(&mut [0])?;
            made += 1;
        }
        Ok(f64::from(made))
    };
    let made = thread::scope(|scope| {
        let callers: Vec<_> = (0..CALLERS)
            .map(|_| scope.spawn(connect_over_and_over))
            .collect();
        callers
            .into_iter()
            .map(|caller| caller.join().expect("a caller does not panic"))
            .sum::<io::Result<f64>>()
    })?;
    Ok(made / started.elapsed().as_secs_f64())
}
