//! What each failure means to a caller.
//!
//! | code | HTTP | gRPC | what happened | whose turn |
//! | --- | --- | --- | --- | --- |
//! | `bad_host` | 400 | 3 | no host, several, or not one | caller |
//! | `bad_path` | 400 | 3 | the path can be read in more than one way, and routes go by paths | caller |
//! | `bad_forwarding_header` | 400 | 3 | what a trusted proxy says of its caller cannot be read | caller, or proxy |
//! | `request_incomplete` | 400 | 1 | the request's body broke off | caller |
//! | `request_timeout` | 408 | 4 | nothing of the request's body came for `body_timeout` | caller |
//! | `caller_not_allowed` | 403 | 7 | the ingress does not let this address in | edge's operator |
//! | `not_allowed` | 403 | 7 | the client's policy forbids the service | cluster's admin |
//! | `too_many_connections` | 429 | 14 | the address has `max_connections_per_address` already; `Retry-After: 1` | caller |
//! | `unknown_host` | 404 | 5 | neither the pattern nor a route of the ingress fits the host | caller |
//! | `unknown_path` | 404 | 5 | routes fit the host, but none the path | caller |
//! | `unknown_service` | 404 | 12 | the cluster exposes no such service | cluster's admin |
//! | `not_http` | 404 | 12 | the cluster exposes the service as plain TCP, and only a pattern leads there | cluster's admin |
//! | `method_not_supported` | 501 | 12 | CONNECT without a protocol | caller |
//! | `transfer_coding_unsupported` | 501 | 12 | a `Transfer-Encoding` other than one `chunked`; the connection is closed | caller |
//! | `cluster_not_connected` | 503 | 14 | no session with the cluster; `Retry-After: 1` | retry |
//! | `overload` | 503 | 14 | a limit was reached; `Retry-After: 1` | retry |
//! | `draining` | 503 | 14 | the other end is stopping; `Retry-After: 1` | retry |
//! | `connect_refused` | 502 | 14 | the origin does not listen | service's owner |
//! | `connect_failed` | 502 | 14 | the origin's name, route or TLS | cluster's admin |
//! | `connect_timeout` | 504 | 4 | the origin does not answer the connection | service's owner |
//! | `open_timeout` | 504 | 4 | the tunnel did not take the stream in time | retry |
//! | `idle_timeout` | 504 | 4 | nothing moved for too long | service's owner |
//! | `origin_closed` | 502 | 14 | the origin ended the connection instead of answering | service's owner |
//! | `origin_reset` | 502 | 14 | the origin's connection broke | service's owner |
//! | `origin_protocol` | 502 | 13 | the origin's answer is not HTTP | service's owner |
//! | `session_closed`, `grace_expired` | 502 | 14 | the tunnel was lost; the origin may have acted | caller decides |
//! | `cancelled`, `caller_reset` | 502 | 14 | the stream was given up at the other end | caller decides |
//! | `upgrade_unsupported` | 502 | 12 | WebSocket asked of an HTTP/2 origin without RFC 8441 | service's owner |
//! | `upgrade_declined` | 502 | 12 | the origin answered CONNECT with success, but goes on in HTTP | service's owner |
//! | `protocol`, `internal` | 502 | 13 | a fault in the tunnel | report it |

use http::StatusCode;
use relay::{OpenError, ResetCode};

use super::Failure;
use crate::ingress::http::grpc::Status;

/// What a caller is told.
pub(super) struct Answer {
    pub(super) code: &'static str,
    pub(super) status: StatusCode,
    pub(super) grpc: Status,
    pub(super) text: &'static str,
}

