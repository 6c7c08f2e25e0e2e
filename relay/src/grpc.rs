//! As much of gRPC over HTTP/2 as small services need: its frames and its statuses. Pure.
//!
//! The source is the protocol's own description, PROTOCOL-HTTP2 of the gRPC project. Messages are
//! never compressed here; one that says it is, is refused.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message;

/// What stands in front of a message: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// What a body is of, as `content-type` says it.
pub const CONTENT_TYPE: &str = "application/grpc";

/// The number of a call's outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code(pub u32);

impl Code {
    /// It worked.
    pub const OK: Self = Self(0);
    /// What was asked for makes no sense, whatever the state of the service.
    pub const INVALID_ARGUMENT: Self = Self(3);
    /// There is no such thing.
    pub const NOT_FOUND: Self = Self(5);
    /// There is no room for one more.
    pub const RESOURCE_EXHAUSTED: Self = Self(8);
    /// Nobody answers to this name, or not in this way.
    pub const UNIMPLEMENTED: Self = Self(12);
    /// Not now.
    pub const UNAVAILABLE: Self = Self(14);

    /// The number and its name, such as `12 UNIMPLEMENTED`.
    pub fn label(self) -> String {
        const NAMES: [&str; 17] = [
            "OK",
            "CANCELLED",
            "UNKNOWN",
            "INVALID_ARGUMENT",
            "DEADLINE_EXCEEDED",
            "NOT_FOUND",
            "ALREADY_EXISTS",
            "PERMISSION_DENIED",
            "RESOURCE_EXHAUSTED",
            "FAILED_PRECONDITION",
            "ABORTED",
            "OUT_OF_RANGE",
            "UNIMPLEMENTED",
            "INTERNAL",
            "UNAVAILABLE",
            "DATA_LOSS",
            "UNAUTHENTICATED",
        ];
        let Self(number) = self;
        let name = usize::try_from(number)
            .ok()
            .and_then(|index| NAMES.get(index));
        name.map_or_else(|| number.to_string(), |name| format!("{number} {name}"))
    }
}

/// Why the bytes of a body are not the one message that was expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadMessage {
    /// It is compressed, which was not offered.
    #[error("the message is compressed")]
    Compressed,
    /// None, half of one, or more than one.
    #[error("{0} bytes are not exactly one message")]
    Length(usize),
    /// Not protobuf.
    #[error("not a protobuf message: {0}")]
    Protobuf(#[from] prost::DecodeError),
}

/// A message behind its prefix.
pub fn frame(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut out = BytesMut::with_capacity(PREFIX + length);
    out.put_u8(0);
    out.put_u32(u32::try_from(length).expect("a message is shorter than 4 GiB"));
    message.encode(&mut out).expect("BytesMut grows as needed");
    out.freeze()
}

/// The one message that a body has.
///
/// # Errors
/// [`BadMessage`]
pub fn message<M: Message + Default>(mut body: Bytes) -> Result<M, BadMessage> {
    let all = body.len();
    if all < PREFIX {
        return Err(BadMessage::Length(all));
    }
    let compressed = body.get_u8() != 0;
    let length = body.get_u32();
    if usize::try_from(length) != Ok(body.len()) {
        return Err(BadMessage::Length(all));
    }
    if compressed {
        return Err(BadMessage::Compressed);
    }
    Ok(M::decode(body)?)
}

/// A status message as `grpc-message` carries it: what is not printable ASCII is percent-encoded.
pub fn percent_encoded(text: &str) -> String {
    let encoded = |byte: u8| match byte {
        b'%' | 0..=0x1f | 0x7f.. => format!("%{byte:02X}"),
        plain => char::from(plain).to_string(),
    };
    text.bytes().map(encoded).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_comes_out_as_it_went_in() {
        let framed = frame(&"serving".to_owned());
        assert_eq!(&framed[..PREFIX], [0, 0, 0, 0, 9]);
        assert_eq!(message::<String>(framed).unwrap(), "serving");
        assert_eq!(message::<String>(frame(&String::new())).unwrap(), "");
    }

    #[test]
    fn what_is_not_one_message_is_refused() {
        let refused = |bytes: &'static [u8]| message::<String>(bytes.into()).unwrap_err();
        assert_eq!(refused(&[]), BadMessage::Length(0));
        assert_eq!(refused(&[0, 0, 0, 0]), BadMessage::Length(4));
        assert_eq!(refused(&[0, 0, 0, 0, 1]), BadMessage::Length(5));
        assert_eq!(refused(&[0, 0, 0, 0, 0, 0]), BadMessage::Length(6));
        assert_eq!(refused(&[1, 0, 0, 0, 0]), BadMessage::Compressed);
        assert!(matches!(
            refused(&[0, 0, 0, 0, 1, 0xff]),
            BadMessage::Protobuf(_)
        ));
    }

    #[test]
    fn codes_have_names_and_messages_stay_ascii() {
        assert_eq!(Code::UNIMPLEMENTED.label(), "12 UNIMPLEMENTED");
        assert_eq!(Code(99).label(), "99");
        assert_eq!(percent_encoded("100 % \u{e4}\n"), "100 %25 %C3%A4%0A");
    }
}
