//! Whose call it is, with load balancers and proxies of others in between: what they say of it is
//! believed from them and from nobody else, and handed on to servers that ask for it.

mod balancers;
mod servers;
mod trusted_proxies;

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
};

use tempfile::TempDir;

use crate::support::{Process, address_for_server, listens, nginx, peer, run};

/// Addresses of this machine by which two callers call, and a proxy in front of the edge.
const CALLER: &str = "127.0.0.7";
const OTHER: &str = "127.0.0.8";
const PROXY: &str = "127.0.0.5";

/// Two ways of curl to speak HTTP.
const VERSIONS: [&str; 2] = ["--http1.1", "--http2-prior-knowledge"];

/// What curl got.
#[derive(Debug)]
struct Answer {
    /// The status, or how curl failed.
    outcome: String,
    /// The address and the port of curl's own socket.
    local: String,
    body: String,
}

/// Asks for `/` at `to` from an address of this machine.
fn ask(from: &str, to: SocketAddr, more: &[&str]) -> Answer {
    let curl = peer("curl").expect("it was there before");
    let output = run(
        Command::new(curl)
            .args(["-sS", "--max-time", "20", "--interface", from])
            .args(["-w", "\n%{http_code}\n%{local_ip} %{local_port}"])
            .args(more)
            .arg(format!("http://{to}/")),
        Stdio::null(),
    );
    let said = String::from_utf8_lossy(&output.stdout);
    let mut lines = said.rsplitn(3, '\n').map(str::to_owned);
    let mut line = || lines.next().unwrap_or_default();
    let (local, status, body) = (line(), line(), line());
    Answer {
        outcome: match output.status.code() {
            Some(0) => status,
            code => format!("curl {code:?}"),
        },
        local,
        body,
    }
}

/// A server that answers what it is told of its caller.
struct Told {
    address: SocketAddr,
    _process: Process,
    _directory: TempDir,
}

impl Told {
    /// nginx that answers with `text`, in which its variables stand for what they are, and that
    /// listens as `how` says besides.
    fn start(how: &str, text: &str) -> Option<Self> {
        let address = free();
        let (process, directory) = proxy(&format!(
            "server {{ listen {address} {how}; default_type text/plain; return 200 \"{text}\"; }}"
        ))?;
        listens("nginx", address);
        Some(Self {
            address,
            _process: process,
            _directory: directory,
        })
    }
}

/// nginx with these lines in `http { … }`.
fn proxy(http: &str) -> Option<(Process, TempDir)> {
    let directory = tempfile::tempdir().unwrap();
    Some((nginx(directory.path(), http)?, directory))
}

/// haproxy with these sections, that tells of itself at `stats.sock` in `directory`.
fn haproxy(directory: &Path, sections: &str) -> Option<Process> {
    let program = peer("haproxy")?;
    let config = directory.join("haproxy.cfg");
    let patience =
        "timeout connect 5s\n timeout client 30s\n timeout server 30s\n timeout check 5s";
    let stats = directory.join("stats.sock");
    let global = format!("maxconn 200\n stats socket {}", stats.display());
    let text = format!("global\n {global}\ndefaults\n {patience}\n{sections}");
    fs::write(&config, text).unwrap();
    // In the foreground, as one process.
    let mut command = Command::new(program);
    command.arg("-db").arg("-f").arg(config);
    Some(Process::start(
        "haproxy",
        &mut command,
        &directory.join("haproxy.log"),
    ))
}

fn free() -> SocketAddr {
    address_for_server()
}
