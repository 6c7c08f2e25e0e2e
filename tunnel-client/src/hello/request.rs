//! A request as it arrived, ready to be shown.

use http::header::{ACCEPT, AUTHORIZATION, COOKIE, HOST, HeaderName, PROXY_AUTHORIZATION};
use http::{HeaderMap, Request, Version};
use serde::Serialize;

use super::Arrival;

/// What the page and the JSON answer show. Every string may be a stranger's.
#[derive(Debug, Serialize)]
pub(super) struct RequestView<'a> {
    pub(super) method: &'a str,
    /// Path and query.
    pub(super) target: &'a str,
    pub(super) version: &'static str,
    /// `Host`, or `:authority` of HTTP/2.
    pub(super) host: Option<String>,
    /// The caller by its forwarding header, which an http ingress sets and a tcp ingress
    /// passes on as it came.
    pub(super) forwarded_for: Option<String>,
    /// `http` or `https`, by the forwarding header.
    pub(super) scheme: Option<String>,
    pub(super) arrival: &'a Arrival,
    pub(super) headers: Vec<Header>,
}

/// One header line; `hidden` values are credentials, replaced by their length.
#[derive(Debug, Serialize)]
pub(super) struct Header {
    pub(super) name: String,
    pub(super) value: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) hidden: bool,
}

impl<'a> RequestView<'a> {
    pub(super) fn of<B>(request: &'a Request<B>, arrival: &'a Arrival) -> Self {
        let headers = request.headers();
        let uri = request.uri();
        let first = |name: HeaderName| headers.get(name).map(|value| lossy(value.as_bytes()));
        Self {
            method: request.method().as_str(),
            target: uri.path_and_query().map_or("/", |target| target.as_str()),
            version: version_name(request.version()),
            host: first(HOST).or_else(|| uri.authority().map(ToString::to_string)),
            forwarded_for: first(HeaderName::from_static("x-forwarded-for")),
            scheme: first(HeaderName::from_static("x-forwarded-proto")),
            arrival,
            headers: headers
                .iter()
                .map(|(name, value)| Header::of(name, value.as_bytes()))
                .collect(),
        }
    }
}

impl Header {
    fn of(name: &HeaderName, value: &[u8]) -> Self {
        let hidden = is_credential(name);
        Self {
            name: name.as_str().to_owned(),
            value: if hidden {
                format!("hidden, {} bytes", value.len())
            } else {
                lossy(value)
            },
            hidden,
        }
    }
}

/// JSON when it is asked for by name and a page is not.
pub(super) fn wants_json(headers: &HeaderMap) -> bool {
    let mut json = false;
    for accept in headers.get_all(ACCEPT) {
        let accept = accept.to_str().unwrap_or_default().to_ascii_lowercase();
        if accept.contains("text/html") {
            return false;
        }
        json |= accept.contains("application/json");
    }
    json
}

fn is_credential(name: &HeaderName) -> bool {
    *name == AUTHORIZATION
        || *name == PROXY_AUTHORIZATION
        || *name == COOKIE
        || [
            "token",
            "secret",
            "api-key",
            "apikey",
            "password",
            "assertion",
        ]
        .iter()
        .any(|word| name.as_str().contains(word))
}

fn lossy(value: &[u8]) -> String {
    String::from_utf8_lossy(value).into_owned()
}

fn version_name(version: Version) -> &'static str {
    if version == Version::HTTP_2 {
        "HTTP/2"
    } else if version == Version::HTTP_11 {
        "HTTP/1.1"
    } else if version == Version::HTTP_10 {
        "HTTP/1.0"
    } else {
        "HTTP"
    }
}
