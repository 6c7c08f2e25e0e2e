//! From a message to its answer (RFC 1034, section 4.3.2). Pure.
//!
//! Answers are as short as they can be, so that nobody is worth asking in another's name: nothing
//! in the additional section, one set for ANY (RFC 8482), and over UDP no more than fits into any
//! path's packets; of what does not fit nothing is sent but that it does not.

use super::question::{Edns, HEADER, OPT, Question, Refusal, Request, read};
use super::table::{CNAME, SOA, Set, Table};

/// The most bytes that we send or take by UDP: no path fragments them (DNS flag day 2020).
pub(super) const UDP_PAYLOAD: u16 = 1232;

/// The most bytes by UDP to who does not speak EDNS (RFC 1035, section 4.2.1).
const PLAIN_UDP_PAYLOAD: usize = 512;

/// How long an EDNS record without options is.
const OPT_LENGTH: usize = 11;

/// How many aliases are followed.
const MOST_ALIASES: usize = 8;

/// Any type (RFC 1035, section 3.2.3).
const ANY: u16 = 255;

const CLASS_IN: u16 = 1;
const CLASS_ANY: u16 = 255;

/// How a message came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    Udp,
    Tcp,
}

/// What an answer says, in the words of RFC 1035, section 4.1.1 and RFC 6891, section 9.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Code {
    NoError,
    FormErr,
    NxDomain,
    NotImp,
    Refused,
    BadVers,
}

impl Code {
    /// In the order of their declaration.
    pub(super) const ALL: [Self; 6] = [
        Self::NoError,
        Self::FormErr,
        Self::NxDomain,
        Self::NotImp,
        Self::Refused,
        Self::BadVers,
    ];

    /// What metrics call it.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::NoError => "noerror",
            Self::FormErr => "formerr",
            Self::NxDomain => "nxdomain",
            Self::NotImp => "notimp",
            Self::Refused => "refused",
            Self::BadVers => "badvers",
        }
    }

    /// Its low four bits go into the header, the others into the EDNS record.
    fn number(self) -> u16 {
        match self {
            Self::NoError => 0,
            Self::FormErr => 1,
            Self::NxDomain => 3,
            Self::NotImp => 4,
            Self::Refused => 5,
            Self::BadVers => 16,
        }
    }
}

/// Writes the answer to a message into `out`, and says what it says. `None`: it gets none.
pub(super) fn answer(
    table: &Table,
    message: &[u8],
    transport: Transport,
    out: &mut Vec<u8>,
) -> Option<Code> {
    let request = read(message)?;
    out.clear();
    out.extend_from_slice(&[0; HEADER]);
    let mut answer = Answer {
        out,
        table,
        answers: 0,
        authorities: 0,
    };
    let outcome = match &request.asks {
        Err(Refusal::Malformed) => Outcome::refused(Code::FormErr),
        Err(Refusal::NotImplemented) => Outcome::refused(Code::NotImp),
        Ok(question) => {
            answer.out.extend_from_slice(question.bytes);
            answer.respond(question, request.id[1])
        }
    };
    answer.finish(&request, transport, outcome);
    Some(outcome.code)
}

/// What the header says besides the counts.
#[derive(Clone, Copy)]
struct Outcome {
    code: Code,
    authoritative: bool,
}

impl Outcome {
    fn refused(code: Code) -> Self {
        Self {
            code,
            authoritative: false,
        }
    }

    fn authoritative(code: Code) -> Self {
        Self {
            code,
            authoritative: true,
        }
    }
}

/// Whose name a record has: where in the message it stands already.
#[derive(Clone, Copy)]
struct Owner {
    offset: u16,
}

/// An answer being written.
struct Answer<'a> {
    out: &'a mut Vec<u8>,
    table: &'a Table,
    answers: u16,
    authorities: u16,
}

