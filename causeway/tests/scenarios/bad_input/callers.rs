//! Callers of an ingress who ask for what there is not, or ask wrongly.

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use super::Bystander;
use crate::support::{Answer, Request};

/// How long a caller has for the head of its request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);

#[test]
fn unknown_cluster() {
    let mut bystander = Bystander::new(|builder| {
        builder
            .http_ingress()
            .tcp_ingress_to("nowhere", "acme/elsewhere/db")
    });
    let web = bystander.plane.ingress("web");
    for host in [
        "hello--elsewhere--acme.apps.test",
        "hello--demo--nobody.apps.test",
    ] {
        let answer = Request::get(web, "/", host).send().unwrap();
        assert_eq!(answer.status, 503);
        assert!(answer.header("retry-after").is_some());
        assert!(answer.header("causeway-error").is_some());
        assert!(answer.text().unwrap().contains("not connected"));
    }
    is_reset(bystander.plane.dial_ingress("nowhere"));
    bystander.is_undisturbed();
}

#[test]
fn unknown_service() {
    let mut bystander = Bystander::new(|builder| builder.http_ingress().tcp_ingress("nothing"));
    let answer = bystander.plane.get("nothing", "/").send().unwrap();
    assert_eq!(answer.status, 404);
    assert!(answer.header("causeway-error").is_some());
    is_reset(bystander.plane.dial_ingress("nothing"));
    bystander.is_undisturbed();
}

#[test]
fn a_foreign_host() {
    let mut bystander = Bystander::new(|builder| builder.http_ingress());
    let web = bystander.plane.ingress("web");
    for host in [
        "example.com",
        "hello.apps.test",
        "hello--demo--acme.apps.test.evil",
        "a--b--c--d.apps.test",
    ] {
        let answer = Request::get(web, "/", host).send().unwrap();
        assert_eq!(answer.status, 404, "{host}");
    }
    let answer = Request::get(web, "/", "").send().unwrap();
    assert!(
        [400, 404].contains(&answer.status),
        "no host: {}",
        answer.status
    );
    bystander.is_undisturbed();
}

#[test]
fn oversized_headers() {
    let mut bystander = Bystander::new(|builder| builder.expose("hello", "hello").http_ingress());
    let large = "x".repeat(200 << 10);
    let answer = bystander
        .plane
        .get("hello", "/")
        .header("x-large", &large)
        .send();
    assert_eq!(answer.unwrap().status, 431);

    let mut many = bystander.plane.get("hello", "/");
    for number in 0..500 {
        many = many.header(&format!("x-{number}"), "1");
    }
    assert_eq!(many.send().unwrap().status, 431);
    bystander.is_undisturbed();
}

#[test]
fn what_is_not_http() {
    let mut bystander = Bystander::new(|builder| builder.http_ingress());
    let mut stream = bystander.plane.dial_ingress("web");
    stream
        .write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 is TLS\r\n\r\n")
        .unwrap();
    if let Ok(answer) = Answer::read(stream) {
        assert_eq!(answer.status, 400);
    }
    bystander.is_undisturbed();
}

/// Whoever connects and says nothing, or says it too slowly, is not waited for.
#[test]
fn a_silent_caller() {
    let mut bystander = Bystander::new(|builder| builder.http_ingress());
    let began = Instant::now();
    let silent = bystander.plane.dial_ingress("web");
    let mut slow = bystander.plane.dial_ingress("web");
    slow.write_all(b"GET / HTTP/1.1\r\nhost: ").unwrap();
    for mut stream in [silent, slow] {
        stream.set_read_timeout(Some(2 * HEAD_TIMEOUT)).unwrap();
        let mut rest = Vec::new();
        if let Err(error) = stream.read_to_end(&mut rest) {
            assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
        }
        assert!(
            rest.is_empty() || rest.starts_with(b"HTTP/1.1 408"),
            "{rest:?}"
        );
    }
    let after = began.elapsed();
    assert!(
        after >= HEAD_TIMEOUT - Duration::from_secs(1),
        "too soon: {after:?}"
    );
    bystander.is_undisturbed();
}

/// A caller of a tcp ingress that leads nowhere is reset: it must not look like an empty answer.
#[track_caller]
fn is_reset(mut stream: TcpStream) {
    let error = stream.read(&mut [0; 16]).expect_err("an end, not a reset");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
}
