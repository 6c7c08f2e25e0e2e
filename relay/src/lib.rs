//! What both ends of a Causeway tunnel share.
//!
//! ```text
//! proto ◀── session ◀── driver, pump ──▶ transport
//! ```
//!
//! * [`proto`]: messages, codec, ids, versions, codes. Pure.
//! * [`session`]: streams, credit, ends and resets, liveness. Pure.
//! * [`transport`]: one small trait, and what implements it.
//! * [`driver`]: runs a session over a connection, and the streams that users of this crate hold.
//! * [`audit`]: a record for each stream.
//! * [`descriptors`]: how many files and sockets there may be.
//! * [`memory`]: how much the process may use.
//! * [`metrics`]: what both ends count.
//! * [`pump`]: moves bytes between a stream and a local socket.
//! * [`worker`]: the threads that sessions live on.
//! * [`origin`]: targets, and how they are dialled.
//! * [`proxy_protocol`]: whose connection it is, said in front of its bytes.
//! * [`grpc`]: frames and statuses of gRPC. Pure.
//! * [`listen`]: local listeners, TCP and unix.
//! * [`settings`]: reading configuration files into types.
//! * [`admin`]: health, metrics and status over HTTP.

pub mod admin;
pub mod audit;
pub mod descriptors;
pub mod driver;
pub mod grpc;
pub mod listen;
pub mod memory;
pub mod metrics;
pub mod origin;
pub mod proto;
pub mod proxy_protocol;
pub mod pump;
pub mod session;
pub mod settings;
pub mod transport;
pub mod worker;

pub use driver::{
    Closed, Incoming, NotResumed, OpenError, OpenRequest, Reset, ResetBy, Session, Stream, StreamIo,
};
pub use proto::{AppProtocol, Caller, CloseCode, ResetCode, ServiceName, SessionId, StreamId};
pub use worker::{WorkerHandle, Workers};
