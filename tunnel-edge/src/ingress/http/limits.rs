//! The numbers of the http ingress that are not configured, what each costs and what it protects
//! from. Those that are, are [`HttpLimits`](crate::config::HttpLimits).

use std::time::Duration;

/// Of every ingress.
pub(super) use crate::ingress::OPEN_DEADLINE;

/// How long a caller's connection that was idle for too long has to say goodbye.
pub(super) const GOODBYE: Duration = Duration::from_secs(5);

/// How many callers with too many connections are told so at once, and for how long each may listen.
/// Further ones are closed.
pub(super) const REFUSALS: usize = 64;
pub(super) const REFUSAL: Duration = Duration::from_secs(2);

/// How often the deadlines of a busy connection are looked at.
pub(super) const WATCH_INTERVAL: Duration = Duration::from_secs(5);

/// How long an origin has to end its side of a connection that was closed between requests.
pub(super) const LINGER: Duration = Duration::from_secs(2);

/// The most bytes of the head of an HTTP/2 origin's answer.
pub(super) const ORIGIN_HEAD: usize = 64 * 1024;

/// The most requests that one HTTP/2 caller may have open on one connection. RFC 9113 §6.5.2
/// asks for no fewer than 100.
pub(super) const CALLER_STREAMS: u32 = 128;

/// What an HTTP/2 caller may send on one request before its origin has taken it.
pub(super) const CALLER_STREAM_WINDOW: u32 = 128 * 1024;

/// What an HTTP/2 caller may send on one connection: enough for all its requests, so that an
/// origin that takes nothing stalls only its own. At most 16 MiB held per connection.
pub(super) const CALLER_WINDOW: u32 = CALLER_STREAMS * CALLER_STREAM_WINDOW;

/// How often an HTTP/2 caller is asked whether it is still there, and how long it may think.
pub(super) const CALLER_PING: Duration = Duration::from_secs(20);

/// The most requests that share one HTTP/2 connection to an origin.
pub(super) const ORIGIN_STREAMS: usize = 32;

/// What an origin may send on one HTTP/2 request before its caller has taken it. Bounds the
/// speed of one answer to 1 MiB per round trip.
pub(super) const ORIGIN_STREAM_WINDOW: u32 = 1024 * 1024;

/// What an origin may send on one HTTP/2 connection: enough for all requests that share it, so
/// that a caller that takes nothing stalls only its own. At most 32 MiB held per connection.
pub(super) const ORIGIN_WINDOW: u32 = 32 * ORIGIN_STREAM_WINDOW;

/// What is held of one request's body on its way to an HTTP/2 origin that does not take it, and
/// of one answer's on its way to an HTTP/2 caller.
pub(super) const SEND_BUFFER: usize = 128 * 1024;

/// What one HTTP/1.1 connection to an origin buffers at most in each direction; the most bytes
/// of an answer's head.
pub(super) const ORIGIN_BUFFER: usize = 128 * 1024;

/// How long an HTTP/1.1 origin may leave `Expect: 100-continue` unanswered. Then the body is asked
/// for all the same: many origins do not know the expectation, and callers do not wait forever
/// either (RFC 9110 §10.1.1); curl waits for as long.
pub(super) const CONTINUE_WAIT: Duration = Duration::from_secs(1);

/// The most bytes of a request's body that are kept until its answer begins, for the case that it
/// must be sent again, trailers included. What is longer is sent once. The memory that a request
/// which waits costs, however its body was cut: at most 8 MiB for all of an HTTP/2 caller's.
pub(super) const REPLAY: usize = 64 * 1024;

/// What is given at once of a body that is sent again: as much as a frame of HTTP/2 usually holds
/// (RFC 9113 §4.2).
pub(super) const REPLAY_PIECE: usize = 16 * 1024;

/// The most idle HTTP/1.1 connections that are kept per session, service and principal.
pub(super) const MAX_IDLE: usize = 32;

/// How long an idle connection to an origin is kept.
pub(super) const ORIGIN_IDLE: Duration = Duration::from_secs(60);

/// How long before an origin closes an idle connection it is no longer used, so that no request
/// crosses the end on its way through the tunnel.
pub(super) const KEEP_ALIVE_MARGIN: Duration = Duration::from_secs(1);

/// How often idle connections to origins are looked through.
pub(super) const SWEEP_INTERVAL: Duration = Duration::from_secs(10);

/// How long a request waits for a connection whose last answer has just ended to be ready again.
/// It is a matter of microseconds; when it is not, a fresh connection is better.
pub(super) const READY_WAIT: Duration = Duration::from_millis(10);

/// How long accepting pauses after the process ran out of descriptors or memory.
pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What is moved at once in each direction after an upgrade.
pub(super) const SPLICE_BUFFER: usize = 32 * 1024;

const _: () = assert!(ORIGIN_WINDOW as u64 >= ORIGIN_STREAMS as u64 * ORIGIN_STREAM_WINDOW as u64);
// RFC 9113 §6.9.1.
const _: () = assert!(CALLER_WINDOW <= i32::MAX as u32);
const _: () = assert!(ORIGIN_WINDOW <= i32::MAX as u32);
