//! What is put through a path, by plain blocking sockets and a thread for each caller: whatever a
//! path does, its callers are the same.

mod bulk;
mod connections;
mod idle;
mod ping;

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

pub(super) use bulk::{Moved, Way, bulk};
pub(super) use connections::{CALLERS, connections};
pub(super) use idle::open_idle;
pub(super) use ping::{BESIDE, Latency, STALLED, ping, ping_beside_bulk, ping_beside_stalled};

use super::origin::Service;

/// How long a stream may move nothing before a measurement is given up.
const PATIENCE: Duration = Duration::from_secs(30);

/// How much is read or written at once.
const CHUNK: usize = 256 * 1024;

/// Connects to a path, and says which of the origin's services is meant: `more` goes with it.
fn call(path: SocketAddr, service: Service, more: &[u8]) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(path)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut first = vec![service.byte()];
    first.extend_from_slice(more);
    io::Write::write_all(&mut (&stream), &first)?;
    Ok(stream)
}

#[cfg(test)]
mod tests;
