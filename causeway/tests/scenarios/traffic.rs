//! A gibibyte each way through everything that carries bytes: what arrives is what was sent, and
//! neither process grows with it.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpStream},
    thread,
};

use crate::support::{Origin, Pattern, Plane, Request, pattern_digest, read_digest};

const LENGTH: u64 = 1 << 30;

/// The most memory that an edge or a client may ever have had resident.
const MAX_RSS: u64 = 64 << 20;

#[test]
fn tcp_ingress_up() {
    let origin = Origin::digest();
    let mut plane = Plane::builder()
        .expose("sink", &origin.tcp())
        .tcp_ingress("sink")
        .start();
    upload(plane.dial_ingress("sink"));
    stayed_small(&plane);
}

#[test]
fn tcp_ingress_down() {
    let origin = Origin::source(LENGTH);
    let mut plane = Plane::builder()
        .expose("source", &origin.tcp())
        .tcp_ingress("source")
        .start();
    download(plane.dial_ingress("source"));
    stayed_small(&plane);
}

#[test]
fn forward_up() {
    let origin = Origin::digest();
    let mut plane = Plane::builder().forward("sink", &origin.tcp()).start();
    upload(plane.dial_forward("sink"));
    stayed_small(&plane);
}

#[test]
fn forward_down() {
    let origin = Origin::source(LENGTH);
    let mut plane = Plane::builder().forward("source", &origin.tcp()).start();
    download(plane.dial_forward("source"));
    stayed_small(&plane);
}

#[test]
fn http_ingress_up() {
    let origin = Origin::http(|_, mut stream| {
        let (count, digest) = read_digest((&stream).take(LENGTH)).unwrap();
        let body = format!("{count} {digest}\n");
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
        stream.write_all((head + &body).as_bytes()).unwrap();
    });
    let mut plane = Plane::builder()
        .expose("sink", &origin.http_target())
        .http_ingress()
        .start();
    let request = Request::new(plane.ingress("web"), "POST", "/", &plane.host("sink"));
    let answer = request.send_body(LENGTH, Pattern::new(LENGTH)).unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!(answer.text().unwrap(), digest_line());
    stayed_small(&plane);
}

#[test]
fn http_ingress_down() {
    let origin = Origin::http(|_, mut stream| {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {LENGTH}\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        io::copy(&mut Pattern::new(LENGTH), &mut stream).unwrap();
    });
    let mut plane = Plane::builder()
        .expose("source", &origin.http_target())
        .http_ingress()
        .start();
    let answer = plane.get("source", "/").send().unwrap();
    assert_eq!(answer.status, 200);
    let received = read_digest(answer).unwrap();
    assert_eq!(received, (LENGTH, pattern_digest(LENGTH)));
    stayed_small(&plane);
}

/// Both directions of one stream at once.
#[test]
fn both_ways_at_once() {
    const LENGTH: u64 = 64 << 20;
    let origin = Origin::echo();
    let mut plane = Plane::builder()
        .expose("echo", &origin.tcp())
        .tcp_ingress("echo")
        .start();
    let mut stream = plane.dial_ingress("echo");
    let mut writer = stream.try_clone().unwrap();
    let sending = thread::spawn(move || {
        io::copy(&mut Pattern::new(LENGTH), &mut writer).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let received = read_digest(&mut stream).unwrap();
    sending.join().unwrap();
    assert_eq!(received, (LENGTH, pattern_digest(LENGTH)));
    stayed_small(&plane);
}

fn upload(mut stream: TcpStream) {
    io::copy(&mut Pattern::new(LENGTH), &mut stream).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, digest_line());
}

fn download(stream: TcpStream) {
    let received = read_digest(&stream).unwrap();
    assert_eq!(received, (LENGTH, pattern_digest(LENGTH)));
}

fn digest_line() -> String {
    format!("{LENGTH} {}\n", pattern_digest(LENGTH))
}

#[track_caller]
fn stayed_small(plane: &Plane) {
    for (name, process) in [("edge", &plane.edge), ("client", &plane.client)] {
        let peak = process.peak_rss_bytes();
        eprintln!("{name}: {} MiB resident at most", peak >> 20);
        assert!(peak < MAX_RSS, "{name} had {peak} bytes resident");
    }
}
