//! A process that was killed and is back: what its streams were is over at once, however long a
//! session may wait for its connection.

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
};

use super::read_head;
use crate::{
    protocols::on_each_transport,
    support::{Answer, CLUSTER, Origin, Plane, Side},
};

on_each_transport![
    the_streams_of_a_killed_client_end_once_it_is_back,
    the_streams_of_a_killed_edge_end_once_it_is_back,
];

/// Both ways through the tunnel, with the two minutes that a session waits by default: far more than
/// the deadline of whoever reads here.
fn plane(transport: &str) -> (Plane, Origin, Origin) {
    let (exposed, upstream) = (Origin::by_hand(), Origin::by_hand());
    let plane = Plane::builder()
        .transport(transport)
        .expose("db", &exposed.tcp())
        .tcp_ingress("db")
        .http_ingress_to("web", &format!("{CLUSTER}/db"))
        .forward("up", &upstream.tcp())
        .fixed_ports()
        .start();
    (plane, exposed, upstream)
}

fn the_streams_of_a_killed_client_end_once_it_is_back(transport: &str) {
    let (mut plane, exposed, upstream) = plane(transport);
    let caller = plane.dial_ingress("db");
    let _exposed = exposed.accept();
    let mut forwarding = plane.dial_forward("up");
    let at_upstream = upstream.accept();
    forwarding.write_all(b"begun").unwrap();
    let (answer, _at_exposed) = answer_begun(&mut plane, &exposed);

    plane.client.kill();
    plane.start_again(Side::Client);
    is_reset(caller, "a caller of the tcp ingress");
    is_reset(at_upstream, "an upstream");
    let text = answer.text();
    assert!(text.is_err(), "a cut answer looked whole: {text:?}");
}

fn the_streams_of_a_killed_edge_end_once_it_is_back(transport: &str) {
    let (mut plane, exposed, upstream) = plane(transport);
    let _caller = plane.dial_ingress("db");
    let at_exposed = exposed.accept();
    let caller = plane.dial_forward("up");
    let _upstream = upstream.accept();

    plane.edge.kill();
    plane.start_again(Side::Edge);
    is_reset(caller, "a caller of the forward");
    is_reset(at_exposed, "an exposed origin");
}

/// An answer of HTTP/1.1 of which a caller has the beginning.
fn answer_begun(plane: &mut Plane, origin: &Origin) -> (Answer<TcpStream>, TcpStream) {
    let caller = plane.get("db", "/").connect().unwrap();
    let mut at_origin = origin.accept();
    read_head(&at_origin);
    at_origin
        .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nbegun")
        .unwrap();
    let mut answer = Answer::read(caller).unwrap();
    let mut begun = [0; 5];
    answer.read_exact(&mut begun).unwrap();
    (answer, at_origin)
}

/// Whatever came before it, this socket ends with a reset.
#[track_caller]
fn is_reset(mut socket: TcpStream, whose: &str) {
    let error = loop {
        match socket.read(&mut [0; 64]) {
            Ok(0) => panic!("{whose} saw an end"),
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{whose}: {error}");
}
