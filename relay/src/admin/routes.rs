//! What answers which path, and who is refused before that.

use std::net::IpAddr;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HOST, TRANSFER_ENCODING};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Version};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::{Admin, Api, Liveness, Readiness, Surface};

const TEXT: &str = "text/plain; charset=utf-8";
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

const INDEX: &str = "\
causeway

/api/status   what this process knows of itself, JSON; `causeway status` shows it
/metrics      OpenMetrics
/livez        200 if the event loops turn, else 503
/readyz       200 if it can do its work, else 503 with the reasons
";

/// Which `Host` a listener answers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hosts {
    /// An IP address, `localhost`, or a name under it.
    Local,
    /// Whatever the peer calls it.
    Any,
}

pub(super) fn router(admin: Admin, surface: Surface, hosts: Hosts) -> Router {
    let shared = Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz));
    let Api { routes, index } = admin.api.clone();
    let index = format!("{INDEX}{index}");
    let router = match surface {
        Surface::Admin => shared
            .route("/api/status", get(status))
            .route("/", get(|| async { plain(StatusCode::OK, index) }))
            .with_state(admin)
            .merge(routes),
        Surface::Telemetry => shared.with_state(admin),
    };
    router
        .fallback(|| async { plain(StatusCode::NOT_FOUND, "no such path\n") })
        .method_not_allowed_fallback(|| async {
            plain(StatusCode::METHOD_NOT_ALLOWED, "not by this method\n")
        })
        .layer(middleware::from_fn_with_state(hosts, guard))
}

async fn guard(State(hosts): State<Hosts>, request: Request, next: Next) -> Response {
    let mut response = match refusal(hosts, &request) {
        Some(response) => response,
        None => next.run(request).await,
    };
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        "x-content-type-options",
        HeaderValue::from_static("nosniff"),
    );
    response
}

fn refusal(hosts: Hosts, request: &Request) -> Option<Response> {
    let headers = request.headers();
    let has_body = !is_grpc(request)
        && (headers.contains_key(TRANSFER_ENCODING)
            || headers
                .get(CONTENT_LENGTH)
                .is_some_and(|length| length != "0"));
    if has_body {
        return Some(plain(
            StatusCode::PAYLOAD_TOO_LARGE,
            "requests have no body here\n",
        ));
    }
    match hosts {
        Hosts::Any => None,
        Hosts::Local if is_local(request.version(), request.uri().authority(), headers) => None,
        Hosts::Local => Some(plain(
            StatusCode::FORBIDDEN,
            "this listener answers only to an IP address or localhost as its Host, \
             so that no web page can reach it by a name of its own\n",
        )),
    }
}

/// Whether it may be a call of gRPC, which has a body.
fn is_grpc(request: &Request) -> bool {
    let content_type = request.headers().get(CONTENT_TYPE);
    request.version() == Version::HTTP_2
        && content_type.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

/// Whether everything in the request that names a host names this machine. A request must
/// have exactly one `Host` (RFC 9112, section 3.2); over HTTP/2 its target names the host, and a
/// `Host` besides is as good as none (RFC 9113, section 8.3.1).
fn is_local(version: Version, target: Option<&Authority>, headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => match Authority::try_from(host.as_bytes()) {
            Ok(host) => Some(host),
            Err(_) => return false,
        },
        (None, None) if version == Version::HTTP_2 && target.is_some() => None,
        (None | Some(_), _) => return false,
    };
    [host.as_ref(), target]
        .into_iter()
        .flatten()
        .all(names_this_machine)
}

fn names_this_machine(authority: &Authority) -> bool {
    // No user in front, and nothing but a port behind.
    let plain = match authority.as_str().strip_prefix(authority.host()) {
        Some("") => true,
        Some(rest) => rest.starts_with(':') && authority.port_u16().is_some(),
        None => false,
    };
    let host = authority.host().to_ascii_lowercase();
    let address = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(&host);
    let name = host.strip_suffix('.').unwrap_or(&host);
    let local =
        address.parse::<IpAddr>().is_ok() || name == "localhost" || name.ends_with(".localhost");
    plain && local
}

async fn metrics(State(admin): State<Admin>) -> Response {
    // Long with many series, and it reads files: not on the event loop.
    let encoded = tokio::task::spawn_blocking(move || {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &admin.registry).map(|()| text)
    });
    match encoded.await {
        Ok(Ok(text)) => ([(CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        Ok(Err(_)) | Err(_) => {
            tracing::error!("the metrics could not be encoded");
            plain(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the metrics could not be encoded\n",
            )
        }
    }
}

async fn livez(State(admin): State<Admin>) -> Response {
    match (admin.liveness)().await {
        Liveness::Live => plain(StatusCode::OK, "ok\n"),
        Liveness::Stuck { loops } => plain(StatusCode::SERVICE_UNAVAILABLE, lines(&loops)),
    }
}

async fn readyz(State(admin): State<Admin>) -> Response {
    match (admin.readiness)() {
        Readiness::Ready => plain(StatusCode::OK, "ok\n"),
        Readiness::NotReady { reasons } => plain(StatusCode::SERVICE_UNAVAILABLE, lines(&reasons)),
    }
}

async fn status(State(admin): State<Admin>) -> Response {
    let json = format!("{:#}\n", (admin.status)());
    ([(CONTENT_TYPE, "application/json")], json).into_response()
}

fn lines(reasons: &[String]) -> String {
    reasons
        .iter()
        .map(|reason| format!("{}\n", reason.replace('\n', " ")))
        .collect()
}

fn plain(status: StatusCode, text: impl Into<String>) -> Response {
    (status, [(CONTENT_TYPE, TEXT)], text.into()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_that_are_this_machine() {
        let local = |host: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, host.parse().unwrap());
            is_local(Version::HTTP_11, None, &headers)
        };
        for host in [
            "127.0.0.1",
            "127.0.0.1:7480",
            "[::1]:7480",
            "[::1]",
            "10.1.2.3:80",
            "localhost",
            "LocalHost:7480",
            "localhost.",
            "edge.localhost:1",
            "a.b.localhost.",
        ] {
            assert!(local(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "evil.example:7480",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "notlocalhost",
            "a@localhost",
            "evil.example@127.0.0.1",
            "[::1].evil",
            "1.2.3.4.5",
        ] {
            assert!(!local(host), "{host}");
        }
        let http1 = |target: Option<&'static str>, headers: &HeaderMap| {
            let target = target.map(Authority::from_static);
            is_local(Version::HTTP_11, target.as_ref(), headers)
        };
        assert!(!http1(None, &HeaderMap::new()), "no host");
        let mut two = HeaderMap::new();
        two.append(HOST, HeaderValue::from_static("localhost"));
        assert!(http1(None, &two));
        assert!(
            !http1(Some("evil.example"), &two),
            "the target names another"
        );
        two.append(HOST, HeaderValue::from_static("localhost"));
        assert!(!http1(None, &two), "two hosts");
        let http2 = |target, headers: &HeaderMap| {
            is_local(
                Version::HTTP_2,
                Some(&Authority::from_static(target)),
                headers,
            )
        };
        let mut headers = HeaderMap::new();
        assert!(http2("127.0.0.1:7480", &headers));
        assert!(!http2("evil.example", &headers));
        assert!(!is_local(Version::HTTP_2, None, &headers), "no host at all");
        headers.append(HOST, HeaderValue::from_static("evil.example"));
        assert!(!http2("127.0.0.1:7480", &headers), "another beside it");
    }
}
