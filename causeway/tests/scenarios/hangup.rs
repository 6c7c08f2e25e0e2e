//! One side goes away, and the other is told at once and truly: an end is an end, a reset is a
//! reset, and an answer that was cut never looks whole.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{Shutdown, TcpStream},
    time::{Duration, Instant},
};

use crate::support::{Answer, Origin, Plane, Request, Side, reset_on_close, wait_for};

/// How soon the other side must know.
const SOON: Duration = Duration::from_secs(1);

/// A caller that hangs up by resetting closes the origin's socket within a second.
#[test]
fn a_callers_reset_reaches_the_origin() {
    let origin = Origin::by_hand();
    let mut plane = Plane::builder()
        .expose("db", &origin.tcp())
        .tcp_ingress("db")
        .start();
    let caller = plane.dial_ingress("db");
    let at_origin = origin.accept();
    reset_crosses(caller, at_origin);
}

#[test]
fn an_origins_reset_reaches_the_caller() {
    let origin = Origin::by_hand();
    let mut plane = Plane::builder()
        .expose("db", &origin.tcp())
        .tcp_ingress("db")
        .start();
    let caller = plane.dial_ingress("db");
    let at_origin = origin.accept();
    reset_crosses(at_origin, caller);
}

#[test]
fn resets_cross_a_forward_both_ways() {
    let origin = Origin::by_hand();
    let mut plane = Plane::builder().forward("db", &origin.tcp()).start();
    let caller = plane.dial_forward("db");
    let at_origin = origin.accept();
    reset_crosses(caller, at_origin);
    let caller = plane.dial_forward("db");
    let at_origin = origin.accept();
    reset_crosses(at_origin, caller);
}

/// A caller that closes while the origin is still sending: the origin's writes fail soon.
#[test]
fn a_caller_that_closes_stops_an_origin_that_sends() {
    let origin = Origin::by_hand();
    let mut plane = Plane::builder()
        .expose("feed", &origin.tcp())
        .tcp_ingress("feed")
        .start();
    let caller = plane.dial_ingress("feed");
    let mut at_origin = origin.accept();
    at_origin.write_all(b"first").unwrap();
    let mut first = [0; 5];
    (&caller).read_exact(&mut first).unwrap();

    let closed = Instant::now();
    drop(caller);
    let error = wait_for("the origin's writes to fail", || {
        at_origin.write_all(&[0; 1024]).err()
    });
    let after = closed.elapsed();
    assert!(after < SOON, "the origin knew after {after:?}");
    assert!(
        [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe].contains(&error.kind()),
        "{error}"
    );
}

#[test]
fn an_origin_that_closes_ends_the_callers_stream() {
    let origin = Origin::by_hand();
    let mut plane = Plane::builder()
        .expose("db", &origin.tcp())
        .tcp_ingress("db")
        .start();
    let mut caller = plane.dial_ingress("db");
    let at_origin = origin.accept();
    let closed = Instant::now();
    drop(at_origin);
    assert_eq!(caller.read(&mut [0; 16]).unwrap(), 0, "a close is an end");
    let after = closed.elapsed();
    assert!(after < SOON, "the caller knew after {after:?}");
}

/// A caller of http that hangs up before the answer came.
#[test]
fn an_http_caller_that_hangs_up_closes_the_origins_socket() {
    let origin = Origin::by_hand();
    let mut plane = Plane::builder()
        .expose("slow", &origin.http_target())
        .http_ingress()
        .start();
    let caller = plane.get("slow", "/").connect().unwrap();
    let mut at_origin = origin.accept();
    let mut request = [0; 4096];
    assert!(at_origin.read(&mut request).unwrap() > 0);

    let hung_up = Instant::now();
    drop(caller);
    goes_away(&mut at_origin);
    let after = hung_up.elapsed();
    assert!(after < SOON, "the origin knew after {after:?}");
}

/// An answer that is shorter than its content-length.
#[test]
fn a_truncated_answer_is_cut_for_the_caller_too() {
    let origin = Origin::http(|_, mut stream| {
        let head = "HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(&[b'x'; 1000]).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
    });
    cut_short(&origin);
}

/// An answer whose last chunk never comes, because the origin closes.
#[test]
fn a_chunked_answer_without_its_end_is_cut() {
    let origin = Origin::http(|_, mut stream| {
        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(b"5\r\nhello\r\n").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
    });
    cut_short(&origin);
}

/// An answer that lasts until the connection ends, and the connection is reset.
#[test]
fn an_answer_until_close_that_is_reset_is_cut() {
    let origin = Origin::http(|_, mut stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nhello").unwrap();
        // Wait for the answer's head to be on its way to the caller before cutting it.
        reset_on_close(&stream);
        let _ = stream.set_read_timeout(Some(Duration::from_millis(300)));
        let _ = stream.read(&mut [0]);
    });
    cut_short(&origin);
}

/// The client dies in the middle of an answer.
#[test]
fn an_answer_is_cut_when_the_client_dies() {
    let origin = Origin::by_hand();
    let mut plane = Plane::builder()
        .expose("app", &origin.http_target())
        .http_ingress()
        .start();
    let caller = plane.get("app", "/").connect().unwrap();
    let mut at_origin = origin.accept();
    assert!(at_origin.read(&mut [0; 4096]).unwrap() > 0);
    at_origin
        .write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n")
        .unwrap();
    let mut answer = Answer::read(caller).unwrap();
    let mut hello = [0; 5];
    answer.read_exact(&mut hello).unwrap();
    plane.client.kill();
    plane.start_again(Side::Client);
    let rest = answer.text();
    assert!(rest.is_err(), "a cut answer looked whole: {rest:?}");
}

/// `first` is closed by a reset; `second` must see a reset, soon.
#[track_caller]
fn reset_crosses(mut first: TcpStream, mut second: TcpStream) {
    first.write_all(b"hello").unwrap();
    let mut hello = [0; 5];
    second.read_exact(&mut hello).unwrap();

    reset_on_close(&first);
    let closed = Instant::now();
    drop(first);
    let error = second.read(&mut [0; 16]).expect_err("an end, not a reset");
    let after = closed.elapsed();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
    assert!(after < SOON, "the reset came after {after:?}");
}

/// Reads until the stream ends or breaks.
fn goes_away(stream: &mut TcpStream) {
    loop {
        match stream.read(&mut [0; 4096]) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) => {
                assert_ne!(error.kind(), ErrorKind::WouldBlock, "still there");
                return;
            }
        }
    }
}

/// What `origin` answers must come to the caller as an answer that was cut.
#[track_caller]
fn cut_short(origin: &Origin) {
    let mut plane = Plane::builder()
        .expose("app", &origin.http_target())
        .http_ingress()
        .start();
    let request: Request = plane.get("app", "/");
    let whole: io::Result<String> = request.send().and_then(Answer::text);
    match whole {
        Err(error) => assert_ne!(error.kind(), ErrorKind::WouldBlock, "nothing came: {error}"),
        Ok(body) => panic!("a cut answer looked whole: {body:?}"),
    }
    // The next request is on its own, and says so as well.
    assert_eq!(plane.sessions().len(), 1);
}
