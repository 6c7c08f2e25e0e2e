//! In which words a caller wants to hear that its request failed.

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};

/// What a caller's library looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// The status and the body.
    Http,
    /// `grpc-status` alone: gRPC over HTTP/2, gRPC-Web, or that in base64.
    Grpc(&'static str),
}

impl Dialect {
    /// What the request's content type says. Formats behind a `+` make no difference: the answer
    /// has no message.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        const GRPC: &str = "application/grpc";
        let Some(value) = headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
        else {
            return Self::Http;
        };
        let kind = value.split(['+', ';']).next().unwrap_or_default().trim();
        let kind = kind.to_ascii_lowercase();
        for known in ["application/grpc-web-text", "application/grpc-web"] {
            if kind == known {
                return Self::Grpc(known);
            }
        }
        if kind.starts_with(GRPC) {
            Self::Grpc(GRPC)
        } else {
            Self::Http
        }
    }
}

/// The gRPC status codes in use here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Cancelled,
    InvalidArgument,
    DeadlineExceeded,
    NotFound,
    PermissionDenied,
    Unimplemented,
    Internal,
    Unavailable,
}

impl Status {
    /// The value of `grpc-status`.
    pub(super) fn value(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Cancelled => "1",
            Self::InvalidArgument => "3",
            Self::DeadlineExceeded => "4",
            Self::NotFound => "5",
            Self::PermissionDenied => "7",
            Self::Unimplemented => "12",
            Self::Internal => "13",
            Self::Unavailable => "14",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_is_recognised_by_its_content_type() {
        for (value, expected) in [
            ("application/grpc", Dialect::Grpc("application/grpc")),
            ("application/grpc+proto", Dialect::Grpc("application/grpc")),
            ("application/grpc; v=1", Dialect::Grpc("application/grpc")),
            (
                "Application/gRPC-web",
                Dialect::Grpc("application/grpc-web"),
            ),
            (
                "application/grpc-web+proto",
                Dialect::Grpc("application/grpc-web"),
            ),
            (
                "application/grpc-web-text+proto",
                Dialect::Grpc("application/grpc-web-text"),
            ),
            ("application/json", Dialect::Http),
            ("application/gr", Dialect::Http),
        ] {
            let mut headers = HeaderMap::new();
            assert_eq!(Dialect::of(&headers), Dialect::Http);
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(value));
            assert_eq!(Dialect::of(&headers), expected, "{value}");
        }
    }
}
