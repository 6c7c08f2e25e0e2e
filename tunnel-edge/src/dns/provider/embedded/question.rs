//! What a message asks, read without trust. Pure.

use super::table::MAX_NAME;

/// How long a header is (RFC 1035, section 4.1.1).
pub(super) const HEADER: usize = 12;

/// The type of an EDNS record (RFC 6891, section 6.1.1).
pub(super) const OPT: u16 = 41;

/// A message that wants an answer.
#[derive(Debug)]
pub(super) struct Request<'m> {
    pub(super) id: [u8; 2],
    /// The first two bytes of flags, as they came.
    pub(super) flags: [u8; 2],
    pub(super) asks: Result<Question<'m>, Refusal>,
}

/// One question.
#[derive(Debug)]
pub(super) struct Question<'m> {
    /// The whole of it, as it came.
    pub(super) bytes: &'m [u8],
    pub(super) name: WireName,
    pub(super) kind: u16,
    pub(super) class: u16,
    pub(super) edns: Option<Edns>,
}

/// Why there is no question to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Malformed,
    /// It wants something else than an answer to a question.
    NotImplemented,
}

/// What a request says of itself by EDNS (RFC 6891).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Edns {
    /// The most bytes that it takes by UDP.
    pub(super) payload: u16,
    pub(super) version: u8,
    /// Whether it wants DNSSEC records, which is said back (RFC 3225).
    pub(super) dnssec_ok: bool,
}

/// Labels in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WireName {
    bytes: [u8; MAX_NAME],
    length: usize,
}

impl WireName {
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// Reads a message. `None`: it is an answer, or none at all, and whoever answered it could be made
/// to answer forever.
pub(super) fn read(message: &[u8]) -> Option<Request<'_>> {
    let header = message.first_chunk::<HEADER>()?;
    let flags = [header[2], header[3]];
    if flags[0] & 0x80 != 0 {
        return None;
    }
    let asks = if flags[0] & 0x78 == 0 {
        read_question(message, header).ok_or(Refusal::Malformed)
    } else {
        Err(Refusal::NotImplemented)
    };
    Some(Request {
        id: [header[0], header[1]],
        flags,
        asks,
    })
}

fn read_question<'m>(message: &'m [u8], header: &[u8; HEADER]) -> Option<Question<'m>> {
    let count = |place: usize| u16::from_be_bytes([header[place], header[place + 1]]);
    // There is one question in a query (RFC 9619).
    if count(4) != 1 {
        return None;
    }
    let mut rest = Reader(&message[HEADER..]);
    let name = rest.question_name()?;
    let kind = rest.u16()?;
    let class = rest.u16()?;
    let bytes = &message[HEADER..message.len() - rest.0.len()];
    for _ in 0..u32::from(count(6)) + u32::from(count(8)) {
        rest.record()?;
    }
    let mut edns = None;
    for _ in 0..count(10) {
        let record = rest.record()?;
        if record.kind == OPT {
            // Only one, and the root's (RFC 6891, section 6.1.1).
            if edns.is_some() || !record.at_root {
                return None;
            }
            edns = Some(Edns {
                payload: record.class,
                version: record.ttl[1],
                dnssec_ok: record.ttl[2] & 0x80 != 0,
            });
        }
    }
    rest.0.is_empty().then_some(Question {
        bytes,
        name,
        kind,
        class,
        edns,
    })
}

/// What matters of a record.
struct Record {
    at_root: bool,
    kind: u16,
    class: u16,
    ttl: [u8; 4],
}

/// What is left of a message.
struct Reader<'m>(&'m [u8]);

impl<'m> Reader<'m> {
    fn take(&mut self, count: usize) -> Option<&'m [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        Some(self.take(1)?[0])
    }

    fn u16(&mut self) -> Option<u16> {
        let bytes = self.take(2)?;
        Some(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    /// There is nothing before it that a pointer could lead to.
    fn question_name(&mut self) -> Option<WireName> {
        let mut name = WireName {
            bytes: [0; MAX_NAME],
            length: 0,
        };
        loop {
            let length = self.u8()?;
            if length > 63 {
                return None;
            }
            let label = self.take(length.into())?;
            let end = name.length + 1 + label.len();
            let place = name.bytes.get_mut(name.length..end)?;
            place[0] = length;
            place[1..].copy_from_slice(label);
            place[1..].make_ascii_lowercase();
            name.length = end;
            if length == 0 {
                return Some(name);
            }
        }
    }

    fn record(&mut self) -> Option<Record> {
        let at_root = self.0.first() == Some(&0);
        self.pass_name()?;
        let kind = self.u16()?;
        let class = self.u16()?;
        let ttl = self.take(4)?.try_into().expect("four bytes");
        let length = self.u16()?;
        self.take(length.into())?;
        Some(Record {
            at_root,
            kind,
            class,
            ttl,
        })
    }

    /// Where a pointer leads does not matter.
    fn pass_name(&mut self) -> Option<()> {
        loop {
            match self.u8()? {
                0 => return Some(()),
                length @ 1..=63 => self.take(length.into())?,
                0xC0..=0xFF => {
                    self.u8()?;
                    return Some(());
                }
                _ => return None,
            };
        }
    }
}
