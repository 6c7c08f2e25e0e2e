//! UDP comes and goes while a client runs: it moves to the transport that works, and back to the
//! better one, without a restart and at nobody's expense.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::udp_blocked::{echoes, echoing, transports};
use crate::support::{
    Builder, Host, Loss, Network, Origin, Pattern, Plane, Request, Side, eventually,
};

/// How long a client that sits on QUIC may need to serve new callers by TLS.
const AWAY: Duration = Duration::from_secs(10);

/// How long a client may need to find QUIC again: it looks every 15 s ±10 %.
const BACK: Duration = Duration::from_secs(20);

#[test]
fn a_stream_open_when_udp_is_lost_keeps_no_new_one_waiting() {
    let Some(network) = Network::create() else {
        return;
    };
    let mut plane = on_quic(&network, echoing(&network));
    let mut old = plane.dial_forward("echo");
    assert!(echoes(&mut old));

    network.lose(&[Loss::Udp]);
    let began = Instant::now();
    let answered = eventually(AWAY, || {
        let mut caller = plane.dial_forward("echo");
        let patience = Some(Duration::from_millis(500));
        caller.set_read_timeout(patience).unwrap();
        echoes(&mut caller).then(|| began.elapsed())
    });
    eprintln!("a new stream was answered {answered:?} after UDP was lost");
    assert!(answered.is_some(), "no new stream within {AWAY:?}");
    assert_eq!(transports(&mut plane, Side::Client), ["tls"]);
}

#[test]
fn quic_is_found_again_at_nobodys_expense() {
    let Some(network) = Network::create() else {
        return;
    };
    let web = network.edge.within(greeter);
    let app = network.client.within(greeter);
    network.lose(&[Loss::Udp]);
    let mut plane = echoing(&network)
        .forward("web", &web.tcp())
        .expose("app", &app.http_target())
        .http_ingress()
        .start();
    assert_eq!(transports(&mut plane, Side::Client), ["tls"]);
    let mut old = plane.dial_forward("echo");
    assert!(echoes(&mut old));
    let (forward, ingress, host) = (
        plane.forward("web"),
        plane.ingress("web"),
        plane.host("app"),
    );
    let loads = [
        Load::start(&network.client, forward, "localhost"),
        Load::start(&network.edge, ingress, &host),
    ];

    network.lose(&[]);
    let began = Instant::now();
    let moved = eventually(BACK, || {
        assert!(echoes(&mut old), "the old stream broke");
        (transports(&mut plane, Side::Client) == ["quic"]).then(|| began.elapsed())
    });
    eprintln!("new streams used QUIC {moved:?} after UDP was let through");
    assert!(moved.is_some(), "not back within {BACK:?}");

    let mut new = plane.dial_forward("echo");
    let before = sent(&mut plane);
    carries(&mut new);
    assert!(
        sent(&mut plane) >= before + BULK,
        "a new stream is not on QUIC"
    );
    let before = network.client.tcp_sent();
    carries(&mut old);
    let segments = network.client.tcp_sent() - before;
    assert!(
        segments < BULK / 1500 / 2,
        "the old stream has not moved: {segments} segments of TCP"
    );
    for load in loads {
        let (requests, failures) = load.end();
        eprintln!("{requests} requests, {} failed", failures.len());
        assert!(failures.is_empty(), "of {requests}: {failures:#?}");
        assert!(requests >= 10, "only {requests} requests");
    }
    assert_eq!(plane.client.has_ended(), None);
}

/// Starts them with a session on QUIC. On a busy machine TLS might be first.
pub(super) fn on_quic(network: &Network, planes: Builder) -> Plane {
    network.lose(&[Loss::Tcp]);
    let mut plane = planes.start();
    assert_eq!(transports(&mut plane, Side::Client), ["quic"]);
    network.lose(&[]);
    plane
}

/// More than all the rest that crosses a session in the meantime.
const BULK: u64 = 1 << 20;

/// Sends [`Pattern`] through an echo.
fn carries(stream: &mut TcpStream) {
    let mut writer = stream.try_clone().unwrap();
    let sending = thread::spawn(move || io::copy(&mut Pattern::new(BULK), &mut writer).unwrap());
    let mut received = Vec::new();
    stream.take(BULK).read_to_end(&mut received).unwrap();
    sending.join().unwrap();
    let mut expected = Vec::new();
    Pattern::new(BULK).read_to_end(&mut expected).unwrap();
    assert!(received == expected, "the echo is not what was sent");
}

/// What the client has sent over the session that takes its new streams.
fn sent(plane: &mut Plane) -> u64 {
    let status = plane.status(Side::Client);
    status["sessions"][0]["bytes_sent"].as_u64().unwrap()
}

/// A web server.
fn greeter() -> Origin {
    Origin::http(|_, mut stream| {
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello";
        stream.write_all(answer.as_bytes()).unwrap();
    })
}

/// Ten requests a second, one after the other, until it is told to end.
struct Load {
    stop: mpsc::Sender<()>,
    requests: JoinHandle<(usize, Vec<String>)>,
}

impl Load {
    fn start(from: &Arc<Host>, to: SocketAddr, host: &str) -> Self {
        const PACE: Duration = Duration::from_millis(100);
        let (stop, stopped) = mpsc::channel();
        let (from, host) = (Arc::clone(from), host.to_owned());
        let requests = thread::spawn(move || {
            from.enter().unwrap();
            let (mut count, mut failures) = (0, Vec::new());
            while stopped.recv_timeout(PACE) == Err(mpsc::RecvTimeoutError::Timeout) {
                count += 1;
                let answer = Request::get(to, "/", &host).send();
                match answer.and_then(|answer| Ok((answer.status, answer.text()?))) {
                    Ok((200, body)) if body == "hello" => {}
                    other => failures.push(format!("request {count}: {other:?}")),
                }
            }
            (count, failures)
        });
        Self { stop, requests }
    }

    /// How many requests there were, and how those failed that did.
    fn end(self) -> (usize, Vec<String>) {
        self.stop.send(()).unwrap();
        self.requests.join().unwrap()
    }
}
