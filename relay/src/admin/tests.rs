mod http2;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use prometheus_client::registry::Registry;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::serve::Limits;
use super::*;
use crate::settings::ListenAddr;

/// Far longer than anything here takes; a test that reaches it has failed.
const DEADLINE: Duration = Duration::from_secs(20);

const LIMITS: Limits = Limits {
    head: Duration::from_secs(10),
    whole: Duration::from_secs(15),
    connections: 64,
    farewell: Duration::from_secs(10),
    ping: Duration::from_secs(20),
};

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, what)
        .await
        .expect("the deadline of a test")
}

fn admin() -> Admin {
    let mut registry = Registry::default();
    register_process_metrics(&mut registry, "0.1.0");
    Admin {
        status: Arc::new(|| json!({"role": "edge", "sessions": []})),
        readiness: Arc::new(|| Readiness::Ready),
        liveness: Arc::new(|| Box::pin(async { Liveness::Live })),
        registry: Arc::new(registry),
        api: Api::default(),
    }
}

struct Server {
    address: ListenAddr,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

fn serve(address: &str, surface: Surface, limits: Limits, admin: Admin) -> Server {
    let address = ListenAddr::parse(address, Path::new("/")).unwrap();
    let listener = Listener::bind(&address, surface).unwrap();
    let stop = CancellationToken::new();
    let address = listener.address();
    let task = tokio::spawn(listener.serve_within(limits, admin, stop.clone()));
    Server {
        address,
        stop,
        task,
    }
}

fn serve_tcp(surface: Surface, admin: Admin) -> Server {
    serve("127.0.0.1:0", surface, LIMITS, admin)
}

impl Server {
    async fn connect(&self) -> TcpStream {
        match &self.address {
            ListenAddr::Ip(address) => TcpStream::connect(address).await.unwrap(),
            ListenAddr::Unix(path) => panic!("{} is no TCP address", path.display()),
        }
    }

    async fn get(&self, path: &str) -> String {
        exchange(
            self.connect().await,
            &format!("GET {path} HTTP/1.1\r\nhost: {}\r\n\r\n", self.address),
        )
        .await
    }
}

/// Sends a request and returns all that comes until the other end closes.
async fn exchange<IO: AsyncRead + AsyncWrite + Unpin>(mut io: IO, request: &str) -> String {
    io.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    soon(io.read_to_end(&mut answer)).await.unwrap();
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn metrics_are_openmetrics() {
    let server = serve_tcp(Surface::Telemetry, admin());
    let answer = server.get("/metrics").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(
        answer.contains(
            "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n"
        )
    );
    assert!(answer.ends_with("# EOF\n"));
    assert!(answer.contains("\ncauseway_build_info{version=\"0.1.0\"} 1\n"));
    let value = |name: &str| -> f64 {
        let line = answer
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{name} ")));
        line.unwrap_or_else(|| panic!("{name} is missing"))
            .parse()
            .unwrap()
    };
    assert!(value("causeway_process_start_time_seconds") > 1.7e9);
    assert!(value("process_resident_memory_bytes") > 1e6);
    assert!(value("process_open_fds") > 3.0);
}

#[tokio::test]
async fn the_tasks_of_all_workers_are_counted_while_they_last() {
    struct Nothing;
    impl Told for Nothing {
        fn document(&self) -> serde_json::Value {
            json!({})
        }
        fn readiness(&self) -> Readiness {
            Readiness::Ready
        }
    }
    let workers = Arc::new(Workers::start(2, "test").unwrap());
    let admin = Admin::new(Arc::new(Nothing), &workers, Registry::default());
    let server = serve_tcp(Surface::Telemetry, admin);
    let tasks = async |count: usize| {
        let expected = format!("\ncauseway_tasks {count}\n");
        while !server.get("/metrics").await.contains(&expected) {}
    };
    soon(tasks(0)).await;
    let stop = CancellationToken::new();
    for worker in workers.handles() {
        worker.spawn(stop.clone().cancelled_owned());
    }
    soon(tasks(2)).await;
    stop.cancel();
    soon(tasks(0)).await;
    // The workers wait for their threads, which no task of a runtime should.
    tokio::task::spawn_blocking(move || drop(workers))
        .await
        .unwrap();
}

#[tokio::test]
async fn readiness_follows_the_process() {
    let ready = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&ready);
    let readiness = move || match asked.load(Ordering::Relaxed) {
        true => Readiness::Ready,
        false => Readiness::NotReady {
            reasons: vec!["no session".to_owned(), "two\nlines".to_owned()],
        },
    };
    let server = serve_tcp(
        Surface::Telemetry,
        Admin {
            readiness: Arc::new(readiness),
            ..admin()
        },
    );
    let answer = server.get("/readyz").await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(
        answer.ends_with("\r\n\r\nno session\ntwo lines\n"),
        "{answer}"
    );
    ready.store(true, Ordering::Relaxed);
    let answer = server.get("/readyz").await;
    assert!(
        answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\nok\n"),
        "{answer}"
    );
}

/// A thread with an event loop of its own, as workers are.
struct Loop {
    handle: tokio::runtime::Handle,
    end: CancellationToken,
    thread: std::thread::JoinHandle<()>,
}

impl Loop {
    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let end = CancellationToken::new();
        let (handle, ended) = (runtime.handle().clone(), end.clone());
        let thread = std::thread::spawn(move || runtime.block_on(ended.cancelled()));
        Self {
            handle,
            end,
            thread,
        }
    }

