//! What a topology is made of, and that nothing is left of it, however it ends.

use std::{
    collections::BTreeSet,
    env, fs,
    io::{BufRead, BufReader},
    net::{TcpListener, TcpStream},
    os::unix::process::ExitStatusExt,
    path::PathBuf,
    process::{self, Child, Command, Stdio},
    time::Duration,
};

use chaos::{
    net::{Error, Settings, Signal, Topology},
    wire::{Link, Shape},
};

use crate::support::{topology, wait_for};

const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn hosts_have_names_and_addresses() {
    let Some(topology) = topology() else {
        return;
    };
    for name in ["edge-1", "client-1"] {
        topology.add_host(name).unwrap();
    }
    assert_eq!(
        topology.records(),
        "client-1 30 A 192.0.2.2\nclient-1 30 AAAA 2001:db8::2\n\
         edge-1 30 A 192.0.2.1\nedge-1 30 AAAA 2001:db8::1\n"
    );
    assert_eq!(topology.host("edge-1").unwrap().name(), "edge-1");
    let said = |error: Error| error.to_string();
    assert_eq!(
        said(topology.add_host("edge-1").unwrap_err()),
        "there is a host \"edge-1\" already"
    );
    assert!(said(topology.add_host("edge 2").unwrap_err()).starts_with("\"edge 2\" is no name"));
    let settings = Settings::default();
    assert_eq!(
        said(
            topology
                .lay_wire("client-1", "edge-2", settings)
                .unwrap_err()
        ),
        "there is no host \"edge-2\"; there is client-1, edge-1"
    );
}

#[test]
fn who_has_no_wire_is_not_reached() {
    let Some(topology) = topology() else {
        return;
    };
    let [client, near, far] =
        ["client", "near", "far"].map(|name| topology.add_host(name).unwrap());
    for (client, server) in [("client", "near"), ("near", "far")] {
        topology
            .lay_wire(client, server, Settings::default())
            .unwrap();
    }
    let listening = [&near, &far].map(|host| {
        let listener = host.within(|| TcpListener::bind((host.v4(), 0)));
        listener.unwrap()
    });
    let [near, far] = listening.each_ref().map(|it| it.local_addr().unwrap());
    assert!(client.within(|| TcpStream::connect(near)).is_ok());
    assert!(client.within(|| TcpStream::connect(far)).is_err());
}

#[test]
fn a_program_is_awaited_signalled_and_ended() {
    let Some(topology) = topology() else {
        return;
    };
    topology.add_host("host").unwrap();
    let mut shell = Command::new("sh");
    shell.args([
        "-c",
        "trap 'echo asked >&2; exit 3' TERM; echo up; sleep 1000 & wait",
    ]);
    let program = topology.start("host", "shell", &mut shell).unwrap();
    let says = |word: &'static str| {
        program
            .wait_until(PATIENCE, |seen| seen.printed.contains(word).then_some(()))
            .unwrap();
    };
    says("up\n");
    assert_eq!(program.seen().ended, None);
    program.signal(Signal::TERM).unwrap();
    let status = program.wait_until(PATIENCE, |seen| seen.ended).unwrap();
    assert_eq!(status.code(), Some(3));
    says("asked\n");
    // Its id may be another's by now.
    program.signal(Signal::KILL).unwrap();

    let mut sleeping = Command::new("sleep");
    let program = topology
        .start("host", "sleeper", sleeping.arg("1000"))
        .unwrap();
    let late = program
        .wait_until(Duration::ZERO, |seen| seen.ended)
        .unwrap_err();
    assert!(
        late.to_string().starts_with("sleeper: not within 0ns"),
        "{late}"
    );
    program.kill().unwrap();
    let status = program.wait_until(PATIENCE, |seen| seen.ended).unwrap();
    assert_eq!(status.signal(), Some(Signal::KILL.as_raw()));
}

#[test]
fn nothing_is_left_of_one_that_is_dropped() {
    let Some(topology) = topology() else {
        return;
    };
    let left = Left::by(&topology);
    assert_eq!(
        left.processes().len(),
        4,
        "the shell, and three that it has started"
    );
    drop(topology);
    // It has waited for them. Hosts and wires that nobody holds are gone at once, too.
    assert_eq!(left.processes(), Vec::<PathBuf>::new());
    left.await_nothing();
}

