//! Asking an origin for another protocol than HTTP, and telling the caller what it said.
//!
//! | caller | origin | what the origin is asked | what its agreement is |
//! | --- | --- | --- | --- |
//! | `Upgrade` | HTTP/1.1 | the same | 101 |
//! | `Upgrade: websocket` | HTTP/2 | extended CONNECT | 200; the caller gets 101 and its key's proof |
//! | extended CONNECT | HTTP/1.1 | GET with `Upgrade`, for WebSocket with a key of our own | 101 and that key's proof; the caller gets 200 |
//! | extended CONNECT | HTTP/2 | the same | 200 |
//!
//! Other upgrades than to WebSocket are not translated for an HTTP/2 origin: the request goes on
//! without, which RFC 9110 §7.8 allows.

use http::header::{CONNECTION, CONTENT_LENGTH, SEC_WEBSOCKET_KEY, UPGRADE};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version, request, response};
use hyper::ext::Protocol;

use super::failure::Failure;
use super::headers::HopByHop;
use super::websocket::{Key, WEBSOCKET};

/// What a caller asks to speak.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// HTTP, or an upgrade by the header that the origin may understand.
    Http,
    /// By extended CONNECT (RFC 8441 §4).
    Connect(Protocol),
}

impl Wish {
    /// What the request's method and pseudo-headers say.
    ///
    /// # Errors
    ///
    /// [`Failure::MethodNotSupported`] for a CONNECT that is none of RFC 8441.
    pub(super) fn of(parts: &mut request::Parts) -> Result<Self, Failure> {
        if parts.method != Method::CONNECT {
            return Ok(Self::Http);
        }
        let protocol = parts.extensions.remove::<Protocol>();
        let protocol = protocol.filter(|_| parts.version == Version::HTTP_2);
        protocol
            .map(Self::Connect)
            .ok_or(Failure::MethodNotSupported)
    }

    /// Makes the request one for an HTTP/1.1 origin. `hop` then says what to upgrade to.
    pub(super) fn for_http1(
        self,
        parts: &mut request::Parts,
        hop: &mut HopByHop,
    ) -> Result<Switch, Failure> {
        match self {
            Self::Http if hop.upgrade.is_some() => Ok(Switch::AsOffered),
            Self::Http => Ok(Switch::No),
            Self::Connect(protocol) => {
                parts.method = Method::GET;
                parts.headers.remove(CONTENT_LENGTH);
                parts.headers.remove(SEC_WEBSOCKET_KEY);
                let name = protocol.as_str();
                let value = HeaderValue::from_str(name).map_err(|_| Failure::MethodNotSupported)?;
                let websocket = name.eq_ignore_ascii_case(WEBSOCKET);
                let key = websocket.then(|| Key::offer(&mut parts.headers));
                hop.upgrade = Some(value);
                Ok(Switch::FromConnect { protocol, key })
            }
        }
    }

    /// Makes the request one for an HTTP/2 origin; `bodiless` says that it has no body. If it is
    /// to be sent as extended CONNECT, says so, and whether the caller awaits a proof for its key.
    pub(super) fn for_http2(
        self,
        parts: &mut request::Parts,
        hop: &mut HopByHop,
        bodiless: bool,
    ) -> Switch {
        let upgrade = hop.upgrade.take();
        match self {
            Self::Connect(protocol) => {
                parts.extensions.insert(protocol);
                Switch::Connect
            }
            Self::Http => {
                let websocket = upgrade.is_some_and(|value| names(&value, WEBSOCKET));
                if !websocket || parts.method != Method::GET || !bodiless {
                    return Switch::No;
                }
                let Some(key) = Key::take(&mut parts.headers) else {
                    return Switch::No;
                };
                parts.method = Method::CONNECT;
                parts.headers.remove(CONTENT_LENGTH);
                parts.extensions.insert(Protocol::from_static(WEBSOCKET));
                Switch::ToConnect(key)
            }
        }
    }
}

