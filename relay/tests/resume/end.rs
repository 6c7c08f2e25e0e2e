//! One end of a session: the pure state, and what a driver and the streams' users do around it. It
//! calls the state as late and as seldom in order as a driver may: a reader goes on with the transport
//! stream that it has until it is given another, and a sender likewise.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use relay::proto::{Opener, ResetCode, StreamHeader, StreamId};
use relay::session::{Event, Replayed, SessionConfig, SessionState, SharedBudget};

use crate::link::Connection;
use crate::stream::{Reader, Stream, Words, byte, header, open_transport};

/// See the module.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) side: usize,
    pub(crate) state: SessionState,
    pub(crate) process: Arc<SharedBudget>,
    /// The connection that carries the session.
    pub(crate) line: Option<usize>,
    /// Read from transport streams in all, in bytes.
    pub(crate) arrived: u64,
    pub(crate) streams: BTreeMap<StreamId, Stream>,
    /// Streams for which a transport stream of a connection is being opened.
    pub(crate) attaching: Vec<(usize, StreamId)>,
    /// How streams ended, until that was checked.
    pub(crate) ended: Vec<StreamId>,
    pub(crate) found_dead: bool,
    pub(crate) is_suspect: bool,
    pub(crate) expired: bool,
}

impl End {
    pub(crate) fn new(config: SessionConfig, now: Instant) -> Self {
        Self {
            side: match config.side {
                Opener::Initiator => 0,
                Opener::Responder => 1,
            },
            process: config.shared_budget.clone(),
            state: SessionState::new(config, now),
            line: Some(0),
            arrived: 0,
            streams: BTreeMap::new(),
            attaching: Vec::new(),
            ended: Vec::new(),
            found_dead: false,
            is_suspect: false,
            expired: false,
        }
    }

    // ---- lines ----

    /// Carries the session on this connection, if its attempt may.
    pub(crate) fn connect(&mut self, number: usize, links: &[Connection], now: Instant) -> bool {
        let attempt = links[number].attempt;
        if self.expired || !self.state.may_connect(attempt) {
            return false;
        }
        self.state.connect(attempt, now);
        self.line = Some(number);
        (self.found_dead, self.is_suspect) = (false, false);
        self.drain();
        true
    }

    /// Notices that the connection is lost, or believes so.
    pub(crate) fn disconnect(&mut self, now: Instant) {
        if self.line.take().is_some() {
            self.state.disconnect(now);
            self.found_dead = false;
            self.drain();
        }
    }

    // ---- streams ----

    pub(crate) fn open(&mut self, resumable: bool, base: u32, now: Instant) -> Option<StreamId> {
        let id = self.state.open(now).ok()?;
        self.streams.insert(id, Stream::new(resumable, base));
        self.drain();
        Some(id)
    }

    /// Sends the header of a stream that was opened, if there is a connection.
    pub(crate) fn begin(&mut self, id: StreamId, links: &mut [Connection]) {
        let (Some(line), Some(stream)) = (self.line, self.streams.get_mut(&id)) else {
            return;
        };
        if stream.begun || stream.over.is_some() {
            return;
        }
        let open = header(id, stream.resumable);
        self.state.keep(&open);
        if !self.state.begin(id) {
            return;
        }
        stream.begun = true;
        let (generation, header) = (open.generation, StreamHeader::Open(open));
        let writer = open_transport(self.side, line, id, &header, generation, links);
        stream.writer = Some(writer);
        stream.reader = Some(Reader::of_opener(writer));
        self.drain();
    }

    /// Goes on with a stream at a new transport stream, if the connection that was to have it still
    /// carries the session.
    pub(crate) fn attach(&mut self, number: usize, id: StreamId, links: &mut [Connection]) {
        if !self.state.is_current(links[number].attempt) {
            return;
        }
        let Some(attaching) = self.state.attach(id) else {
            return;
        };
        let generation = attaching.generation;
        let writer = open_transport(self.side, number, id, &attaching.header, generation, links);
        let stream = self.streams.get_mut(&id).unwrap();
        stream.reader = Some(Reader::of_opener(writer));
        stream.again = Some((writer, attaching.start));
        self.drain();
    }

