use std::sync::Arc;

use relay::admin::{Admin, Api, Listener, Liveness, Readiness, Surface};
use relay::settings::ListenAddr;
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::*;

fn edge_status() -> Value {
    json!({
        "role": "edge", "version": "0.1.0", "identity": "spiffe://causeway.local/edge/edge-1",
        "certificate_expires": "2027-11-20T12:00:00Z", "started": "2026-11-20T11:00:00Z",
        "ready": true, "reasons": [],
        "config": {"file": "edge.toml", "loaded": "2026-11-20T11:59:00Z", "reload_failures": 2},
        "listen": {"tunnel": ["127.0.0.1:7443", "[::1]:7443"], "admin": "127.0.0.1:7480"},
        "sessions": [{
            "id": "s1", "peer": "acme/demo", "transport": "quic", "remote": "127.0.0.1:5000",
            "since": "2026-11-20T11:58:30Z", "rtt_ms": 0.21, "streams": 3, "bytes_sent": 1536,
            "bytes_received": 20, "key_exchange": "X25519MLKEM768", "version": "0.1.0",
            "replica": "r\u{1b}[31m", "services": ["hello", "db"],
            "health": {"hello": "off", "db": "failing"},
        }],
        "ingresses": [{"name": "web", "kind": "http", "listen": ["127.0.0.1:8080"], "to": "{service}.localhost"}],
        "upstreams": [],
    })
}

fn client_status() -> Value {
    json!({
        "role": "client", "version": "0.1.0", "started": "2026-11-20T11:59:58Z", "sessions": [], "retired_sessions": [],
        "exposes": [
            {"service": "db", "target": "tcp://127.0.0.1:5432", "health": {"state": "failing", "since": "2026-11-20T11:59:30Z", "error": "refused\u{1b}"}},
            {"service": "hello", "target": "hello", "health": {"state": "off", "since": "2026-11-20T11:59:58Z"}},
        ],
        "forwards": [{"service": "state", "listen": ["127.0.0.1:40002"]}],
        "discovery": {"names": [
            {"name": "edge.example.com", "state": "denied", "records": 0, "error": "the name does not exist (NXDOMAIN)"},
            {"name": "apps.example.com", "state": "stale", "records": 2, "stale_for_s": 90.5, "error": "no answer"},
            {"name": "example.org", "state": "fresh", "records": 1, "fresh_for_s": 3},
        ]},
        "dialing": {"state": "waiting", "attempt": 3, "last_error": "connection refused", "next_attempt_in_ms": 500},
        "novelty": {"a": 1},
    })
}

fn report(status: Value, not_ready: &[&str]) -> Report {
    let Value::Object(status) = status else {
        panic!("a status is an object")
    };
    Report {
        address: "127.0.0.1:7480".parse().unwrap(),
        status,
        not_ready: not_ready.iter().map(ToString::to_string).collect(),
        ready: not_ready.is_empty(),
    }
}

fn view(status: Value, not_ready: &[&str], paint: Paint) -> String {
    let now = OffsetDateTime::parse("2026-11-20T12:00:00Z", &Rfc3339).unwrap();
    View {
        report: &report(status, not_ready),
        now,
        paint,
    }
    .to_string()
}

