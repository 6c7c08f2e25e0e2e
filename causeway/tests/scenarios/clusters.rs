//! The Cluster Service: what is behind a client turns bad and good again, and clients come and go;
//! whoever asks the edge for it sees so, in JSON and by gRPC.

use std::{fs, net::SocketAddr, path::PathBuf, process::Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{
    Origin, Plane, Process, Server, Side, address_for_server, causeway, listens, nginx,
    refusing_address, run, script, wait_for,
};

/// Checks that come to a verdict soon.
const QUICK: &str = "health_interval = \"200ms\"\nhealth_rise = 2\nhealth_fall = 3\n";

/// nginx with a page that is there, or not.
struct Site {
    directory: TempDir,
    address: SocketAddr,
    _process: Process,
}

impl Site {
    fn start() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("healthz"), "fine").unwrap();
        let address = address_for_server();
        let root = directory.path().display();
        let process = nginx(
            directory.path(),
            &format!(
                "server {{ listen {address}; root {root}; location / {{ try_files $uri =503; }} }}"
            ),
        )?;
        listens("nginx", address);
        Some(Self {
            directory,
            address,
            _process: process,
        })
    }

    fn set_healthy(&self, healthy: bool) {
        let page = self.directory.path().join("healthz");
        if healthy {
            fs::write(page, "fine").unwrap();
        } else {
            fs::remove_file(page).unwrap();
        }
    }
}

