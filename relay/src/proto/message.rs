//! The messages, as types that hold only what is possible.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::codes::{CloseCode, ResetCode};
use super::health::ServiceHealth;
use super::ids::{Attempt, Generation, Instance, ReplicaId, SessionId, StreamId, WorkerHint};
use super::name::ServiceName;
use super::version::{Features, Version, VersionRange};

/// A message of the control stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    /// The first message of the initiator.
    Hello(Box<Hello>),
    /// The first message of the responder, if it lets the initiator in.
    HelloAck(Box<HelloAck>),
    /// Asks for the same back as a Pong.
    Ping(Echo),
    /// Answers a Ping with what it asked for.
    Pong(Echo),
    /// What was consumed of a direction, and how far its sender may go.
    Ack(Ack),
    /// The sender of a direction gives back credit that it does not use.
    Release {
        /// Whose.
        stream: StreamId,
        /// All that was ever given back of this direction, in bytes.
        released: u64,
    },
    /// The acceptor has reached the target.
    Connected {
        /// Whose.
        stream: StreamId,
    },
    /// The sender of a direction has ended it.
    Fin {
        /// Whose.
        stream: StreamId,
        /// How many bytes it had in all.
        last: u64,
    },
    /// Both directions are over, and neither is complete.
    Reset {
        /// Whose.
        stream: StreamId,
        /// Why.
        code: ResetCode,
        /// For people.
        message: String,
    },
    /// The sender is stopping: no new streams, please.
    Drain {
        /// How long it will wait for the live ones.
        grace: Duration,
        /// How many streams the sender has opened in all; it opens no more.
        opened: u64,
    },
    /// The services that the sender exposes from now on, and how they are.
    HealthReport(Vec<ServiceInfo>),
    /// Every edge that the client may keep sessions with, `host:port` each, at most [`MAX_EDGES`].
    EdgeList(Vec<String>),
    /// The last message of a connection.
    Close(Close),
    /// A message of a kind that this version does not know; ignored.
    Unknown,
}

impl Control {
    /// The kind's name, for logs and for the label of a metric.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Hello(_) => "hello",
            Self::HelloAck(_) => "hello_ack",
            Self::Ping(_) => "ping",
            Self::Pong(_) => "pong",
            Self::Ack(_) => "ack",
            Self::Release { .. } => "release",
            Self::Connected { .. } => "connected",
            Self::Fin { .. } => "fin",
            Self::Reset { .. } => "reset",
            Self::Drain { .. } => "drain",
            Self::HealthReport(_) => "health_report",
            Self::EdgeList(_) => "edge_list",
            Self::Close(_) => "close",
            Self::Unknown => "unknown",
        }
    }
}

/// What goes there in a Ping and comes back in its Pong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Echo {
    /// Chosen by the asker.
    pub nonce: u64,
    /// How many bytes are added only to be carried, at most [`MAX_PADDING`].
    pub padding: usize,
}

impl Echo {
    /// No longer than it must be.
    pub fn short(nonce: u64) -> Self {
        Self { nonce, padding: 0 }
    }
}

/// The most that a Pong is padded with, however long its Ping.
pub const MAX_PADDING: usize = 16 * 1024;

/// See [`Control::Hello`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// What the initiator speaks.
    pub versions: VersionRange,
    /// What it offers.
    pub features: Features,
    /// Its software, for people.
    pub software: String,
    /// Which copy it is.
    pub replica: ReplicaId,
    /// Which process it is.
    pub instance: Instance,
    /// The number of this attempt.
    pub attempt: Attempt,
    /// What it will hold for the responder.
    pub limits: Limits,
    /// The services that it exposes.
    pub services: Vec<ServiceInfo>,
    /// Set to go on with a session instead of beginning one.
    pub continues: Option<Continue>,
    /// Older sessions of the same process that live on for the streams that they have, at most
    /// [`MAX_BESIDE`]. Other sessions of the same replica are over.
    pub beside: Vec<SessionId>,
}

/// How many older sessions may live on beside a new one.
pub const MAX_BESIDE: usize = 8;

/// How many edges a client is told of.
pub const MAX_EDGES: usize = 64;

