//! Servers and clients that others wrote, as users have them, through the tunnel.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output},
};

use crate::support::{Pattern, Plane, Process, Side, is_root, peer, python, wait_for};

/// nginx behind a unix socket; curl speaks HTTP/1.1 and HTTP/2 to the ingress.
#[test]
fn nginx_and_curl() {
    let (Some(nginx), Some(curl)) = (peer("nginx"), peer("curl")) else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::create_dir(at("www")).unwrap();
    std::io::copy(
        &mut Pattern::new(20 << 20),
        &mut fs::File::create(at("www/big")).unwrap(),
    )
    .unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(at("nginx.conf"), nginx_configuration(directory.path())).unwrap();
    let _nginx = Process::start(
        "nginx",
        Command::new(nginx)
            .args(["-e", "stderr", "-c"])
            .arg(at("nginx.conf"))
            .arg("-p")
            .arg(directory.path()),
        &at("nginx.log"),
    );
    wait_for("nginx", || at("web.sock").exists().then_some(()));

    let target = format!("unix://{}\"\nprotocol = \"http", at("web.sock").display());
    let mut plane = Plane::builder()
        .expose("site", &target)
        .http_ingress()
        .start();
    let web = plane.ingress("web");
    let url = |path: &str| format!("http://{web}{path}");
    let host = format!("host: {}", plane.host("site"));
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        let got = at("got");
        run(Command::new(&curl)
            .args(["-sSf", version, "-H", &host, "-o"])
            .arg(&got)
            .arg(url("/big")));
        assert_eq!(
            fs::read(&got).unwrap(),
            fs::read(at("www/big")).unwrap(),
            "{version}"
        );

        // A range, a redirect and a missing page are nginx's own.
        let status = |path: &str, more: &[&str]| {
            let output = run(Command::new(&curl)
                .args([
                    "-sS",
                    version,
                    "-H",
                    &host,
                    "-o",
                    "/dev/null",
                    "-w",
                    "%{http_code}",
                ])
                .args(more)
                .arg(url(path)));
            String::from_utf8(output.stdout).unwrap()
        };
        assert_eq!(status("/big", &["-r", "0-9"]), "206", "{version}");
        assert_eq!(status("/moved", &[]), "301", "{version}");
        assert_eq!(status("/missing", &[]), "404", "{version}");
        assert_eq!(status("/big", &["--head"]), "200", "{version}");
    }
    assert_eq!(plane.sessions().len(), 1);
}

