//! What becomes of a message's head on its way through: who is asked for, and what is for this hop
//! only. What is said about the caller is `provenance`'s.
//!
//! No `Via` is added (RFC 9110 §7.6.3): common origins switch compression off when they see it.

use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, Entry, HOST, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version, request, response,
};

use super::failure::{ERROR_HEADER, Failure};

/// Fields that are for one hop only, whether `Connection` names them or not (RFC 9110 §7.6.1;
/// `http2-settings`: RFC 7540 §3.2.1).
pub(super) const HOP_BY_HOP: [HeaderName; 7] = [
    CONNECTION,
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("keep-alive"),
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("http2-settings"),
];

/// Who a request is for, as its caller says.
///
/// `Ok(None)` only for HTTP/1.0, which has no `Host`.
///
/// # Errors
///
/// [`Failure::BadHost`] for what RFC 9112 §3.2 and RFC 9113 §8.3.1 call malformed: no host,
/// several, one that is none, or an `:authority` that contradicts `Host`; and for a target that is
/// an authority alone, which only CONNECT may have (RFC 9112 §3.2.3).
pub(super) fn authority(parts: &request::Parts) -> Result<Option<Authority>, Failure> {
    let mut hosts = parts.headers.get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (None, _) => None,
        (Some(host), None) => Some(parse_host(host)?),
        (Some(_), Some(_)) => return Err(Failure::BadHost),
    };
    let target = parts.uri.authority();
    if target.is_some_and(|target| target.as_str().contains('@')) {
        return Err(Failure::BadHost);
    }
    if target.is_some() && parts.uri.scheme().is_none() && parts.method != Method::CONNECT {
        return Err(Failure::BadHost);
    }
    match (target, host) {
        // In HTTP/2 the two must agree; in HTTP/1.1 the request target counts (RFC 9112 §3.2.2).
        (Some(target), Some(host)) if parts.version == Version::HTTP_2 && *target != host => {
            Err(Failure::BadHost)
        }
        (Some(_), None) if parts.version == Version::HTTP_11 => Err(Failure::BadHost),
        (Some(target), _) => Ok(Some(target.clone())),
        (None, Some(host)) => Ok(Some(host)),
        (None, None) if parts.version == Version::HTTP_10 => Ok(None),
        (None, None) => Err(Failure::BadHost),
    }
}

fn parse_host(value: &HeaderValue) -> Result<Authority, Failure> {
    let host = Authority::try_from(value.as_bytes()).map_err(|_| Failure::BadHost)?;
    if host.as_str().contains('@') || host.host().is_empty() {
        return Err(Failure::BadHost);
    }
    Ok(host)
}

/// Whether a message's body comes in a form that hyper undoes: as it is, or in chunks. Of any other
/// there would be more codings than chunks to undo, and whoever it is for would be told of none
/// (RFC 9112 §6.1). Whoever reads the field otherwise sees the message end elsewhere, so that its
/// connection must be closed.
pub(super) fn is_coding_undone(headers: &HeaderMap) -> bool {
    let mut lines = headers.get_all(TRANSFER_ENCODING).iter();
    let is_chunked = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"chunked");
    match (lines.next(), lines.next()) {
        (None, _) => true,
        (Some(coding), None) => is_chunked(coding),
        (Some(_), Some(_)) => false,
    }
}

/// What a message's sender asked of this hop, taken out of its head.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct HopByHop {
    /// The protocols to which the sender would switch.
    pub(super) upgrade: Option<HeaderValue>,
    /// Whether the sender takes trailers (`TE: trailers`, RFC 9110 §10.1.4).
    pub(super) trailers: bool,
}

/// Removes what is for this hop only (RFC 9110 §7.6.1) and says what of it matters.
///
/// An upgrade to `h2c` is not passed on: what is then spoken could no longer be judged request by
/// request, and the ingress speaks h2c by prior knowledge (RFC 9113 §3.3, which dropped it).
pub(super) fn take_hop_by_hop(headers: &mut HeaderMap) -> HopByHop {
    let named: Vec<HeaderName> = tokens(headers, &CONNECTION)
        .filter_map(|token| token.parse().ok())
        .collect();
    let upgrade = if named.contains(&UPGRADE) {
        let offered: Vec<&str> = tokens(headers, &UPGRADE)
            .filter(|protocol| !protocol.to_ascii_lowercase().starts_with("h2c"))
            .collect();
        HeaderValue::from_str(&offered.join(", "))
            .ok()
            .filter(|value| !value.is_empty())
    } else {
        None
    };
    if headers.contains_key(TRANSFER_ENCODING) {
        // It overrides a length, which may not be passed on then (RFC 9112 §6.3).
        headers.remove(CONTENT_LENGTH);
    }
    let trailers = tokens(headers, &TE).any(|token| token.eq_ignore_ascii_case("trailers"));
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
    HopByHop { upgrade, trailers }
}

