//! One TCP connection: two sockets, and a [`Pipe`] for each direction between them.

use std::io;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::watch;
use tokio::time::{sleep_until, timeout};

use super::pipe::{Close, End, Next, Pipe};
use crate::proxy::direction::Direction;
use crate::proxy::faults::InForce;
use crate::proxy::ledger::Entry;

/// The most that is read at once.
const CHUNK: usize = 64 * 1024;

/// How long what is still sent to a connection that a fault has ended is taken in, so that a reset
/// by the system does not overtake the end.
const FAREWELL: Duration = Duration::from_secs(1);

/// A connection whose server has been reached.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) caller: TcpStream,
    pub(super) server: TcpStream,
    pub(super) up: Pipe,
    pub(super) down: Pipe,
    pub(super) entry: Entry,
    pub(super) faults: watch::Receiver<InForce>,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// Both sides have ended what they send, and both ends were passed on.
    Finished,
    /// One side reset it, so that the other one is reset.
    Broken,
    /// By a fault.
    Closed(Close),
}

impl Connection {
    /// Passes on until it is over. Not cancel-safe: dropping it resets both sides, also if that is
    /// because the process ends, so that what broke off never looks complete.
    pub(super) async fn run(mut self) {
        reset_on_close(&self.caller);
        reset_on_close(&self.server);
        let ending = self.pass().await;
        tracing::debug!(number = self.entry.number, ?ending, "connection over");
        // Whoever looks at what is open shall not find it while its sockets say goodbye.
        drop(self.entry);
        match ending {
            Ending::Finished => {
                end_on_close(&self.caller);
                end_on_close(&self.server);
            }
            Ending::Broken => {}
            Ending::Closed(Close::Reset) => {
                let sides = [
                    (self.server, self.up.resets()),
                    (self.caller, self.down.resets()),
                ];
                let rest = sides.into_iter().filter(|(_, resets)| !resets);
                // Who is not reset sees an end.
                let mut rest: Vec<_> = rest.map(|(socket, _)| socket).collect();
                farewell(&mut rest).await;
            }
            Ending::Closed(Close::Finished) => farewell(&mut [self.caller, self.server]).await,
        }
    }

    async fn pass(&mut self) -> Ending {
        let Self {
            caller,
            server,
            up,
            down,
            entry,
            faults,
        } = self;
        let (mut caller_reads, mut caller_writes) = caller.split();
        let (mut server_reads, mut server_writes) = server.split();
        let mut up_buffer = BytesMut::new();
        let mut down_buffer = BytesMut::new();
        loop {
            let now = Instant::now();
            let (up_next, down_next) = (up.next(now), down.next(now));
            for next in [&up_next, &down_next] {
                if let Next::Close(close) = next {
                    return Ending::Closed(*close);
                }
            }
            let ends = [
                (&up_next, &mut *up, &mut server_writes),
                (&down_next, &mut *down, &mut caller_writes),
            ];
            let mut ended = false;
            for (next, pipe, writes) in ends {
                match next {
                    Next::End(End::Finished) if writes.shutdown().await.is_ok() => pipe.ended(),
                    Next::End(End::Finished | End::Reset) => return Ending::Broken,
                    Next::Write(_) | Next::Close(_) | Next::Wait(_) | Next::Idle => continue,
                }
                ended = true;
            }
            if up.is_over() && down.is_over() {
                return Ending::Finished;
            }
            if ended {
                continue;
            }
            let wake = [&up_next, &down_next].into_iter().filter_map(Next::wakes);
            let event = tokio::select! {
                changed = faults.changed() => Event::Faults(changed.is_ok()),
                read = read(&mut caller_reads, &mut up_buffer, up) => Event::Read(Direction::Up, read),
                read = read(&mut server_reads, &mut down_buffer, down) => Event::Read(Direction::Down, read),
                wrote = write(&mut server_writes, &up_next) => Event::Wrote(Direction::Up, wrote),
                wrote = write(&mut caller_writes, &down_next) => Event::Wrote(Direction::Down, wrote),
                () = until(wake.min()) => Event::Time,
            };
            // Under the faults that were in force when it was begun.
            if let Event::Wrote(direction, Ok(count)) = event {
                entry.passed(direction, count);
                match direction {
                    Direction::Up => up.wrote(Instant::now(), count),
                    Direction::Down => down.wrote(Instant::now(), count),
                }
            }
            // Also if something else came first, so that what is sent after a fault was set meets it.
            if matches!(event, Event::Faults(true)) || faults.has_changed().is_ok_and(|it| it) {
                let in_force = faults.borrow_and_update();
                up.set(in_force.lane(Direction::Up));
                down.set(in_force.lane(Direction::Down));
            }
            let now = Instant::now();
            match event {
                Event::Faults(true) | Event::Wrote(_, Ok(_)) | Event::Time => {}
                // The proxy is gone, or a side is.
                Event::Faults(false) | Event::Wrote(_, Err(_)) => return Ending::Broken,
                Event::Read(direction, read) => {
                    let (pipe, buffer) = match direction {
                        Direction::Up => (&mut *up, &mut up_buffer),
                        Direction::Down => (&mut *down, &mut down_buffer),
                    };
                    match read {
                        Ok(0) => pipe.handle_end(now, End::Finished),
                        Ok(_) => pipe.handle_bytes(now, taken(buffer)),
                        Err(_) => pipe.handle_end(now, End::Reset),
                    }
                }
            }
        }
    }
}

