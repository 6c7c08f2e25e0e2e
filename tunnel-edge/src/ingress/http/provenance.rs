//! Who a request comes from: what the edge sees, what proxies in front of it are trusted to say,
//! and what the origin is told of both (RFC 7239, `X-Forwarded-*`).

use std::net::{IpAddr, SocketAddr};

use http::header::FORWARDED;
use http::uri::Authority;
use http::{HeaderMap, HeaderName};

use super::headers::{insert, tokens};
use crate::config::{ForwardingHeader, TrustedProxies};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");

/// The hops of a request before the edge, as far as they can be believed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Provenance {
    /// From the caller to the connection's own address, which is always there.
    hops: Vec<IpAddr>,
    /// What the caller used, which is what it uses here if no proxy says otherwise.
    scheme: Scheme,
    /// What the caller asked a proxy for, if one says it.
    host: Option<Authority>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Scheme {
    /// As all callers of the ingress itself: it listens in the clear.
    #[default]
    Http,
    Https,
}

impl Provenance {
    /// Of a request on a connection of `peer`. The caller is the last address that no trusted proxy
    /// has; whatever stands in front of it the caller has made up, or nobody vouches for.
    pub(super) fn of(peer: IpAddr, headers: &HeaderMap, trusted: &TrustedProxies) -> Self {
        let peer = peer.to_canonical();
        let claims = match trusted.header {
            _ if !trusted.include(peer) => Vec::new(),
            ForwardingHeader::XForwarded => x_forwarded(headers),
            ForwardingHeader::Forwarded => forwarded(headers),
        };
        let (mut scheme, mut host, mut hops) = (Scheme::default(), None, vec![peer]);
        for claim in claims.into_iter().rev() {
            let Some(address) = claim.address else {
                break;
            };
            hops.push(address);
            scheme = claim.scheme.unwrap_or(scheme);
            host = claim.host.or(host);
            if !trusted.include(address) {
                break;
            }
        }
        hops.reverse();
        Self { hops, scheme, host }
    }

    /// Whose request it is.
    pub(super) fn caller(&self) -> IpAddr {
        self.hops[0]
    }

    /// Replaces whatever the request says about who sent it. `host` is what it asks for here;
    /// `stripped` is what was taken from the front of its path.
    pub(super) fn announce(
        &self,
        headers: &mut HeaderMap,
        host: Option<&Authority>,
        stripped: Option<&str>,
    ) {
        drop_claims(headers);
        let scheme = self.scheme.as_str();
        let plain: Vec<_> = self.hops.iter().map(IpAddr::to_string).collect();
        let mut nodes = self.hops.iter().map(|hop| match hop {
            IpAddr::V4(ip) => format!("for={ip}"),
            IpAddr::V6(ip) => format!("for=\"[{ip}]\""),
        });
        let mut forwarded = nodes.next().unwrap_or_default();
        if let Some(host) = self.host.as_ref().or(host) {
            // An authority has neither quotes nor backslashes, so that it may be quoted as it is.
            forwarded.push_str(&format!(";host=\"{host}\""));
            insert(headers, X_FORWARDED_HOST, host.as_str());
        }
        forwarded.push_str(";proto=");
        forwarded.push_str(scheme);
        for proxy in nodes {
            forwarded.push_str(", ");
            forwarded.push_str(&proxy);
        }
        insert(headers, X_FORWARDED_FOR, &plain.join(", "));
        insert(headers, X_FORWARDED_PROTO, scheme);
        insert(headers, FORWARDED, &forwarded);
        if let Some(prefix) = stripped {
            insert(headers, X_FORWARDED_PREFIX, prefix);
        }
    }
}

impl Scheme {
    fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let known = [Self::Http, Self::Https];
        known
            .into_iter()
            .find(|scheme| scheme.as_str().eq_ignore_ascii_case(text))
    }
}

/// Removes every field that says who sent a message. Used for trailers too, which some origins
/// merge into the head. Names with `_` for `-` go as well, since CGI-like origins cannot tell them
/// apart.
pub(super) fn drop_claims(headers: &mut HeaderMap) {
    let claims: Vec<HeaderName> = headers
        .keys()
        .filter(|name| claims_origin(name.as_str()))
        .cloned()
        .collect();
    for name in claims {
        headers.remove(name);
    }
}

fn claims_origin(name: &str) -> bool {
    let prefix_is = |prefix: &str| {
        name.len() >= prefix.len()
            && name
                .bytes()
                .zip(prefix.bytes())
                .all(|(found, expected)| found == expected || (found == b'_' && expected == b'-'))
    };
    prefix_is("x-forwarded-")
        || prefix_is("causeway-")
        || (prefix_is("x-real-ip") && name.len() == "x-real-ip".len())
        || name == FORWARDED.as_str()
}

/// What one proxy says of whoever called it.
#[derive(Debug, Default)]
struct Claim {
    /// None if it is hidden, unknown or nonsense.
    address: Option<IpAddr>,
    scheme: Option<Scheme>,
    host: Option<Authority>,
}

/// In the order of the hops. `-Proto` and `-Host` say something of the last proxy's caller only: they
/// are replaced from proxy to proxy.
fn x_forwarded(headers: &HeaderMap) -> Vec<Claim> {
    let mut claims: Vec<_> = tokens(headers, &X_FORWARDED_FOR)
        .map(|text| Claim {
            address: address(text),
            ..Claim::default()
        })
        .collect();
    if let Some(last) = claims.last_mut() {
        last.scheme = tokens(headers, &X_FORWARDED_PROTO)
            .last()
            .and_then(Scheme::parse);
        last.host = tokens(headers, &X_FORWARDED_HOST).last().and_then(host);
    }
    claims
}

/// In the order of the hops (RFC 7239 §4).
fn forwarded(headers: &HeaderMap) -> Vec<Claim> {
    let lines = headers.get_all(FORWARDED).into_iter();
    let texts = lines.map(|value| value.to_str().unwrap_or_default());
    texts
        .flat_map(|text| split(text, ','))
        .map(|element| {
            let mut claim = Claim::default();
            for pair in split(element, ';') {
                let Some((name, value)) = pair.split_once('=') else {
                    continue;
                };
                let value = value.trim().trim_matches('"');
                match name.trim().to_ascii_lowercase().as_str() {
                    "for" => claim.address = address(value),
                    "proto" => claim.scheme = Scheme::parse(value),
                    "host" => claim.host = host(value),
                    _ => {}
                }
            }
            claim
        })
        .collect()
}

/// Splits at a separator that does not stand within quotes (RFC 9110 §5.6.4).
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |c| {
        let separates = c == separator && !quoted;
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => {}
        }
        separates
    })
}

/// An address, perhaps with a port, and brackets around IPv6 (RFC 7239 §6). Some proxies leave the
/// brackets out, and some add a port to `X-Forwarded-For`.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']');
    let plain = text.parse().ok();
    let plain = plain.or_else(|| bracketed()?.parse().ok());
    let ip: Option<IpAddr> = plain.or_else(|| Some(text.parse::<SocketAddr>().ok()?.ip()));
    ip.map(|ip| ip.to_canonical())
}

fn host(text: &str) -> Option<Authority> {
    let host = Authority::try_from(text).ok()?;
    (!host.as_str().contains('@') && !host.host().is_empty()).then_some(host)
}

#[cfg(test)]
mod tests;
