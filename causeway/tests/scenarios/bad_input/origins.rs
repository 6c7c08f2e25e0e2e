//! Origins that refuse, hang, or speak something else.

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
};

use super::Bystander;
use crate::support::{Origin, refusing_address, unanswering_address};

#[test]
fn refuses() {
    let (address, _held) = refusing_address();
    let mut bystander = Bystander::new(|builder| {
        builder
            .expose("web-app", &format!("http://{address}"))
            .expose("db", &format!("tcp://{address}"))
            .http_ingress()
            .tcp_ingress("db")
            .forward("state", &format!("tcp://{address}"))
    });
    let answer = bystander.plane.get("web-app", "/").send().unwrap();
    assert_eq!(answer.status, 502);
    assert_eq!(answer.header("causeway-error"), Some("connect_refused"));
    let body = answer.text().unwrap();
    assert!(
        !body.contains(&address.to_string()),
        "the target stays inside: {body}"
    );

    is_reset(bystander.plane.dial_ingress("db"));
    is_reset(bystander.plane.dial_forward("state"));
    bystander.is_undisturbed();
}

#[test]
fn hangs() {
    let (address, _held) = unanswering_address();
    let target = |scheme: &str| format!("{scheme}://{address}\"\nconnect_timeout = \"500ms");
    let mut bystander = Bystander::new(|builder| {
        builder
            .expose("web-app", &target("http"))
            .expose("db", &target("tcp"))
            .http_ingress()
            .tcp_ingress("db")
    });
    let answer = bystander.plane.get("web-app", "/").send().unwrap();
    assert_eq!(answer.status, 504);
    assert_eq!(answer.header("causeway-error"), Some("connect_timeout"));
    is_reset(bystander.plane.dial_ingress("db"));
    bystander.is_undisturbed();
}

#[test]
fn name_does_not_resolve() {
    let mut bystander = Bystander::new(|builder| {
        builder
            .expose("web-app", "http://nowhere.invalid:80")
            .http_ingress()
    });
    let answer = bystander.plane.get("web-app", "/").send().unwrap();
    assert_eq!(answer.status, 502);
    assert_eq!(answer.header("causeway-error"), Some("connect_failed"));
    bystander.is_undisturbed();
}

#[test]
fn is_not_http() {
    let origin = Origin::new(|mut stream| {
        let _ = stream.write_all(b"220 mail.example.com ESMTP\r\n");
        let _ = stream.read(&mut [0; 4096]);
    });
    let mut bystander = Bystander::new(|builder| {
        builder
            .expose("web-app", &origin.http_target())
            .http_ingress()
    });
    let answer = bystander.plane.get("web-app", "/").send().unwrap();
    assert_eq!(answer.status, 502);
    bystander.is_undisturbed();
}

/// It accepts, takes the request, and ends without an answer.
#[test]
fn ends_without_an_answer() {
    let origin = Origin::http(|_, stream| drop(stream));
    let mut bystander = Bystander::new(|builder| {
        builder
            .expose("web-app", &origin.http_target())
            .http_ingress()
    });
    let answer = bystander.plane.get("web-app", "/").send().unwrap();
    assert_eq!(answer.status, 502);
    bystander.is_undisturbed();
}

#[track_caller]
fn is_reset(mut stream: TcpStream) {
    let error = stream.read(&mut [0; 16]).expect_err("an end, not a reset");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
}
