//! TLS over TCP as a pipe of bytes, for a multiplexer that reads and writes it.
//!
//! What is written is gathered, and encrypted and sent by the driver at the end of its turn: a
//! multiplexer that writes header and body apart, and flushes after each, still makes full records.

use std::cell::RefCell;
use std::io::{self, BufRead, Write as _};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use parking_lot::Mutex;
use rustls::Error as TlsError;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::transport::ConnectionLost;
use crate::transport::tls::lost;
use crate::transport::tls::socket::{SocketWriter, poll_discard};

/// How much is read from the socket at once, and gathered before it is sent, in bytes.
const READ: usize = 128 << 10;
const GATHERED: usize = 128 << 10;

/// By how much more at a time, and at most, where the multiplexer would otherwise read nothing.
const ANSWER: usize = 32 << 10;
const ANSWERS: usize = 8 * ANSWER;

/// How often the socket is read before others have their turn.
const READS: u8 = 2;

thread_local! {
    /// What was read and not decrypted yet. All of it is decrypted at once, so the connections of
    /// a worker share it, and an idle one holds nothing.
    static READ_BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; READ]);
}

/// Both directions. Held by the multiplexer through a [`PipeEnd`], and by the driver.
#[derive(Debug)]
pub(super) struct Pipe {
    socket: TcpStream,
    /// Also held by whoever exports a key.
    tls: Arc<Mutex<rustls::Connection>>,
    /// Decrypted in all, in bytes.
    arrived: Arc<AtomicU64>,
    /// Decrypted and not taken by the multiplexer.
    plain: BytesMut,
    gathered: BytesMut,
    /// Up to where more is gathered at present, in bytes.
    room: usize,
    /// Of the multiplexer, since it was last driven: it could not write, it waits for bytes.
    full: bool,
    hungry: bool,
    /// How often the socket may still be read in this turn.
    reads: u8,
    /// The socket takes nothing more. It may still have something to say.
    unwritable: Option<ConnectionLost>,
    /// TLS has told the peer that nothing follows.
    ended: bool,
}

impl Pipe {
    /// What is decrypted is counted in `arrived`.
    pub(super) fn new(
        socket: TcpStream,
        tls: Arc<Mutex<rustls::Connection>>,
        arrived: Arc<AtomicU64>,
    ) -> Self {
        Self {
            socket,
            tls,
            arrived,
            plain: BytesMut::new(),
            gathered: BytesMut::new(),
            room: GATHERED,
            full: false,
            hungry: false,
            reads: READS,
            unwritable: None,
            ended: false,
        }
    }

    /// The driver has its turn.
    pub(super) fn begin_turn(&mut self) {
        self.reads = READS;
    }

    /// The multiplexer is to do all that it can.
    pub(super) fn begin_drive(&mut self) {
        self.full = false;
        self.hungry = false;
    }

    /// Makes room, if the multiplexer has stopped reading until an answer to the peer is written, as
    /// yamux does before a pong; whether there is more now. Two ends that are busy sending would
    /// otherwise each wait for the other to read. Who asks and never reads is not given more.
    pub(super) fn makes_room_for_an_answer(&mut self) -> bool {
        let waits = self.full && !self.hungry && self.room < GATHERED + ANSWERS;
        if waits {
            self.room += ANSWER;
        }
        waits
    }

    /// Why nothing can be written any more, which came before whatever ended the reading.
    pub(super) fn unwritable(&self) -> Option<ConnectionLost> {
        self.unwritable.clone()
    }