#[test]
fn an_edge_at_a_glance() {
    assert_eq!(
        view(edge_status(), &[], Paint::Plain),
        r"edge 0.1.0  ready  http://127.0.0.1:7480
  identity    spiffe://causeway.local/edge/edge-1
  certificate expires in 365d, 2027-11-20T12:00:00Z
  up          1h 0m
  config      edge.toml, loaded 1m 0s ago, 2 failed reloads since
  tunnel      127.0.0.1:7443, [::1]:7443

  sessions: 1
    PEER       TRANSPORT  REMOTE          UP      RTT     STREAMS  SENT     RECEIVED  KEY EXCHANGE    VERSION  REPLICA      SERVICES
    acme/demo  quic       127.0.0.1:5000  1m 30s  0.2 ms  3        1.5 KiB  20 B      X25519MLKEM768  0.1.0    r\u{1b}[31m  hello, db (failing)

  ingresses: 1
    NAME  KIND  LISTEN          TO
    web   http  127.0.0.1:8080  {service}.localhost

  upstreams: none
"
    );
}

#[test]
fn the_names_of_an_edge_have_a_section() {
    let mut status = edge_status();
    status["dns"] = json!({
        "zone": "apps.example.com.", "provider": "rfc2136", "serial": 7, "rounds": 3, "last_read": "2026-11-20T11:59:00Z",
        "counts": {"in_sync": 12, "pending": 1, "foreign": 2, "failed": 0}, "held_count": 4,
        "last_round": {"ended": "2026-11-20T11:59:55Z", "outcome": "unread", "message": "no answer\u{1b}"},
    });
    let shown = view(status.clone(), &[], Paint::Plain);
    let expected = "
  dns: apps.example.com, provider rfc2136, serial 7
    names       12 in sync, 1 pending, 2 foreign, 0 failed
    held        4 that are not wanted any more
    last round  unread, 5s ago
    because     no answer\\u{1b}

  sessions: 1
";
    assert!(shown.contains(expected), "{shown}");
    status["dns"]["last_read"] = Value::Null;
    let shown = view(status.clone(), &[], Paint::Plain);
    assert!(
        shown.contains("\n    names       not known: the zone has not been read yet\n"),
        "{shown}"
    );
    status["dns"] = Value::Null;
    let shown = view(status, &[], Paint::Plain);
    assert_eq!(shown, view(edge_status(), &[], Paint::Plain));
}

#[test]
fn a_file_that_was_rejected_says_why_line_by_line() {
    let mut status = edge_status();
    status["config"]["last_error"] = json!("edge.toml:3:1: a: b\nedge.toml:4:1: \u{1b}");
    let shown = view(status, &[], Paint::Plain);
    let expected = "2 failed reloads since
  rejected    edge.toml:3:1: a: b
  rejected    edge.toml:4:1: \\u{1b}
  tunnel ";
    assert!(shown.contains(expected), "{shown}");
}

#[test]
fn mistakes_of_a_file_are_one_line() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("f.toml");
    for (text, said) in [("", "has a mistake"), ("[listen]\nx = 1", "has 2 mistakes")] {
        std::fs::write(&file, format!("[admin]\nlisten = \"127.0.0.1:1\"\n{text}")).unwrap();
        let found = address::of_config(&file).unwrap();
        let note = note(&file, &found.mistakes.unwrap());
        assert!(note.contains(said) && note.lines().count() == 1, "{note}");
    }
}

