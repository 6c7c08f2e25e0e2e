//! Which service a request is for, by its host and path.

use certs::ClusterId;
use http::uri::{Authority, PathAndQuery};
use relay::ServiceName;

use super::failure::Failure;
use crate::config::{Entry, HttpSettings, PathPrefix, Route, ServiceAddress};

/// Where a request goes, and what becomes of its head on the way.
#[derive(Debug)]
pub(super) struct Destination {
    pub(super) cluster: ClusterId,
    pub(super) service: ServiceName,
    pub(super) choice: Choice,
    /// The host that the service is told, instead of the caller's.
    pub(super) set_host: Option<Authority>,
    /// The prefix that was taken away, and the path without it.
    pub(super) stripped: Option<(String, PathAndQuery)>,
}

/// Who has chosen the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Choice {
    /// The caller, by its host name and among all that the cluster exposes.
    OfTheCaller,
    /// The configuration names it.
    OfTheOperator,
}

/// Where a request for `host` and `path` goes.
///
/// # Errors
/// [`Failure::BadPath`] if routes go by paths and this one can be read in more than one way;
/// [`Failure::UnknownHost`] and [`Failure::UnknownPath`] if nothing fits; [`Failure::BadHost`] if
/// the host would decide and there is none.
pub(super) fn resolve(
    settings: &HttpSettings,
    host: Option<&Authority>,
    path: Option<&PathAndQuery>,
) -> Result<Destination, Failure> {
    let root = PathAndQuery::from_static("/");
    let path = path.unwrap_or(&root);
    let by_path = |route: &Route| !route.path.segments().is_empty();
    if settings.routes.iter().any(by_path) && is_ambiguous(path.path()) {
        return Err(Failure::BadPath);
    }
    let mut of_this_host = false;
    for route in &settings.routes {
        if !route.host.fits(host.map(Authority::as_str)) {
            continue;
        }
        of_this_host = true;
        if let Some(length) = prefix_length(&route.path, path.path()) {
            return Ok(Destination {
                stripped: route.strip_prefix.then(|| strip(path, length)),
                ..Destination::to(&route.to, route.set_host.as_ref())
            });
        }
    }
    match &settings.entry {
        Some(Entry::Pattern(pattern)) => {
            let host = host.ok_or(Failure::BadHost)?;
            let unknown = match of_this_host {
                true => Failure::UnknownPath,
                false => Failure::UnknownHost,
            };
            let (service, cluster) = pattern.matches(host.as_str()).ok_or(unknown)?;
            Ok(Destination {
                cluster,
                service,
                choice: Choice::OfTheCaller,
                set_host: None,
                stripped: None,
            })
        }
        Some(Entry::Fixed { to, set_host }) => Ok(Destination::to(to, set_host.as_ref())),
        None if of_this_host => Err(Failure::UnknownPath),
        None => Err(Failure::UnknownHost),
    }
}

impl Destination {
    fn to(address: &ServiceAddress, set_host: Option<&Authority>) -> Self {
        Self {
            cluster: address.cluster.clone(),
            service: address.service.clone(),
            choice: Choice::OfTheOperator,
            set_host: set_host.cloned(),
            stripped: None,
        }
    }
}

/// Whether an origin might take the path for another one than we do: escaped slashes, backslashes
/// and nothings, empty segments, and segments of dots, escaped or not, with parameters or without
/// (RFC 3986 §3.3, §6.2.2.3).
fn is_ambiguous(path: &str) -> bool {
    let Some(path) = path.strip_prefix('/') else {
        // `*`, which is no path.
        return path != "*";
    };
    let mut segments = path.split('/').peekable();
    while let Some(segment) = segments.next() {
        let decoded = decode(segment);
        let is_last = segments.peek().is_none();
        // Some origins drop parameters before they look at the dots.
        let name = decoded.split(|b| *b == b';').next().unwrap_or_default();
        if (name.is_empty() && !is_last)
            || matches!(name, b"." | b"..")
            || decoded.iter().any(|b| matches!(b, b'/' | b'\\' | 0))
        {
            return true;
        }
    }
    false
}

/// How many bytes of `path` the prefix takes, if it fits. Segments are compared as what they mean
/// (RFC 3986 §6.2.2.2): `/%61pi` fits `/api`.
fn prefix_length(prefix: &PathPrefix, path: &str) -> Option<usize> {
    let mut length = 0;
    for expected in prefix.segments() {
        let rest = path[length..].strip_prefix('/')?;
        let end = rest.find('/').unwrap_or(rest.len());
        if decode(&rest[..end]) != expected.as_bytes() {
            return None;
        }
        length += 1 + end;
    }
    Some(length)
}

/// Takes the first `length` bytes away; what is left of nothing is `/`.
fn strip(path: &PathAndQuery, length: usize) -> (String, PathAndQuery) {
    let (prefix, rest) = path.as_str().split_at(length);
    let slash = if rest.starts_with('/') { "" } else { "/" };
    let rest = PathAndQuery::try_from(format!("{slash}{rest}"));
    let rest = rest.unwrap_or_else(|_| PathAndQuery::from_static("/"));
    (prefix.to_owned(), rest)
}