/// How a request asks its origin to switch, and what the caller expects.
#[derive(Debug)]
pub(super) enum Switch {
    /// Not at all.
    No,
    /// Both by `Upgrade`.
    AsOffered,
    /// Both by extended CONNECT.
    Connect,
    /// The caller by `Upgrade`, with this key; the origin by extended CONNECT.
    ToConnect(Key),
    /// The caller by extended CONNECT; the origin by `Upgrade`, with our key if it is WebSocket.
    FromConnect {
        protocol: Protocol,
        key: Option<Key>,
    },
}

impl Switch {
    /// Whether the origin is asked by extended CONNECT.
    pub(super) fn is_connect(&self) -> bool {
        match self {
            Self::Connect | Self::ToConnect(_) => true,
            Self::No | Self::AsOffered | Self::FromConnect { .. } => false,
        }
    }

    /// Judges the head of the origin's answer.
    ///
    /// # Errors
    ///
    /// [`Failure::OriginProtocol`] for a switch that was not asked for or is not proved,
    /// [`Failure::UpgradeDeclined`] for a success that a caller would take for a switch.
    pub(super) fn judge(&self, parts: &mut response::Parts) -> Result<Agreement, Failure> {
        let switched = parts.status == StatusCode::SWITCHING_PROTOCOLS;
        match self {
            Self::No if switched => Err(Failure::OriginProtocol),
            Self::No => Ok(Agreement::No),
            Self::AsOffered if switched => Ok(Agreement::Switched),
            Self::AsOffered => Ok(Agreement::No),
            Self::FromConnect { protocol, key } if switched => {
                let named = parts.headers.get(UPGRADE);
                let named = named.is_some_and(|value| names(value, protocol.as_str()));
                let proved = |headers: &mut HeaderMap| {
                    key.as_ref().is_none_or(|key| key.is_accepted(headers))
                };
                if !named || !proved(&mut parts.headers) {
                    return Err(Failure::OriginProtocol);
                }
                Ok(Agreement::Switched)
            }
            Self::Connect | Self::ToConnect(_) if switched => Err(Failure::OriginProtocol),
            // hyper hands over the stream for this status only.
            Self::Connect | Self::ToConnect(_) if parts.status == StatusCode::OK => {
                Ok(Agreement::Switched)
            }
            Self::Connect | Self::ToConnect(_) | Self::FromConnect { .. }
                if parts.status.is_success() =>
            {
                Err(Failure::UpgradeDeclined)
            }
            Self::Connect | Self::ToConnect(_) | Self::FromConnect { .. } => Ok(Agreement::No),
        }
    }

    /// Says in the caller's own way that the origin has switched. The fields for one hop are gone
    /// from the head, but for those of a 101.
    pub(super) fn announce(&self, parts: &mut response::Parts) {
        match self {
            Self::No | Self::AsOffered => {}
            Self::Connect | Self::FromConnect { .. } => {
                parts.status = StatusCode::OK;
                for name in [UPGRADE, CONNECTION, CONTENT_LENGTH] {
                    parts.headers.remove(name);
                }
            }
            Self::ToConnect(key) => {
                parts.status = StatusCode::SWITCHING_PROTOCOLS;
                let headers = &mut parts.headers;
                headers.remove(CONTENT_LENGTH);
                headers.insert(UPGRADE, HeaderValue::from_static(WEBSOCKET));
                headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
                key.accept(headers);
            }
        }
    }
}

/// Whether the origin has switched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Agreement {
    /// It goes on in HTTP.
    No,
    /// It has.
    Switched,
}

/// Whether a list of protocols contains one (RFC 9110 §7.8).
fn names(value: &HeaderValue, protocol: &str) -> bool {
    let list = value.to_str().unwrap_or_default();
    let mut names = list.split(',').map(str::trim);
    names.any(|name| name.eq_ignore_ascii_case(protocol))
}
