//! Requests that two parsers could read as two different things (RFC 9112 §11.2). Each is refused,
//! or reaches the origin in one form that cannot be misread; no second request ever comes out of it.

mod claims;
mod frames;
mod http2;

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{Arc, Mutex},
};

use crate::support::{Answer, CLUSTER, Origin, Plane};

/// What an origin was asked: the head as it came, with what trailers there were, and the body.
type Seen = Arc<Mutex<Vec<(String, Vec<u8>)>>>;

/// An origin that parses HTTP/1.1 by the book, records every request, and answers with its target.
fn recording() -> (Origin, Seen) {
    let seen = Seen::default();
    let record = seen.clone();
    let origin = Origin::new(move |stream| {
        let mut from = BufReader::new(stream.try_clone().unwrap());
        let mut to = stream;
        while let Some((head, body)) = read_request(&mut from) {
            let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
            record.lock().unwrap().push((head, body));
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{target}",
                target.len()
            );
            if to.write_all(answer.as_bytes()).is_err() {
                break;
            }
        }
    });
    (origin, seen)
}

fn read_request(from: &mut BufReader<TcpStream>) -> Option<(String, Vec<u8>)> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if from.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let header = |name: &str| {
        head.lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.to_owned())
    };
    let mut body = Vec::new();
    if header("transfer-encoding").is_some() {
        loop {
            let mut size = String::new();
            from.read_line(&mut size).ok()?;
            let size = usize::from_str_radix(size.trim(), 16).ok()?;
            if size == 0 {
                break;
            }
            let mut chunk = vec![0; size + 2];
            from.read_exact(&mut chunk).ok()?;
            body.extend_from_slice(&chunk[..size]);
        }
        let mut line = String::new();
        while from.read_line(&mut line).ok()? > 2 {
            head += &std::mem::take(&mut line);
        }
    } else if let Some(length) = header("content-length") {
        body.resize(length.parse().ok()?, 0);
        from.read_exact(&mut body).ok()?;
    }
    Some((head, body))
}

