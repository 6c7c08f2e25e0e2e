//! Listeners at several addresses, and at one for both families of addresses.

use std::{
    io::{
        ErrorKind::{BrokenPipe, ConnectionReset, NotConnected},
        Read, Write,
    },
    net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpStream},
    os::unix::net::UnixStream,
};

use crate::support::{CLUSTER, DEADLINE, Origin, Plane, Request, Side};

/// One of each family, and one for both.
const LISTEN: &str = "[\"127.0.0.1:0\", \"[::1]:0\", \"[::]:0\"]";

/// Where to call each of [`LISTEN`], in whatever order they are told, and who calls then.
fn callers(mut listening: Vec<SocketAddr>) -> [(SocketAddr, &'static str); 4] {
    listening.sort_unstable();
    let [ipv4, both, ipv6] = &listening[..] else {
        panic!("three listeners, not {listening:?}");
    };
    assert_eq!(ipv4.ip(), Ipv4Addr::LOCALHOST);
    assert_eq!(ipv6.ip(), Ipv6Addr::LOCALHOST);
    assert_eq!(both.ip(), Ipv6Addr::UNSPECIFIED);
    [
        (*ipv4, "127.0.0.1"),
        (*ipv6, "::1"),
        ((Ipv4Addr::LOCALHOST, both.port()).into(), "127.0.0.1"),
        ((Ipv6Addr::LOCALHOST, both.port()).into(), "::1"),
    ]
}

fn ingress(kind: &str, name: &str, allow: &str) -> String {
    format!(
        "[[ingress]]\nname = \"{name}\"\nkind = \"{kind}\"\nlisten = {LISTEN}\n\
         to = \"{CLUSTER}/origin\"\nallow = {allow}\n"
    )
}

#[test]
fn an_http_ingress_listens_everywhere() {
    let origin = Origin::http(|head, mut stream| {
        let length = head.len();
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{head}");
        stream.write_all(answer.as_bytes()).unwrap();
    });
    let mut plane = Plane::builder()
        .expose("origin", &origin.http_target())
        .edge_toml(&ingress("http", "all", "[\"127.0.0.1\", \"::1\"]"))
        .edge_toml(&ingress("http", "ipv4", "\"127.0.0.1\""))
        .start();
    for (address, caller) in callers(plane.ingress_addresses("all")) {
        let answer = Request::get(address, "/", "origin.test").send().unwrap();
        assert_eq!(answer.status, 200, "{address}");
        let head = answer.text().unwrap().to_ascii_lowercase();
        let told = format!("\r\nx-forwarded-for: {caller}\r\n");
        assert!(head.contains(&told), "{address}: {head}");
    }
    // An IPv4 caller is one on every listener.
    for (address, caller) in callers(plane.ingress_addresses("ipv4")) {
        let answer = Request::get(address, "/", "origin.test").send().unwrap();
        let expected = if caller.contains(':') { 403 } else { 200 };
        assert_eq!(answer.status, expected, "{address}");
    }
}

#[test]
fn a_tcp_ingress_listens_everywhere() {
    let origin = Origin::echo();
    let mut plane = Plane::builder()
        .expose("origin", &origin.tcp())
        .edge_toml(&ingress("tcp", "all", "[\"127.0.0.1\", \"::1\"]"))
        .edge_toml(&ingress("tcp", "ipv6", "\"::1\""))
        .start();
    for (address, _) in callers(plane.ingress_addresses("all")) {
        assert_eq!(said_over_tcp(address), Some("hello".into()), "{address}");
    }
    for (address, caller) in callers(plane.ingress_addresses("ipv6")) {
        let expected = caller.contains(':').then(|| "hello".to_owned());
        assert_eq!(said_over_tcp(address), expected, "{address}");
    }
}

#[test]
fn a_forward_listens_everywhere() {
    let origin = Origin::echo();
    let mut plane = Plane::builder()
        .edge_toml(&format!(
            "[[upstream]]\nservice = \"origin\"\ntarget = \"{}\"\nallow = [\"{CLUSTER}\"]\n",
            origin.tcp()
        ))
        .client_toml(&format!(
            "[[forward]]\nservice = \"origin\"\nlisten = [\"unix:origin.sock\", {}\n",
            LISTEN.trim_start_matches('[')
        ))
        .start();
    for (address, _) in callers(plane.forward_addresses("origin")) {
        assert_eq!(said_over_tcp(address), Some("hello".into()), "{address}");
    }
    let socket = plane.path(Side::Client).join("origin.sock");
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(b"hello").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    assert_eq!(said, "hello");
}

/// What comes back of `hello`; `None` if the connection is reset.
fn said_over_tcp(address: SocketAddr) -> Option<String> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut said = String::new();
    let exchange = stream
        .write_all(b"hello")
        .and_then(|()| stream.shutdown(Shutdown::Write))
        .and_then(|()| stream.read_to_string(&mut said));
    match exchange {
        Ok(_) => Some(said),
        // By which of the two it is heard of depends on how soon it comes.
        Err(error) => {
            let reset = [BrokenPipe, ConnectionReset, NotConnected].contains(&error.kind());
            assert!(reset, "{address}: {error}");
            None
        }
    }
}