    fn end(self) {
        self.end.cancel();
        self.thread.join().unwrap();
    }
}

#[tokio::test]
async fn liveness_names_the_loop_that_does_not_turn() {
    let (idle, busy) = (Loop::start(), Loop::start());
    let (release, released) = std::sync::mpsc::channel::<()>();
    busy.handle.spawn(async move {
        let _ = released.recv();
    });
    let loops = vec![
        ("worker 0".to_owned(), idle.handle.clone()),
        ("worker 1".to_owned(), busy.handle.clone()),
    ];
    let asked = loops.clone();
    let liveness = move || -> BoxFuture<Liveness> { Box::pin(check_loops(asked.clone())) };
    let server = serve_tcp(
        Surface::Admin,
        Admin {
            liveness: Arc::new(liveness),
            ..admin()
        },
    );
    let answer = server.get("/livez").await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(
        answer.ends_with("\r\n\r\nworker 1: its event loop has not turned for 2 s\n"),
        "{answer}"
    );
    release.send(()).unwrap();
    assert_eq!(soon(check_loops(loops.clone())).await, Liveness::Live);
    assert!(server.get("/livez").await.ends_with("\r\n\r\nok\n"));
    idle.end();
    busy.end();
    let ended = [
        "worker 0: its event loop has ended",
        "worker 1: its event loop has ended",
    ];
    assert_eq!(
        soon(check_loops(loops)).await,
        Liveness::Stuck {
            loops: ended.map(str::to_owned).to_vec()
        }
    );
}

#[tokio::test]
async fn each_surface_serves_what_it_should() {
    let full = serve_tcp(Surface::Admin, admin());
    let answer = full.get("/api/status").await;
    assert!(answer.contains("content-type: application/json\r\n"));
    assert!(
        answer.ends_with("\r\n\r\n{\n  \"role\": \"edge\",\n  \"sessions\": []\n}\n"),
        "{answer}"
    );
    assert!(full.get("/").await.contains("/api/status"));
    let some = serve_tcp(Surface::Telemetry, admin());
    for (path, on_admin, on_telemetry) in [
        ("/metrics", 200, 200),
        ("/livez", 200, 200),
        ("/readyz", 200, 200),
        ("/", 200, 404),
        ("/api/status", 200, 404),
        ("/elsewhere", 404, 404),
    ] {
        for (server, status) in [(&full, on_admin), (&some, on_telemetry)] {
            let answer = server.get(path).await;
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status} ")),
                "{path}: {answer}"
            );
            assert!(answer.contains("cache-control: no-store\r\n"));
        }
    }
}

#[tokio::test]
async fn what_is_refused_and_how() {
    let full = serve_tcp(Surface::Admin, admin());
    let some = serve_tcp(Surface::Telemetry, admin());
    let long = format!(
        "GET /{} HTTP/1.1\r\nhost: localhost\r\n\r\n",
        "x".repeat(20_000)
    );
    for (request, on_admin, on_telemetry) in [
        (
            "GET /readyz HTTP/1.1\r\nhost: localhost:7480\r\n\r\n",
            "200",
            "200",
        ),
        (
            "GET /readyz HTTP/1.1\r\nhost: evil.example\r\n\r\n",
            "403",
            "200",
        ),
        (
            "GET /nowhere HTTP/1.1\r\nhost: evil.example\r\n\r\n",
            "403",
            "404",
        ),
        (
            "GET http://evil.example/readyz HTTP/1.1\r\nhost: localhost\r\n\r\n",
            "403",
            "200",
        ),
        ("GET /readyz HTTP/1.1\r\n\r\n", "403", "200"),
        (
            "POST /readyz HTTP/1.1\r\nhost: localhost\r\n\r\n",
            "405",
            "405",
        ),
        (
            "GET /readyz HTTP/1.1\r\nhost: localhost\r\ncontent-length: 3\r\n\r\nabc",
            "413",
            "413",
        ),
        (
            "GET /readyz HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n",
            "413",
            "413",
        ),
        (long.as_str(), "431", "431"),
        ("no HTTP at all\r\n\r\n", "400", "400"),
    ] {
        for (server, status) in [(&full, on_admin), (&some, on_telemetry)] {
            let answer = exchange(server.connect().await, request).await;
            let start = &request[..request.len().min(60)];
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status} ")),
                "{start:?}: {answer}"
            );
        }
    }
}

