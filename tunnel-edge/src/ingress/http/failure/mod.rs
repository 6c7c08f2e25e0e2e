//! What a caller is told when its request could not be answered by the origin.
//!
//! Every such answer carries `causeway-error: <code>`, which no origin can set (the ingress
//! removes it from origins' answers), and one line of text that names nothing inside the planes. The
//! table of them all is in `table`.
//!
//! Callers of gRPC and gRPC-Web (`content-type: application/grpc…`) get HTTP 200 with the gRPC code
//! in `grpc-status`, their content type and no body ("Trailers-Only"), since their libraries look
//! nowhere else.
//!
//! What is no request to HTTP's parser is answered by the parser itself, without `causeway-error`;
//! `serve` counts it as [`HEAD_MALFORMED`] or [`HEAD_TOO_LARGE`]. A connection that should begin with
//! a header of the PROXY protocol and does not is reset, and counted as [`PROXY_HEADER`].

mod table;

use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use relay::{OpenError, ResetCode};

use super::body::ResponseBody;
use super::grpc::Dialect;

/// The header that says that an answer is the tunnel's and not the origin's, and why.
pub(super) const ERROR_HEADER: HeaderName = HeaderName::from_static("causeway-error");

/// How a head is counted that is not HTTP (400).
pub(super) const HEAD_MALFORMED: &str = "head_malformed";

/// How a head is counted that is too large (431, or 414 for its target).
pub(super) const HEAD_TOO_LARGE: &str = "head_too_large";

/// How a connection is counted that lacks the header of the PROXY protocol.
pub(super) const PROXY_HEADER: &str = "proxy_header";

/// How long a caller should wait before it tries again, in seconds.
const RETRY_SECONDS: HeaderValue = HeaderValue::from_static("1");

/// Why a request could not be answered by its origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// The request names no host, several, or something that is none.
    BadHost,
    /// The path can be read in more than one way, and where it goes depends on that.
    BadPath,
    /// What a trusted proxy says of the caller cannot be read.
    BadForwardingHeader,
    /// The body is in another transfer coding than `chunked`, or in several.
    TransferCodingUnsupported,
    /// CONNECT, which belongs to another kind of ingress.
    MethodNotSupported,
    /// The ingress does not let the caller's address in.
    CallerNotAllowed,
    /// The caller's address has as many connections as it may.
    TooManyConnections,
    /// The host fits nothing.
    UnknownHost,
    /// The host fits, the path does not.
    UnknownPath,
    /// There is no session with the cluster.
    ClusterNotConnected,
    /// The cluster does not expose the service.
    UnknownService,
    /// The cluster exposes the service as plain TCP, and only its host name leads there.
    NotHttp,
    /// The session did not open the stream.
    Open(OpenError),
    /// The stream was not open within [`OPEN_DEADLINE`](super::limits::OPEN_DEADLINE).
    OpenTimeout,
    /// The stream was reset before the answer began.
    Reset(ResetCode),
    /// The origin ended the connection before the answer was complete.
    OriginClosed,
    /// The origin's answer breaks HTTP.
    OriginProtocol,
    /// A WebSocket for an HTTP/2 origin that does not offer extended CONNECT.
    UpgradeUnsupported,
    /// The origin answers an extended CONNECT with a success that is none: it goes on in HTTP.
    UpgradeDeclined,
    /// The caller's request broke off while it was forwarded.
    RequestIncomplete,
    /// The caller withheld the rest of its request for
    /// [`HttpLimits::body_timeout`](crate::config::HttpLimits::body_timeout).
    RequestTimeout,
}

impl Failure {
    /// The stable code: the value of the `causeway-error` header and the label of the metric.
    pub(super) fn code(self) -> &'static str {
        self.answer().code
    }

    /// The answer for a caller.
    pub(super) fn response(self, dialect: Dialect) -> Response<ResponseBody> {
        let answer = self.answer();
        let mut response = match dialect {
            Dialect::Grpc(kind) => {
                let mut response = Response::new(ResponseBody::empty());
                let headers = response.headers_mut();
                headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
                headers.insert("grpc-status", answer.grpc.value());
                headers.insert("grpc-message", HeaderValue::from_static(answer.text));
                response
            }
            Dialect::Http => {
                let text = format!("causeway: {} ({})\n", answer.text, answer.code);
                let mut response = Response::new(ResponseBody::text(text));
                *response.status_mut() = answer.status;
                let plain = HeaderValue::from_static("text/plain; charset=utf-8");
                response.headers_mut().insert(CONTENT_TYPE, plain);
                response
            }
        };
        let headers = response.headers_mut();
        headers.insert(ERROR_HEADER, HeaderValue::from_static(answer.code));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if matches!(
            answer.status,
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS
        ) {
            headers.insert(RETRY_AFTER, RETRY_SECONDS);
        }
        response
    }
}
