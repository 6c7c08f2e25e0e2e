//! What may not come as a trailer (RFC 9110 §6.5.1). A recipient may merge trailers into the head, long
//! after whoever routed, framed or allowed the message has read that; and HTTP/2 sends none that is for
//! one hop.

use http::header::{
    AGE, AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE,
    CONTENT_TYPE, COOKIE, DATE, EXPECT, EXPIRES, HOST, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH,
    IF_RANGE, IF_UNMODIFIED_SINCE, LOCATION, MAX_FORWARDS, PRAGMA, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, RANGE, RETRY_AFTER, SET_COOKIE, TRAILER, VARY, WARNING, WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderName};

use super::headers::{HOP_BY_HOP, tokens};
use super::provenance::drop_claims;

/// Who is meant, and where the message ends.
const ROUTING_AND_FRAMING: [HeaderName; 3] = [HOST, CONTENT_LENGTH, TRAILER];

/// What is decided with the head: who asks, under which conditions, how the content is read, and what
/// becomes of the answer.
const OF_THE_HEAD: [HeaderName; 26] = [
    // Authentication.
    AUTHORIZATION,
    PROXY_AUTHORIZATION,
    WWW_AUTHENTICATE,
    PROXY_AUTHENTICATE,
    COOKIE,
    SET_COOKIE,
    // Request modifiers.
    CACHE_CONTROL,
    EXPECT,
    MAX_FORWARDS,
    PRAGMA,
    RANGE,
    IF_MATCH,
    IF_NONE_MATCH,
    IF_MODIFIED_SINCE,
    IF_UNMODIFIED_SINCE,
    IF_RANGE,
    // How the content is read.
    CONTENT_ENCODING,
    CONTENT_RANGE,
    CONTENT_TYPE,
    // Response control.
    AGE,
    DATE,
    EXPIRES,
    LOCATION,
    RETRY_AFTER,
    VARY,
    WARNING,
];

/// Every answer of gRPC ends with it.
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// Leaves of a request's trailers what an origin may see.
pub(super) fn for_origin(trailers: &mut HeaderMap) {
    drop_for_all(trailers);
    remove(trailers, &OF_THE_HEAD);
}

/// Leaves of an answer's trailers what a caller may see. Those of gRPC are its own metadata, whose
/// names mean what the service says.
pub(super) fn for_caller(trailers: &mut HeaderMap) {
    drop_for_all(trailers);
    if !trailers.contains_key(GRPC_STATUS) {
        remove(trailers, &OF_THE_HEAD);
    }
}

fn drop_for_all(trailers: &mut HeaderMap) {
    let named: Vec<HeaderName> = tokens(trailers, &CONNECTION)
        .filter_map(|token| token.parse().ok())
        .collect();
    remove(trailers, &named);
    remove(trailers, &HOP_BY_HOP);
    remove(trailers, &ROUTING_AND_FRAMING);
    drop_claims(trailers);
}

fn remove(trailers: &mut HeaderMap, names: &[HeaderName]) {
    for name in names {
        trailers.remove(name);
    }
}