#[tokio::test]
async fn a_peer_that_says_nothing_is_dropped() {
    let limits = Limits {
        head: Duration::from_millis(50),
        ..LIMITS
    };
    let server = serve("127.0.0.1:0", Surface::Telemetry, limits, admin());
    for said in ["", "GET /readyz HT"] {
        let answer = exchange(server.connect().await, said).await;
        assert!(!answer.contains("200"), "{answer}");
    }
}

#[tokio::test]
async fn an_answer_that_takes_too_long_is_dropped() {
    let never = || -> BoxFuture<Liveness> { Box::pin(std::future::pending()) };
    let limits = Limits {
        whole: Duration::from_millis(50),
        ..LIMITS
    };
    let admin = Admin {
        liveness: Arc::new(never),
        ..admin()
    };
    let server = serve("127.0.0.1:0", Surface::Telemetry, limits, admin);
    assert_eq!(server.get("/livez").await, "");
}

#[tokio::test]
async fn silent_peers_do_not_keep_a_probe_out() {
    let limits = Limits {
        connections: 4,
        ..LIMITS
    };
    let server = serve("127.0.0.1:0", Surface::Telemetry, limits, admin());
    let mut silent = Vec::new();
    for _ in 0..4 {
        silent.push(server.connect().await);
    }
    assert!(server.get("/readyz").await.ends_with("ok\n"));
    let mut nothing = Vec::new();
    // Reset or end, but over: the oldest gave way.
    let _ = soon(silent[0].read_to_end(&mut nothing)).await;
    assert!(nothing.is_empty());
}

#[tokio::test]
async fn a_stop_lets_answers_under_way_finish() {
    let (asked, mut was_asked) = tokio::sync::mpsc::channel(1);
    let gate = Arc::new(tokio::sync::Notify::new());
    let opened = Arc::clone(&gate);
    let liveness = move || -> BoxFuture<Liveness> {
        let (asked, opened) = (asked.clone(), Arc::clone(&opened));
        Box::pin(async move {
            asked.send(()).await.unwrap();
            opened.notified().await;
            Liveness::Live
        })
    };
    let server = serve_tcp(
        Surface::Admin,
        Admin {
            liveness: Arc::new(liveness),
            ..admin()
        },
    );
    let mut idle = server.connect().await;
    let probe = server.connect().await;
    let probe = tokio::spawn(exchange(
        probe,
        "GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n",
    ));
    soon(was_asked.recv()).await.unwrap();
    server.stop.cancel();
    let mut nothing = Vec::new();
    soon(idle.read_to_end(&mut nothing)).await.unwrap();
    gate.notify_one();
    assert!(soon(probe).await.unwrap().ends_with("ok\n"));
    soon(server.task).await.unwrap();
}

#[tokio::test]
async fn a_unix_socket_is_private_and_replaces_only_a_dead_one() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("admin.sock");
    let address = format!("unix:{}", path.display());
    let parsed = ListenAddr::Unix(path.clone());

    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "what a killed process leaves behind");
    let server = serve(&address, Surface::Admin, LIMITS, admin());
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let stream = UnixStream::connect(&path).await.unwrap();
    let answer = exchange(stream, "GET /api/status HTTP/1.1\r\nhost: causeway\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");

    let error = Listener::bind(&parsed, Surface::Admin).unwrap_err();
    assert!(matches!(error, BindError::InUse { .. }), "{error}");
    assert!(
        UnixStream::connect(&path).await.is_ok(),
        "the living one was not disturbed"
    );
    server.stop.cancel();
    soon(server.task).await.unwrap();
    assert!(!path.exists(), "it cleans up");

    std::fs::write(&path, "precious").unwrap();
    let error = Listener::bind(&parsed, Surface::Admin).unwrap_err();
    assert!(matches!(error, BindError::NotASocket { .. }), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");

    let nowhere = ListenAddr::Unix(directory.path().join("missing/admin.sock"));
    let message = Listener::bind(&nowhere, Surface::Admin)
        .unwrap_err()
        .to_string();
    assert!(
        message.ends_with("; create the directory, or set [admin] listen"),
        "{message}"
    );
}
