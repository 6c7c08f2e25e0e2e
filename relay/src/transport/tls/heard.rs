//! What the frames of the peer do to the streams.

use std::collections::VecDeque;
use std::task::Waker;
use std::time::Instant;

use bytes::Bytes;

use super::frame::Piece;
use super::streams::{BackEnd, Key, Streams};
use super::violation::Violation;
use crate::proto::{CloseCode, plain};
use crate::transport::ConnectionLost;

/// What became of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read {
    Arrived(usize),
    End,
    Waits,
    Broken,
}

impl Streams {
    /// Takes what the peer has sent. After a violation, or once the connection is over, there is no
    /// sense in more.
    pub(super) fn handle(&mut self, piece: Piece<'_>, now: Instant) -> Result<(), Violation> {
        match piece {
            Piece::Data {
                stream,
                opens,
                payload,
                ends,
            } => {
                let key = if opens {
                    self.opened_by_peer(stream)?
                } else {
                    self.receiving(stream)?
                };
                self.data(key, stream, payload, ends)?;
            }
            Piece::Reset { stream, code: _ } => {
                let key = self.receiving(stream)?;
                self.ended(key, BackEnd::Broken);
            }
            Piece::Stop { stream, code } => {
                if let Some(key) = self.existing(stream)? {
                    self.reset(key, code);
                }
            }
            Piece::Ping { nonce } => {
                self.pong = Some(nonce);
                self.call_carrier();
            }
            Piece::Pong { nonce } => self.round_trip.answered(nonce, now)?,
            Piece::Close { code, reason } => self.lose(ConnectionLost::ByPeer {
                code: CloseCode::from_number(code),
                message: plain(reason),
            }),
        }
        Ok(())
    }

    /// The stream that `number` names; `None` if both ends have said all of it.
    fn existing(&self, number: u32) -> Result<Option<Key>, Violation> {
        if let Some(key) = self.by_number(number) {
            return Ok(Some(key));
        }
        let opened = if self.is_peers(number) {
            self.peers
        } else {
            self.numbered
        };
        if number / 2 < opened {
            Ok(None)
        } else {
            Err(Violation::NeverOpened(number))
        }
    }

    /// The same, of a stream that the peer has not ended.
    fn receiving(&mut self, number: u32) -> Result<Key, Violation> {
        let key = self
            .existing(number)?
            .ok_or(Violation::AfterTheEnd(number))?;
        let open = |key| self.table.get(&key).map(|stream| stream.back.end);
        if open(key) == Some(BackEnd::Open) {
            Ok(key)
        } else {
            Err(Violation::AfterTheEnd(number))
        }
    }

    fn opened_by_peer(&mut self, number: u32) -> Result<Key, Violation> {
        if !self.is_peers(number) || number / 2 != self.peers {
            return Err(Violation::NotTheNext(number));
        }
        if self.peers_live == self.limits.streams {
            return Err(Violation::TooManyStreams(self.limits.streams));
        }
        self.peers += 1;
        self.peers_live += 1;
        let key = self.insert(Some(number));
        self.unaccepted.push_back(key);
        Ok(key)
    }

    fn data(&mut self, key: Key, number: u32, payload: &[u8], ends: bool) -> Result<(), Violation> {
        let Some(stream) = self.table.get_mut(&key) else {
            return Ok(());
        };
        let back = &mut stream.back;
        if !back.refused && !payload.is_empty() {
            if back.arrived.len() + payload.len() > self.limits.one_stream {
                return Err(Violation::BeyondTheWindow(number));
            }
            if self.arrived + payload.len() > self.limits.all_streams {
                return Err(Violation::BeyondAllWindows);
            }
            back.arrived.push(payload);
            self.arrived += payload.len();
            self.wake.extend(back.reader.take());
        }
        if ends {
            self.ended(key, BackEnd::Ended);
        }
        Ok(())
    }

    fn ended(&mut self, key: Key, how: BackEnd) {
        if let Some(stream) = self.table.get_mut(&key) {
            stream.back.end = how;
            stream.back.stop = None;
            self.wake.extend(stream.back.reader.take());
        }
        self.retire(key);
    }

    /// Moves what has arrived to the end of `chunks`.
    pub(super) fn read(&mut self, key: Key, chunks: &mut VecDeque<Bytes>, waker: &Waker) -> Read {
        let Some(stream) = self.table.get_mut(&key) else {
            return Read::Broken;
        };
        let back = &mut stream.back;
        if back.arrived.len() > 0 {
            let count = back.arrived.take(chunks);
            self.arrived -= count;
            return Read::Arrived(count);
        }
        if back.end == BackEnd::Ended {
            return Read::End;
        }
        if back.end == BackEnd::Broken || back.refused || self.over.is_some() {
            return Read::Broken;
        }
        match &mut back.reader {
            Some(reader) if reader.will_wake(waker) => {}
            reader => *reader = Some(waker.clone()),
        }
        Read::Waits
    }
}
