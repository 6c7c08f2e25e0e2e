//! The task that carries: frames from the streams through TLS to the socket, and back.
//!
//! ```text
//! Live ──the connection is over──▶ Leaving ──last word written, FIN sent──▶ Lingering
//!                                     └────the peer has ended, or it takes too long────┴──▶ gone
//! ```
//!
//! One task does both directions, so that there is one look at the streams per turn and TLS has one
//! user. It lives until the socket is closed; the connection and its streams may be gone before.

use std::cell::RefCell;
use std::io::{self, BufRead, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

use super::batch::Batch;
use super::frame::{self, FrameReader};
use super::lost;
use super::shared::Shared;
use super::socket::{SocketWriter, poll_discard};
use super::violation::Violation;
use crate::proto::CloseCode;
use crate::transport::ConnectionLost;

/// How much is read from the socket at once, in bytes. Left to itself, the TLS library reads a
/// quarter of a record.
const READ: usize = 128 << 10;

/// How often the socket is read, and how many batches are written, before others have their turn.
const READS: u8 = 1;
pub(super) const BATCHES: usize = 2;

/// How long the last word may take to be written, and the peer to end its side.
const LINGER: Duration = Duration::from_secs(2);

thread_local! {
    /// What was read and not decrypted yet. All of it is decrypted within one turn, so the
    /// connections of a worker share it, and an idle one holds nothing.
    static READ_BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; READ]);
}

/// See the module.
#[derive(Debug)]
pub(super) struct Carrier {
    socket: TcpStream,
    shared: Arc<Shared>,
    frames: FrameReader,
    batch: Batch,
    stage: Stage,
    /// How long it may still take, once the connection is over.
    patience: Option<Pin<Box<Sleep>>>,
    /// The socket takes nothing more. It may still have something to say.
    unwritable: Option<ConnectionLost>,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    Live,
    Leaving,
    Lingering,
}

impl Carrier {
    pub(super) fn new(socket: TcpStream, shared: Arc<Shared>) -> Self {
        Self {
            socket,
            shared,
            frames: FrameReader::default(),
            batch: Batch::default(),
            stage: Stage::Live,
            patience: None,
            unwritable: None,
        }
    }
}

impl Future for Carrier {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        let shared = this.shared.clone();
        let mut tls = shared.tls.lock();
        if let Stage::Live = this.stage {
            ready!(this.carry(&mut tls, cx));
            this.say_farewell(&mut tls);
            this.patience = Some(Box::pin(tokio::time::sleep(LINGER)));
            this.stage = Stage::Leaving;
        }
        if let Stage::Leaving = this.stage {
            match this.leave(&mut tls, cx) {
                Poll::Ready(Ok(())) => this.stage = Stage::Lingering,
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => {}
            }
        }
        let patience = this.patience.as_mut().map(|patience| patience.as_mut());
        if patience.is_none_or(|patience| patience.poll(cx).is_ready()) {
            return Poll::Ready(());
        }
        this.discard(cx)
    }
}

impl Drop for Carrier {
    /// Whoever still waits is told, also when the worker stops.
    fn drop(&mut self) {
        let gone = ConnectionLost::Other("the connection's worker has stopped".into());
        self.shared.with(|streams| streams.lose(gone));
    }
}

// ---- while the connection lives ----

