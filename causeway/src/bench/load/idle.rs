//! Streams that are open and move nothing.

use std::io::{self, Read};
use std::net::{SocketAddr, TcpStream};
use std::thread;

use super::call;
use crate::bench::origin::Service;

/// How many open streams at once.
const CALLERS: u64 = 8;

/// Opens streams, each proven by a byte there and back. They end when the answer is dropped.
pub(in crate::bench) fn open_idle(path: SocketAddr, streams: u64) -> io::Result<Vec<TcpStream>> {
    let open = |_| {
        let mut stream = call(path, Service::Echo, b"x")?;
        stream.read_exact(&mut [0])?;
        Ok(stream)
    };
    thread::scope(|scope| {
        let callers: Vec<_> = (0..CALLERS)
            .map(|caller| {
                let share = caller * streams / CALLERS..(caller + 1) * streams / CALLERS;
                scope.spawn(move || share.map(open).collect::<io::Result<Vec<_>>>())
            })
            .collect();
        let mut all = Vec::new();
        for caller in callers {
            all.extend(caller.join().expect("a caller does not panic")?);
        }
        Ok(all)
    })
}
