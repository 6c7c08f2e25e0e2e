//! A file each way through nginx, and pgbench against PostgreSQL.

use std::{
    fs,
    io::{self, Read},
    net::SocketAddr,
    process::{Command, Output, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use tempfile::TempDir;

use crate::{
    protocols::Postgres,
    support::{
        Host, Pattern, Process, address_for_server, listens, nginx, pattern_digest, peer,
        read_digest, run, run_within, wait_for,
    },
};

/// How long a transfer may take in all: at the slowest link, with the longest fault.
const PATIENCE: Duration = Duration::from_secs(280);

/// How much of a file is on its way when a fault may strike.
const BEGUN: u64 = 1 << 20;

/// nginx, and a file that it serves and takes.
pub(super) struct Files {
    directory: TempDir,
    length: u64,
    pub(super) address: SocketAddr,
    _nginx: Process,
}

impl Files {
    pub(super) fn start(length: u64) -> Option<Self> {
        peer("curl")?;
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir_all(directory.path().join("www/put")).unwrap();
        let mut file = fs::File::create(directory.path().join("www/file")).unwrap();
        io::copy(&mut Pattern::new(length), &mut file).unwrap();
        let address = address_for_server();
        // It waits for as long as the tunnel does.
        let site = format!(
            "send_timeout 1h; client_body_timeout 1h; client_max_body_size 0;\n\
             server {{ listen {address}; root {}/www; location /put/ {{ dav_methods PUT; }} }}",
            directory.path().display()
        );
        let nginx = nginx(directory.path(), &site)?;
        listens("nginx", address);
        Some(Self {
            directory,
            length,
            address,
            _nginx: nginx,
        })
    }

    /// Has curl fetch the file and put it back, from this host by this ingress.
    #[track_caller]
    pub(super) fn transfer(&self, host: &Arc<Host>, ingress: SocketAddr) -> Transfers {
        let at = |name: &str| self.directory.path().join(name);
        let curl = |more: &[&str]| {
            let mut command = Command::new("curl");
            command.args(["-sS", "--fail"]).args(more);
            command
        };
        let got = Arc::<AtomicU64>::default();
        let (printed, output) = io::pipe().unwrap();
        let counted = Counted(printed, Arc::clone(&got));
        let reading = thread::spawn(move || read_digest(counted).unwrap());
        let mut fetching = curl(&[&format!("http://{ingress}/file")]);
        let down = on(host, move || {
            run_within(PATIENCE, &mut fetching, Stdio::null(), output.into())
        });
        let mut putting = curl(&["-T", at("www/file").to_str().unwrap()]);
        putting.arg(format!("http://{ingress}/put/file"));
        let up = on(host, move || {
            run_within(PATIENCE, &mut putting, Stdio::null(), Stdio::piped())
        });
        wait_for("both files to be on their way", || {
            let taken: u64 = fs::read_dir(at("body"))
                .ok()?
                .map(|entry| entry.unwrap().metadata().map_or(0, |file| file.len()))
                .sum();
            (got.load(Ordering::Relaxed) >= BEGUN && taken >= BEGUN).then_some(())
        });
        Transfers { down, up, reading }
    }

    /// Waits for both files to be where they belong, whole.
    #[track_caller]
    pub(super) fn complete(&self, transfers: Transfers) {
        let whole = (self.length, pattern_digest(self.length));
        for (way, curl) in [("down", transfers.down), ("up", transfers.up)] {
            let output = curl.join().unwrap().unwrap_or_else(|hung| panic!("{hung}"));
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{way}: {} {said}", output.status);
        }
        assert_eq!(transfers.reading.join().unwrap(), whole, "down");
        let put = fs::File::open(self.directory.path().join("www/put/file")).unwrap();
        assert_eq!(read_digest(put).unwrap(), whole, "up");
    }
}

/// A file on its way down, and one on its way up.
pub(super) struct Transfers {
    down: Running,
    up: Running,
    reading: JoinHandle<(u64, String)>,
}

impl Transfers {
    pub(super) fn are_under_way(&self) -> bool {
        !self.down.is_finished() && !self.up.is_finished()
    }
}

type Running = JoinHandle<Result<Output, String>>;

fn on<T: Send + 'static>(
    host: &Arc<Host>,
    work: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    let host = Arc::clone(host);
    thread::spawn(move || {
        host.enter().unwrap();
        work()
    })
}

struct Counted(io::PipeReader, Arc<AtomicU64>);

impl Read for Counted {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.0.read(into)?;
        self.1.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// pgbench's transactions on a database that it has made.
pub(super) struct Transactions(Running);

impl Transactions {
    /// Begins with them, for so long, from this host by this forward.
    #[track_caller]
    pub(super) fn begin(
        postgres: &Postgres,
        (there, here): (&Host, &Arc<Host>),
        forward: SocketAddr,
        duration: Duration,
    ) -> Self {
        let mut tables = postgres.pgbench(forward, &["-i", "-q", "-s", "1"]);
        let made = here.within(|| run(&mut tables, Stdio::null()));
        assert!(made.status.success(), "{made:?}");
        let seconds = duration.as_secs().to_string();
        let mut bench = postgres.pgbench(forward, &["-c", "4", "-j", "1", "-T", &seconds]);
        let running = on(here, move || {
            run_within(PATIENCE, &mut bench, Stdio::null(), Stdio::piped())
        });
        wait_for("the first transaction", || {
            let count = ask(postgres, there, "select count(*) from pgbench_history");
            (count != "0").then_some(())
        });
        Self(running)
    }

    /// How many there were, each of which is in the database once, and whole.
    #[track_caller]
    pub(super) fn end(self, postgres: &Postgres, there: &Host) -> u64 {
        let output = self.0.join().unwrap();
        let output = output.unwrap_or_else(|hung| panic!("{hung}"));
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{output:?}");
        assert!(said.contains("failed transactions: 0 "), "{said}");
        let processed = said
            .lines()
            .find_map(|line| line.strip_prefix("number of transactions actually processed: "))
            .and_then(|count| count.trim().parse().ok())
            .unwrap_or_else(|| panic!("{said}"));
        let sums = "select count(*), sum(delta) = (select sum(abalance) from pgbench_accounts), \
                    sum(delta) = (select sum(bbalance) from pgbench_branches) from pgbench_history";
        let found = ask(postgres, there, sums);
        assert_eq!(found, format!("{processed}|t|t"), "{said}");
        processed
    }
}

/// What the database says to who is beside it.
fn ask(postgres: &Postgres, there: &Host, sql: &str) -> String {
    let mut psql = postgres.psql(postgres.address, sql);
    let output = there.within(|| run(&mut psql, Stdio::null()));
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
