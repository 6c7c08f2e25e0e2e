//! What a name server answers, read from its bytes. Pure.

use hickory_proto::{
    op::ResponseCode,
    rr::{
        DNSClass, Name, RData, Record, RecordType,
        rdata::{NULL, TSIG},
    },
    serialize::binary::{BinDecodable, BinDecoder, DecodeError, Restrict},
};

/// The length of the header of a message (RFC 1035, section 4.1.1).
pub(super) const HEADER: usize = 12;

/// A message of an answer, as far as it matters here.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) code: ResponseCode,
    pub(super) authoritative: bool,
    pub(super) truncated: bool,
    /// The records of the section that answers.
    pub(super) records: Vec<Record>,
    /// Those of the section that says who is the authority.
    pub(super) authorities: Vec<Record>,
    pub(super) signature: Option<Signature>,
}

/// The record that signs a message, the last in it (RFC 8945, section 5.1).
#[derive(Debug)]
pub(super) struct Signature {
    pub(super) key: Name,
    pub(super) tsig: TSIG,
    /// Where in the message it begins.
    pub(super) begins: usize,
}

/// A message that cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    #[error("it is no answer")]
    NoAnswer,
    #[error("{0}")]
    Broken(#[from] DecodeError),
    #[error("there is something behind its last record")]
    TooLong,
}

impl Answer {
    pub(super) fn read(message: &[u8]) -> Result<Self, Unreadable> {
        let mut decoder = BinDecoder::new(message);
        let [_, flags, questions, answers, authorities, additionals] = header(&mut decoder)?;
        if flags & 0x8000 == 0 {
            return Err(Unreadable::NoAnswer);
        }
        for _ in 0..questions {
            Name::read(&mut decoder)?;
            // Type and class.
            decoder.read_u32()?;
        }
        let mut records = Vec::with_capacity(usize::from(answers));
        for _ in 0..answers {
            records.push(record(&mut decoder)?);
        }
        let mut signature = None;
        let mut others = Vec::new();
        for nth in 0..u32::from(authorities) + u32::from(additionals) {
            let begins = decoder.index();
            let other = record(&mut decoder)?;
            // Only if it is the last record does it sign.
            signature = None;
            if let RData::TSIG(tsig) = other.data {
                signature = Some(Signature {
                    key: other.name,
                    tsig,
                    begins,
                });
            } else if nth < u32::from(authorities) {
                others.push(other);
            }
        }
        if !decoder.is_empty() {
            return Err(Unreadable::TooLong);
        }
        Ok(Self {
            code: ResponseCode::from(0, flags.to_be_bytes()[1] & 0xf),
            authoritative: flags & 0x0400 != 0,
            truncated: flags & 0x0200 != 0,
            records,
            authorities: others,
            signature,
        })
    }
}

/// The six numbers that every message begins with.
fn header(decoder: &mut BinDecoder<'_>) -> Result<[u16; 6], DecodeError> {
    let mut numbers = [0; 6];
    for number in &mut numbers {
        *number = any(decoder.read_u16()?);
    }
    Ok(numbers)
}

/// One record. Data that hickory does not understand is kept as bytes: somebody else's record
/// must not make the zone unreadable.
fn record(decoder: &mut BinDecoder<'_>) -> Result<Record, DecodeError> {
    let name = Name::read(decoder)?;
    let kind = RecordType::from(any(decoder.read_u16()?));
    let class = any(decoder.read_u16()?);
    let ttl = any(decoder.read_u32()?);
    let length = any(decoder.read_u16()?);
    let begins = decoder.index();
    let bytes = any(decoder.read_vec(usize::from(length))?);
    let understood = u16::try_from(begins).ok().and_then(|begins| {
        let mut data = decoder.clone(begins);
        let understood = RData::read(&mut data, kind, Restrict::new(length)).ok()?;
        (data.index() == decoder.index()).then_some(understood)
    });
    let data = understood.unwrap_or_else(|| RData::Unknown {
        code: kind,
        rdata: NULL::with(bytes),
    });
    let mut record = Record::from_rdata(name, ttl, data);
    record.dns_class = DNSClass::from(class);
    Ok(record)
}

/// A number of which every value is valid.
fn any<T>(number: Restrict<T>) -> T {
    number.unverified()
}
