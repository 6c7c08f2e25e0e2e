//! Messages from bytes and to bytes, by way of the generated types.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use prost::Message;

use super::codes::{CloseCode, ResetCode};
use super::health::ServiceHealth;
use super::ids::{Attempt, Generation, Instance, SessionId, StreamId, WorkerHint};
use super::message::{
    Ack, AppProtocol, Attach, Caller, Close, Continue, ContinueMode, Control, Echo, Hello,
    HelloAck, Limits, MAX_BESIDE, MAX_EDGES, MAX_PADDING, Open, ServiceInfo, StreamAnswer,
    StreamHeader,
};
use super::version::{Features, Version, VersionRange};
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

impl TryFrom<wire::Hello> for Hello {
    type Error = ParseError;

    fn try_from(m: wire::Hello) -> Result<Self, ParseError> {
        if m.version_min > m.version_max {
            return Err(field("version_min", "greater than version_max"));
        }
        Ok(Self {
            versions: VersionRange {
                min: Version(m.version_min),
                max: Version(m.version_max),
            },
            features: Features(m.features),
            software: plain(m.software),
            replica: m.replica.parse().map_err(|e| field("replica", e))?,
            instance: Instance::from_bytes(sixteen("instance", &m.instance)?),
            attempt: Attempt(m.attempt),
            limits: limits(m.limits)?,
            services: services(m.services)?,
            continues: m.r#continue.map(TryInto::try_into).transpose()?,
            beside: beside(&m.beside)?,
        })
    }
}

impl From<&Hello> for wire::Hello {
    fn from(m: &Hello) -> Self {
        Self {
            version_min: m.versions.min.0,
            version_max: m.versions.max.0,
            features: m.features.0,
            software: m.software.clone(),
            replica: m.replica.to_string(),
            instance: Bytes::copy_from_slice(m.instance.as_bytes()),
            attempt: m.attempt.0,
            limits: Some(m.limits.into()),
            services: m.services.iter().map(Into::into).collect(),
            r#continue: m.continues.as_ref().map(Into::into),
            beside: m
                .beside
                .iter()
                .map(|id| Bytes::copy_from_slice(id.as_bytes()))
                .collect(),
        }
    }
}

fn beside(ids: &[Bytes]) -> Result<Vec<SessionId>, ParseError> {
    if ids.len() > MAX_BESIDE {
        return Err(field("beside", "more than 8 sessions"));
    }
    ids.iter()
        .map(|id| sixteen("beside", id).map(SessionId::from_bytes))
        .collect()
}

impl TryFrom<wire::HelloAck> for HelloAck {
    type Error = ParseError;

    fn try_from(m: wire::HelloAck) -> Result<Self, ParseError> {
        let hint = <[u8; 8]>::try_from(m.worker_hint.as_ref()).ok();
        if hint.is_none() && !m.worker_hint.is_empty() {
            return Err(field("worker_hint", "has 8 bytes or none"));
        }
        Ok(Self {
            version: Version(m.version),
            features: Features(m.features),
            software: plain(m.software),
            edge: plain(m.edge),
            instance: Instance::from_bytes(sixteen("instance", &m.instance)?),
            session: SessionId::from_bytes(sixteen("session", &m.session)?),
            attempt: Attempt(m.attempt),
            limits: limits(m.limits)?,
            worker_hint: hint.map(WorkerHint),
            advertise: m.advertise,
        })
    }
}

impl From<&HelloAck> for wire::HelloAck {
    fn from(m: &HelloAck) -> Self {
        Self {
            version: m.version.0,
            features: m.features.0,
            software: m.software.clone(),
            edge: m.edge.clone(),
            instance: Bytes::copy_from_slice(m.instance.as_bytes()),
            session: Bytes::copy_from_slice(m.session.as_bytes()),
            attempt: m.attempt.0,
            limits: Some(m.limits.into()),
            worker_hint: m
                .worker_hint
                .map(|hint| Bytes::copy_from_slice(&hint.0))
                .unwrap_or_default(),
            advertise: m.advertise.clone(),
        }
    }
}

impl TryFrom<wire::Continue> for Continue {
    type Error = ParseError;

    fn try_from(m: wire::Continue) -> Result<Self, ParseError> {
        use wire::r#continue::Mode;
        Ok(Self {
            session: SessionId::from_bytes(sixteen("session", &m.session)?),
            mode: match m.mode() {
                Mode::Join => ContinueMode::Join,
                Mode::Replace => ContinueMode::Replace,
                Mode::Unspecified => return Err(field("mode", "neither join nor replace")),
            },
            proof: m.proof,
        })
    }
}

impl From<&Continue> for wire::Continue {
    fn from(m: &Continue) -> Self {
        use wire::r#continue::Mode;
        let mode = match m.mode {
            ContinueMode::Join => Mode::Join,
            ContinueMode::Replace => Mode::Replace,
        };
        Self {
            session: Bytes::copy_from_slice(m.session.as_bytes()),
            mode: mode.into(),
            proof: m.proof.clone(),
        }
    }
}

impl From<Limits> for wire::Limits {
    fn from(m: Limits) -> Self {
        Self {
            stream_base: m.stream_base.into(),
            max_streams: m.max_streams,
            grace_ms: as_millis(m.grace),
        }
    }
}

fn limits(m: Option<wire::Limits>) -> Result<Limits, ParseError> {
    let m = m.ok_or_else(|| field("limits", "missing"))?;
    let too_large = || field("stream_base", "over 4 GiB");
    Ok(Limits {
        stream_base: m.stream_base.try_into().map_err(|_| too_large())?,
        max_streams: m.max_streams,
        grace: millis(m.grace_ms),
    })
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

fn sixteen(name: &'static str, bytes: &[u8]) -> Result<[u8; 16], ParseError> {
    bytes
        .try_into()
        .map_err(|_| field(name, format!("has 16 bytes, not {}", bytes.len())))
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
