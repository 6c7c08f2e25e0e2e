use serde_json::{Map, json};
use tokio::net::UdpSocket;

use super::*;
use crate::control::{Control, ControlError};
use crate::proxy::control::Handle;

/// A proxy with a control listener.
struct Controlled {
    bed: Bed,
    control: SocketAddr,
    serving: JoinHandle<()>,
}

impl Controlled {
    async fn start(protocols: Protocols) -> Self {
        let (_listener, to) = server().await;
        let to = to.to_string().parse().unwrap();
        let faults = Faults::none(protocols);
        let proxy = Proxy::bind(loopback(), to, faults, Options::default(), "--listen").unwrap();
        let control = Control::bind(&ListenAddr::Ip(loopback()), "--control").unwrap();
        let ListenAddr::Ip(address) = control.address() else {
            panic!("it is bound to an address");
        };
        let name = Map::from_iter([("name".to_owned(), "demo".into())]);
        let handle = Handle::of(&proxy).with(name);
        Self {
            bed: Bed {
                address: proxy.address(),
                faults: proxy.faults(),
                observer: proxy.observer(),
                running: tokio::spawn(proxy.run()),
            },
            control: address,
            serving: tokio::spawn(control.serve(handle)),
        }
    }

    /// The status and the body of an answer.
    async fn ask(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        self.ask_as("127.0.0.1", method, path, body).await
    }

    async fn ask_as(&self, host: &str, method: &str, path: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.control).await.unwrap();
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let answer = String::from_utf8(read_all(&mut stream).await.unwrap()).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, body.to_owned())
    }

    async fn json(&self, method: &str, path: &str, body: &str) -> Value {
        let (status, body) = self.ask(method, path, body).await;
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    }
}

