//! `[[route]]`: which service an http ingress leads to, by host and path.

use std::cmp::Reverse;
use std::fmt;
use std::str::FromStr;

use certs::Label;
use http::uri::Authority;
use relay::settings::{Reading, Section, Stated};

use super::super::host::without_port;
use super::service::ServiceAddress;

/// The keys of `[[route]]`.
pub(in super::super) const KEYS: &[&str] =
    &["ingress", "host", "path", "to", "strip_prefix", "set_host"];

/// `[[route]]`: requests of some host and path go to one service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Whose requests.
    pub host: HostMatch,
    /// Which of them.
    pub path: PathPrefix,
    /// Where they go.
    pub to: ServiceAddress,
    /// Whether the service gets the path without the prefix.
    pub strip_prefix: bool,
    /// The host that the service is told, instead of the caller's.
    pub set_host: Option<Authority>,
}

/// The hosts of a route. The order is from the most specific to the least.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostMatch {
    /// This one; lower case, without port and final dot.
    Exactly(Box<str>),
    /// `*.example.com`: whatever ends with this, dot first.
    Below(Box<str>),
    /// Every one, also none (HTTP/1.0).
    Any,
}

/// The beginning of a path, segment by segment: `/api` fits `/api` and `/api/users`, not `/apis`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathPrefix(Vec<Box<str>>);

/// A text that is no [`PathPrefix`] or [`HostMatch`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// It does not begin at the root.
    #[error("\"{0}\" does not begin with /; write it like \"/api\"")]
    NotFromRoot(String),
    /// What looks like a pattern.
    #[error("\"{0}\" has a *; a path fits all below it anyway, as \"/api\" fits /api/users")]
    Pattern(String),
    /// A segment that requests cannot have, or not in one way only.
    #[error(
        "\"{path}\" has the segment \"{segment}\"; write plain segments, such as \"/api/v1\", without escapes, queries, empty segments and dots alone"
    )]
    Segment {
        /// What was written.
        path: String,
        /// Its segment.
        segment: String,
    },
    /// Not a host name.
    #[error(
        "\"{0}\" is no host name; write one such as \"api.example.com\", or \"*.example.com\" for all below it, without a port"
    )]
    Host(String),
}

/// A route, and the ingress that it belongs to.
pub(super) struct StatedRoute {
    pub(super) ingress: Stated<Label>,
    route: Stated<Route>,
}

pub(super) fn read_all(reading: &Reading<'_>) -> Vec<StatedRoute> {
    let sections = reading.sections("route");
    sections.iter().filter_map(read).collect()
}

fn read(section: &Section<'_>) -> Option<StatedRoute> {
    section.require("ingress", "name the http ingress that it belongs to");
    section.require("to", "say where it leads, e.g. to = \"acme/prod-1/api\"");
    if !section.has("host") && !section.has("path") {
        section.problem_here(
            "fits every request; give it a host or a path, or say to in the ingress itself",
        );
    }
    let ingress = section.parsed::<Label>("ingress");
    let host = match section.has("host") {
        true => section.parsed("host"),
        false => Some(HostMatch::Any),
    };
    let path = match section.has("path") {
        true => section.parsed("path"),
        false => Some(PathPrefix::default()),
    };
    let strip_prefix = section.flag("strip_prefix").unwrap_or(false);
    if strip_prefix && path.as_ref().is_some_and(|path| path.0.is_empty()) {
        let because = "there is nothing to strip; say what with path = \"/api\", or leave it out";
        section.problem("strip_prefix", because);
    }
    let set_host = host_to_set(section);
    let route = Route {
        host: host?,
        path: path?,
        to: section.parsed("to")?,
        strip_prefix,
        set_host,
    };
    Some(StatedRoute {
        ingress: section.stated("ingress", ingress?),
        route: section.stated("to", route),
    })
}

/// The routes of one ingress, the most specific first. No two fit the same requests.
pub(super) fn in_order(section: &Section<'_>, routes: Vec<StatedRoute>) -> Vec<Route> {
    let requests = |route: Route| format!("{}{}", route.host, route.path);
    let stated: Vec<_> = routes
        .iter()
        .map(|route| route.route.clone().map(requests))
        .collect();
    section.unique(&stated, "routes");
    let mut routes: Vec<_> = routes.into_iter().map(|route| route.route.value).collect();
    routes.sort_by_key(|route| {
        let below = match &route.host {
            HostMatch::Exactly(_) | HostMatch::Any => 0,
            HostMatch::Below(domain) => domain.len(),
        };
        let kind = match &route.host {
            HostMatch::Exactly(_) => 0,
            HostMatch::Below(_) => 1,
            HostMatch::Any => 2,
        };
        (kind, Reverse(below), Reverse(route.path.0.len()))
    });
    routes
}

/// `set_host`: what a service is told to be called.
pub(super) fn host_to_set(section: &Section<'_>) -> Option<Authority> {
    section.read_with("set_host", |text, _| {
        let host = text.parse::<Authority>().ok();
        let host = host.filter(|host| {
            let port = host.as_str().strip_prefix(host.host());
            let port_is_right = match port.and_then(|port| port.strip_prefix(':')) {
                Some(_) => host.port_u16().is_some_and(|port| port != 0),
                None => port == Some(""),
            };
            port_is_right && !host.host().is_empty()
        });
        host.ok_or_else(|| {
            format!(
                "\"{text}\" is no host; write one such as \"app.internal\" or \"app.internal:8080\""
            )
        })
    })
}

