//! Streams that are open, have moved something, and move nothing more.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;

use super::call;
use crate::bench::origin::Service;

/// How many open streams at once.
const CALLERS: u64 = 8;

/// What each stream moves, there and back: several times what it may have under way at first, so that all that a stream
/// gets for its bytes it has had.
const PIECE: usize = 16 << 10;
const PIECES: usize = 4;

/// Opens streams, each of which moves a little there and back. They end when the answer is dropped.
pub(in crate::bench) fn open_idle(path: SocketAddr, streams: u64) -> io::Result<Vec<TcpStream>> {
    let open = |piece: &mut [u8]| {
        let mut stream = call(path, Service::Echo, &[])?;
        for _ in 0..PIECES {
            stream.write_all(piece)?;
            stream.read_exact(piece)?;
        }
        Ok(stream)
    };
    thread::scope(|scope| {
        let callers: Vec<_> = (0..CALLERS)
            .map(|caller| {
                let share = caller * streams / CALLERS..(caller + 1) * streams / CALLERS;
                scope.spawn(move || {
                    let mut piece = vec![0x5a; PIECE];
                    share
                        .map(|_| open(&mut piece))
                        .collect::<io::Result<Vec<_>>>()
                })
            })
            .collect();
        let mut all = Vec::new();
        for caller in callers {
            all.extend(caller.join().expect("a caller does not panic")?);
        }
        Ok(all)
    })
}