/// See [`Control::HelloAck`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HelloAck {
    /// The version spoken from now on.
    pub version: Version,
    /// The features that both have.
    pub features: Features,
    /// The responder's software, for people.
    pub software: String,
    /// The edge's name.
    pub edge: String,
    /// The edge's process.
    pub instance: Instance,
    /// The session.
    pub session: SessionId,
    /// The attempt that was accepted.
    pub attempt: Attempt,
    /// What the responder will hold for the initiator.
    pub limits: Limits,
    /// To be shown when connecting again.
    pub worker_hint: Option<WorkerHint>,
    /// Where this very edge can be reached, `host:port` each; empty: where it was.
    pub advertise: Vec<String>,
}

/// What an end will hold for its peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Credit that every direction of every stream has from its birth, in bytes.
    pub stream_base: u32,
    /// How many streams the peer may have open at once.
    pub max_streams: u32,
    /// How long a session without a connection is kept.
    pub grace: Duration,
}

/// Asks to go on with a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Continue {
    /// Which.
    pub session: SessionId,
    /// Beside its other connections, or instead of them.
    pub mode: ContinueMode,
    /// An HMAC that only the two ends of the session can make.
    pub proof: Bytes,
}

/// See [`Continue::mode`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContinueMode {
    /// Beside the connections that there are.
    Join,
    /// Instead of those with a lower attempt.
    Replace,
}

/// A service that a client exposes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceInfo {
    /// Its name.
    pub name: ServiceName,
    /// What its target speaks.
    pub protocol: AppProtocol,
    /// How its target is; `None` from a client that knows nothing of health.
    pub health: Option<ServiceHealth>,
}

/// What the target of a service speaks, so that the http ingress knows how to call it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AppProtocol {
    /// Bytes that the tunnel does not look at.
    Tcp,
    /// HTTP/1.1 (RFC 9112).
    Http1,
    /// HTTP/2 with prior knowledge (RFC 9113 §3.3).
    H2,
}

/// See [`Control::Ack`]. Both numbers only ever grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// Whose.
    pub stream: StreamId,
    /// How many bytes the local socket or reader has taken.
    pub consumed: u64,
    /// How many bytes were ever granted, before what the sender gave back.
    pub limit: u64,
    /// The direction is over here: all of it was consumed after its Fin, or it was reset.
    pub ended: bool,
    /// Nobody takes any more of it here, while what this end has sent is still on its way.
    pub stopped: bool,
}

/// See [`Control::Close`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close {
    /// Why.
    pub code: CloseCode,
    /// For people.
    pub message: String,
    /// Not before this has passed, if set.
    pub retry_after: Option<Duration>,
}

/// The head of a transport stream, from the one who opened it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamHeader {
    /// A new stream.
    Open(Open),
    /// A live stream, moved here.
    Attach(Attach),
}

/// A new stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// Its id.
    pub stream: StreamId,
    /// What is called.
    pub service: ServiceName,
    /// Who calls.
    pub caller: Caller,
    /// A W3C Trace Context `traceparent`.
    pub traceparent: Option<String>,
    /// The opener wants it to outlive its connection.
    pub resumable: bool,
    /// 0, or how often its header was sent before without an answer.
    pub generation: Generation,
}

/// On whose behalf a stream is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// `service/<name>` for a caller with a certificate, else `ingress/<name>` or `forward/<name>`.
    pub principal: String,
    /// The caller's own address, where there is one.
    pub address: Option<SocketAddr>,
}

/// A live stream, moved to this transport stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attach {
    /// Its id.
    pub stream: StreamId,
    /// One more than the last.
    pub generation: Generation,
    /// How many bytes the sender of this header has received.
    pub received: u64,
    /// The offset of the first byte behind this header.
    pub start: u64,
}

/// The head of a transport stream's other direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamAnswer {
    /// The stream's id.
    pub stream: StreamId,
    /// The header's.
    pub generation: Generation,
    /// How many bytes the acceptor has received; 0 for a new stream.
    pub received: u64,
    /// The offset of the first byte behind this answer; 0 for a new stream.
    pub start: u64,
    /// Whether the acceptor lets the stream outlive its connection. Means nothing if the header did
    /// not ask for it.
    pub resumable: bool,
}
