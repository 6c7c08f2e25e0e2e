//! The frames, as bytes.
//!
//! ```text
//!  0       1       2       3       4       5       6       7       8
//!  ├───────┴───────┴───────┴───────┼───────┼───────┴───────┴───────┼─ ─ ─
//!  │ stream                        │ kind  │ length of the payload │ payload
//!  └───────────────────────────────┴───────┴───────────────────────┴─ ─ ─
//! ```
//!
//! All numbers are big-endian. Pure.

use super::violation::Violation;

/// The length of what comes before each payload, in bytes.
pub const HEADER: usize = 8;

/// The most that a data frame may carry, in bytes.
pub const MAX_DATA: usize = 64 << 10;

/// The longest text of a close, in bytes.
pub const MAX_REASON: usize = 2048;

/// The length of a code, and of the number in a ping.
const CODE: usize = 4;
const NONCE: usize = 8;

/// The first eight bytes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Whose it is; 0 where it is the connection's.
    pub stream: u32,
    /// What it is for.
    pub kind: Kind,
    /// Of the payload, in bytes.
    pub length: usize,
}

/// What a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Bytes of a stream.
    Data {
        /// They are its first: it begins with them.
        opens: bool,
        /// They are its last.
        ends: bool,
    },
    /// The sender gives up what it has not sent of the stream. Its payload is a reset code.
    Reset,
    /// The sender refuses what still comes of the stream. Its payload is a reset code.
    Stop,
    /// To be answered. Its payload is a number.
    Ping,
    /// The answer, with the same number.
    Pong,
    /// The last frame. Its payload is a close code and a text for people.
    Close,
}

impl Kind {
    const OPENS: u8 = 1;
    const ENDS: u8 = 2;

    fn number(self) -> u8 {
        match self {
            Self::Data { opens, ends } => {
                u8::from(opens) * Self::OPENS + u8::from(ends) * Self::ENDS
            }
            Self::Reset => 4,
            Self::Stop => 5,
            Self::Ping => 6,
            Self::Pong => 7,
            Self::Close => 8,
        }
    }

    fn from_number(number: u8) -> Result<Self, Violation> {
        Ok(match number {
            0..=3 => Self::Data {
                opens: number & Self::OPENS != 0,
                ends: number & Self::ENDS != 0,
            },
            4 => Self::Reset,
            5 => Self::Stop,
            6 => Self::Ping,
            7 => Self::Pong,
            8 => Self::Close,
            unknown => return Err(Violation::UnknownKind(unknown)),
        })
    }

    /// Which lengths its payload may have.
    fn lengths(self) -> std::ops::RangeInclusive<usize> {
        match self {
            // Without any of the three it would say nothing, and cost whoever has to look at it.
            Self::Data {
                opens: false,
                ends: false,
            } => 1..=MAX_DATA,
            Self::Data { .. } => 0..=MAX_DATA,
            Self::Reset | Self::Stop => CODE..=CODE,
            Self::Ping | Self::Pong => NONCE..=NONCE,
            Self::Close => CODE..=CODE + MAX_REASON,
        }
    }

    fn is_the_connections(self) -> bool {
        match self {
            Self::Data { .. } | Self::Reset | Self::Stop => false,
            Self::Ping | Self::Pong | Self::Close => true,
        }
    }
}

impl Header {
    /// As bytes.
    pub fn encode(self) -> [u8; HEADER] {
        let length = u32::try_from(self.length).expect("a payload has at most 64 KiB");
        let mut bytes = [0; HEADER];
        bytes[..4].copy_from_slice(&self.stream.to_be_bytes());
        bytes[4..].copy_from_slice(&length.to_be_bytes());
        bytes[4] = self.kind.number();
        bytes
    }

    fn decode(bytes: [u8; HEADER]) -> Result<Self, Violation> {
        let [s0, s1, s2, s3, kind, l0, l1, l2] = bytes;
        let stream = u32::from_be_bytes([s0, s1, s2, s3]);
        let kind = Kind::from_number(kind)?;
        let length = u32::from_be_bytes([0, l0, l1, l2]) as usize;
        if !kind.lengths().contains(&length) {
            return Err(Violation::Length(length));
        }
        if kind.is_the_connections() && stream != 0 {
            return Err(Violation::StreamOfTheConnection(stream));
        }
        Ok(Self {
            stream,
            kind,
            length,
        })
    }
}

/// A whole frame that is not data, as bytes.
pub fn small(stream: u32, kind: Kind, payload: &[u8]) -> Vec<u8> {
    let header = Header {
        stream,
        kind,
        length: payload.len(),
    };
    [&header.encode(), payload].concat()
}