/// Undoes percent-encoding; what is no encoding stands for itself.
fn decode(segment: &str) -> Vec<u8> {
    let bytes = segment.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escape = bytes.get(at..at + 3).filter(|escape| escape[0] == b'%');
        let digit = |b: u8| char::from(b).to_digit(16);
        let value = escape.and_then(|escape| Some(digit(escape[1])? * 16 + digit(escape[2])?));
        match value.and_then(|value| u8::try_from(value).ok()) {
            Some(value) => {
                decoded.push(value);
                at += 3;
            }
            None => {
                decoded.push(bytes[at]);
                at += 1;
            }
        }
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::HostMatch;

    fn route(host: &str, path: &str, to: &str) -> Route {
        Route {
            host: match host {
                "" => HostMatch::Any,
                host => host.parse().unwrap(),
            },
            path: path.parse().unwrap(),
            to: to.parse().unwrap(),
            strip_prefix: false,
            set_host: None,
        }
    }

    fn found(settings: &HttpSettings, host: &str, path: &str) -> Result<String, Failure> {
        let host = (!host.is_empty()).then(|| host.parse().unwrap());
        let path: PathAndQuery = path.parse().unwrap();
        let found = resolve(settings, host.as_ref(), Some(&path))?;
        Ok(format!("{}/{}", found.cluster, found.service))
    }

    fn settings(routes: Vec<Route>, entry: Option<Entry>) -> HttpSettings {
        let fixed = Entry::Fixed {
            to: "a/b/c".parse().unwrap(),
            set_host: None,
        };
        HttpSettings {
            routes,
            entry,
            ..HttpSettings::leading_to(fixed)
        }
    }

    #[test]
    fn a_path_goes_to_the_first_route_that_fits_segment_by_segment() {
        let settings = settings(
            vec![
                route("api.example.com", "/v1/users", "a/b/users"),
                route("api.example.com", "/v1", "a/b/v1"),
                route("", "/v1", "a/b/any"),
            ],
            None,
        );
        for (host, path, expected) in [
            ("api.example.com", "/v1/users", Ok("a/b/users")),
            ("api.example.com", "/v1/users?x=/../", Ok("a/b/users")),
            ("api.example.com", "/v1/%75sers/7", Ok("a/b/users")),
            ("api.example.com", "/v1/users2", Ok("a/b/v1")),
            ("api.example.com:8080", "/v1/", Ok("a/b/v1")),
            ("api.example.com", "/v11", Err(Failure::UnknownPath)),
            ("api.example.com", "/V1", Err(Failure::UnknownPath)),
            ("api.example.com", "*", Err(Failure::UnknownPath)),
            ("other", "/v1/users", Ok("a/b/any")),
            ("", "/v1", Ok("a/b/any")),
        ] {
            let found = found(&settings, host, path);
            assert_eq!(found, expected.map(str::to_owned), "{host} {path}");
        }
        for path in [
            "/v1/../admin",
            "/v1/%2e%2E/admin",
            "/v1/.",
            "/v1//users",
            "//v1",
            "/v1%2fusers",
            "/v1%5cusers",
            "/v1/%00",
        ] {
            let found = found(&settings, "api.example.com", path);
            assert_eq!(found, Err(Failure::BadPath), "{path}");
        }
    }

    #[test]
    fn what_no_route_fits_goes_where_the_ingress_leads() {
        let pattern: Entry =
            Entry::Pattern("{service}--{cluster}--{tenant}.apps.test".parse().unwrap());
        let settings = settings(vec![route("api.test", "/v1", "a/b/v1")], Some(pattern));
        assert_eq!(
            found(&settings, "web--b--a.apps.test", "/v1").unwrap(),
            "a/b/web"
        );
        assert_eq!(found(&settings, "api.test", "/"), Err(Failure::UnknownPath));
        assert_eq!(found(&settings, "x.test", "/v1"), Err(Failure::UnknownHost));
    }

    #[test]
    fn paths_are_nobodys_business_without_routes_by_path() {
        let to = Some(Entry::Fixed {
            to: "a/b/c".parse().unwrap(),
            set_host: None,
        });
        let settings = settings(vec![route("api.test", "/", "a/b/api")], to);
        assert_eq!(
            found(&settings, "api.test", "//a/../%2f").unwrap(),
            "a/b/api"
        );
        assert_eq!(found(&settings, "", "/..").unwrap(), "a/b/c");
    }

    #[test]
    fn a_prefix_is_stripped_as_it_was_sent() {
        let mut api = route("", "/api/v1", "a/b/c");
        api.strip_prefix = true;
        let settings = settings(vec![api], None);
        for (path, prefix, rest) in [
            ("/api/v1", "/api/v1", "/"),
            ("/api/v1/", "/api/v1", "/"),
            ("/api/v1?q=1", "/api/v1", "/?q=1"),
            ("/%61pi/v1/x%20y?q", "/%61pi/v1", "/x%20y?q"),
        ] {
            let found = resolve(&settings, None, Some(&path.parse().unwrap())).unwrap();
            let (stripped, left) = found.stripped.unwrap();
            assert_eq!((stripped.as_str(), left.as_str()), (prefix, rest), "{path}");
        }
    }
}