impl HostMatch {
    /// Whether a request for `host`, perhaps with a port, is meant. Whoever names none is meant by
    /// [`HostMatch::Any`] only.
    pub fn fits(&self, host: Option<&str>) -> bool {
        let name = host.map(|host| {
            let host = without_port(host);
            host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
        });
        match (self, name) {
            (Self::Any, _) => true,
            (Self::Exactly(expected), Some(name)) => **expected == name,
            (Self::Below(domain), Some(name)) => {
                name.len() > domain.len() && name.ends_with(&**domain)
            }
            (Self::Exactly(_) | Self::Below(_), None) => false,
        }
    }
}

impl PathPrefix {
    /// Its segments, without slashes; none for `/`.
    pub fn segments(&self) -> &[Box<str>] {
        &self.0
    }
}

impl FromStr for HostMatch {
    type Err = RouteError;

    fn from_str(text: &str) -> Result<Self, RouteError> {
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        let (below, domain) = match name.strip_prefix("*.") {
            Some(domain) => (true, domain),
            None => (false, name.as_str()),
        };
        let label = |label: &str| {
            let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
            !label.is_empty() && label.len() <= 63 && label.bytes().all(allowed)
        };
        if domain.len() > 253 || !domain.split('.').all(label) {
            return Err(RouteError::Host(text.to_owned()));
        }
        Ok(if below {
            Self::Below(format!(".{domain}").into())
        } else {
            Self::Exactly(domain.into())
        })
    }
}

impl FromStr for PathPrefix {
    type Err = RouteError;

    fn from_str(text: &str) -> Result<Self, RouteError> {
        let Some(path) = text.strip_prefix('/') else {
            return Err(RouteError::NotFromRoot(text.to_owned()));
        };
        if path.is_empty() {
            return Ok(Self::default());
        }
        if path.contains('*') {
            return Err(RouteError::Pattern(text.to_owned()));
        }
        let path = path.strip_suffix('/').unwrap_or(path);
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~!$&'()+,;=:@".contains(&b);
        let segments = path.split('/').map(|segment| {
            let dots = matches!(segment, "" | "." | "..");
            if dots || !segment.bytes().all(plain) {
                return Err(RouteError::Segment {
                    path: text.to_owned(),
                    segment: segment.to_owned(),
                });
            }
            Ok(segment.into())
        });
        Ok(Self(segments.collect::<Result<_, _>>()?))
    }
}

impl fmt::Display for HostMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(name) => f.write_str(name),
            Self::Below(domain) => write!(f, "*{domain}"),
            Self::Any => Ok(()),
        }
    }
}

impl fmt::Display for PathPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("/");
        }
        self.0
            .iter()
            .try_for_each(|segment| write!(f, "/{segment}"))
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{} to {}", self.host, self.path, self.to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_fit_as_names_do() {
        for (host, asked, expected) in [
            ("api.example.com", Some("API.example.com.:8080"), true),
            ("api.example.com", Some("xapi.example.com"), false),
            ("api.example.com", None, false),
            ("*.example.com", Some("a.b.example.com"), true),
            ("*.example.com", Some("example.com"), false),
            ("*.example.com", Some("badexample.com"), false),
            ("*.example.com", Some(".example.com"), false),
        ] {
            let host: HostMatch = host.parse().unwrap();
            assert_eq!(host.fits(asked), expected, "{host} {asked:?}");
        }
        assert!(HostMatch::Any.fits(None));
    }

    #[test]
    fn what_is_no_host_or_path_is_explained() {
        for text in [
            "",
            "a b",
            "http://a",
            "a:80",
            "*",
            "a.*.b",
            "*.",
            "a..b",
            "{service}.b",
        ] {
            assert_eq!(
                text.parse::<HostMatch>(),
                Err(RouteError::Host(text.to_owned()))
            );
        }
        assert_eq!(
            "/api/*".parse::<PathPrefix>(),
            Err(RouteError::Pattern("/api/*".to_owned()))
        );
        assert_eq!(
            "api".parse::<PathPrefix>(),
            Err(RouteError::NotFromRoot("api".to_owned()))
        );
        for (path, segment) in [
            ("//", ""),
            ("/a//b", ""),
            ("/../a", ".."),
            ("/a/.", "."),
            ("/a%2fb", "a%2fb"),
            ("/a?b", "a?b"),
            ("/a\\b", "a\\b"),
        ] {
            let error = path.parse::<PathPrefix>().unwrap_err();
            let (path, segment) = (path.to_owned(), segment.to_owned());
            assert_eq!(error, RouteError::Segment { path, segment });
        }
        for (text, shown) in [("/", "/"), ("/api/", "/api"), ("/a/b.c", "/a/b.c")] {
            assert_eq!(text.parse::<PathPrefix>().unwrap().to_string(), shown);
        }
    }
}