/// redis through a tcp ingress: many commands in flight, large values, a subscription.
#[test]
fn redis() {
    let (Some(server), Some(cli)) = (peer("redis-server"), peer("redis-cli")) else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("redis.sock");
    let _redis = Process::start(
        "redis",
        Command::new(server)
            .args(["--port", "0", "--save", "", "--unixsocket"])
            .arg(&socket)
            .current_dir(directory.path()),
        &directory.path().join("redis.log"),
    );
    wait_for("redis", || socket.exists().then_some(()));
    let mut plane = Plane::builder()
        .expose("cache", &format!("unix://{}", socket.display()))
        .tcp_ingress("cache")
        .start();
    let address = plane.ingress("cache");
    let (host, port) = (address.ip().to_string(), address.port().to_string());
    let redis = |words: &[&str]| {
        let output = run(Command::new(&cli)
            .args(["-h", &host, "-p", &port])
            .args(words));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    assert_eq!(redis(&["SET", "key", "value"]), "OK");
    assert_eq!(redis(&["GET", "key"]), "value");
    assert_eq!(redis(&["SETRANGE", "large", "10000000", "end"]), "10000003");
    assert_eq!(redis(&["GET", "large"]).len(), 10_000_003);
    if let Some(benchmark) = peer("redis-benchmark") {
        let output = run(Command::new(benchmark).args([
            "-h", &host, "-p", &port, "-t", "set,get", "-n", "20000", "-c", "20", "-P", "8", "-q",
        ]));
        let output = String::from_utf8(output.stdout).unwrap();
        assert!(output.contains("GET:"), "{output}");
    }
}

/// PostgreSQL as an upstream: a customer's job calls a database of the control plane.
#[test]
fn postgresql() {
    let (Some(initdb), Some(postgres), Some(psql)) =
        (peer("initdb"), peer("postgres"), peer("psql"))
    else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    // The server refuses to run as root.
    let root = is_root();
    if root {
        run(Command::new("chown").arg("postgres").arg(directory.path()));
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let unprivileged = |program: &Path| {
        let mut command = Command::new(if root { Path::new("setpriv") } else { program });
        if root {
            command
                .args(["--reuid=postgres", "--regid=postgres", "--clear-groups"])
                .arg(program);
        }
        command.current_dir(directory.path());
        command
    };
    run(unprivileged(&initdb)
        .args(["-U", "causeway", "-A", "trust", "--no-sync", "-D"])
        .arg(&data));
    let _postgres = Process::start(
        "postgres",
        unprivileged(&postgres)
            .arg("-D")
            .arg(&data)
            .args(["-c", "listen_addresses=", "-F", "-k"])
            .arg(directory.path()),
        &directory.path().join("postgres.log"),
    );
    let socket = directory.path().join(".s.PGSQL.5432");
    wait_for("postgres", || socket.exists().then_some(()));

    let mut plane = Plane::builder()
        .forward("db", &format!("unix://{}", socket.display()))
        .start();
    let forward = plane.forward("db");
    let query = |sql: &str| {
        let output = Command::new(&psql)
            .args([
                "-h",
                &forward.ip().to_string(),
                "-p",
                &forward.port().to_string(),
            ])
            .args([
                "-U",
                "causeway",
                "-d",
                "postgres",
                "-At",
                "-v",
                "ON_ERROR_STOP=1",
                "-c",
                sql,
            ])
            .output()
            .unwrap();
        output
            .status
            .success()
            .then(|| String::from_utf8(output.stdout).unwrap().trim().to_owned())
    };
    wait_for("the database to answer", || query("select 1"));
    query("create table t as select n, md5(n::text) as h from generate_series(1, 200000) n")
        .unwrap();
    let rows = query("select n, h from t order by n").unwrap();
    assert_eq!(rows.lines().count(), 200_000);
    assert!(rows.starts_with("1|c4ca4238a0b923820dcc509a6f75849b\n"));
}

/// Python's websockets against the hello service: text, binary, a large message and a close.
#[test]
fn websockets() {
    let Some(python) = python() else { return };
    let mut plane = Plane::builder()
        .expose("hello", "hello")
        .http_ingress()
        .start();
    let web = plane.ingress("web");
    let host = plane.host("hello");
    let script = format!(
        r#"
import asyncio, websockets
async def main():
    async with websockets.connect("ws://{host}/ws", host="{ip}", port={port}, max_size=None) as ws:
        async def echoed(message):
            await ws.send(message)
            while True:
                got = await ws.recv()
                if got == message:
                    return
        await asyncio.wait_for(echoed("hello"), 10)
        await asyncio.wait_for(echoed("ü" * 20000), 10)
        await ws.ping()
    print("closed", ws.close_code)
asyncio.run(main())
"#,
        ip = web.ip(),
        port = web.port(),
    );
    let output = run(Command::new(python).args(["-c", &script]));
    assert_eq!(
        String::from_utf8(output.stdout).unwrap().trim(),
        "closed 1000"
    );
}

/// Load from two generators, HTTP/1.1 and HTTP/2: every request is answered, and nothing is left
/// behind.
#[test]
fn wrk_and_h2load() {
    let (Some(wrk), Some(h2load)) = (peer("wrk"), peer("h2load")) else {
        return;
    };
    let mut plane = Plane::builder()
        .expose("hello", "hello")
        .http_ingress()
        .start();
    let web = plane.ingress("web");
    let host = plane.host("hello");
    let url = format!("http://{web}/bytes?n=1000");

    let output =
        run(Command::new(wrk).args(["-t1", "-c32", "-d3s", "-H", &format!("Host: {host}"), &url]));
    let report = String::from_utf8(output.stdout).unwrap();
    eprintln!("{report}");
    assert!(
        !report.contains("Non-2xx") && !report.contains("Socket errors"),
        "{report}"
    );

    let output = run(Command::new(h2load).args([
        "-n",
        "5000",
        "-c",
        "4",
        "-m",
        "20",
        "-H",
        &format!(":authority: {host}"),
        &url,
    ]));
    let report = String::from_utf8(output.stdout).unwrap();
    eprintln!("{report}");
    assert!(report.contains("status codes: 5000 2xx"), "{report}");

    // Descriptors come back once the callers are gone, but for what is pooled.
    wait_for("connections to be closed", || {
        (plane.edge.open_fds() < 100 && plane.client.open_fds() < 100).then_some(())
    });
    assert_eq!(plane.status(Side::Client)["ready"], true);
}

/// One process and no workers, so that ending it leaves nobody behind.
fn nginx_configuration(directory: &Path) -> String {
    format!(
        "daemon off; master_process off; pid {0}/nginx.pid; user root;\n\
         events {{ worker_connections 256; }}\n\
         http {{\n\
           access_log off; client_body_temp_path {0}/body; proxy_temp_path {0}/proxy;\n\
           fastcgi_temp_path {0}/fastcgi; uwsgi_temp_path {0}/uwsgi; scgi_temp_path {0}/scgi;\n\
           server {{\n\
             listen unix:{0}/web.sock; root {0}/www;\n\
             location /moved {{ return 301 /big; }}\n\
           }}\n\
         }}\n",
        directory.display()
    )
}

#[track_caller]
fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}
