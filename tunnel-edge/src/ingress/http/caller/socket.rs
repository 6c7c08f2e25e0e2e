//! The socket of a caller, and what on it belongs to answers.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::Caller;

/// A caller's socket. Resets the connection instead of closing it while a [`CutGuard`] says so.
#[derive(Debug)]
pub(in super::super) struct CallerIo {
    socket: TcpStream,
    caller: Arc<Caller>,
    output: Output,
}

impl CallerIo {
    pub(in super::super) fn new(socket: TcpStream, caller: Arc<Caller>) -> Self {
        Self {
            socket,
            caller,
            output: Output::default(),
        }
    }

    fn sent<'a>(&mut self, parts: impl IntoIterator<Item = &'a [u8]>, mut count: usize) {
        let mut answers = false;
        for part in parts {
            let sent = &part[..part.len().min(count)];
            count -= sent.len();
            answers |= self.output.answers(sent);
        }
        if answers {
            self.caller.answer_sent(Instant::now());
        }
    }
}

impl AsyncRead for CallerIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.socket).poll_read(cx, buf))?;
        let received = &buf.filled()[before..];
        if !received.is_empty() {
            self.caller.received(received, Instant::now());
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for CallerIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let sent = ready!(Pin::new(&mut self.socket).poll_write(cx, buf))?;
        self.sent([buf], sent);
        Poll::Ready(Ok(sent))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let sent = ready!(Pin::new(&mut self.socket).poll_write_vectored(cx, bufs))?;
        self.sent(bufs.iter().map(|buf| &**buf), sent);
        Poll::Ready(Ok(sent))
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.socket).poll_flush(cx))?;
        self.caller.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

impl Drop for CallerIo {
    fn drop(&mut self) {
        if self.caller.must_be_cut()
            && let Err(error) = self.socket.set_zero_linger()
        {
            tracing::debug!(%error, "connection of a caller could not be reset");
        }
    }
}

/// Tells answers from what HTTP/2 sends without a request: whoever pings all the time gets as many
/// bytes, and is idle all the same.
#[derive(Debug, Default)]
enum Output {
    /// Nothing was sent.
    #[default]
    Nothing,
    /// HTTP/1.1, or what it was upgraded to: nothing but answers.
    Answers,
    /// HTTP/2, of which a frame's header has begun.
    Header {
        bytes: [u8; FRAME_HEADER],
        begun: usize,
    },
    /// A frame of which some is left.
    Payload { answers: bool, left: usize },
}

/// The length of a frame's header (RFC 9113 §4.1).
const FRAME_HEADER: usize = 9;

/// Frames that answers consist of: DATA, HEADERS and CONTINUATION (RFC 9113 §6).
const ANSWERS: [u8; 3] = [0, 1, 9];

impl Output {
    /// Whether the next bytes are an answer's, or some of them.
    fn answers(&mut self, mut sent: &[u8]) -> bool {
        let mut found = false;
        while let Some(first) = sent.first() {
            match self {
                // What a frame begins with is the length of the first SETTINGS, which is short.
                Self::Nothing if *first == b'H' => *self = Self::Answers,
                Self::Nothing => *self = Self::header(),
                Self::Answers => return true,
                Self::Header { bytes, begun } => {
                    let taken = sent.len().min(FRAME_HEADER - *begun);
                    bytes[*begun..*begun + taken].copy_from_slice(&sent[..taken]);
                    *begun += taken;
                    sent = &sent[taken..];
                    if *begun == FRAME_HEADER {
                        let [high, mid, low, kind, ..] = *bytes;
                        let answers = ANSWERS.contains(&kind);
                        found |= answers;
                        let left = u32::from_be_bytes([0, high, mid, low]) as usize;
                        *self = Self::Payload { answers, left };
                        self.next_if_over();
                    }
                }
                Self::Payload { answers, left } => {
                    let taken = sent.len().min(*left);
                    sent = &sent[taken..];
                    *left -= taken;
                    found |= *answers;
                    self.next_if_over();
                }
            }
        }
        found
    }

    fn next_if_over(&mut self) {
        if matches!(self, Self::Payload { left: 0, .. }) {
            *self = Self::header();
        }
    }

    fn header() -> Self {
        Self::Header {
            bytes: [0; FRAME_HEADER],
            begun: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![0, 0, payload.len() as u8, kind, 0, 0, 0, 0, 0];
        frame.extend_from_slice(payload);
        frame
    }

    #[test]
    fn only_frames_of_answers_are_answers_however_they_are_cut() {
        let settings = frame(4, &[1; 12]);
        let pings = frame(6, &[0; 8]).repeat(100);
        let window = frame(8, &[0; 4]);
        // What looks like frames of answers within a payload is none.
        let goaway = frame(7, &frame(0, b"text"));
        let data = frame(0, b"text");
        for size in 1..30 {
            let mut output = Output::default();
            let mut answers = |bytes: &[u8]| {
                let pieces = bytes.chunks(size);
                pieces.fold(false, |found, piece| found | output.answers(piece))
            };
            assert!(!answers(&settings), "{size}");
            assert!(!answers(&pings), "{size}");
            assert!(answers(&data), "{size}");
            assert!(!answers(&[&window[..], &goaway, &settings].concat()));
            assert!(answers(&[&pings[..], &frame(1, b"head"), &pings].concat()));
            assert!(answers(&frame(9, b"")), "{size}");
        }
    }

    #[test]
    fn a_rest_of_an_answer_is_one() {
        let mut output = Output::default();
        assert!(!output.answers(&frame(4, b"")));
        let data = frame(0, b"text");
        assert!(!output.answers(&data[..8]));
        assert!(output.answers(&data[8..10]));
        assert!(output.answers(&data[10..]));
        assert!(!output.answers(&frame(6, &[0; 8])));
    }

    #[test]
    fn http1_sends_answers_only() {
        let mut output = Output::default();
        assert!(output.answers(b"H"));
        assert!(output.answers(b"\0\0\x08\x06"));
        assert!(!output.answers(b""));
    }
}
