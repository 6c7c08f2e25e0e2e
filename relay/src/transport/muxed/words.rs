//! The frames of the connection itself, beside what the multiplexer carries: stop, ping, pong, close.
//!
//! They are those of the `tls` transport, on a stream of their own in each direction. No multiplexer
//! has all of them: yamux closes without a code, and neither it nor HTTP/2 can refuse one direction
//! of a stream and go on with the other.

use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;

use super::MuxStream;
use super::shared::Shared;
use super::violation::Violation;
use crate::proto::{CloseCode, plain};
use crate::transport::ConnectionLost;
use crate::transport::tls::frame::{FrameReader, Kind, Piece, small};

/// See the module.
#[derive(Debug)]
pub(super) struct Words<S> {
    /// Ours.
    pub(super) own: Option<S>,
    /// The peer's.
    peers: Option<S>,
    frames: FrameReader,
    /// The peer's stream is still to be ended in our direction, where nothing is said.
    unanswered: bool,
    unsent: Bytes,
    /// The ping that waits for our answer. A peer that asks again before it gets one gets the last.
    pong: Option<u64>,
}

impl<S> Default for Words<S> {
    fn default() -> Self {
        Self {
            own: None,
            peers: None,
            frames: FrameReader::default(),
            unanswered: false,
            unsent: Bytes::new(),
            pong: None,
        }
    }
}

impl<S: MuxStream> Words<S> {
    /// The stream on which the peer speaks has come; the first one counts.
    pub(super) fn heard_on(&mut self, stream: S) {
        if self.peers.is_none() {
            self.peers = Some(stream);
            self.unanswered = true;
        }
    }

    /// Handles what the peer has said; `stopped` is called with each stream that it reads no more.
    pub(super) fn listen(
        &mut self,
        shared: &Shared,
        cx: &mut Context<'_>,
        mut stopped: impl FnMut(u32),
    ) -> Result<(), Violation> {
        let Some(peers) = &mut self.peers else {
            return Ok(());
        };
        if self.unanswered && peers.poll_finish(cx).is_ready() {
            self.unanswered = false;
        }
        while let Poll::Ready(Some(part)) = peers.poll_read(cx) {
            let mut part = &part[..];
            // Behind a close there is nothing that counts.
            while !shared.is_over()
                && let Some(piece) = self.frames.next(&mut part)?
            {
                match piece {
                    Piece::Stop { stream, code: _ } => stopped(stream),
                    Piece::Ping { nonce } => self.pong = Some(nonce),
                    Piece::Pong { nonce } => {
                        shared.with(|state| state.round_trip.answered(nonce, Instant::now()))?;
                    }
                    Piece::Close { code, reason } => shared.lose(ConnectionLost::ByPeer {
                        code: CloseCode::from_number(code),
                        message: plain(reason),
                    }),
                    Piece::Data { .. } | Piece::Reset { .. } => {
                        return Err(Violation::NotOfTheConnection);
                    }
                }
            }
        }
        Ok(())
    }

    /// Says what there is to say, as far as the multiplexer takes it.
    pub(super) fn speak(&mut self, shared: &Shared, cx: &mut Context<'_>) {
        loop {
            while !self.unsent.is_empty() {
                let Some(own) = &mut self.own else { return };
                match own.poll_write(cx, &mut self.unsent) {
                    Poll::Ready(Ok(())) => {}
                    // The end of the connection is noticed elsewhere.
                    Poll::Ready(Err(_)) => self.unsent = Bytes::new(),
                    Poll::Pending => return,
                }
            }
            self.unsent = self.due(shared).into();
            if self.unsent.is_empty() {
                return;
            }
        }
    }

    fn due(&mut self, shared: &Shared) -> Vec<u8> {
        let number = |kind, nonce: u64| small(0, kind, &nonce.to_be_bytes());
        let mut due = Vec::new();
        if let Some(nonce) = self.pong.take() {
            due.extend(number(Kind::Pong, nonce));
        }
        shared.with(|state| {
            // An idle connection is left in peace.
            if state.written
                && state.over.is_none()
                && let Some(nonce) = state.round_trip.ask(Instant::now())
            {
                state.written = false;
                due.extend(number(Kind::Ping, nonce));
            }
            due.append(&mut state.words);
        });
        due.extend(shared.farewell().unwrap_or_default());
        due
    }
}
