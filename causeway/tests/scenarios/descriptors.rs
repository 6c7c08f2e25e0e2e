//! Files and sockets: as many as the process may have, and some that no caller gets.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    process::Command,
};

use crate::support::{Authority, Origin, Plane, Process, Side, causeway, wait_for};

/// Each process's limit, far below what the callers of these tests ask for.
const LIMIT: u32 = 256;

/// How many of them callers and targets may take.
const ORDINARY: usize = LIMIT as usize - 64;

const CALLERS: usize = 400;

/// It accepts as many as it has room for; the others wait.
#[test]
fn callers_of_a_forward_leave_some_for_health() {
    let origin = Origin::echo();
    let (mut plane, callers) = crowded(Side::Client, &origin);
    let forward = plane.forward("echo");
    let open = open_in_metrics(&plane, Side::Client);
    // A few may have been closed since, and one is accepted every now and then.
    assert!((ORDINARY - 8..LIMIT as usize).contains(&open), "{open}");
    drop(callers);
    wait_for("room for another caller", || echoes(forward).then_some(()));
}

/// So do those of ingresses of either kind.
#[test]
fn callers_of_ingresses_leave_some_for_health() {
    let origin = Origin::echo();
    for crowded in ["web", "echo"] {
        let mut plane = Plane::builder()
            .expose("hello", "hello")
            .expose("echo", &origin.tcp())
            .http_ingress()
            .tcp_ingress("echo")
            .open_files(Side::Edge, LIMIT)
            .start();
        let ingress = plane.ingress(crowded);
        let callers: Vec<_> = (0..CALLERS)
            .map(|_| TcpStream::connect(ingress).unwrap())
            .collect();
        wait_for("descriptors to run out", || {
            (plane.edge.open_fds() >= ORDINARY).then_some(())
        });
        plane.status(Side::Edge);
        let open = open_in_metrics(&plane, Side::Edge);
        assert!(open < LIMIT as usize, "{crowded}: {open}");
        drop(callers);
        let answer = wait_for("room for another caller", || {
            plane.get("hello", "/").send().ok()
        });
        answer.text().unwrap();
    }
}

/// Strangers who connect as clients do and say nothing take what callers leave, and leave some too.
#[test]
fn strangers_at_the_tunnel_leave_some_for_health() {
    const LEFT: usize = LIMIT as usize - 32;
    let mut plane = Plane::builder()
        .expose("hello", "hello")
        .http_ingress()
        .open_files(Side::Edge, LIMIT)
        .start();
    let tunnel = plane.tunnel();
    let strangers: Vec<_> = (0..CALLERS)
        .map(|_| TcpStream::connect(tunnel).unwrap())
        .collect();
    wait_for("descriptors to run out", || {
        (plane.edge.open_fds() >= LEFT).then_some(())
    });
    plane.status(Side::Edge);
    let open = open_in_metrics(&plane, Side::Edge);
    assert!(open < LIMIT as usize, "{open}");
    drop(strangers);
    let answer = wait_for("room for a caller", || plane.get("hello", "/").send().ok());
    answer.text().unwrap();
}

/// It dials as many as it has room for; the others' streams are reset.
#[test]
fn targets_leave_some_for_health() {
    let origin = Origin::echo();
    let (mut plane, callers) = crowded(Side::Edge, &origin);
    let forward = plane.forward("echo");
    let open = open_in_metrics(&plane, Side::Edge);
    assert!(open < LIMIT as usize, "{open}");
    let log = plane.edge.log();
    assert!(log.contains("Too many open files"), "{log}");
    assert!(!log.contains("cannot accept now"), "{log}");
    drop(callers);
    wait_for("room for another caller", || echoes(forward).then_some(()));
}

#[test]
fn a_process_takes_all_that_it_may_have() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    Authority::create(&at("authority")).issue(&["edge", "edge-1"], &at("state"));
    fs::write(
        at("edge.toml"),
        "[identity]\ndir = \"state\"\n[listen]\ntunnel = \"127.0.0.1:0\"\n[admin]\nlisten = \"off\"\n\
         [[ingress]]\nkind = \"tcp\"\nlisten = \"127.0.0.1:0\"\nto = \"acme/demo/db\"\nanonymous = true\n\
         max_connections = 200\n",
    )
    .unwrap();
    let edge = causeway();
    let mut command = Command::new("sh");
    let limits = format!("ulimit -S -n 100; ulimit -H -n {LIMIT}; exec \"$0\" \"$@\"");
    command.args(["-c", &limits]).arg(edge.get_program());
    command.arg("edge").arg("--config").arg(at("edge.toml"));
    let edge = Process::start("edge", &mut command, &at("edge.log"));
    wait_for("the start", || {
        edge.log().contains("edge started").then_some(())
    });
    let limits = fs::read_to_string(format!("/proc/{}/limits", edge.pid())).unwrap();
    let open_files = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let fields: Vec<_> = open_files.unwrap().split_whitespace().collect();
    assert_eq!(fields[3..5], ["256", "256"]);
    let log = edge.log();
    let warning = "\"limit\":256,\"needed\":264";
    assert!(log.contains(warning), "{log}");
}

/// A plane whose forward has more callers than one side has room for. The kernel takes those who
/// are not accepted.
#[track_caller]
fn crowded(side: Side, origin: &Origin) -> (Plane, Vec<TcpStream>) {
    let mut plane = Plane::builder()
        .forward("echo", &origin.tcp())
        .open_files(side, LIMIT)
        .start();
    let forward = plane.forward("echo");
    let callers = (0..CALLERS).map(|_| TcpStream::connect(forward).unwrap());
    let callers = callers.collect();
    let process = match side {
        Side::Edge => &plane.edge,
        Side::Client => &plane.client,
    };
    wait_for("descriptors to run out", || {
        (process.open_fds() >= ORDINARY).then_some(())
    });
    plane.status(side);
    (plane, callers)
}

fn open_in_metrics(plane: &Plane, side: Side) -> usize {
    let metrics = plane.metrics(side);
    let open = metrics
        .lines()
        .find_map(|line| line.strip_prefix("process_open_fds "));
    open.unwrap().parse().unwrap()
}

fn echoes(address: SocketAddr) -> bool {
    let mut caller = TcpStream::connect(address).unwrap();
    caller.write_all(b"x").is_ok() && caller.read_exact(&mut [0]).is_ok()
}