impl Answer<'_> {
    fn respond(&mut self, question: &Question<'_>, turn: u8) -> Outcome {
        if question.edns.is_some_and(|edns| edns.version > 0) {
            return Outcome::refused(Code::BadVers);
        }
        if question.kind == OPT || question.kind == 0 {
            return Outcome::refused(Code::FormErr);
        }
        let any = question.kind == ANY;
        // Transfers, and what else is no type of data (RFC 6895, section 3.1).
        let meta = (128..255).contains(&question.kind);
        let class = matches!(question.class, CLASS_IN | CLASS_ANY);
        if meta || !class || !self.table.contains(question.name.as_bytes()) {
            return Outcome::refused(Code::Refused);
        }
        self.follow(question, any, turn)
    }

    /// The sets that answer, through aliases as far as they stay in the zone (RFC 6604).
    fn follow(&mut self, question: &Question<'_>, any: bool, turn: u8) -> Outcome {
        let table = self.table;
        let mut owner = Owner {
            offset: HEADER as u16,
        };
        let mut name = question.name.as_bytes();
        let mut followed: Vec<&[u8]> = Vec::new();
        for _ in 0..=MOST_ALIASES {
            let Some(node) = table.find(name) else {
                self.deny(question);
                return Outcome::authoritative(Code::NxDomain);
            };
            let found = if any {
                node.sets().first()
            } else {
                node.set(question.kind)
            };
            if let Some(set) = found {
                self.put_set(owner, set, turn);
                break;
            }
            let alias = node.set(CNAME);
            let Some((alias, target)) = alias.and_then(|set| Some((set, set.data.first()?))) else {
                self.deny(question);
                break;
            };
            let end = self.put_set(owner, alias, 0);
            followed.push(name);
            // What leads back is not said again: whoever asks sees the circle.
            if !table.contains(target) || followed.contains(&&**target) {
                break;
            }
            owner.offset = end - u16::try_from(target.len()).expect("a name has 255 bytes at most");
            name = target;
        }
        Outcome::authoritative(Code::NoError)
    }

    /// That there is no such name, or nothing of that type, and for how long (RFC 2308).
    fn deny(&mut self, question: &Question<'_>) {
        let table = self.table;
        let Some(soa) = table.find(table.origin()).and_then(|apex| apex.set(SOA)) else {
            return;
        };
        let above = question.name.as_bytes().len() - table.origin().len();
        let offset = u16::try_from(HEADER + above).expect("a name has 255 bytes at most");
        for data in &soa.data {
            self.put_record(Owner { offset }, soa, data);
            self.authorities += 1;
        }
    }

    /// Returns where it ends. Each turn begins with another record, so that who takes the first
    /// does not always take the same.
    fn put_set(&mut self, owner: Owner, set: &Set, turn: u8) -> u16 {
        let first = usize::from(turn) % set.data.len().max(1);
        let (last, first) = set.data.split_at(first);
        for data in first.iter().chain(last) {
            self.put_record(owner, set, data);
            self.answers = self.answers.saturating_add(1);
        }
        // A message that long is cut.
        u16::try_from(self.out.len()).unwrap_or(u16::MAX)
    }

    fn put_record(&mut self, owner: Owner, set: &Set, data: &[u8]) {
        let out = &mut *self.out;
        out.extend((0xC000 | owner.offset).to_be_bytes());
        out.extend(set.kind.to_be_bytes());
        out.extend(CLASS_IN.to_be_bytes());
        out.extend(set.ttl.to_be_bytes());
        let length = u16::try_from(data.len()).expect("data that was encoded for a message");
        out.extend(length.to_be_bytes());
        out.extend_from_slice(data);
    }

    fn finish(self, request: &Request<'_>, transport: Transport, outcome: Outcome) {
        let question = request.asks.as_ref().ok();
        let edns = question.and_then(|question| question.edns);
        let end = HEADER + question.map_or(0, |question| question.bytes.len());
        let reserved = edns.map_or(0, |_| OPT_LENGTH);
        let cut = self.out.len() + reserved > most_bytes(transport, edns);
        let (answers, authorities) = if cut {
            self.out.truncate(end);
            (0, 0)
        } else {
            (self.answers, self.authorities)
        };
        if let Some(edns) = edns {
            put_edns(self.out, edns, outcome.code);
        }
        let header = &mut self.out[..HEADER];
        header[..2].copy_from_slice(&request.id);
        // Response, the same operation, authoritative, truncated, recursion desired as asked.
        header[2] = 0x80
            | (request.flags[0] & 0x79)
            | (u8::from(outcome.authoritative) << 2)
            | (u8::from(cut) << 1);
        // No recursion; checking disabled as asked (RFC 4035, section 3.1.6).
        let low = (outcome.code.number() & 0xF) as u8;
        header[3] = (request.flags[1] & 0x10) | low;
        let counts = [
            u16::from(question.is_some()),
            answers,
            authorities,
            u16::from(edns.is_some()),
        ];
        for (place, count) in header[4..].chunks_exact_mut(2).zip(counts) {
            place.copy_from_slice(&count.to_be_bytes());
        }
    }
}

fn most_bytes(transport: Transport, edns: Option<Edns>) -> usize {
    match (transport, edns) {
        (Transport::Tcp, _) => u16::MAX.into(),
        (Transport::Udp, None) => PLAIN_UDP_PAYLOAD,
        (Transport::Udp, Some(edns)) => {
            usize::from(edns.payload.min(UDP_PAYLOAD)).max(PLAIN_UDP_PAYLOAD)
        }
    }
}

fn put_edns(out: &mut Vec<u8>, edns: Edns, code: Code) {
    out.push(0);
    out.extend(OPT.to_be_bytes());
    out.extend(UDP_PAYLOAD.to_be_bytes());
    out.push((code.number() >> 4) as u8);
    out.push(0);
    out.extend([u8::from(edns.dnssec_ok) << 7, 0]);
    out.extend([0, 0]);
}

#[cfg(test)]
mod tests;