    /// Sends what was gathered. Ready when the socket has taken all of it, or takes nothing more.
    pub(super) fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.unwritable.is_none()
            && let Err(error) = ready!(self.try_send(cx))
        {
            self.unwritable = Some(lost::by_io(&error));
        }
        if self.unwritable.is_some() {
            self.gathered = BytesMut::new();
        }
        Poll::Ready(())
    }

    /// Sends the rest, then the end. Ready when the socket has taken it.
    pub(super) fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        ready!(self.poll_send(cx));
        if !std::mem::replace(&mut self.ended, true) {
            self.tls.lock().send_close_notify();
        }
        ready!(self.poll_send(cx));
        // Of a socket that is gone, nobody is told.
        Pin::new(&mut self.socket).poll_shutdown(cx).map(drop)
    }

    /// Reads what still comes and drops it; ready when the peer has ended.
    pub(super) fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        READ_BUFFER.with_borrow_mut(|buffer| poll_discard(&mut self.socket, buffer, READS, cx))
    }

    fn try_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut tls = self.tls.lock();
        loop {
            while tls.wants_write() {
                let mut socket = SocketWriter {
                    socket: &mut self.socket,
                    cx,
                };
                match tls.write_tls(&mut socket) {
                    Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        return Poll::Pending;
                    }
                    Err(error) => return Poll::Ready(Err(error)),
                }
            }
            if self.gathered.is_empty() {
                return Poll::Ready(Ok(()));
            }
            let gathered = std::mem::take(&mut self.gathered);
            self.room = GATHERED;
            tls.writer().write_all(&gathered)?;
        }
    }

    /// Ready when there is plain text, or never will be.
    fn poll_plain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // What came together with the end of the handshake is decrypted already.
        let mut ended = take_plain(&mut self.tls.lock(), &mut self.plain);
        while self.plain.is_empty() && !ended {
            if self.reads == 0 {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            ended = ready!(self.poll_socket(cx))?;
            self.reads -= 1;
        }
        Poll::Ready(Ok(()))
    }

    /// Reads the socket once; whether the peer has ended.
    fn poll_socket(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        READ_BUFFER.with_borrow_mut(|buffer| {
            let mut read = ReadBuf::new(buffer);
            ready!(Pin::new(&mut self.socket).poll_read(cx, &mut read))?;
            if read.filled().is_empty() {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            Poll::Ready(self.decrypt(read.filled()))
        })
    }

    /// Whether the peer has ended.
    fn decrypt(&mut self, mut arrived: &[u8]) -> io::Result<bool> {
        let mut tls = self.tls.lock();
        let (mut ended, before) = (false, self.plain.len());
        while !arrived.is_empty() && !ended {
            let taken = tls.read_tls(&mut arrived)?;
            let processed = tls.process_new_packets();
            // After the peer's end, TLS takes no more.
            ended = take_plain(&mut tls, &mut self.plain) || taken == 0;
            let as_io = |error: TlsError| io::Error::new(io::ErrorKind::InvalidData, error);
            processed.map_err(as_io)?;
        }
        let count = self.plain.len() - before;
        self.arrived.fetch_add(count as u64, Ordering::Relaxed);
        Ok(ended)
    }
}

/// Takes what is decrypted; whether the peer has ended.
fn take_plain(tls: &mut rustls::Connection, plain: &mut BytesMut) -> bool {
    let mut reader = tls.reader();
    // An error says that there is no more at present.
    while let Ok(decrypted) = reader.fill_buf() {
        if decrypted.is_empty() {
            return true;
        }
        plain.extend_from_slice(decrypted);
        let count = decrypted.len();
        reader.consume(count);
    }
    false
}

/// The multiplexer's end of the pipe.
#[derive(Clone, Debug)]
pub(in crate::transport) struct PipeEnd(pub(super) Arc<Mutex<Pipe>>);

impl AsyncRead for PipeEnd {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let pipe = &mut *self.0.lock();
        let plain = pipe.poll_plain(cx);
        pipe.hungry = plain.is_pending();
        ready!(plain)?;
        let count = pipe.plain.len().min(out.remaining());
        out.put_slice(&pipe.plain[..count]);
        pipe.plain.advance(count);
        if pipe.plain.is_empty() {
            // An idle connection holds no memory.
            pipe.plain = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for PipeEnd {
    /// All of `bytes` or nothing, so that whoever writes a header sees it taken as one.
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let pipe = &mut *self.0.lock();
        if pipe.gathered.len() >= pipe.room {
            let sent = pipe.poll_send(cx);
            pipe.full = sent.is_pending();
            ready!(sent);
        }
        // Into a socket that takes nothing, everything goes: what it still has to say is read.
        if pipe.unwritable.is_none() {
            pipe.gathered.extend_from_slice(bytes);
        }
        Poll::Ready(Ok(bytes.len()))
    }

    /// Left to the driver.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Left to the driver.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