impl Failure {
    /// The only place that knows what a failure means to a caller.
    pub(super) fn answer(self) -> Answer {
        use Status as G;
        use StatusCode as S;
        let (code, status, grpc, text) = match self {
            Self::BadHost => (
                "bad_host",
                S::BAD_REQUEST,
                G::InvalidArgument,
                "the request must name exactly one host",
            ),
            Self::BadPath => (
                "bad_path",
                S::BAD_REQUEST,
                G::InvalidArgument,
                "the path of the request can be read in more than one way",
            ),
            Self::BadForwardingHeader => (
                "bad_forwarding_header",
                S::BAD_REQUEST,
                G::InvalidArgument,
                "what a proxy says of its caller cannot be read",
            ),
            Self::RequestIncomplete => (
                "request_incomplete",
                S::BAD_REQUEST,
                G::Cancelled,
                "the request ended before it was complete",
            ),
            Self::RequestTimeout => (
                "request_timeout",
                S::REQUEST_TIMEOUT,
                G::DeadlineExceeded,
                "nothing more of the request came for too long",
            ),
            Self::CallerNotAllowed => (
                "caller_not_allowed",
                S::FORBIDDEN,
                G::PermissionDenied,
                "your address is not allowed here",
            ),
            Self::TooManyConnections => (
                "too_many_connections",
                S::TOO_MANY_REQUESTS,
                G::Unavailable,
                "too many connections from your address",
            ),
            Self::UnknownPath => (
                "unknown_path",
                S::NOT_FOUND,
                G::NotFound,
                "nothing is served under this path",
            ),
            Self::UnknownHost => (
                "unknown_host",
                S::NOT_FOUND,
                G::NotFound,
                "nothing is served under this host name",
            ),
            Self::UnknownService | Self::Reset(ResetCode::UnknownService) => (
                "unknown_service",
                S::NOT_FOUND,
                G::Unimplemented,
                "the cluster does not expose this service",
            ),
            Self::NotHttp => (
                "not_http",
                S::NOT_FOUND,
                G::Unimplemented,
                "the cluster does not expose this service as HTTP",
            ),
            Self::MethodNotSupported => (
                "method_not_supported",
                S::NOT_IMPLEMENTED,
                G::Unimplemented,
                "CONNECT is not supported here",
            ),
            Self::TransferCodingUnsupported => (
                "transfer_coding_unsupported",
                S::NOT_IMPLEMENTED,
                G::Unimplemented,
                "no transfer coding but chunked is supported here",
            ),
            Self::ClusterNotConnected => (
                "cluster_not_connected",
                S::SERVICE_UNAVAILABLE,
                G::Unavailable,
                "the cluster is not connected; try again",
            ),
            Self::Open(OpenError::TooManyStreams) | Self::Reset(ResetCode::Overload) => (
                "overload",
                S::SERVICE_UNAVAILABLE,
                G::Unavailable,
                "too much is going on at once; try again",
            ),
            Self::Open(OpenError::Draining) | Self::Reset(ResetCode::Draining) => (
                "draining",
                S::SERVICE_UNAVAILABLE,
                G::Unavailable,
                "the tunnel is being restarted; try again",
            ),
            Self::Open(OpenError::SessionClosed) | Self::Reset(ResetCode::SessionClosed) => (
                "session_closed",
                S::BAD_GATEWAY,
                G::Unavailable,
                "the tunnel to the cluster was closed",
            ),
            Self::Reset(ResetCode::GraceExpired) => (
                "grace_expired",
                S::BAD_GATEWAY,
                G::Unavailable,
                "the tunnel to the cluster was lost",
            ),
            Self::Open(OpenError::Timeout) | Self::OpenTimeout => (
                "open_timeout",
                S::GATEWAY_TIMEOUT,
                G::DeadlineExceeded,
                "the tunnel did not take the request in time",
            ),
            Self::Reset(ResetCode::NotAllowed) => (
                "not_allowed",
                S::FORBIDDEN,
                G::PermissionDenied,
                "the cluster does not allow this",
            ),
            Self::Reset(ResetCode::ConnectRefused) => (
                "connect_refused",
                S::BAD_GATEWAY,
                G::Unavailable,
                "the service refused the connection",
            ),
            Self::Reset(ResetCode::ConnectFailed) => (
                "connect_failed",
                S::BAD_GATEWAY,
                G::Unavailable,
                "the service could not be reached",
            ),
            Self::Reset(ResetCode::ConnectTimeout) => (
                "connect_timeout",
                S::GATEWAY_TIMEOUT,
                G::DeadlineExceeded,
                "the service did not accept the connection in time",
            ),
            Self::Reset(ResetCode::IdleTimeout) => (
                "idle_timeout",
                S::GATEWAY_TIMEOUT,
                G::DeadlineExceeded,
                "the service was silent for too long",
            ),
            Self::Reset(ResetCode::OriginReset) => (
                "origin_reset",
                S::BAD_GATEWAY,
                G::Unavailable,
                "the service's connection broke before it answered",
            ),
            Self::OriginClosed => (
                "origin_closed",
                S::BAD_GATEWAY,
                G::Unavailable,
                "the service closed the connection before it answered",
            ),
            Self::OriginProtocol => (
                "origin_protocol",
                S::BAD_GATEWAY,
                G::Internal,
                "the service's answer is not valid HTTP",
            ),
            Self::UpgradeUnsupported => (
                "upgrade_unsupported",
                S::BAD_GATEWAY,
                G::Unimplemented,
                "the service does not offer WebSocket over HTTP/2",
            ),
            Self::UpgradeDeclined => (
                "upgrade_declined",
                S::BAD_GATEWAY,
                G::Unimplemented,
                "the service did not switch to the protocol asked for",
            ),
            Self::Reset(ResetCode::Cancelled) => (
                "cancelled",
                S::BAD_GATEWAY,
                G::Unavailable,
                "the request was given up at the other end",
            ),
            Self::Reset(ResetCode::CallerReset) => (
                "caller_reset",
                S::BAD_GATEWAY,
                G::Unavailable,
                "the connection to the service was reset",
            ),
            Self::Reset(ResetCode::Protocol) => (
                "protocol",
                S::BAD_GATEWAY,
                G::Internal,
                "the tunnel's two ends misunderstood each other",
            ),
            Self::Reset(ResetCode::Internal) => {
                ("internal", S::BAD_GATEWAY, G::Internal, "the tunnel failed")
            }
        };
        Answer {
            code,
            status,
            grpc,
            text,
        }
    }
}