#[test]
fn services_turn_bad_and_good_again_and_the_edge_sees_it() {
    let Some(mut serving) = script("health_server.py") else {
        return;
    };
    let Some(site) = Site::start() else { return };
    let calls = Server::start("health_server.py", &mut serving);
    let sleeper = Origin::echo();
    let (nobody, _held) = refusing_address();
    let h2c = format!("h2c://{}", calls.address());
    let grpc = format!("{QUICK}health = \"grpc\"\n");
    let named = format!("{grpc}health_service = \"causeway.peers.v1.Interop\"\n");
    let asleep = format!("{grpc}health_service = \"asleep\"\n");
    let strange = format!("{grpc}health_service = \"no.such.Service\"\n");
    let http = format!("{QUICK}health = \"http\"\nhealth_path = \"/healthz\"\n");
    let web = format!("http://{}", site.address);
    let mut plane = Plane::builder()
        .expose_checked("site", &web, &http)
        .expose_checked("calls", &h2c, &grpc)
        .expose_checked("named", &h2c, &named)
        .expose_checked("asleep", &h2c, &asleep)
        .expose_checked("strange", &h2c, &strange)
        .expose_checked("no-grpc", &h2c.replace("h2c", "tcp"), &http)
        .expose_checked("nobody", &format!("tcp://{nobody}"), QUICK)
        .expose_checked("echo", &sleeper.tcp(), "health = \"off\"\n")
        .expose("hello", "hello")
        .tcp_ingress("nobody")
        .start();

    let at_first = [
        ("site", "healthy", Value::Null, Value::Null),
        ("calls", "healthy", Value::Null, Value::Null),
        ("named", "healthy", Value::Null, Value::Null),
        (
            "asleep",
            "failing",
            "not_serving".into(),
            "NOT_SERVING".into(),
        ),
        (
            "strange",
            "failing",
            "grpc_status".into(),
            "5 NOT_FOUND".into(),
        ),
        ("no-grpc", "failing", "bad_answer".into(), Value::Null),
        ("nobody", "failing", "refused".into(), Value::Null),
        ("echo", "off", Value::Null, Value::Null),
        ("hello", "off", Value::Null, Value::Null),
    ];
    for (service, state, reason, detail) in at_first {
        let seen = sees(&plane, service, state);
        assert_eq!(
            (&seen["reason"], &seen["detail"]),
            (&reason, &detail),
            "{service}"
        );
        assert!(seen["since"].is_string(), "{service}");
    }

    site.set_healthy(false);
    calls.signal("USR1");
    let failing = sees(&plane, "site", "failing");
    assert_eq!(
        (&failing["reason"], &failing["detail"]),
        (&"http_status".into(), &"503".into())
    );
    assert_eq!(sees(&plane, "calls", "failing")["detail"], "NOT_SERVING");
    sees(&plane, "named", "failing");
    let shown = status_of(&plane, Side::Client);
    assert!(
        shown.contains("answered 503 Service Unavailable"),
        "{shown}"
    );
    let shown = status_of(&plane, Side::Edge);
    assert!(shown.contains("site (failing)"), "{shown}");
    assert!(!shown.contains("echo (failing)"), "{shown}");
    let edge = plane.metrics(Side::Edge);
    assert!(
        edge.contains("\ncauseway_service_health{state=\"failing\"} 7\n"),
        "{edge}"
    );
    assert!(
        edge.contains("\ncauseway_clusters{state=\"connected\"} 1\n"),
        "{edge}"
    );
    assert!(!edge.contains("\"site\""), "no word of a peer's");
    let client = plane.metrics(Side::Client);
    for series in [
        "causeway_service_health{service=\"site\",state=\"failing\"} 1",
        "causeway_service_health{service=\"site\",state=\"healthy\"} 0",
        "causeway_health_checks_total{service=\"site\",outcome=\"http_status\"}",
        "causeway_health_checks_total{service=\"calls\",outcome=\"good\"}",
    ] {
        assert!(
            client.contains(&format!("\n{series}")),
            "{series}: {client}"
        );
    }
    // A failing service is reported; its streams are dialled as ever.
    let mut caller = plane.dial_ingress("nobody");
    assert!(
        std::io::Read::read(&mut caller, &mut [0]).is_err(),
        "dialled, and reset"
    );

    site.set_healthy(true);
    calls.signal("USR2");
    for service in ["site", "calls", "named"] {
        sees(&plane, service, "healthy");
    }
    let story = changes(&plane);
    let of_site: Vec<_> = story
        .iter()
        .filter(|change| change["service"] == "site")
        .collect();
    let steps: Vec<_> = of_site
        .iter()
        .map(|change| {
            (
                change["from"].as_str().unwrap(),
                change["to"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        steps[steps.len() - 2..],
        [("healthy", "failing"), ("failing", "healthy")],
        "{story:?}"
    );
    assert_eq!(sleeper.accepted(), 0, "what sleeps may sleep");
    assert_eq!(sees(&plane, "echo", "off")["state"], "off");
}

#[test]
fn a_reload_takes_new_checks_over_and_keeps_what_is_known() {
    let kept = Origin::echo();
    let (nobody, _held) = refusing_address();
    let mut plane = Plane::builder()
        .expose_checked("kept", &kept.tcp(), "health_interval = \"1h\"\n")
        .expose_checked("changed", &format!("tcp://{nobody}"), QUICK)
        .start();
    let before = sees(&plane, "kept", "healthy")["since"].clone();
    sees(&plane, "changed", "failing");
    let looked = kept.accepted();
    assert_eq!(looked, 1, "once an hour");
    let config = plane.config(Side::Client);
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace(QUICK, "health = \"off\"\n")).unwrap();
    plane.client.signal("HUP");
    sees(&plane, "changed", "off");
    assert_eq!(sees(&plane, "kept", "healthy")["since"], before);
    assert_eq!(kept.accepted(), looked, "not looked at again");
    let client = plane.status(Side::Client);
    assert_eq!(client["exposes"][0]["health"]["state"], "off", "{client}");
}

#[test]
fn a_client_that_goes_and_comes_shows_in_the_changes_of_the_day() {
    let mut plane = Plane::builder().expose("hello", "hello").start();
    let (_, connected) = plane.ask("/api/clusters/acme/demo");
    assert_eq!(connected["state"], "connected");
    let session = &connected["sessions"][0];
    assert_eq!(session["edge"], "edge-1");
    for key in [
        "since",
        "last_heard",
        "certificate_expires",
        "transport",
        "version",
        "remote",
    ] {
        assert!(session[key].is_string(), "{key}: {session}");
    }
    assert!(session["rtt_ms"].as_f64().unwrap() > 0.0);
    plane.client.signal("TERM");
    plane.client.ended();
    wait_for("its end", || {
        let (_, cluster) = plane.ask("/api/clusters/acme/demo");
        (cluster["state"] == "disconnected").then_some(())
    });
    let (_, gone) = plane.ask("/api/clusters/acme/demo");
    assert_eq!(gone["sessions"], Value::Array(Vec::new()));
    assert_eq!(
        gone["services"][0]["service"], "hello",
        "what it had is still told"
    );
    assert!(gone["last_heard"].is_string() && gone["version"].is_string());
    let (_, listed) = plane.ask("/api/clusters?state=connected");
    assert_eq!(listed["clusters"], Value::Array(Vec::new()));
    plane.start_again(Side::Client);
    plane.await_session();
    let kinds: Vec<_> = changes(&plane)
        .iter()
        .map(|change| change["what"].clone())
        .collect();
    assert_eq!(kinds, ["connected", "disconnected", "connected"]);
    let (_, listed) = plane.ask("/api/clusters?tenant=acme&limit=1");
    assert_eq!(listed["clusters"][0]["cluster"], "demo");
    assert_eq!(listed["next"], Value::Null);
}

#[test]
fn a_client_that_was_killed_and_is_back_has_replaced_its_session() {
    // Over TCP, the edge would see the end of its process at once.
    let mut plane = Plane::builder()
        .expose("hello", "hello")
        .transport("quic")
        .start();
    let first = changes(&plane)[0]["session"].clone();
    plane.client.kill();
    plane.start_again(Side::Client);
    let last = wait_for("the session of the new process", || {
        let last = changes(&plane).pop()?;
        (last["session"] != first).then_some(last)
    });
    assert_eq!(last["what"], "session_replaced", "{last}");
    assert_eq!(last["replaced"], first);
    plane.await_session();
    let kinds: Vec<_> = changes(&plane)
        .iter()
        .map(|change| change["what"].clone())
        .collect();
    assert_eq!(kinds, ["connected", "session_replaced"]);
}

#[test]
fn what_is_asked_wrongly_is_said() {
    let plane = Plane::builder().expose("hello", "hello").start();
    for (path, status, said) in [
        (
            "/api/clusters?limit=0",
            400,
            "limit: \"0\" is not a number from 1 to 1000",
        ),
        ("/api/clusters?state=gone", 400, "state: \"gone\" is none"),
        (
            "/api/clusters/acme/none",
            404,
            "acme/none has no session with edge edge-1",
        ),
        ("/api/clusters/acme/No", 404, "is not a valid name"),
    ] {
        let (answered, document) = plane.ask(path);
        let error = document["error"].as_str().unwrap();
        assert!(
            answered == status && error.contains(said),
            "{answered} {document}"
        );
    }
    let (_, unknown) = plane.ask("/api/clusters/other/none");
    assert_eq!(unknown["known"][0], "acme/demo", "what there is");
}

#[test]
fn a_watch_by_grpcio_sees_it_and_goes_on_where_it_was() {
    let mut plane = Plane::builder().expose("hello", "hello").start();
    let Some(watch) = Watch::start(&plane, "cluster_client.py", &[]) else {
        return;
    };
    watch.says("cluster acme/demo connected services hello=off");
    let synced = watch.says("synced");
    plane.client.signal("TERM");
    plane.client.ended();
    watch.says("cluster acme/demo disconnected services hello=off changes disconnected");
    plane.start_again(Side::Client);
    plane.await_session();
    watch.says("cluster acme/demo connected services hello=off changes connected");

    // "synced  at INSTANCE VERSION"
    let words: Vec<_> = synced.split_whitespace().collect();
    let [_, "at", instance, version] = words[..] else {
        panic!("{synced}");
    };
    let later = Watch::start(&plane, "cluster_client.py", &[instance, version]).unwrap();
    let first = later.says("cluster acme/demo connected");
    assert!(first.contains("changes disconnected,connected "), "{first}");
    assert!(
        !later.process.log().contains("resync"),
        "nothing was missed"
    );
    let stranger = Watch::start(&plane, "cluster_client.py", &["another", version]).unwrap();
    stranger.says("resync");
    stranger.says("cluster acme/demo connected");

    let begun = std::time::Instant::now();
    plane.edge.signal("TERM");
    plane.edge.ended();
    watch.says("ended UNAVAILABLE the edge is stopping");
    eprintln!("an edge with watchers stops within {:?}", begun.elapsed());
}

#[test]
fn a_watch_by_grpc_js_sees_it() {
    let mut plane = Plane::builder().expose("hello", "hello").start();
    let Some(watch) = Watch::start(&plane, "cluster_client.js", &[]) else {
        return;
    };
    watch.says("cluster acme/demo connected services hello=off");
    watch.says("synced");
    plane.client.signal("TERM");
    plane.client.ended();
    watch.says("cluster acme/demo disconnected services hello=off");
    let listed = call(&plane, "cluster_client.js", "list", &["acme", "0"]);
    assert_eq!(
        listed,
        "acme/demo disconnected services hello=off\nended OK\n"
    );
    let missing = call(&plane, "cluster_client.js", "get", &["acme", "none"]);
    assert!(
        missing.starts_with("ended NOT_FOUND acme/none has no session"),
        "{missing}"
    );
}

#[test]
fn calls_by_grpcio_and_what_they_are_refused_for() {
    let plane = Plane::builder()
        .expose("hello", "hello")
        .transport("quic")
        .start();
    let ask = |method: &str, rest: &[&str]| call(&plane, "cluster_client.py", method, rest);
    if script("cluster_client.py").is_none() {
        return;
    }
    let list = ask("list", &["", "0"]);
    let expected = "acme/demo connected services hello=off changes \n\
        session quic edge-1 causeway rtt True\nnext none\nended OK\n";
    assert_eq!(list, expected);
    assert_eq!(ask("list", &["globex", "5"]), "next none\nended OK\n");
    let got = ask("get", &["acme", "demo"]);
    assert!(
        got.starts_with("acme/demo connected services hello=off changes connected\n"),
        "{got}"
    );
    for (method, rest, expected) in [
        (
            "list",
            ["acme", "1001"],
            "ended INVALID_ARGUMENT limit: at most 1000",
        ),
        ("list", ["Acme", "1"], "ended INVALID_ARGUMENT tenant: "),
        ("get", ["acme", "none"], "known are acme/demo"),
        ("get", ["acme", "N\u{f6}"], "ended NOT_FOUND"),
        (
            "compressed",
            ["", ""],
            "ended UNIMPLEMENTED the message is compressed",
        ),
        ("large", ["", ""], "ended INVALID_ARGUMENT request: "),
        (
            "missing",
            ["", ""],
            "ended UNIMPLEMENTED the methods are ListClusters",
        ),
    ] {
        let said = ask(method, &rest);
        assert!(said.contains(expected), "{method} {rest:?}: {said}");
    }
}

/// A watch that goes on until it is dropped.
struct Watch {
    process: Process,
    _directory: TempDir,
}

impl Watch {
    fn start(plane: &Plane, program: &str, rest: &[&str]) -> Option<Self> {
        let mut command = script(program)?;
        command
            .arg(protos())
            .arg("watch")
            .arg(target(plane))
            .args(rest);
        let directory = tempfile::tempdir().unwrap();
        let process = Process::start(program, &mut command, &directory.path().join("log"));
        Some(Self {
            process,
            _directory: directory,
        })
    }

    /// Waits for a line that begins so; gives the last one.
    #[track_caller]
    fn says(&self, begin: &str) -> String {
        wait_for(&format!("the watcher to say {begin:?}"), || {
            let log = self.process.log();
            let found = log.lines().rfind(|line| line.starts_with(begin));
            found.map(str::to_owned)
        })
    }
}

/// What one call prints.
#[track_caller]
fn call(plane: &Plane, program: &str, method: &str, rest: &[&str]) -> String {
    let Some(mut command) = script(program) else {
        return String::new();
    };
    command
        .arg(protos())
        .arg(method)
        .arg(target(plane))
        .args(rest);
    String::from_utf8(run(&mut command, Stdio::null()).stdout).unwrap()
}

fn protos() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tunnel-edge/proto")
}

fn target(plane: &Plane) -> String {
    format!("unix:{}/admin.sock", plane.path(Side::Edge).display())
}

/// Waits until the edge sees a service in a state, and gives what it sees.
#[track_caller]
fn sees(plane: &Plane, service: &str, state: &str) -> Value {
    wait_for(&format!("{service} to be {state}"), || {
        let (_, cluster) = plane.ask("/api/clusters/acme/demo");
        let services = cluster["services"].as_array()?;
        let seen = services.iter().find(|seen| seen["service"] == service)?;
        (seen["state"] == state).then(|| seen.clone())
    })
}

fn changes(plane: &Plane) -> Vec<Value> {
    let (_, cluster) = plane.ask("/api/clusters/acme/demo");
    cluster["changes"].as_array().unwrap().clone()
}

/// What `causeway status` shows.
fn status_of(plane: &Plane, side: Side) -> String {
    let mut command = causeway();
    command
        .arg("status")
        .arg("--config")
        .arg(plane.config(side));
    String::from_utf8(run(&mut command, Stdio::null()).stdout).unwrap()
}
