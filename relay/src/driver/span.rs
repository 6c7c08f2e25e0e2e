//! The spans that give a log line its place: `session` > `stream`.
//!
//! What opens a session gives the span above them: `accept` at an edge, `dial` at a client. They are
//! made at the level of errors, so that a line that is logged at all has them.

use tracing::{Span, error_span};

use crate::audit::direction;
use crate::proto::{ServiceName, SessionId, StreamId};

/// Of a session whose ends have proved who they are, below the current span. `cluster` is
/// `tenant/cluster`.
pub(super) fn session(cluster: &str, session: SessionId) -> Span {
    let (tenant, cluster) = cluster.split_once('/').unwrap_or(("", cluster));
    error_span!("session", tenant, cluster, %session)
}

/// Of a stream of that session, wherever it is opened or served.
pub(super) fn stream(
    session: &Span,
    stream: StreamId,
    service: &ServiceName,
    traceparent: Option<&str>,
) -> Span {
    error_span!(
        parent: session,
        "stream",
        %stream,
        %service,
        direction = direction(stream),
        trace_id = traceparent.and_then(trace_id),
    )
}

/// The `trace-id` of a `traceparent` (W3C Trace Context, §3.2.2). The peer may have written anything.
fn trace_id(traceparent: &str) -> Option<&str> {
    let id = traceparent.split('-').nth(1)?;
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    (id.len() == 32 && id.bytes().all(is_hex)).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_trace_id_is_taken_for_one() {
        let id = "0af7651916cd43dd8448eb211c80319c";
        let whole = format!("00-{id}-b7ad6b7169203331-01");
        assert_eq!(trace_id(&whole), Some(id));
        for other in ["", "00", &whole[1..40], &whole.to_uppercase(), "00-\n-x-01"] {
            let found = trace_id(other).filter(|found| *found != id);
            assert_eq!(found, None, "{other:?}");
        }
    }
}
