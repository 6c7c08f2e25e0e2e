//! Connections that carry real bytes: a control stream and transport streams, each of them a pipe in
//! either direction. What is under way in a pipe that is cut is lost from some byte on, as is all that
//! is written to it afterwards.

use std::collections::VecDeque;

use relay::proto::{Attempt, FrameBuffer, MAX_CONTROL_FRAME, MAX_HEADER_FRAME, StreamId};

/// Bytes under way in one direction, in order.
#[derive(Debug, Default, Hash)]
pub(crate) struct Pipe {
    bytes: VecDeque<u8>,
    is_cut: bool,
    is_read: bool,
}

impl Pipe {
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        if !self.is_cut {
            self.bytes.extend(bytes);
        }
    }

    pub(crate) fn read(&mut self, most: usize) -> Vec<u8> {
        let most = most.min(self.bytes.len());
        self.is_read |= most > 0;
        self.bytes.drain(..most).collect()
    }

    /// The length of the frame that comes next, with its prefix; 0 if nothing is under way.
    pub(crate) fn next_frame(&self) -> usize {
        let length = self
            .bytes
            .front()
            .map_or(0, |length| 1 + usize::from(*length));
        assert!(length <= 128, "frames here are short");
        length
    }

    /// The same where only the first frame is followed by single bytes.
    pub(crate) fn next_frame_or_byte(&self) -> usize {
        if self.is_read { 1 } else { self.next_frame() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(crate) fn under_way(&self) -> usize {
        self.bytes.len()
    }

    /// The first `kept` bytes still arrive, and nothing after them.
    pub(crate) fn cut(&mut self, kept: usize) {
        self.bytes.truncate(kept);
        self.is_cut = true;
    }
}

/// A transport stream. Its pipes stand in the order of the ends that write to them.
#[derive(Debug)]
pub(crate) struct Transport {
    pub(crate) stream: StreamId,
    pub(crate) opener: usize,
    pub(crate) pipes: [Pipe; 2],
    /// What the acceptor has of the header; `None` once that is complete.
    pub(crate) header: Option<FrameBuffer>,
}

/// A connection of a session, and what is under way on it.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) attempt: Attempt,
    /// In the order of the ends that write to them.
    pub(crate) control: [Pipe; 2],
    /// What each end has read of the other's control stream.
    pub(crate) frames: [FrameBuffer; 2],
    pub(crate) transports: Vec<Transport>,
    pub(crate) is_cut: bool,
    /// The responder carries the session on it, or did.
    pub(crate) accepted: bool,
    /// So does the initiator.
    pub(crate) welcomed: bool,
}

impl Connection {
    pub(crate) fn new(attempt: Attempt) -> Self {
        Self {
            attempt,
            control: Default::default(),
            frames: [(); 2].map(|()| FrameBuffer::new(MAX_CONTROL_FRAME)),
            transports: Vec::new(),
            is_cut: false,
            accepted: false,
            welcomed: false,
        }
    }

    /// Opens a transport stream that begins with `header`; says its number.
    pub(crate) fn open(&mut self, opener: usize, stream: StreamId, header: &[u8]) -> usize {
        let mut transport = Transport {
            stream,
            opener,
            pipes: Default::default(),
            header: Some(FrameBuffer::new(MAX_HEADER_FRAME)),
        };
        if self.is_cut {
            transport.pipes.iter_mut().for_each(|pipe| pipe.cut(0));
        }
        transport.pipes[opener].write(header);
        self.transports.push(transport);
        self.transports.len() - 1
    }

    /// Cuts it; `kept` says for each pipe, by how much is under way there, what still arrives.
    pub(crate) fn cut(&mut self, mut kept: impl FnMut(usize) -> usize) {
        self.is_cut = true;
        for pipe in self.pipes_mut() {
            pipe.cut(kept(pipe.under_way()));
        }
    }

    fn pipes_mut(&mut self) -> impl Iterator<Item = &mut Pipe> {
        let data = self.transports.iter_mut().flat_map(|it| &mut it.pipes);
        self.control.iter_mut().chain(data)
    }
}
