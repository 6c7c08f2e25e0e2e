//! Servers and clients that others wrote, as users have them, through the tunnel.

use std::{
    fs,
    process::{Command, Output, Stdio},
};

use crate::support::{self, Pattern, Plane, Side, nginx, peer, python, wait_for};

/// nginx behind a unix socket; curl speaks HTTP/1.1 and HTTP/2 to the ingress.
#[test]
fn nginx_and_curl() {
    let Some(curl) = peer("curl") else { return };
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::create_dir(at("www")).unwrap();
    std::io::copy(
        &mut Pattern::new(20 << 20),
        &mut fs::File::create(at("www/big")).unwrap(),
    )
    .unwrap();
    let config = format!(
        "server {{\n\
           listen unix:{0}/web.sock; root {0}/www;\n\
           location /moved {{ return 301 /big; }}\n\
         }}",
        directory.path().display()
    );
    let Some(_nginx) = nginx(directory.path(), &config) else {
        return;
    };
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

#[track_caller]
fn run(command: &mut Command) -> Output {
    let output = support::run(command, Stdio::null());
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}