#[cfg(test)]
mod tests {
    use http::header::RETRY_AFTER;

    use super::super::{Dialect, ERROR_HEADER};
    use super::*;

    const OWN: [Failure; 18] = [
        Failure::BadHost,
        Failure::BadPath,
        Failure::BadForwardingHeader,
        Failure::TransferCodingUnsupported,
        Failure::TooManyConnections,
        Failure::UnknownPath,
        Failure::MethodNotSupported,
        Failure::CallerNotAllowed,
        Failure::UnknownHost,
        Failure::ClusterNotConnected,
        Failure::UnknownService,
        Failure::NotHttp,
        Failure::OriginClosed,
        Failure::OriginProtocol,
        Failure::UpgradeUnsupported,
        Failure::UpgradeDeclined,
        Failure::RequestIncomplete,
        Failure::RequestTimeout,
    ];

    fn every_failure() -> impl Iterator<Item = Failure> {
        use OpenError as O;
        let opens = [O::SessionClosed, O::Draining, O::TooManyStreams, O::Timeout];
        OWN.into_iter()
            .chain([Failure::OpenTimeout])
            .chain(opens.into_iter().map(Failure::Open))
            .chain(ResetCode::ALL.iter().copied().map(Failure::Reset))
    }

    fn row(failure: Failure) -> String {
        let plain = failure.response(Dialect::Http);
        let grpc = failure.response(Dialect::Grpc("application/grpc"));
        assert_eq!(plain.headers()[ERROR_HEADER], failure.code());
        assert_eq!(grpc.headers()[ERROR_HEADER], failure.code());
        assert_eq!(grpc.status(), StatusCode::OK);
        let status = grpc.headers()["grpc-status"].to_str().unwrap();
        format!("{}|{}|{status}", failure.code(), plain.status().as_u16())
    }

    /// What a table of the documentation promises: `code|http|grpc`, for each row with this
    /// beginning.
    fn documented(text: &str, begin: &str) -> Vec<String> {
        let mut all = Vec::new();
        for row in text.lines().filter_map(|line| line.strip_prefix(begin)) {
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            for code in cells[0].split(',') {
                let code = code.trim().trim_matches('`');
                all.push(format!("{code}|{}|{}", cells[1], cells[2]));
            }
        }
        all
    }

    /// The table at the head of this file, and that for operators.
    fn tables() -> [Vec<String>; 2] {
        let manual = include_str!("../../../../../docs/operations.md");
        let (_, table) = manual.split_once("<!-- failures -->").unwrap();
        let (table, _) = table.split_once("<!-- end -->").unwrap();
        [
            documented(include_str!("table.rs"), "//! | `"),
            documented(table, "| `"),
        ]
    }

    #[test]
    fn every_failure_is_answered_as_documented() {
        for documented in tables() {
            let mut seen = std::collections::BTreeSet::new();
            for failure in every_failure() {
                let row = row(failure);
                assert!(documented.contains(&row), "{failure:?}: {row}");
                seen.insert(row);
            }
            assert_eq!(seen.len(), documented.len(), "documented but never given");
        }
    }

    #[test]
    fn a_reset_keeps_the_code_of_the_tunnel() {
        for code in ResetCode::ALL {
            assert_eq!(Failure::Reset(*code).code(), code.label());
        }
    }

    #[test]
    fn only_what_helps_to_retry_says_when() {
        for failure in every_failure() {
            let response = failure.response(Dialect::Http);
            let retry = response.headers().contains_key(RETRY_AFTER);
            let expected = matches!(response.status().as_u16(), 429 | 503);
            assert_eq!(retry, expected, "{failure:?}");
        }
    }
}