/// The elements of a comma-separated field, over all its lines. One that is no text is nothing that
/// is known here; those beside it count.
pub(super) fn tokens<'h>(
    headers: &'h HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = &'h str> {
    let lines = headers.get_all(name).into_iter();
    lines
        .flat_map(|value| value.as_bytes().split(|b| *b == b','))
        .filter_map(|token| str::from_utf8(token).ok())
        .map(|token| token.trim_matches([' ', '\t']))
        .filter(|token| !token.is_empty())
}

pub(super) fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// Puts a request into the form that an HTTP/1.1 origin expects (RFC 9112 §3.2.1).
///
/// `host` is what the origin is told to be; `streams` says that a body follows whose length is
/// not known.
pub(super) fn for_http1(parts: &mut request::Parts, host: &str, hop: &HopByHop, streams: bool) {
    parts.version = Version::HTTP_11;
    parts.uri = Uri::from(path(&parts.uri));
    insert(&mut parts.headers, HOST, host);
    join_cookies(&mut parts.headers);
    let mut connection = Vec::new();
    if hop.trailers {
        parts
            .headers
            .insert(TE, HeaderValue::from_static("trailers"));
        connection.push("te");
    }
    if let Some(protocols) = &hop.upgrade {
        parts.headers.insert(UPGRADE, protocols.clone());
        connection.push("upgrade");
    }
    if !connection.is_empty() {
        insert(&mut parts.headers, CONNECTION, &connection.join(", "));
    }
    // Said explicitly because hyper would send a GET without its body.
    if streams && !parts.headers.contains_key(CONTENT_LENGTH) {
        let chunked = HeaderValue::from_static("chunked");
        parts.headers.insert(TRANSFER_ENCODING, chunked);
    }
}

/// Puts a request into the form that an HTTP/2 origin expects (RFC 9113 §8.3.1).
pub(super) fn for_http2(parts: &mut request::Parts, host: Authority, hop: &HopByHop) {
    parts.version = Version::HTTP_2;
    let mut uri = http::uri::Parts::default();
    uri.scheme = Some(Scheme::HTTP);
    uri.authority = Some(host);
    uri.path_and_query = Some(path(&parts.uri));
    parts.uri = Uri::from_parts(uri).expect("scheme, authority and path make a URI");
    parts.headers.remove(HOST);
    if hop.trailers {
        parts
            .headers
            .insert(TE, HeaderValue::from_static("trailers"));
    }
}

/// An empty path is `/`, also in front of a query (RFC 9112 §3.2.1, RFC 9113 §8.3.1).
fn path(uri: &Uri) -> PathAndQuery {
    match uri.path_and_query() {
        None => PathAndQuery::from_static("/"),
        // `Display` puts the slash there, which hyper relies on, but not h2.
        Some(path) if path.as_str().starts_with('?') => PathAndQuery::try_from(path.to_string())
            .expect("a slash in front of a query makes a path"),
        Some(path) => path.clone(),
    }
}

/// HTTP/2 may split `Cookie`, HTTP/1.1 may not (RFC 9113 §8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    if let Entry::Occupied(mut cookies) = headers.entry(COOKIE) {
        if cookies.iter().nth(1).is_none() {
            return;
        }
        let lines: Vec<&[u8]> = cookies.iter().map(HeaderValue::as_bytes).collect();
        if let Ok(joined) = HeaderValue::from_bytes(&lines.join(&b"; "[..])) {
            cookies.insert(joined);
        }
    }
}

/// Makes an origin's answer the edge's: removes what was for the hop behind and what only the
/// edge may say. `switching` keeps the protocol that a 101 names, as a 426 always does
/// (RFC 9110 §15.5.22).
pub(super) fn for_caller(parts: &mut response::Parts, switching: bool) {
    let hop = take_hop_by_hop(&mut parts.headers);
    parts.headers.remove(ERROR_HEADER);
    parts.version = Version::HTTP_11;
    let named = switching || parts.status == StatusCode::UPGRADE_REQUIRED;
    if let Some(protocol) = hop.upgrade.filter(|_| named) {
        parts.headers.insert(UPGRADE, protocol);
        let upgrade = HeaderValue::from_static("upgrade");
        parts.headers.insert(CONNECTION, upgrade);
    }
}

#[cfg(test)]
mod tests;