    /// Sends again what was sent before, at most so many bytes; `true` if there was something to do.
    pub(crate) fn send_again(
        &mut self,
        id: StreamId,
        most: usize,
        links: &mut [Connection],
    ) -> bool {
        let Some(stream) = self.streams.get_mut(&id) else {
            return false;
        };
        let Some((writer, offset)) = stream.again else {
            return false;
        };
        match self.state.replayed(id, writer.generation, offset) {
            Replayed::Bytes(piece) => {
                let taken = &piece[..most.min(piece.len())];
                writer.place.write(self.side, taken, links);
                stream.again = Some((writer, offset + taken.len() as u64));
            }
            Replayed::Everything { finished } => {
                assert_eq!(
                    offset, stream.written,
                    "{id}: not everything was sent again"
                );
                assert_eq!(finished, stream.finished);
                stream.again = None;
                stream.writer = (!finished).then_some(writer);
            }
            Replayed::TooLate => stream.again = None,
        }
        self.drain();
        true
    }

    /// Sends as much of `count` new bytes as there is credit for; says how many.
    pub(crate) fn send(
        &mut self,
        id: StreamId,
        count: u64,
        links: &mut [Connection],
        now: Instant,
    ) -> u64 {
        let Some(stream) = self.streams.get_mut(&id) else {
            return 0;
        };
        let Some(writer) = stream.writer.filter(|_| stream.may_write()) else {
            return 0;
        };
        let first = stream.written;
        let count = count.min(self.state.credit(id));
        let bytes: Bytes = (first..first + count)
            .map(|at| byte(id, self.side, at))
            .collect();
        let mut rest = bytes.clone().into();
        let sent = self.state.send(id, writer.generation, &mut rest, now);
        assert_eq!(sent[..], bytes[..sent.len()]);
        stream.written += sent.len() as u64;
        let Words {
            heard_limit,
            said_released,
            ..
        } = stream.words;
        assert!(
            stream.written + said_released <= heard_limit,
            "{id}: beyond what was granted"
        );
        writer.place.write(self.side, &sent, links);
        self.drain();
        sent.len() as u64
    }

    pub(crate) fn finish(&mut self, id: StreamId) {
        if let Some(stream) = self
            .streams
            .get_mut(&id)
            .filter(|it| it.begun && it.may_write())
        {
            stream.finished = true;
            self.state.finish(id);
            self.drain();
        }
    }

    /// Takes bytes that have arrived; says how many.
    pub(crate) fn consume(&mut self, id: StreamId, most: u64, now: Instant) -> u64 {
        let Some(stream) = self.streams.get_mut(&id).filter(|it| it.may_read()) else {
            return 0;
        };
        let count = most.min(stream.received - stream.consumed);
        if count > 0 {
            stream.consumed += count;
            self.state.consumed(id, count, now);
            self.drain();
        }
        count
    }

    pub(crate) fn reset(&mut self, id: StreamId) {
        let (code, message) = (ResetCode::Cancelled, "a test".to_owned());
        self.give_up(id, |state| state.reset(id, code, message));
    }

    /// The user of a stream gives it up, however.
    pub(crate) fn give_up(&mut self, id: StreamId, call: impl FnOnce(&mut SessionState)) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.given_up = true;
            call(&mut self.state);
            self.drain();
        }
    }

    /// Takes in what the state has to tell.
    pub(crate) fn drain(&mut self) {
        while let Some(event) = self.state.poll_event() {
            match event {
                Event::Over(id, over) => {
                    let stream = self.streams.entry(id).or_default();
                    assert_eq!(stream.over, None, "{id} ends once, and now by {over:?}");
                    stream.over = Some(over);
                    self.ended.push(id);
                }
                Event::Attach => {
                    let line = self.line.expect("streams are attached to a connection");
                    while let Some(id) = self.state.poll_attach() {
                        self.attaching.push((line, id));
                    }
                }
                Event::Dead => self.found_dead = true,
                Event::Suspect => self.is_suspect = true,
                Event::RoundTrip(_) => self.is_suspect = false,
                Event::Expired => self.expired = true,
                Event::Connected(id) => self.streams.get_mut(&id).unwrap().connected = true,
                Event::Writable(_) | Event::Finished(_) | Event::Room | Event::Idle => {}
                Event::Services(_) | Event::Edges(_) | Event::Draining | Event::Closed(_) => {
                    panic!("nobody says {event:?}")
                }
            }
        }
    }
}
