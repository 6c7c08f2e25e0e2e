//! PostgreSQL by its own clients: transactions, cancelled queries, unix sockets, and a gigabyte
//! each way.

use std::{
    fs,
    io::{self, Write},
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
};

use tempfile::TempDir;

use super::{Comparison, Report, TRANSPORTS, on_each_transport};
use crate::support::{
    CLUSTER, Plane, Process, address_for_server, fails, is_root, listens, peer, read_digest, run,
    run_into, succeeds,
};

/// How many rows of [`ROW`] bytes are copied: 1 GiB.
const ROWS: usize = 1 << 20;
/// A row of text, with its end.
const ROW: usize = 1 << 10;

/// A server of its own, that trusts everyone on loopback and writes nothing to the disk in earnest.
pub(crate) struct Postgres {
    directory: TempDir,
    pub(crate) address: SocketAddr,
    psql: PathBuf,
    pgbench: PathBuf,
    _process: Process,
}

/// Where its clients are told that it is: a host, or the directory of a unix socket.
#[derive(Clone)]
pub(crate) struct Server {
    host: PathBuf,
    port: u16,
}

impl From<SocketAddr> for Server {
    fn from(address: SocketAddr) -> Self {
        Self {
            host: address.ip().to_string().into(),
            port: address.port(),
        }
    }
}

