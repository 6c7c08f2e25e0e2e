//! What transport streams begin with.

use bytes::{Bytes, BytesMut};
use prost::Message;

use super::{ParseError, append, field, plain};
use crate::proto::ids::{Generation, StreamId};
use crate::proto::message::{Attach, Caller, Open, StreamAnswer, StreamHeader};
use crate::proto::wire;

impl StreamHeader {
    /// Parses the payload of a transport stream's first frame.
    pub fn decode(frame: Bytes) -> Result<Self, ParseError> {
        use wire::stream_header::Kind;
        match wire::StreamHeader::decode(frame)?.kind {
            Some(Kind::Open(m)) => Ok(Self::Open(m.try_into()?)),
            Some(Kind::Attach(m)) => Ok(Self::Attach(Attach {
                stream: StreamId::from_number(m.stream),
                generation: Generation(m.generation),
                received: m.received,
                start: m.start,
            })),
            None => Err(field("kind", "neither open nor attach")),
        }
    }

    /// Appends this header as one frame.
    pub fn encode(&self, out: &mut BytesMut) {
        use wire::stream_header::Kind;
        let kind = match self {
            Self::Open(m) => Kind::Open(wire::Open {
                stream: m.stream.number(),
                service: m.service.to_string(),
                traceparent: m.traceparent.clone().unwrap_or_default(),
                principal: m.caller.principal.clone(),
                address: m.caller.address.map(|a| a.to_string()).unwrap_or_default(),
                resumable: m.resumable,
                generation: m.generation.0,
            }),
            Self::Attach(m) => Kind::Attach(wire::Attach {
                stream: m.stream.number(),
                generation: m.generation.0,
                received: m.received,
                start: m.start,
            }),
        };
        append(out, &wire::StreamHeader { kind: Some(kind) });
    }
}

impl StreamAnswer {
    /// Parses the payload of the other direction's first frame.
    pub fn decode(frame: Bytes) -> Result<Self, ParseError> {
        let m = wire::StreamAnswer::decode(frame)?;
        Ok(Self {
            stream: StreamId::from_number(m.stream),
            generation: Generation(m.generation),
            received: m.received,
            start: m.start,
            resumable: m.resumable,
        })
    }

    /// Appends this answer as one frame.
    pub fn encode(&self, out: &mut BytesMut) {
        append(
            out,
            &wire::StreamAnswer {
                stream: self.stream.number(),
                generation: self.generation.0,
                received: self.received,
                start: self.start,
                resumable: self.resumable,
            },
        );
    }
}

impl TryFrom<wire::Open> for Open {
    type Error = ParseError;

    fn try_from(m: wire::Open) -> Result<Self, ParseError> {
        let address = match m.address.as_str() {
            "" => None,
            text => Some(text.parse().map_err(|e| field("address", e))?),
        };
        Ok(Self {
            stream: StreamId::from_number(m.stream),
            service: m.service.parse().map_err(|e| field("service", e))?,
            caller: Caller {
                principal: plain(m.principal),
                address,
            },
            traceparent: (!m.traceparent.is_empty()).then(|| plain(m.traceparent)),
            resumable: m.resumable,
            generation: Generation(m.generation),
        })
    }
}