/// What is to become of a request.
#[derive(Clone, Copy, Debug)]
enum Fate {
    /// A status of the 400s or 501, or the connection is closed; the origin hears nothing.
    Refused,
    /// It arrives with this body.
    Arrives(&'static str),
}

use Fate::{Arrives, Refused};

/// A name, what follows the request line, and what is to become of it. `H` stands for the host.
const CASES: &[(&str, &str, Fate)] = &[
    (
        "as it should be",
        "POST / HTTP/1.1\r\nHost: H\r\nContent-Length: 3\r\n\r\nabc",
        Arrives("abc"),
    ),
    (
        "chunked as it should be",
        "POST / HTTP/1.1\r\nHost: H\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        Arrives("abc"),
    ),
    (
        "chunk extensions",
        "POST / HTTP/1.1\r\nHost: H\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0;c\r\n\r\n",
        Arrives("abc"),
    ),
    // RFC 9112 §6.3: the chunks count, and the length goes no further.
    (
        "a length before chunks",
        "POST / HTTP/1.1\r\nHost: H\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        Arrives("abc"),
    ),
    (
        "a length behind chunks",
        "POST / HTTP/1.1\r\nHost: H\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        Arrives("abc"),
    ),
    (
        "a length beside chunks that are none",
        "POST / HTTP/1.1\r\nHost: H\r\nContent-Length: 36\r\nTransfer-Encoding: chunked\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: H\r\n\r\n",
        Refused,
    ),
    // RFC 9110 §8.6: the same number again may be taken for one.
    (
        "two equal lengths",
        "POST / HTTP/1.1\r\nHost: H\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
        Arrives("abc"),
    ),
    (
        "two lengths",
        "POST / HTTP/1.1\r\nHost: H\r\nContent-Length: 0\r\nContent-Length: 36\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: H\r\n\r\n",
        Refused,
    ),
    (
        "a list of lengths",
        "POST / HTTP/1.1\r\nHost: H\r\nContent-Length: 3, 3\r\n\r\nabc",
        Refused,
    ),
    (
        "a length with a sign",
        "POST / HTTP/1.1\r\nHost: H\r\nContent-Length: +3\r\n\r\nabc",
        Refused,
    ),
    (
        "a negative length",
        "POST / HTTP/1.1\r\nHost: H\r\nContent-Length: -1\r\n\r\nabc",
        Refused,
    ),
    (
        "a hexadecimal length",
        "POST / HTTP/1.1\r\nHost: H\r\nContent-Length: 0x3\r\n\r\nabc",
        Refused,
    ),
    (
        "an empty length",
        "POST / HTTP/1.1\r\nHost: H\r\nContent-Length: \r\n\r\nabc",
        Refused,
    ),
    (
        "a length beyond all numbers",
        "POST / HTTP/1.1\r\nHost: H\r\nContent-Length: 99999999999999999999999\r\n\r\nabc",
        Refused,
    ),
    (
        "an unknown coding",
        "POST / HTTP/1.1\r\nHost: H\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        Refused,
    ),
    (
        "a coding beneath chunked",
        "POST / HTTP/1.1\r\nHost: H\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        Refused,
    ),
    (
        "chunked twice",
        "POST / HTTP/1.1\r\nHost: H\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        Refused,
    ),
    (
        "chunked twice, in two lines",
        "POST / HTTP/1.1\r\nHost: H\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        Refused,
    ),
    (
        "an authority for a target",
        "GET a.test HTTP/1.1\r\nHost: H\r\n\r\n",
        Refused,
    ),
    (
        "chunked not last",
        "POST / HTTP/1.1\r\nHost: H\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        Refused,
    ),
    (
        "chunked in quotes",
        "POST / HTTP/1.1\r\nHost: H\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n",
        Refused,
    ),
    (
        "a vertical tab before chunked",
        "POST / HTTP/1.1\r\nHost: H\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
        Refused,
    ),
    (
        "chunks in HTTP/1.0",
        "POST / HTTP/1.0\r\nHost: H\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        Refused,
    ),
    (
        "a space before the colon",
        "POST / HTTP/1.1\r\nHost: H\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        Refused,
    ),
    (
        "a folded line",
        "POST / HTTP/1.1\r\nHost: H\r\nX: a\r\n Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nabc",
        Refused,
    ),
    (
        "a space before the first field",
        "GET / HTTP/1.1\r\n Host: H\r\nHost: H\r\n\r\n",
        Refused,
    ),
    (
        "a NUL in a value",
        "GET / HTTP/1.1\r\nHost: H\r\nX: a\0b\r\n\r\n",
        Refused,
    ),
    (
        "a carriage return in a value",
        "GET / HTTP/1.1\r\nHost: H\r\nX: a\rGET /smuggled HTTP/1.1\r\n\r\n",
        Refused,
    ),
    (
        "a name with a space",
        "GET / HTTP/1.1\r\nHost: H\r\nX Y: a\r\n\r\n",
        Refused,
    ),
    (
        "no name",
        "GET / HTTP/1.1\r\nHost: H\r\n: a\r\n\r\n",
        Refused,
    ),
    (
        "a chunk size with 0x",
        "POST / HTTP/1.1\r\nHost: H\r\nTransfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n",
        Refused,
    ),
    (
        "a chunk size beyond all numbers",
        "POST / HTTP/1.1\r\nHost: H\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000003\r\nabc\r\n0\r\n\r\n",
        Refused,
    ),
    (
        "a negative chunk size",
        "POST / HTTP/1.1\r\nHost: H\r\nTransfer-Encoding: chunked\r\n\r\n-3\r\nabc\r\n0\r\n\r\n",
        Refused,
    ),
    (
        "a chunk longer than its size",
        "POST / HTTP/1.1\r\nHost: H\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
        Refused,
    ),
    (
        "a newline in a chunk extension",
        "POST / HTTP/1.1\r\nHost: H\r\nTransfer-Encoding: chunked\r\n\r\n3;a\nb\r\nabc\r\n0\r\n\r\n",
        Refused,
    ),
    (
        "two hosts",
        "GET / HTTP/1.1\r\nHost: H\r\nHost: evil\r\n\r\n",
        Refused,
    ),
    ("no host", "GET / HTTP/1.1\r\nX: a\r\n\r\n", Refused),
    (
        "a host with a user",
        "GET / HTTP/1.1\r\nHost: user@H\r\n\r\n",
        Refused,
    ),
    (
        "a host with a path",
        "GET / HTTP/1.1\r\nHost: H/evil\r\n\r\n",
        Refused,
    ),
    (
        "two hosts in one",
        "GET / HTTP/1.1\r\nHost: H, evil\r\n\r\n",
        Refused,
    ),
    (
        "another space in the request line",
        "GET / /smuggled HTTP/1.1\r\nHost: H\r\n\r\n",
        Refused,
    ),
    (
        "a version that there is not",
        "GET / HTTP/1.2\r\nHost: H\r\n\r\n",
        Refused,
    ),
    (
        "a body beside an upgrade to HTTP/2",
        "POST / HTTP/1.1\r\nHost: H\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\nContent-Length: 3\r\n\r\nabc",
        Arrives("abc"),
    ),
    (
        "the length as an option of the connection",
        "POST / HTTP/1.1\r\nHost: H\r\nConnection: content-length\r\nContent-Length: 3\r\n\r\nabc",
        Arrives("abc"),
    ),
    (
        "the host as an option of the connection",
        "POST / HTTP/1.1\r\nHost: H\r\nConnection: host\r\nContent-Length: 3\r\n\r\nabc",
        Arrives("abc"),
    ),
];

#[test]
fn one_request_is_one_request() {
    let (origin, seen) = recording();
    let mut plane = Plane::builder()
        .expose("origin", &origin.http_target())
        .http_ingress_to("web", &format!("{CLUSTER}/origin"))
        .start();
    let web = plane.ingress("web");
    let mut wrong = Vec::new();
    for (name, text, fate) in CASES {
        let mut stream = TcpStream::connect(web).unwrap();
        stream
            .set_read_timeout(Some(crate::support::DEADLINE))
            .unwrap();
        // The peer may have heard enough before all is written.
        let _ = stream.write_all(text.replace(" H\r", " origin.test\r").as_bytes());
        let status = Answer::read(&stream).map_or(0, |answer| answer.status);
        // Whatever was left on a connection would be in front of this.
        let told = marker(web);
        let arrived = std::mem::take(&mut *seen.lock().unwrap());
        let fine = match fate {
            Refused => matches!(status, 0 | 400..=499 | 501),
            Arrives(_) => status == 200,
        };
        let expected: Vec<(&str, &[u8])> = match fate {
            Refused => vec![("/marker", b"")],
            Arrives(body) => vec![("/", body.as_bytes()), ("/marker", b"")],
        };
        let got: Vec<(&str, &[u8])> = arrived
            .iter()
            .map(|(head, body)| (head.split(' ').nth(1).unwrap_or_default(), &body[..]))
            .collect();
        let lengths = arrived.first().map_or(0, |(head, _)| {
            let head = head.to_ascii_lowercase();
            head.matches("content-length").count() + head.matches("transfer-encoding").count()
        });
        let one_length = matches!(fate, Refused) || lengths == 1;
        if !fine || !one_length || got != expected || told != "/marker" {
            wrong.push(format!("{name}: {status}, then {told:?}; {arrived:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Asks for something else, and gives out what the origin says it was asked for.
fn marker(web: SocketAddr) -> String {
    let mut stream = TcpStream::connect(web).unwrap();
    stream
        .set_read_timeout(Some(crate::support::DEADLINE))
        .unwrap();
    stream
        .write_all(b"GET /marker HTTP/1.1\r\nHost: origin.test\r\n\r\n")
        .unwrap();
    Answer::read(&stream).unwrap().text().unwrap()
}