impl Postgres {
    pub(crate) fn start() -> Option<Self> {
        let (initdb, postgres) = (peer("initdb")?, peer("postgres")?);
        let (psql, pgbench) = (peer("psql")?, peer("pgbench")?);
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("data");
        // The server refuses to run as root.
        let root = is_root();
        if root {
            let mut chown = Command::new("chown");
            let owned = chown.arg("postgres").arg(directory.path()).status();
            assert!(owned.unwrap().success());
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
        let made = unprivileged(&initdb)
            .args(["-U", "causeway", "-A", "trust", "--no-sync", "-D"])
            .arg(&data)
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        let address = address_for_server();
        let process = Process::start(
            "postgres",
            unprivileged(&postgres)
                .arg("-D")
                .arg(&data)
                .args(["-c", "listen_addresses=127.0.0.1", "-F", "-k"])
                .arg(directory.path())
                .args(["-p", &address.port().to_string()]),
            &directory.path().join("postgres.log"),
        );
        listens("postgres", address);
        let this = Self {
            directory,
            address,
            psql,
            pgbench,
            _process: process,
        };
        crate::support::wait_for("the database", || {
            let mut probe = this.psql(address, "select 1");
            probe.output().unwrap().status.success().then_some(())
        });
        Some(this)
    }

    fn at(&self, program: &Path, server: impl Into<Server>) -> Command {
        let Server { host, port } = server.into();
        let mut command = Command::new(program);
        command
            .arg("-h")
            .arg(host)
            .args(["-p", &port.to_string(), "-U", "causeway"])
            .current_dir(self.directory.path());
        command
    }

    pub(crate) fn psql(&self, server: impl Into<Server>, sql: &str) -> Command {
        let mut command = self.at(&self.psql, server);
        command.args(["-d", "postgres", "-AtX", "-v", "ON_ERROR_STOP=1", "-c", sql]);
        command
    }

    /// `pgbench` with these options.
    pub(crate) fn pgbench(&self, server: impl Into<Server>, options: &[&str]) -> Command {
        let mut command = self.at(&self.pgbench, server);
        command.args(options).arg("postgres");
        command
    }

    /// Its unix socket's name, that clients make up from the port.
    fn socket(&self) -> String {
        format!(".s.PGSQL.{}", self.address.port())
    }

    /// What needs nothing but a connection, or two.
    fn queries(&self, server: &Server) -> Report {
        let mut report = Report::default();
        let query = |sql: &str| succeeds(&mut self.psql(server.clone(), sql), Stdio::null());
        let rows = "select n, md5(n::text) from generate_series(1, 200000) n";
        report.add("many rows", query(rows));
        let mut wrong = self.psql(server.clone(), "select 1/0");
        report.add("an error", fails(&mut wrong, Stdio::null()));
        let told = query("listen news; notify news, 'hello'; select 1");
        // The number of the server's process is another each time.
        let told = told.split("PID").next().unwrap_or_default();
        report.add("a notification", told);
        // Cancelling opens a connection of its own beside the query's. In the foreground psql is
        // told once; else it may be told twice, the group after the program, and cancel twice.
        let mut cancelled = Command::new("timeout");
        let sleep = self.psql(server.clone(), "select pg_sleep(60)");
        cancelled
            .args(["--foreground", "--signal=INT", "2"])
            .arg(sleep.get_program())
            .args(sleep.get_args());
        report.add("a cancelled query", fails(&mut cancelled, Stdio::null()));
        report
    }
}

#[test]
fn postgresql() {
    let Some(postgres) = Postgres::start() else {
        return;
    };
    Comparison::of("tcp", postgres.address).run(|address| {
        let mut report = postgres.queries(&address.into());
        let bench = |words: &[&str]| {
            let output = run(&mut postgres.pgbench(address, words), Stdio::null());
            let said = String::from_utf8_lossy(&output.stdout);
            let whole = output.status.success()
                && (words.contains(&"-i") || said.contains("failed transactions: 0 "));
            eprintln!("{said}");
            if whole { "no failure" } else { "FAIL" }
        };
        report.add("tables", bench(&["-i", "-q", "-s", "2"]));
        report.add("transactions", bench(&["-c", "8", "-j", "2", "-T", "3"]));
        let connecting = ["-S", "-C", "-c", "8", "-j", "2", "-t", "50"];
        report.add("a connection each", bench(&connecting));
        report
    });
}

/// The server's unix socket as a target, and one of ours in front of it.
#[test]
fn postgresql_over_unix_sockets() {
    let Some(postgres) = Postgres::start() else {
        return;
    };
    let (there, port) = (postgres.directory.path(), postgres.address.port());
    let socket = postgres.socket();
    let target = format!("unix://{}", there.join(&socket).display());
    let server = |directory: &Path| Server {
        host: directory.into(),
        port,
    };
    let direct = postgres.queries(&server(there));
    assert!(direct.failures().is_empty(), "{direct:#?}");
    for transport in TRANSPORTS {
        let here = tempfile::tempdir().unwrap();
        let forward = here.path().join(&socket);
        let mut plane = Plane::builder()
            .transport(transport)
            .expose("db", &target)
            .tcp_ingress("db")
            .edge_toml(&format!(
                "[[upstream]]\nservice = \"db\"\ntarget = \"{target}\"\nallow = [\"{CLUSTER}\"]\n"
            ))
            .client_toml(&format!(
                "[[forward]]\nservice = \"db\"\nlisten = \"unix:{}\"\n",
                forward.display()
            ))
            .start();
        let ingress = plane.ingress("db").into();
        let found = postgres.queries(&ingress);
        assert_eq!(found, direct, "tcp ingress over {transport}");
        let found = postgres.queries(&server(here.path()));
        assert_eq!(found, direct, "forward over {transport}");
        assert_eq!(plane.sessions().len(), 1, "{transport}");
    }
}

on_each_transport![postgresql_copies_a_gigabyte_each_way];

fn postgresql_copies_a_gigabyte_each_way(transport: &'static str) {
    let Some(postgres) = Postgres::start() else {
        return;
    };
    let width = ROW - 1;
    let comparison = Comparison::of("tcp", postgres.address).over(transport);
    comparison.run(|address| {
        let mut report = Report::default();
        // Every row is another, so that none can be lost, repeated or moved unseen.
        let rows = format!(
            "\\copy (select lpad(n::text, {width}, 'x') from generate_series(1, {ROWS}) n) to stdout"
        );
        let (printed, output) = io::pipe().unwrap();
        let reading = thread::spawn(|| read_digest(printed).unwrap());
        let mut out = postgres.psql(address, &rows);
        let ended = run_into(&mut out, Stdio::null(), output.into());
        let (count, digest) = reading.join().unwrap();
        let whole = ended.status.success() && count == (ROWS * ROW) as u64;
        report.add("out", if whole { digest.as_str() } else { "FAIL" });

        let sql = "create unlogged table taken (text text)";
        report.add(
            "table",
            succeeds(&mut postgres.psql(address, sql), Stdio::null()),
        );
        let mut taking = postgres.psql(address, "\\copy taken from stdin");
        let (input, mut giving) = io::pipe().unwrap();
        let giver = thread::spawn(move || {
            (1..=ROWS).step_by(1024).try_for_each(|first| {
                let batch: String = (first..first + 1024)
                    .map(|n| format!("{n:x>width$}\n"))
                    .collect();
                giving.write_all(batch.as_bytes())
            })
        });
        let ended = run(&mut taking, input.into());
        let taken = ended.status.success() && giver.join().unwrap().is_ok();
        report.add("in", if taken { "taken" } else { "FAIL" });
        let sql = "select count(*), sum(hashtextextended(text, 0)::numeric) from taken";
        report.add(
            "all there",
            succeeds(&mut postgres.psql(address, sql), Stdio::null()),
        );
        let sql = "drop table taken";
        report.add(
            "dropped",
            succeeds(&mut postgres.psql(address, sql), Stdio::null()),
        );
        report
    });
}
