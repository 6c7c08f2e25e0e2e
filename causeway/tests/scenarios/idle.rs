//! `idle_timeout`: a stream that moves nothing is reset, one that moves something is not.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use crate::support::{CLUSTER, DEADLINE, Origin, Plane};

const LIMIT: Duration = Duration::from_secs(3);
/// How often busy streams move something.
const PACE: Duration = Duration::from_millis(100);

#[test]
fn a_silent_stream_of_a_tcp_ingress_is_reset() {
    let origin = Origin::echo();
    let mut plane = Plane::builder()
        .expose("echo", &origin.tcp())
        .edge_toml(&format!(
            "[[ingress]]\nname = \"echo\"\nkind = \"tcp\"\nlisten = \"127.0.0.1:0\"\n\
             to = \"{CLUSTER}/echo\"\nanonymous = true\nidle_timeout = \"{}s\"\n",
            LIMIT.as_secs()
        ))
        .start();
    the_silent_is_reset_and_the_busy_is_not(plane.ingress("echo"));
}

#[test]
fn a_silent_stream_of_a_forward_is_reset() {
    let origin = Origin::echo();
    let mut plane = Plane::builder()
        .edge_toml(&upstream(&origin, ""))
        .client_toml(&format!(
            "[[forward]]\nservice = \"echo\"\nlisten = \"127.0.0.1:0\"\nidle_timeout = \"{}s\"\n",
            LIMIT.as_secs()
        ))
        .start();
    the_silent_is_reset_and_the_busy_is_not(plane.forward("echo"));
}

/// The end beside the target has its own say.
#[test]
fn a_silent_stream_to_a_target_is_reset() {
    let origin = Origin::echo();
    let limit = format!("idle_timeout = \"{}s\"\n", LIMIT.as_secs());
    let mut plane = Plane::builder()
        .client_toml(&format!(
            "[[expose]]\nservice = \"echo\"\ntarget = \"{}\"\n{limit}",
            origin.tcp()
        ))
        .tcp_ingress("echo")
        .edge_toml(&upstream(&origin, &limit))
        .client_toml("[[forward]]\nservice = \"echo\"\nlisten = \"127.0.0.1:0\"\n")
        .start();
    the_silent_is_reset_and_the_busy_is_not(plane.ingress("echo"));
    the_silent_is_reset_and_the_busy_is_not(plane.forward("echo"));
}

fn upstream(origin: &Origin, more: &str) -> String {
    format!(
        "[[upstream]]\nservice = \"echo\"\ntarget = \"{}\"\nallow = [\"{CLUSTER}\"]\n{more}",
        origin.tcp()
    )
}

/// One is silent from its second byte on; another, that began before it, moves a byte there and
/// back all the while, and outlives it.
#[track_caller]
fn the_silent_is_reset_and_the_busy_is_not(address: SocketAddr) {
    let (busy, silent) = (dial(address), dial(address));
    echo(&busy);
    let before = Instant::now();
    echo(&silent);
    let (sender, ended) = mpsc::channel();
    let waiting = thread::spawn(move || {
        let outcome = (&silent).read(&mut [0]).map_err(|error| error.kind());
        sender.send((outcome, Instant::now())).unwrap();
    });
    let (outcome, at) = loop {
        match ended.recv_timeout(PACE) {
            Ok(ended) => break ended,
            Err(RecvTimeoutError::Timeout) => echo(&busy),
            Err(RecvTimeoutError::Disconnected) => panic!("nobody waits any more"),
        }
    };
    waiting.join().unwrap();
    assert_eq!(outcome, Err(io::ErrorKind::ConnectionReset));
    let after = at - before;
    assert!(after >= LIMIT, "reset after {after:?}");
    echo(&busy);
}

fn dial(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}

#[track_caller]
fn echo(mut stream: &TcpStream) {
    stream.write_all(b"x").unwrap();
    let mut byte = [0];
    stream.read_exact(&mut byte).unwrap();
    assert_eq!(&byte, b"x");
}