/// A close with as much of its text as it may have.
pub fn close(code: u32, reason: &str) -> Vec<u8> {
    let fits = |end: &usize| *end <= MAX_REASON && reason.is_char_boundary(*end);
    let end = (0..=reason.len().min(MAX_REASON)).rfind(fits);
    let reason = &reason[..end.unwrap_or_default()];
    let payload = [&code.to_be_bytes(), reason.as_bytes()].concat();
    small(0, Kind::Close, &payload)
}

/// What has arrived: a frame, or a part of the payload of one that carries data.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Bytes of a stream.
    Data {
        /// Whose.
        stream: u32,
        /// They are its first.
        opens: bool,
        /// What has come of them.
        payload: &'a [u8],
        /// They are its last.
        ends: bool,
    },
    /// The peer gives up what it has not sent.
    Reset {
        /// Of which stream.
        stream: u32,
        /// A reset code.
        code: u32,
    },
    /// The peer refuses what still comes.
    Stop {
        /// Of which stream.
        stream: u32,
        /// A reset code.
        code: u32,
    },
    /// To be answered.
    Ping {
        /// The peer's number.
        nonce: u64,
    },
    /// An answer.
    Pong {
        /// Our number.
        nonce: u64,
    },
    /// The peer's last word.
    Close {
        /// A close code.
        code: u32,
        /// For people.
        reason: String,
    },
}

/// Cuts what arrives into frames. Data is handed on as it comes, so that a frame that is not whole
/// yet neither waits nor takes memory.
#[derive(Debug, Default)]
pub struct FrameReader {
    header: [u8; HEADER],
    /// How much of the header is there.
    have: usize,
    /// The frame whose payload is awaited, with the length that is still missing.
    current: Option<Header>,
    /// The payload of a frame that is not data, until it is whole.
    gathered: Vec<u8>,
}

impl FrameReader {
    /// Takes the next piece off `input`; `None` when there is no more in it.
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Piece<'a>>, Violation> {
        let Some(frame) = self.frame(input)? else {
            return Ok(None);
        };
        if frame.length > 0 && input.is_empty() {
            self.current = Some(frame);
            return Ok(None);
        }
        let part = take(input, frame.length);
        let left = frame.length - part.len();
        if let Kind::Data { opens, ends } = frame.kind {
            self.current = (left > 0).then_some(Header {
                kind: Kind::Data { opens: false, ends },
                length: left,
                ..frame
            });
            return Ok(Some(Piece::Data {
                stream: frame.stream,
                opens,
                payload: part,
                ends: ends && left == 0,
            }));
        }
        if left == 0 && self.gathered.is_empty() {
            return whole(frame, part).map(Some);
        }
        self.gathered.extend_from_slice(part);
        if left > 0 {
            self.current = Some(Header {
                length: left,
                ..frame
            });
            return Ok(None);
        }
        whole(frame, &std::mem::take(&mut self.gathered)).map(Some)
    }

    /// The frame that `input` goes on with.
    fn frame(&mut self, input: &mut &[u8]) -> Result<Option<Header>, Violation> {
        if let Some(current) = self.current.take() {
            return Ok(Some(current));
        }
        let part = take(input, HEADER - self.have);
        self.header[self.have..][..part.len()].copy_from_slice(part);
        self.have += part.len();
        if self.have < HEADER {
            return Ok(None);
        }
        self.have = 0;
        Header::decode(self.header).map(Some)
    }
}

fn whole<'a>(frame: Header, payload: &[u8]) -> Result<Piece<'a>, Violation> {
    let stream = frame.stream;
    Ok(match frame.kind {
        Kind::Data { .. } => unreachable!("data is handed on in parts"),
        Kind::Reset => Piece::Reset {
            stream,
            code: code(payload),
        },
        Kind::Stop => Piece::Stop {
            stream,
            code: code(payload),
        },
        Kind::Ping => Piece::Ping {
            nonce: nonce(payload),
        },
        Kind::Pong => Piece::Pong {
            nonce: nonce(payload),
        },
        Kind::Close => Piece::Close {
            code: code(payload),
            reason: std::str::from_utf8(&payload[CODE..])
                .map_err(|_| Violation::NotText)?
                .to_owned(),
        },
    })
}

fn code(payload: &[u8]) -> u32 {
    let bytes = payload.first_chunk().expect("its length was checked");
    u32::from_be_bytes(*bytes)
}

fn nonce(payload: &[u8]) -> u64 {
    let bytes = payload.first_chunk().expect("its length was checked");
    u64::from_be_bytes(*bytes)
}

/// As much of the front of `input` as there is, at most `count` bytes.
fn take<'a>(input: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (part, rest) = input.split_at(count.min(input.len()));
    *input = rest;
    part
}