impl Drop for Controlled {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

#[tokio::test]
async fn faults_are_put_looked_at_and_deleted() {
    let it = Controlled::start(Protocols::Both).await;
    let in_force = it
        .json("PUT", "/faults/latency", "{\"delay\": \"2s\"}")
        .await;
    let latency = json!({"latency": {"delay": "2s", "jitter": "0s"}});
    assert_eq!(in_force, json!({"up": latency, "down": latency}));
    assert_eq!(it.json("GET", "/faults", "").await, in_force);
    it.json("PUT", "/faults/cut/up", "").await;
    assert!(it.bed.faults.now().has(Kind::Cut, Direction::Up));
    assert!(!it.bed.faults.now().has(Kind::Cut, Direction::Down));
    let in_force = it.json("DELETE", "/faults/latency/down", "").await;
    assert_eq!(in_force["down"], json!({}));
    let in_force = it.json("DELETE", "/faults", "").await;
    assert_eq!(in_force, json!({"up": {}, "down": {}}));
}

#[tokio::test]
async fn a_fault_for_a_time_ends_by_itself() {
    let it = Controlled::start(Protocols::Both).await;
    let in_force = it.json("PUT", "/faults/cut?for=200ms", "").await;
    assert!(in_force["down"]["cut"]["for"].is_string(), "{in_force}");
    wait_for("the end of the cut", || {
        !it.bed.faults.now().has(Kind::Cut, Direction::Down)
    })
    .await;
}

#[tokio::test]
async fn connections_and_status_tell_what_passes() {
    let it = Controlled::start(Protocols::Udp).await;
    let caller = UdpCaller::to(it.bed.address).await;
    wait_for("the datagram", || it.bed.observer.totals().bytes_up == 5).await;
    let connections = it.json("GET", "/connections", "").await;
    assert_eq!(connections[0]["protocol"], "udp");
    assert_eq!(connections[0]["caller"], caller.address.to_string());
    assert_eq!(connections[0]["bytes_up"], 5);
    let age = connections[0]["age_ms"].as_u64().unwrap();
    assert!(connections[0]["silent_ms"].as_u64().unwrap() <= age);
    let status = it.json("GET", "/status", "").await;
    assert_eq!(status["totals"]["open"], 1);
    assert_eq!(status["listen"], it.bed.address.to_string());
    assert_eq!(status["name"], "demo");
}

/// Somebody who has sent five bytes.
struct UdpCaller {
    address: SocketAddr,
    _socket: UdpSocket,
}

impl UdpCaller {
    async fn to(address: SocketAddr) -> Self {
        let socket = UdpSocket::bind(loopback()).await.unwrap();
        socket.send_to(b"hello", address).await.unwrap();
        Self {
            address: socket.local_addr().unwrap(),
            _socket: socket,
        }
    }
}

#[tokio::test]
async fn refusals_say_what_would_be_right() {
    let it = Controlled::start(Protocols::Tcp).await;
    for (method, path, body, status, error) in [
        (
            "PUT",
            "/faults/lag",
            "",
            404,
            "there is no fault \\\"lag\\\"; there is latency",
        ),
        (
            "PUT",
            "/faults/cut/left",
            "",
            404,
            "there is no direction \\\"left\\\"",
        ),
        (
            "PUT",
            "/faults/latency",
            "{\"delay\": 5}",
            400,
            "has no unit; write one of ms, s",
        ),
        (
            "PUT",
            "/faults/latency",
            "delay=5s",
            400,
            "the body must be a JSON object",
        ),
        (
            "PUT",
            "/faults/latency?delay=5s",
            "",
            400,
            "parameters are in the body",
        ),
        (
            "PUT",
            "/faults/cut?for=0s",
            "",
            400,
            "for: 0s is over before it begins",
        ),
        (
            "PUT",
            "/faults/bandwidth",
            "{\"rate\": \"10Mb\"}",
            400,
            "such as 64KiB, or of bits a second in kbit, Mbit or Gbit, such as 10Mbit",
        ),
        (
            "PUT",
            "/faults/loss",
            "",
            400,
            "loss is for UDP, and this proxy passes TCP only",
        ),
        (
            "DELETE",
            "/faults/cut",
            "",
            404,
            "there is no cut in force there",
        ),
        ("POST", "/faults", "", 405, "not by this method"),
        ("GET", "/toxics", "", 404, "no such path"),
    ] {
        let (found, body) = it.ask(method, path, body).await;
        assert_eq!(found, status, "{method} {path}: {body}");
        assert!(body.contains(error), "{method} {path}: {body}");
    }
    let (status, _) = it.ask_as("evil.example", "GET", "/faults", "").await;
    assert_eq!(status, 403);
    let (status, index) = it.ask("GET", "/", "").await;
    assert!(status == 200 && index.contains("PUT    /faults/KIND"));
}

#[test]
fn control_is_for_this_machine_only() {
    let address = "0.0.0.0:0".parse().unwrap();
    let error = Control::bind(&ListenAddr::Ip(address), "--here").unwrap_err();
    assert!(matches!(error, ControlError::NotLocal { .. }));
    let error = error.to_string();
    assert!(
        error.starts_with("--here 0.0.0.0:0: whoever reaches it"),
        "{error}"
    );
}

#[tokio::test]
async fn what_is_taken_is_told_with_the_argument_to_change() {
    let udp = UdpSocket::bind(loopback()).await.unwrap();
    let taken = udp.local_addr().unwrap();
    let (_listener, to) = server().await;
    let to = to.to_string().parse().unwrap();
    let faults = Faults::none(Protocols::Udp);
    let error = Proxy::bind(taken, to, faults, Options::default(), "--tunnel").unwrap_err();
    let error = error.to_string();
    assert!(
        error.ends_with("take another port with --tunnel"),
        "{error}"
    );

    let (_listener, taken) = server().await;
    let error = Control::bind(&ListenAddr::Ip(taken), "--dir").unwrap_err();
    let error = error.to_string();
    assert!(error.ends_with("or set --dir"), "{error}");
}
