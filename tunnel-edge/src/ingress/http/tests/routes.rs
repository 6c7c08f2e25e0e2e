//! Which service a request reaches by its path, and what it is told of path and host.

use http::Version;
use relay::AppProtocol;

use super::harness::{Answer, Edge, Setup, full, mirror, request};
use crate::config::{Entry, HostMatch, Route};

fn setup(route: Route, entry: Option<Entry>) -> Setup {
    let mut setup = Setup::default();
    setup.settings.routes = vec![route];
    setup.settings.entry = entry;
    setup
}

fn api() -> Route {
    Route {
        host: HostMatch::Any,
        path: "/api".parse().unwrap(),
        to: "acme/demo/web".parse().unwrap(),
        strip_prefix: true,
        set_host: Some("app.internal".parse().unwrap()),
    }
}

#[tokio::test]
async fn a_service_below_a_path_sees_itself_at_the_root() {
    for protocol in [AppProtocol::Http1, AppProtocol::H2] {
        for version in [Version::HTTP_11, Version::HTTP_2] {
            let edge = Edge::set_up(protocol, setup(api(), None), mirror).await;
            let mut caller = edge.caller(version).await;
            let found = caller.get("/api/users?all").await.text;
            let (target, host) = match protocol {
                AppProtocol::Tcp | AppProtocol::Http1 => {
                    ("GET /users?all\n", "\"host\": \"app.internal\"")
                }
                AppProtocol::H2 => (
                    "GET http://app.internal/users?all\n",
                    "http://app.internal/",
                ),
            };
            assert!(found.contains(target) && found.contains(host), "{found}");
            assert!(
                found.contains("\"x-forwarded-prefix\": \"/api\""),
                "{found}"
            );
            assert!(
                found.contains("\"x-forwarded-host\": \"web--demo--acme.apps.test\""),
                "{found}"
            );
            let answer = caller.get("/other").await;
            assert_eq!(
                (answer.status.as_u16(), answer.code()),
                (404, "unknown_path")
            );
            for path in [
                "/api/../secret",
                "/api/..;/secret",
                "/api/..%3bx=y/secret",
                "/api/;x/secret",
            ] {
                let answer = caller.get(path).await;
                let found = (answer.status.as_u16(), answer.code());
                assert_eq!(found, (400, "bad_path"), "{path}");
            }
        }
    }
}

#[tokio::test]
async fn what_no_route_fits_goes_by_host_with_its_path_untouched() {
    let pattern = Setup::default().settings.entry;
    let edge = Edge::set_up(AppProtocol::Http1, setup(api(), pattern), mirror).await;
    let mut caller = edge.caller(Version::HTTP_11).await;
    let answer = caller.send(request("POST", "/apis?q", full("x"))).await;
    let found = Answer::read(answer.unwrap()).await.text;
    assert!(found.contains("POST /apis?q\n"), "{found}");
    assert!(!found.contains("x-forwarded-prefix"), "{found}");
}

#[tokio::test]
async fn a_host_without_a_scheme_is_no_path_and_harms_nobody() {
    let mut route = api();
    route.path = "/".parse().unwrap();
    let edge = Edge::set_up(AppProtocol::Http1, setup(route, None), mirror).await;
    let answer = edge
        .raw("GET a.test HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n")
        .await;
    let answer = answer.unwrap();
    assert!(answer.starts_with("HTTP/1.1 "), "{answer}");
}

#[tokio::test]
async fn what_is_exposed_as_bytes_gets_http_only_if_the_configuration_says_so() {
    let pattern = Setup::default();
    let edge = Edge::set_up(AppProtocol::Tcp, pattern, mirror).await;
    let answer = edge.caller(Version::HTTP_11).await.get("/").await;
    assert_eq!((answer.status.as_u16(), answer.code()), (404, "not_http"));
    assert!(edge.session.opened().is_empty());

    let named = setup(api(), None);
    let edge = Edge::set_up(AppProtocol::Tcp, named, mirror).await;
    let answer = edge.caller(Version::HTTP_11).await.get("/api").await;
    assert_eq!(answer.status, 200);
}
