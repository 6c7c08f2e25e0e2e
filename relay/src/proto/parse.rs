//! Messages from bytes and to bytes, by way of the generated types.

mod header;
mod hello;

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use prost::Message;

use super::codes::{CloseCode, ResetCode};
use super::health::ServiceHealth;
use super::ids::StreamId;
use super::message::{Ack, AppProtocol, Close, Control, Echo, MAX_EDGES, MAX_PADDING, ServiceInfo};
use super::wire;

/// A frame that is not a message. Always the peer's fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Not protobuf.
    #[error("not a protobuf message: {0}")]
    Protobuf(#[from] prost::DecodeError),
    /// A field with a value that it cannot have.
    #[error("field {field}: {problem}")]
    Field {
        /// Which.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
}

fn field(field: &'static str, problem: impl ToString) -> ParseError {
    ParseError::Field {
        field,
        problem: problem.to_string(),
    }
}

impl Control {
    /// Parses the payload of one frame.
    pub fn decode(frame: Bytes) -> Result<Self, ParseError> {
        use wire::control::Kind;
        let Some(kind) = wire::Control::decode(frame)?.kind else {
            return Ok(Self::Unknown);
        };
        Ok(match kind {
            Kind::Hello(m) => Self::Hello(Box::new(m.try_into()?)),
            Kind::HelloAck(m) => Self::HelloAck(Box::new(m.try_into()?)),
            Kind::Ping(m) => Self::Ping(echo(m.nonce, &m.padding)),
            Kind::Pong(m) => Self::Pong(echo(m.nonce, &m.padding)),
            Kind::Ack(m) => Self::Ack(Ack {
                stream: StreamId::from_number(m.stream),
                consumed: m.consumed,
                limit: m.limit,
                ended: m.ended,
                stopped: m.stopped,
            }),
            Kind::Release(m) => Self::Release {
                stream: StreamId::from_number(m.stream),
                released: m.released,
            },
            Kind::Connected(m) => Self::Connected {
                stream: StreamId::from_number(m.stream),
            },
            Kind::Fin(m) => Self::Fin {
                stream: StreamId::from_number(m.stream),
                last: m.r#final,
            },
            Kind::Reset(m) => Self::Reset {
                stream: StreamId::from_number(m.stream),
                code: ResetCode::from_number(m.code),
                message: plain(m.message),
            },
            Kind::Drain(m) => Self::Drain {
                grace: millis(m.grace_ms),
                opened: m.opened,
            },
            Kind::HealthReport(m) => Self::HealthReport(services(m.services)?),
            Kind::EdgeList(m) if m.edges.len() > MAX_EDGES => {
                return Err(field("edges", "more than 64 edges"));
            }
            Kind::EdgeList(m) => Self::EdgeList(m.edges),
            Kind::Close(m) => Self::Close(Close {
                code: CloseCode::from_number(m.code),
                message: plain(m.message),
                retry_after: (m.retry_after_ms > 0).then(|| millis(m.retry_after_ms)),
            }),
        })
    }

    /// Appends this message as one frame.
    pub fn encode(&self, out: &mut BytesMut) {
        append(
            out,
            &wire::Control {
                kind: self.to_wire(),
            },
        );
    }

    fn to_wire(&self) -> Option<wire::control::Kind> {
        use wire::control::Kind;
        Some(match self {
            Self::Hello(m) => Kind::Hello(m.as_ref().into()),
            Self::HelloAck(m) => Kind::HelloAck(m.as_ref().into()),
            Self::Ping(echo) => Kind::Ping(wire::Ping {
                nonce: echo.nonce,
                padding: padding(echo),
            }),
            Self::Pong(echo) => Kind::Pong(wire::Pong {
                nonce: echo.nonce,
                padding: padding(echo),
            }),
            Self::Ack(m) => Kind::Ack(wire::Ack {
                stream: m.stream.number(),
                consumed: m.consumed,
                limit: m.limit,
                ended: m.ended,
                stopped: m.stopped,
            }),
            Self::Release { stream, released } => Kind::Release(wire::Release {
                stream: stream.number(),
                released: *released,
            }),
            Self::Connected { stream } => Kind::Connected(wire::Connected {
                stream: stream.number(),
            }),
            Self::Fin { stream, last } => Kind::Fin(wire::Fin {
                stream: stream.number(),
                r#final: *last,
            }),
            Self::Reset {
                stream,
                code,
                message,
            } => Kind::Reset(wire::Reset {
                stream: stream.number(),
                code: code.number(),
                message: shortened(message),
            }),
            Self::Drain { grace, opened } => Kind::Drain(wire::Drain {
                grace_ms: as_millis(*grace),
                opened: *opened,
            }),
            Self::HealthReport(services) => Kind::HealthReport(wire::HealthReport {
                services: services.iter().map(Into::into).collect(),
            }),
            Self::EdgeList(edges) => Kind::EdgeList(wire::EdgeList {
                edges: edges.clone(),
            }),
            Self::Close(m) => Kind::Close(wire::Close {
                code: m.code.number(),
                message: shortened(&m.message),
                retry_after_ms: m.retry_after.map_or(0, as_millis),
            }),
            Self::Unknown => return None,
        })
    }
}

impl From<&ServiceInfo> for wire::Service {
    fn from(m: &ServiceInfo) -> Self {
        use wire::service::Protocol;
        let protocol = match m.protocol {
            AppProtocol::Tcp => Protocol::Tcp,
            AppProtocol::Http1 => Protocol::Http1,
            AppProtocol::H2 => Protocol::H2,
        };
        Self {
            name: m.name.to_string(),
            protocol: protocol.into(),
            health: m.health.as_ref().map(wire::Health::from),
        }
    }
}

/// A protocol that this version does not know is taken as plain bytes.
fn services(list: Vec<wire::Service>) -> Result<Vec<ServiceInfo>, ParseError> {
    use wire::service::Protocol;
    list.into_iter()
        .map(|m| {
            Ok(ServiceInfo {
                protocol: match m.protocol() {
                    Protocol::Tcp => AppProtocol::Tcp,
                    Protocol::Http1 => AppProtocol::Http1,
                    Protocol::H2 => AppProtocol::H2,
                },
                name: m.name.parse().map_err(|e| field("services.name", e))?,
                health: m.health.map(ServiceHealth::from),
            })
        })
        .collect()
}

fn echo(nonce: u64, padding: &Bytes) -> Echo {
    Echo {
        nonce,
        padding: padding.len().min(MAX_PADDING),
    }
}

fn padding(echo: &Echo) -> Bytes {
    static PADDING: [u8; MAX_PADDING] = [0; MAX_PADDING];
    Bytes::from_static(&PADDING[..echo.padding.min(MAX_PADDING)])
}

fn append(out: &mut BytesMut, message: &impl Message) {
    message
        .encode_length_delimited(out)
        .expect("BytesMut grows as needed");
}

fn millis(ms: u32) -> Duration {
    Duration::from_millis(ms.into())
}

fn as_millis(duration: Duration) -> u32 {
    duration.as_millis().try_into().unwrap_or(u32::MAX)
}

/// Text of a peer that may end in a log or on a page: no control characters, no great length.
pub(crate) fn plain(text: String) -> String {
    if text.len() <= 256 && !text.chars().any(char::is_control) {
        return text;
    }
    text.chars().filter(|c| !c.is_control()).take(256).collect()
}

/// A message for people, cut so that its frame stays small.
fn shortened(text: &str) -> String {
    text.chars().take(512).collect()
}