/// What a connection has waited for.
enum Event {
    /// Others are in force; not if the proxy is gone.
    Faults(bool),
    Read(Direction, io::Result<usize>),
    Wrote(Direction, io::Result<usize>),
    Time,
}

impl Next {
    fn wakes(&self) -> Option<Instant> {
        match self {
            Self::Wait(until) => Some(*until),
            Self::Write(_) | Self::End(_) | Self::Close(_) | Self::Idle => None,
        }
    }
}

/// Reads as much as there is room for, and after the end waits for a reset. Cancel-safe.
async fn read(from: &mut ReadHalf<'_>, buffer: &mut BytesMut, pipe: &Pipe) -> io::Result<usize> {
    match pipe.room() {
        0 if pipe.can_still_break() => Err(broken(from.as_ref()).await),
        0 => std::future::pending().await,
        room => {
            // Waited for first, so that a connection that never says anything holds no buffer.
            from.readable().await?;
            buffer.reserve(room.min(CHUNK));
            let mut limited = from.take(room.min(CHUNK) as u64);
            limited.read_buf(buffer).await
        }
    }
}

/// What was read, in memory of its own: a part of the buffer would keep all of it, however little is
/// counted as waiting.
fn taken(buffer: &mut BytesMut) -> BytesMut {
    let bytes = BytesMut::from(&buffer[..]);
    buffer.clear();
    bytes
}

/// Waits until the connection is reset. Cancel-safe.
async fn broken(socket: &TcpStream) -> io::Error {
    loop {
        if let Err(error) = socket.ready(Interest::ERROR).await {
            return error;
        }
        // It may have been told of an error that is none, and then shall wait anew.
        let looked = socket.try_io(Interest::ERROR, || match socket.take_error()? {
            Some(error) => Err(error),
            None => Err::<(), _>(io::ErrorKind::WouldBlock.into()),
        });
        match looked {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return error,
            Ok(()) | Err(_) => {}
        }
    }
}

/// Never, if there is nothing to write. Cancel-safe.
async fn write(to: &mut WriteHalf<'_>, next: &Next) -> io::Result<usize> {
    match next {
        Next::Write(bytes) => to.write(bytes).await,
        Next::End(_) | Next::Close(_) | Next::Wait(_) | Next::Idle => std::future::pending().await,
    }
}

/// Never, if there is no time.
async fn until(wake: Option<Instant>) {
    match wake {
        Some(wake) => sleep_until(wake.into()).await,
        None => std::future::pending().await,
    }
}

/// Closing sends RST instead of FIN.
pub(super) fn reset_on_close(socket: &TcpStream) {
    // A socket that refuses is closed already.
    let _ = SockRef::from(socket).set_linger(Some(Duration::ZERO));
}

/// Closing sends FIN, after all that was written.
fn end_on_close(socket: &TcpStream) {
    // A socket that refuses is closed already.
    let _ = SockRef::from(socket).set_linger(None);
}

/// Ends what is sent, and takes in what still comes for a moment.
async fn farewell(sockets: &mut [TcpStream]) {
    for socket in &mut *sockets {
        end_on_close(socket);
        // Whoever is gone needs no end.
        let _ = socket.shutdown().await;
    }
    for socket in sockets {
        let mut rest = vec![0; CHUNK];
        let drain = async { while socket.read(&mut rest).await.is_ok_and(|count| count > 0) {} };
        let _ = timeout(FAREWELL, drain).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_keeps_no_more_memory_than_its_bytes() {
        let mut buffer = BytesMut::with_capacity(CHUNK);
        buffer.extend_from_slice(b"x");
        let waiting = taken(&mut buffer);
        assert_eq!(&waiting[..], b"x");
        assert!(buffer.is_empty() && buffer.try_reclaim(CHUNK));
    }
}