impl Carrier {
    /// Ready when the connection is over.
    fn carry(&mut self, tls: &mut rustls::Connection, cx: &mut Context<'_>) -> Poll<()> {
        // First of all, so that nothing that comes meanwhile is missed.
        let over = self.shared.with(|streams| {
            streams.carrier = Some(cx.waker().clone());
            streams.begin_turn();
            streams.over.is_some()
        });
        if over {
            return Poll::Ready(());
        }
        let mut again = false;
        if self.unwritable.is_none() {
            match self.write(tls, cx) {
                Ok(more) => again |= more,
                // The peer may have said why before it hung up: that is read first.
                Err(error) => self.unwritable = Some(lost::by_io(&error)),
            }
        }
        match self.read(tls, cx) {
            Ok(more) => again |= more,
            Err(lost) => {
                let lost = self.unwritable.take().unwrap_or(lost);
                self.shared.with(|streams| streams.lose(lost));
            }
        }
        if self.shared.with(|streams| streams.over.is_some()) {
            return Poll::Ready(());
        }
        if again {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// Writes as much as the socket takes; whether there is more to do at once.
    fn write(&mut self, tls: &mut rustls::Connection, cx: &mut Context<'_>) -> io::Result<bool> {
        for _ in 0..BATCHES {
            if self.write_tls(tls, cx)?.is_pending() {
                return Ok(false);
            }
            let (batch, now) = (&mut self.batch, Instant::now());
            let more_writers = self.shared.with(|streams| {
                if streams.has_output() {
                    streams.fill(batch, now);
                }
                streams.call_writers()
            });
            if self.batch.is_empty() {
                return Ok(more_writers);
            }
            let slices = self.batch.slices();
            let taken = tls.writer().write_vectored(&slices)?;
            assert_eq!(taken, self.batch.len(), "TLS takes all, without a limit");
            self.batch.clear();
        }
        Ok(true)
    }

    /// Ready when everything that is encrypted is with the socket.
    fn write_tls(
        &mut self,
        tls: &mut rustls::Connection,
        cx: &mut Context<'_>,
    ) -> io::Result<Poll<()>> {
        let mut socket = SocketWriter {
            socket: &mut self.socket,
            cx,
        };
        while tls.wants_write() {
            match tls.write_tls(&mut socket) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Poll::Pending);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Poll::Ready(()))
    }

    /// Reads what has arrived; whether there may be more.
    fn read(
        &mut self,
        tls: &mut rustls::Connection,
        cx: &mut Context<'_>,
    ) -> Result<bool, ConnectionLost> {
        // What came together with the end of the handshake is decrypted already.
        self.take_plain(tls)?;
        READ_BUFFER.with_borrow_mut(|buffer| {
            for _ in 0..READS {
                let mut read = ReadBuf::new(buffer);
                match Pin::new(&mut self.socket).poll_read(cx, &mut read) {
                    Poll::Pending => return Ok(false),
                    Poll::Ready(Err(error)) => return Err(lost::by_io(&error)),
                    Poll::Ready(Ok(())) if read.filled().is_empty() => return Err(lost::silently()),
                    Poll::Ready(Ok(())) => self.decrypt(tls, read.filled())?,
                }
            }
            Ok(true)
        })
    }

    fn decrypt(
        &mut self,
        tls: &mut rustls::Connection,
        mut arrived: &[u8],
    ) -> Result<(), ConnectionLost> {
        while !arrived.is_empty() {
            let taken = tls
                .read_tls(&mut arrived)
                .map_err(|error| lost::by_io(&error))?;
            let processed = tls.process_new_packets();
            self.take_plain(tls)?;
            processed.map_err(|error| lost::by_tls(&error))?;
            // After the peer's end, TLS takes no more.
            if taken == 0 {
                return Err(lost::silently());
            }
        }
        Ok(())
    }

    /// Hands what is decrypted to the streams.
    fn take_plain(&mut self, tls: &mut rustls::Connection) -> Result<(), ConnectionLost> {
        let mut reader = tls.reader();
        // An error says that there is no more at present.
        while let Ok(plain) = reader.fill_buf() {
            if plain.is_empty() {
                return Err(lost::silently());
            }
            let count = plain.len();
            self.shared.arrived.fetch_add(count as u64, Relaxed);
            self.handle(plain);
            reader.consume(count);
        }
        Ok(())
    }

    fn handle(&mut self, mut plain: &[u8]) {
        let (frames, now) = (&mut self.frames, Instant::now());
        self.shared.with(|streams| {
            let mut handled = || {
                // Behind a close there is nothing that counts.
                while streams.over.is_none()
                    && let Some(piece) = frames.next(&mut plain)?
                {
                    streams.handle(piece, now)?;
                }
                Ok(())
            };
            if let Err(violation) = handled() {
                let violation: Violation = violation;
                let text = format!("frames: {violation}");
                let why = ConnectionLost::Other(format!("the peer broke the protocol: {text}"));
                streams.close(CloseCode::Protocol, &text, why);
            }
        });
    }
}

// ---- the end ----

impl Carrier {
    /// What the peer is told goes ahead of everything that was not encrypted yet.
    fn say_farewell(&mut self, tls: &mut rustls::Connection) {
        if let Some((code, reason)) = self.shared.with(|streams| streams.farewell.take()) {
            let close = frame::close(code.number(), &reason);
            // Of a connection that TLS has given up, nobody is told.
            let _ = tls.writer().write_all(&close);
        }
        tls.send_close_notify();
    }

    /// Ready when the last word is with the socket, and its end.
    fn leave(
        &mut self,
        tls: &mut rustls::Connection,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.write_tls(tls, cx)?);
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }

    /// Ready when the peer has ended. What it still sends is read and dropped.
    fn discard(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        READ_BUFFER.with_borrow_mut(|buffer| poll_discard(&mut self.socket, buffer, READS, cx))
    }
}
