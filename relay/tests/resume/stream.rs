//! A stream as its user at one end sees it, and the transport streams that carry it.

use bytes::BytesMut;
use relay::proto::{
    Caller, FrameBuffer, Generation, MAX_HEADER_FRAME, Open, StreamHeader, StreamId,
};
use relay::session::Over;

use crate::link::{Connection, Transport};

/// A transport stream, by its connection's number and its own on that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    pub(crate) connection: usize,
    pub(crate) transport: usize,
}

/// Reads a stream from a transport stream.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) place: Place,
    pub(crate) generation: Generation,
    /// Set until the acceptor's answer has come.
    pub(crate) answer: Option<FrameBuffer>,
    /// How many bytes come again.
    pub(crate) skip: u64,
}

/// Writes a stream to a transport stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Writer {
    pub(crate) place: Place,
    pub(crate) generation: Generation,
}

/// A stream as its user at one end sees it.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    pub(crate) resumable: bool,
    /// Its header was sent, or has come.
    pub(crate) begun: bool,
    pub(crate) reader: Option<Reader>,
    pub(crate) writer: Option<Writer>,
    /// Where what was sent before is being sent again, and how far.
    pub(crate) again: Option<(Writer, u64)>,
    /// How many bytes this end has sent; whether they are all.
    pub(crate) written: u64,
    pub(crate) finished: bool,
    /// How many bytes came from the other end, and were taken by the user.
    pub(crate) received: u64,
    pub(crate) consumed: u64,
    pub(crate) connected: bool,
    /// Its user has reset it, or reads no more.
    pub(crate) given_up: bool,
    pub(crate) over: Option<Over>,
    pub(crate) words: Words,
}

/// What was said of credit. Each number only ever grows.
#[derive(Debug, Default)]
pub(crate) struct Words {
    /// Of the direction that this end sends: what it was told, and has said itself.
    pub(crate) heard_consumed: u64,
    pub(crate) heard_limit: u64,
    pub(crate) said_released: u64,
    /// Of the other direction.
    pub(crate) said_consumed: u64,
    pub(crate) said_limit: u64,
    pub(crate) heard_released: u64,
    pub(crate) said_end: bool,
}

/// The byte of a stream that `side` sends at an offset.
pub(crate) fn byte(id: StreamId, side: usize, offset: u64) -> u8 {
    let place = id.number() << 1 | side as u64;
    let mixed = (offset + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        ^ place.wrapping_mul(0xd6e8_feb8_6659_fd93);
    (mixed >> 32) as u8
}

/// The header of a new stream.
pub(crate) fn header(stream: StreamId, resumable: bool) -> Open {
    Open {
        stream,
        service: "test".parse().unwrap(),
        caller: Caller {
            principal: "ingress/test".into(),
            address: None,
        },
        traceparent: None,
        resumable,
        generation: Generation(0),
    }
}

/// Whether the acceptor of a stream lets it end with its connection, though its opener would not.
pub(crate) fn is_declined(id: StreamId) -> bool {
    id.index() % 3 == 2
}

impl Stream {
    pub(crate) fn new(resumable: bool, base: u32) -> Self {
        let base = base.into();
        Self {
            resumable,
            words: Words {
                heard_limit: base,
                said_limit: base,
                ..Words::default()
            },
            ..Self::default()
        }
    }

    pub(crate) fn may_write(&self) -> bool {
        self.over.is_none() && !self.finished
    }

    pub(crate) fn may_read(&self) -> bool {
        self.over.is_none() && !self.given_up
    }
}

impl Reader {
    pub(crate) fn of_opener(Writer { place, generation }: Writer) -> Self {
        Self {
            place,
            generation,
            answer: Some(FrameBuffer::new(MAX_HEADER_FRAME)),
            skip: 0,
        }
    }
}

impl Place {
    pub(crate) fn of(self, links: &mut [Connection]) -> &mut Transport {
        &mut links[self.connection].transports[self.transport]
    }

    pub(crate) fn write(self, side: usize, bytes: &[u8], links: &mut [Connection]) {
        self.of(links).pipes[side].write(bytes);
    }
}

/// Opens a transport stream for a stream, and sends its header.
pub(crate) fn open_transport(
    side: usize,
    connection: usize,
    id: StreamId,
    header: &StreamHeader,
    generation: Generation,
    links: &mut [Connection],
) -> Writer {
    let mut first = BytesMut::new();
    header.encode(&mut first);
    let transport = links[connection].open(side, id, &first);
    let place = Place {
        connection,
        transport,
    };
    Writer { place, generation }
}
