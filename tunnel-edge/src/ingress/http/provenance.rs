//! Who a request comes from: what the edge sees, what proxies in front of it are trusted to say,
//! and what the origin is told of both (RFC 7239, `X-Forwarded-*`).

use std::net::IpAddr;

use http::header::FORWARDED;
use http::uri::{Authority, PathAndQuery};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::failure::Failure;
use super::forwarding::{Malformed, Node, forwarded, list};
use super::headers::insert;
use crate::config::{Callers, ForwardingField, ForwardingHeader, TrustedProxies};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const X_FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");

/// Who has signed in, in the words of oauth2-proxy and what has followed it.
const X_FORWARDED_USER: [HeaderName; 4] = [
    HeaderName::from_static("x-forwarded-user"),
    HeaderName::from_static("x-forwarded-email"),
    HeaderName::from_static("x-forwarded-groups"),
    HeaderName::from_static("x-forwarded-preferred-username"),
];

/// The hops of a request before the edge, as far as they can be believed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Provenance {
    /// From the caller to the connection's own address, which is always there.
    hops: Vec<Node>,
    /// What the caller used, which is what it uses here if no proxy says otherwise.
    scheme: Scheme,
    /// What the caller asked a proxy for, if one says it.
    host: Option<Authority>,
    /// Its port, likewise.
    port: Option<u16>,
    /// What proxies took from the front of the path.
    prefix: String,
    /// Who has signed in at a proxy, as it says it.
    user: Vec<(HeaderName, HeaderValue)>,
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
    ///
    /// # Errors
    ///
    /// [`Failure::BadForwardingHeader`] if a trusted proxy says something that cannot be read. It is
    /// not the caller then, and who is remains unsaid.
    pub(super) fn of(
        peer: IpAddr,
        headers: &HeaderMap,
        trusted: &TrustedProxies,
    ) -> Result<Self, Failure> {
        let peer = peer.to_canonical();
        let mut seen = Self {
            hops: vec![Node::At(peer)],
            scheme: Scheme::default(),
            host: None,
            port: None,
            prefix: String::new(),
            user: Vec::new(),
        };
        if trusted.include(peer) {
            let heard = match trusted.header {
                ForwardingHeader::XForwarded => seen.hear_x_forwarded(headers, trusted),
                ForwardingHeader::Forwarded => seen.hear_forwarded(headers, trusted),
            };
            heard.map_err(|Malformed| Failure::BadForwardingHeader)?;
        }
        seen.hops.reverse();
        Ok(seen)
    }

    /// Whose request it is.
    pub(super) fn caller(&self) -> &Node {
        &self.hops[0]
    }

    /// Whether the caller may call. One whose proxy hides it is in no network.
    pub(super) fn admitted_by(&self, callers: &Callers) -> bool {
        match self.caller() {
            Node::At(address) => callers.admit(*address),
            Node::Hidden(_) => *callers == Callers::Anonymous,
        }
    }

    /// `-Proto`, `-Host` and `-Port` say something of the last proxy's caller only: they are
    /// replaced from proxy to proxy. Of `-Prefix`, each proxy adds its own behind the others'.
    fn hear_x_forwarded(
        &mut self,
        headers: &HeaderMap,
        trusted: &TrustedProxies,
    ) -> Result<(), Malformed> {
        if trusted.believed(ForwardingField::Proto) {
            self.hear_scheme(list(headers, &X_FORWARDED_PROTO)?.last().copied())?;
        }
        if trusted.believed(ForwardingField::Host) {
            self.hear_host(list(headers, &X_FORWARDED_HOST)?.last().copied())?;
        }
        if trusted.believed(ForwardingField::Port)
            && let Some(text) = list(headers, &X_FORWARDED_PORT)?.last()
        {
            self.port = Some(port(text).ok_or(Malformed)?);
        }
        if trusted.believed(ForwardingField::Prefix) {
            for text in list(headers, &X_FORWARDED_PREFIX)? {
                self.prefix.push_str(prefix(text).ok_or(Malformed)?);
            }
        }
        if trusted.believed(ForwardingField::User) {
            for name in &X_FORWARDED_USER {
                let lines = headers.get_all(name).iter();
                self.user
                    .extend(lines.map(|line| (name.clone(), line.clone())));
            }
        }
        if trusted.believed(ForwardingField::For) {
            for text in list(headers, &X_FORWARDED_FOR)?.into_iter().rev() {
                if !self.hear_hop(text, trusted)? {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Each element is of the proxy that is the hop behind it (RFC 7239 §4).
    fn hear_forwarded(
        &mut self,
        headers: &HeaderMap,
        trusted: &TrustedProxies,
    ) -> Result<(), Malformed> {
        for element in forwarded(headers)?.into_iter().rev() {
            if trusted.believed(ForwardingField::Proto) {
                self.hear_scheme(element.get("proto"))?;
            }
            if trusted.believed(ForwardingField::Host) {
                self.hear_host(element.get("host"))?;
            }
            let goes_on = trusted.believed(ForwardingField::For)
                && self.hear_hop(element.get("for").ok_or(Malformed)?, trusted)?;
            if !goes_on {
                break;
            }
        }
        Ok(())
    }

    /// Adds a hop in front, and says whether it is a proxy that is believed in turn.
    fn hear_hop(&mut self, text: &str, trusted: &TrustedProxies) -> Result<bool, Malformed> {
        let node = Node::parse(text)?;
        let address = node.address();
        self.hops.push(node);
        Ok(address.is_some_and(|address| trusted.include(address)))
    }

    fn hear_scheme(&mut self, text: Option<&str>) -> Result<(), Malformed> {
        if let Some(text) = text {
            self.scheme = Scheme::parse(text).ok_or(Malformed)?;
        }
        Ok(())
    }

    fn hear_host(&mut self, text: Option<&str>) -> Result<(), Malformed> {
        if let Some(text) = text {
            self.host = Some(host(text).ok_or(Malformed)?);
        }
        Ok(())
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
        let plain: Vec<_> = self.hops.iter().map(Node::to_string).collect();
        let mut nodes = self.hops.iter().map(|hop| match hop {
            Node::At(IpAddr::V6(ip)) => format!("for=\"[{ip}]\""),
            Node::At(IpAddr::V4(_)) | Node::Hidden(_) => format!("for={hop}"),
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
        if let Some(port) = self.port {
            insert(headers, X_FORWARDED_PORT, &port.to_string());
        }
        let prefix = format!("{}{}", self.prefix, stripped.unwrap_or_default());
        if !prefix.is_empty() {
            insert(headers, X_FORWARDED_PREFIX, &prefix);
        }
        for (name, value) in &self.user {
            headers.append(name, value.clone());
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

    /// Some proxies say `ws` and `wss` of requests for WebSocket.
    fn parse(text: &str) -> Option<Self> {
        let known = [
            ("http", Self::Http),
            ("https", Self::Https),
            ("ws", Self::Http),
            ("wss", Self::Https),
        ];
        let found = known
            .into_iter()
            .find(|(word, _)| word.eq_ignore_ascii_case(text));
        found.map(|(_, scheme)| scheme)
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

/// Fields in which proxies commonly name whom a request is from, besides those that begin with
/// `x-forwarded-`. Many an origin believes any of them.
const CLAIMS: [&str; 9] = [
    "forwarded",
    "forwarded-for",
    "x-forwarded",
    "x-real-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "true-client-ip",
    "cf-connecting-ip",
    "fastly-client-ip",
];

fn claims_origin(name: &str) -> bool {
    let begins_with = |prefix: &str| {
        name.len() >= prefix.len()
            && name
                .bytes()
                .zip(prefix.bytes())
                .all(|(found, expected)| found == expected || (found == b'_' && expected == b'-'))
    };
    begins_with("x-forwarded-")
        || begins_with("causeway-")
        || CLAIMS
            .iter()
            .any(|claim| name.len() == claim.len() && begins_with(claim))
}

fn port(text: &str) -> Option<u16> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|port| is_plain && *port != 0)
}

/// A path that others may stand behind: without a slash at its end, so that `/` is nothing.
fn prefix(text: &str) -> Option<&str> {
    let is_path = text.starts_with('/') && !text.starts_with("//");
    let path = PathAndQuery::try_from(text).ok()?;
    (is_path && path.query().is_none() && path.as_str() == text).then(|| text.trim_end_matches('/'))
}

fn host(text: &str) -> Option<Authority> {
    let host = Authority::try_from(text).ok()?;
    (!host.as_str().contains('@') && !host.host().is_empty()).then_some(host)
}

#[cfg(test)]
mod tests;
