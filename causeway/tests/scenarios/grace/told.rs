//! What they are told who are in the middle of something when the grace ends: that it broke, in the
//! words of their own protocol, and never that it is complete.

use std::{
    fs,
    io::{self, ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    process::{Command, Stdio},
    sync::Arc,
    thread::{self, JoinHandle},
};

use super::{Line, QUICK, read_head};
use crate::{
    protocols::on_each_transport,
    support::{
        Answer, CLUSTER, DEADLINE, Host, Origin, Pattern, Plane, Process, Request, Side, peer, run,
        wait_for,
    },
};

/// What is sent of everything before the cut, in bytes.
const BEGUN: u64 = 1000;

/// How long the bodies would be.
const WHOLE: u64 = 1_000_000;

/// Exit statuses of curl: a body was cut, and a stream of HTTP/2 was not ended properly.
const PARTIAL_FILE: &str = "exit status: 18";
const HTTP2_STREAM: &str = "exit status: 92";

on_each_transport![nobody_takes_a_cut_link_for_an_end];

fn nobody_takes_a_cut_link_for_an_end(transport: &str) {
    after_the_grace(transport, |line, _| line.cut());
}

#[test]
fn nobody_takes_a_client_that_is_gone_for_an_end() {
    after_the_grace("tls", |_, plane| plane.client.kill());
}

#[test]
fn nobody_takes_an_edge_that_is_gone_for_an_end() {
    let (exposed, upstream) = (Origin::by_hand(), Origin::by_hand());
    let session = format!("{QUICK}grace = \"5s\"\n");
    let mut plane = Plane::builder()
        .expose("db", &exposed.tcp())
        .tcp_ingress("db")
        .forward("up", &upstream.tcp())
        .edge_toml(&session)
        .client_toml(&session)
        .start();
    let mut calling = plane.dial_ingress("db");
    let mut exposed = exposed.accept();
    half_sent(&mut calling, &mut exposed);
    let mut caller = plane.dial_forward("up");
    let mut upstream = upstream.accept();
    half_sent(&mut upstream, &mut caller);

    plane.edge.kill();
    for mut socket in [exposed, caller] {
        assert_eq!(end_of(&mut socket), "reset");
    }
    says_why(&plane.client);
}

/// Someone who waits for the end of something: who, what it must see, and what it does.
struct Witness(String, &'static str, JoinHandle<String>);

impl Witness {
    fn new(
        name: &str,
        sees: &'static str,
        waits: impl FnOnce() -> String + Send + 'static,
    ) -> Self {
        Self(name.to_owned(), sees, thread::spawn(waits))
    }
}

fn after_the_grace(transport: &str, lose: impl FnOnce(&Line, &mut Plane)) {
    let (Some(line), Some(_)) = (Line::lay(), peer("curl")) else {
        return;
    };
    let (Some(rpc), Some(ws)) = (
        line.serve(Side::Client, "grpc_server.py"),
        line.serve(Side::Client, "ws_server.py"),
    ) else {
        return;
    };
    let [db, web] = [(); 2].map(|()| line.network.client.within(Origin::by_hand));
    let up = line.network.edge.within(Origin::by_hand);
    let mut plane = line
        .plane(transport, &format!("{QUICK}grace = \"5s\"\n"))
        .expose("db", &db.tcp())
        .tcp_ingress("db")
        .forward("up", &up.tcp())
        .expose("web", &web.http_target())
        .http_ingress_to("web", &format!("{CLUSTER}/web"))
        .expose("rpc", &format!("h2c://{}", rpc.address()))
        .http_ingress_to("rpc", &format!("{CLUSTER}/rpc"))
        .expose("ws", &format!("http://{}", ws.address()))
        .http_ingress_to("ws", &format!("{CLUSTER}/ws"))
        .start();

    let mut sockets = vec![
        ("a caller of the tcp ingress", plane.dial_ingress("db")),
        ("its origin", db.accept()),
        ("a caller of the forward", plane.dial_forward("up")),
        ("its upstream", up.accept()),
    ];
    for pair in sockets.chunks_mut(2) {
        let [(_, caller), (_, origin)] = pair else {
            unreachable!("there is one origin for each caller")
        };
        half_sent(caller, origin);
        half_sent(origin, caller);
    }
    let callers = Callers {
        host: line.network.edge.clone(),
        ingress: plane.ingress("web"),
        origin: &web,
    };
    let mut witnesses = callers.downloads();
    witnesses.extend(callers.uploads());
    for (client, ingress, sees) in [
        ("grpc_numbered.py", "rpc", "closed INTERNAL"),
        ("ws_numbered.py", "ws", "closed 1006"),
    ] {
        let numbered = line.numbered(Side::Edge, client, plane.ingress(ingress));
        witnesses.push(Witness::new(client, sees, move || numbered.closed()));
    }

    lose(&line, &mut plane);
    for (name, mut socket) in sockets {
        witnesses.push(Witness::new(name, "reset", move || {
            // Where one has heard already, it is told of it as it writes, and only then.
            let written = socket.write_all(b"into the void");
            written.map_or_else(|error| named(&error), |()| end_of(&mut socket))
        }));
    }
    for Witness(name, sees, waits) in witnesses {
        let saw = waits.join().unwrap();
        assert_eq!(saw, sees, "{name} over {transport}");
    }
    says_why(&plane.edge);
}

/// That it was the grace that ended the session.
#[track_caller]
fn says_why(process: &Process) {
    wait_for("the end of the grace in the log", || {
        let log = process.log();
        log.contains("no connection came back in time")
            .then_some(())
    });
}

/// The beginning of something arrives, and its end does not.
pub(super) fn half_sent(from: &mut TcpStream, to: &mut TcpStream) {
    io::copy(&mut Pattern::new(BEGUN), from).unwrap();
    let mut begun = vec![0; BEGUN as usize];
    to.read_exact(&mut begun).unwrap();
}

/// How a socket ends on which nothing more should come.
pub(super) fn end_of(socket: &mut TcpStream) -> String {
    match socket.read(&mut [0]) {
        Ok(0) => "end".to_owned(),
        Ok(_) => "more".to_owned(),
        Err(error) => named(&error),
    }
}

fn named(error: &io::Error) -> String {
    if error.kind() == ErrorKind::ConnectionReset {
        return "reset".to_owned();
    }
    error.to_string()
}

/// Callers of HTTP beside the edge, and the origin that they all have.
struct Callers<'a> {
    host: Arc<Host>,
    ingress: SocketAddr,
    origin: &'a Origin,
}

impl Callers<'_> {
    /// curl in the middle of each kind of answer.
    fn downloads(&self) -> Vec<Witness> {
        let url = format!("http://{}/", self.ingress);
        let length = format!("content-length: {WHOLE}\r\n\r\n");
        let chunked = format!("transfer-encoding: chunked\r\n\r\n{WHOLE:x}\r\n");
        let until_closed = "\r\n".to_owned();
        let versions = [
            ("--http1.1", PARTIAL_FILE),
            ("--http2-prior-knowledge", HTTP2_STREAM),
        ];
        let framings = [length, chunked, until_closed];
        let cases = versions
            .iter()
            .flat_map(|version| framings.iter().map(move |framing| (version, framing)));
        let mut witnesses = Vec::new();
        for ((version, sees), framing) in cases {
            let directory = tempfile::tempdir().unwrap();
            let file = directory.path().join("body");
            let mut curl = Command::new(peer("curl").expect("it was there before"));
            curl.args(["--silent", "--no-buffer", version, &url, "--output"]);
            curl.arg(&file);
            let host = self.host.clone();
            let name = format!("curl {version}, {framing:?}");
            witnesses.push(Witness::new(&name, sees, move || {
                let output = host.within(|| run(&mut curl, Stdio::null()));
                drop(directory);
                output.status.to_string()
            }));
            let mut at_origin = self.origin.accept();
            read_head(&at_origin);
            let head = format!("HTTP/1.1 200 OK\r\n{framing}");
            at_origin.write_all(head.as_bytes()).unwrap();
            io::copy(&mut Pattern::new(BEGUN), &mut at_origin).unwrap();
            wait_for("the beginning of the answer", || {
                let length = fs::metadata(&file).ok()?.len();
                (length == BEGUN).then_some(())
            });
            let name = format!("the origin of {name}");
            witnesses.push(Witness::new(&name, "reset", move || end_of(&mut at_origin)));
        }
        witnesses
    }

    /// Callers in the middle of each kind of body. Nothing of an answer has come, so there is one.
    fn uploads(&self) -> Vec<Witness> {
        let mut witnesses = Vec::new();
        for (header, value, before) in [
            ("content-length", WHOLE.to_string(), String::new()),
            (
                "transfer-encoding",
                "chunked".to_owned(),
                format!("{WHOLE:x}\r\n"),
            ),
        ] {
            let request =
                Request::new(self.ingress, "POST", "/", "app.test").header(header, &value);
            let mut sending = self.host.within(|| request.connect()).unwrap();
            sending.set_read_timeout(Some(DEADLINE)).unwrap();
            sending.write_all(before.as_bytes()).unwrap();
            io::copy(&mut Pattern::new(BEGUN), &mut sending).unwrap();
            let mut at_origin = self.origin.accept();
            read_head(&at_origin);
            let mut arrived = vec![0; before.len() + BEGUN as usize];
            at_origin.read_exact(&mut arrived).unwrap();
            let name = format!("an upload with {header}");
            witnesses.push(Witness::new(&name, "502 grace_expired", move || {
                let answer = Answer::read(sending).unwrap();
                let error = answer.header("causeway-error").unwrap_or_default();
                format!("{} {error}", answer.status)
            }));
            let name = format!("the origin of {name}");
            witnesses.push(Witness::new(&name, "reset", move || end_of(&mut at_origin)));
        }
        witnesses
    }
}