/// The environment variable that has a test be what it tests, and end in this way.
const END: &str = "CHAOS_TEST_END";

#[test]
fn nothing_is_left_after_a_panic() {
    ends("nothing_is_left_after_a_panic", "panic");
}

#[test]
fn nothing_is_left_of_who_aborts() {
    ends("nothing_is_left_of_who_aborts", "abort");
}

#[test]
fn nothing_is_left_of_who_is_killed() {
    ends("nothing_is_left_of_who_is_killed", "killed");
}

/// Runs the test of this name as a process, which brings a topology up and ends.
fn ends(test: &str, how: &str) {
    if env::var_os(END).is_some() {
        ends_here();
        return;
    }
    if topology().is_none() {
        return;
    }
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "--nocapture", &format!("topology::{test}")])
        .env(END, how)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let left = Left::told_by(&mut child);
    assert_eq!(left.processes().len(), 4, "nothing was there");
    if how == "killed" {
        child.kill().unwrap();
    } else {
        drop(child.stdin.take());
    }
    let status = child.wait().unwrap();
    assert!(!status.success(), "{status}");
    left.await_nothing();
}

fn ends_here() {
    let topology = Topology::create().unwrap();
    let left = Left::by(&topology);
    println!("\nnamespaces {}", Vec::from_iter(left.namespaces).join(" "));
    // Until whoever reads that has looked.
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).unwrap();
    match env::var(END).as_deref() {
        Ok("panic") => panic!("on purpose"),
        _ => process::abort(),
    }
}

/// What there may be left of a topology.
struct Left {
    /// By which namespaces it can be known, such as `net:[4026532000]`.
    namespaces: BTreeSet<String>,
}

impl Left {
    /// Two hosts, a wire, and a program with children, one of which is out of its session and one of
    /// which nobody waits for.
    fn by(topology: &Topology) -> Self {
        let hosts = ["client", "server"].map(|name| topology.add_host(name).unwrap());
        let settings = Settings {
            link: Link::symmetric(Shape::CLEAR),
            ..Settings::default()
        };
        topology.lay_wire("client", "server", settings).unwrap();
        let mut shell = Command::new("sh");
        let started = "(sleep 1000 & exec setsid sleep 1000) & sleep 1000 & echo up; wait";
        shell.args(["-c", started]);
        let program = topology.start("client", "shell", &mut shell).unwrap();
        program
            .wait_until(PATIENCE, |seen| seen.printed.contains("up").then_some(()))
            .unwrap();
        let left = Self {
            namespaces: hosts
                .iter()
                .map(|host| fs::read_link(host.path()).unwrap())
                .map(|link| link.to_str().unwrap().to_owned())
                .collect(),
        };
        wait_for("all to be there", || {
            (left.processes().len() == 4).then_some(())
        });
        left
    }

    fn told_by(child: &mut Child) -> Self {
        let output = child.stdout.take().unwrap();
        let mut lines = BufReader::new(output).lines();
        let told = lines.find_map(|line| {
            let line = line.unwrap();
            line.strip_prefix("namespaces ").map(str::to_owned)
        });
        let told = told.expect("it brings a topology up");
        Self {
            namespaces: told.split(' ').map(str::to_owned).collect(),
        }
    }

    /// The processes that are in one of the namespaces, but for the dead.
    fn processes(&self) -> Vec<PathBuf> {
        let mut found = processes();
        found.retain(|process| self.has(process.join("ns/net")));
        found
    }

    /// Waits until no process is in one of the namespaces, and none holds one open.
    fn await_nothing(&self) {
        wait_for("nothing to be left", || {
            let held = processes().into_iter().any(|process| {
                let files = fs::read_dir(process.join("fd")).into_iter().flatten();
                files.flatten().any(|file| self.has(file.path()))
            });
            (!held && self.processes().is_empty()).then_some(())
        });
    }

    fn has(&self, link: PathBuf) -> bool {
        let target = fs::read_link(link).unwrap_or_default();
        target
            .to_str()
            .is_some_and(|target| self.namespaces.contains(target))
    }
}

/// The directories of all that run.
fn processes() -> Vec<PathBuf> {
    let all = fs::read_dir("/proc").unwrap().flatten();
    all.map(|entry| entry.path())
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().as_encoded_bytes();
            name.iter().all(u8::is_ascii_digit)
        })
        .collect()
}
