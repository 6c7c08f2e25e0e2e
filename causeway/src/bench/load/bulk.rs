//! Throughput: as many bytes as a path takes, one way.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::ops::AddAssign;
use std::thread;
use std::time::{Duration, Instant};

use super::{CHUNK, call};
use crate::bench::origin::Service;

/// Which way bulk goes. Callers are in the control plane, the origin is in the compute plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::bench) enum Way {
    /// From the caller to the origin.
    ToCompute,
    /// From the origin to the caller.
    ToControl,
}

/// What went through.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::bench) struct Moved {
    pub(in crate::bench) bytes: u64,
    /// From the first byte sent to the end of the last stream: what was under way when the time was
    /// over is waited for, and counted.
    pub(in crate::bench) took: Duration,
}

impl Moved {
    pub(in crate::bench) fn gbit_per_second(self) -> f64 {
        self.gigabytes() * 8.0 / self.took.as_secs_f64()
    }

    /// 10⁹ bytes.
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53 bytes")]
    pub(in crate::bench) fn gigabytes(self) -> f64 {
        self.bytes as f64 / 1e9
    }
}

impl AddAssign for Moved {
    fn add_assign(&mut self, more: Self) {
        self.bytes += more.bytes;
        self.took += more.took;
    }
}

/// Sends through `streams` streams at once for `duration`.
pub(in crate::bench) fn bulk(
    path: SocketAddr,
    way: Way,
    streams: usize,
    duration: Duration,
) -> io::Result<Moved> {
    let service = match way {
        Way::ToCompute => Service::Drain,
        Way::ToControl => Service::Source,
    };
    let streams: Vec<_> = (0..streams)
        .map(|_| call(path, service, &[]))
        .collect::<io::Result<_>>()?;
    let started = Instant::now();
    let end = started + duration;
    let bytes = thread::scope(|scope| {
        let callers: Vec<_> = streams
            .into_iter()
            .map(|stream| {
                scope.spawn(move || match way {
                    Way::ToCompute => send(stream, end),
                    Way::ToControl => receive(stream, || Instant::now() >= end),
                })
            })
            .collect();
        callers
            .into_iter()
            .map(|caller| caller.join().expect("a caller does not panic"))
            .sum::<io::Result<u64>>()
    })?;
    Ok(Moved {
        bytes,
        took: started.elapsed(),
    })
}

/// Writes until the time is over; answers how much the origin got.
fn send(mut stream: TcpStream, end: Instant) -> io::Result<u64> {
    let chunk = vec![0x5a; CHUNK];
    let mut sent = 0;
    while Instant::now() < end {
        sent += stream.write(&chunk)? as u64;
    }
    stream.shutdown(Shutdown::Write)?;
    let mut count = [0; 8];
    stream.read_exact(&mut count)?;
    let received = u64::from_be_bytes(count);
    if received != sent {
        let lost = format!("{sent} bytes were sent, and {received} arrived");
        return Err(io::Error::new(io::ErrorKind::InvalidData, lost));
    }
    Ok(received)
}

/// Reads until `enough`, which is asked after each read, then tells the origin and reads what is
/// still under way.
pub(super) fn receive(mut stream: TcpStream, mut enough: impl FnMut() -> bool) -> io::Result<u64> {
    let mut chunk = vec![0; CHUNK];
    let mut received = 0;
    let mut told = false;
    loop {
        match stream.read(&mut chunk)? {
            0 if told => return Ok(received),
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => received += read as u64,
        }
        if !told && enough() {
            stream.shutdown(Shutdown::Write)?;
            told = true;
        }
    }
}