#[test]
fn a_client_that_cannot_connect() {
    assert_eq!(
        view(client_status(), &["no session with an edge"], Paint::Plain),
        "client 0.1.0  not ready  http://127.0.0.1:7480
  because     no session with an edge
  up          2s
  discovery   edge.example.com denied: the name does not exist (NXDOMAIN)
  discovery   apps.example.com stale, 2 found, 1m 30s too old: no answer
  discovery   example.org fresh, 1 found
  dialing     waiting, attempt 3, next in 0.5s
  last error  connection refused
  novelty     {\"a\":1}

  sessions: none

  exposes: 2
    SERVICE  TARGET                HEALTH
    db       tcp://127.0.0.1:5432  failing 30s: refused\\u{1b}
    hello    hello                 off

  forwards: 1
    SERVICE  LISTEN
    state    127.0.0.1:40002
"
    );
}

#[test]
fn sessions_that_were_left_are_shown_while_there_are_any() {
    let mut status = client_status();
    let retired = json!({"id": "s1", "peer": "edge-1", "transport": "tls", "remote": "192.0.2.1:7443", "suspect": false, "streams": 2});
    status["retired_sessions"] = json!([retired]);
    let shown = view(status, &[], Paint::Plain);
    let section = "
  retired sessions: 1
    PEER    TRANSPORT  REMOTE          STREAMS
    edge-1  tls        192.0.2.1:7443  2
";
    assert!(shown.contains(section), "{shown}");
}

#[test]
fn whatever_a_status_is_it_can_be_shown() {
    assert_eq!(
        view(json!({"role": 7}), &[], Paint::Plain),
        "7  ready  http://127.0.0.1:7480\n"
    );
    let odd = json!({
        "role": null, "started": 1, "sessions": [null, 3], "listen": [], "config": "x", "dialing": "y",
        "exposes": {}, "certificate_expires": "soon", "ingresses": [{"listen": {"a": "\u{1b}"}}],
    });
    let shown = view(odd, &[], Paint::Colours);
    assert!(
        shown.starts_with("\u{1b}[1m\u{1b}[0m  \u{1b}[1;32mready\u{1b}[0m  "),
        "{shown}"
    );
    assert_eq!(shown.matches('\u{1b}').count(), 4, "only our own colours");
}

#[test]
fn an_expired_certificate_is_called_so() {
    let status = json!({"role": "edge", "certificate_expires": "2026-11-20T11:00:00Z"});
    assert!(view(status, &[], Paint::Plain).contains("expires 1h 0m ago: expired"));
}

struct Process {
    address: AdminAddress,
    _stop: tokio_util::sync::DropGuard,
}

fn process(listen: &str, readiness: Readiness) -> Process {
    let listen = ListenAddr::parse(listen, Path::new("/")).unwrap();
    let listener = Listener::bind(&listen, Surface::Admin).unwrap();
    let address = match listener.address() {
        ListenAddr::Ip(address) => address.to_string().parse().unwrap(),
        ListenAddr::Unix(path) => AdminAddress::Unix(path),
    };
    let admin = Admin {
        status: Arc::new(edge_status),
        readiness: Arc::new(move || readiness.clone()),
        liveness: Arc::new(|| Box::pin(async { Liveness::Live })),
        registry: Arc::default(),
        api: Api::default(),
    };
    let stop = CancellationToken::new();
    tokio::spawn(listener.serve(admin, stop.clone()));
    Process {
        address,
        _stop: stop.drop_guard(),
    }
}

#[tokio::test]
async fn a_process_is_asked_over_tcp_and_over_a_unix_socket() {
    let directory = tempfile::tempdir().unwrap();
    let unix = format!("unix:{}", directory.path().join("admin.sock").display());
    let not_ready = Readiness::NotReady {
        reasons: vec!["draining".to_owned()],
    };
    for (listen, readiness, ready, reasons) in [
        ("127.0.0.1:0", Readiness::Ready, true, json!([])),
        (unix.as_str(), not_ready, false, json!(["draining"])),
    ] {
        let process = process(listen, readiness);
        let json = fetch(&process.address).await.unwrap().to_json();
        assert_eq!(json["role"], "edge");
        assert_eq!(json["admin"], process.address.to_string());
        assert_eq!(
            (&json["ready"], &json["reasons"]),
            (&Value::Bool(ready), &reasons)
        );
    }
}

#[tokio::test]
async fn whoever_answers_is_shown_and_silence_is_explained() {
    let process = process("127.0.0.1:0", Readiness::Ready);
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let free: AdminAddress = nobody.local_addr().unwrap().to_string().parse().unwrap();
    drop(nobody);

    let look = Look::at(&[free.clone(), process.address.clone()]).await;
    assert_eq!((look.reports.len(), look.errors.len()), (1, 1));
    assert_eq!(look.notes(), None, "nobody at the other address is no news");
    let lines = look.render(true, Paint::Plain);
    assert_eq!(lines.lines().count(), 1);
    assert_eq!(
        serde_json::from_str::<Value>(&lines).unwrap()["version"],
        "0.1.0"
    );

    let error = once(std::slice::from_ref(&free), false)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with(&format!(
            "no causeway listens at {free} (Connection refused"
        )),
        "{error}"
    );
    assert!(
        error.contains("start one with `causeway quickstart`"),
        "{error}"
    );
}

#[tokio::test]
async fn another_server_is_not_taken_for_a_causeway() {
    let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: AdminAddress = other.local_addr().unwrap().to_string().parse().unwrap();
    let answers = [
        "HTTP/1.1 404 Not Found\r\ncontent-length: 7\r\n\r\nno \x1b[1m",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]",
        "220 smtp\r\n",
    ];
    tokio::spawn(async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        for answer in answers {
            let (mut peer, _) = other.accept().await.unwrap();
            let _ = peer.read(&mut [0; 1024]).await;
            peer.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    let error = fetch(&address).await.unwrap_err();
    let text = error.to_string();
    assert!(
        text.ends_with(
            "not a causeway's admin listener: /api/status is 404 Not Found: no \\u{1b}[1m"
        ),
        "{text}"
    );
    let text = fetch(&address).await.unwrap_err().to_string();
    assert!(text.ends_with("its /api/status is no status"), "{text}");
    let error = fetch(&address).await.unwrap_err();
    assert!(
        matches!(error, FetchError::Broken { .. }) && !error.is_nobody_there(),
        "{error}"
    );
}

#[test]
fn a_frame_draws_over_the_last_one() {
    assert_eq!(frame("a\nb\n"), "\x1b[Ha\x1b[K\r\nb\x1b[K\r\n\x1b[J");
}
