//! `causeway bench`, as small as it gets: what is looked at is that it measures what it says, not
//! how much that is.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Child, Command, Output, Stdio},
};

use serde_json::Value;

use crate::support::{causeway, wait_for};

/// So that it ends soon.
const SMALL: [&str; 6] = [
    "--duration",
    "200ms",
    "--rounds",
    "1",
    "--idle-streams",
    "300",
];

/// What every path has.
const TRAFFIC: [&str; 12] = [
    "to_compute_1_gbit_per_s",
    "to_control_1_gbit_per_s",
    "to_compute_8_gbit_per_s",
    "to_control_8_gbit_per_s",
    "connections_per_s",
    "ping_p50_us",
    "ping_p99_us",
    "loaded_ping_p50_us",
    "loaded_ping_p99_us",
    "load_beside_ping_gbit_per_s",
    "stalled_ping_p50_us",
    "stalled_ping_p99_us",
];

/// What only tunnels have.
const RESUMPTION: [&str; 8] = [
    "to_compute_1_not_resumable_gbit_per_s",
    "to_compute_1_resumable_ratio",
    "to_control_1_not_resumable_gbit_per_s",
    "to_control_1_resumable_ratio",
    "to_compute_64_not_resumable_gbit_per_s",
    "to_compute_64_resumable_ratio",
    "to_control_64_not_resumable_gbit_per_s",
    "to_control_64_resumable_ratio",
];

/// The same, in hundredths of a second, which may be none.
const RESUMPTION_CPU: [&str; 4] = [
    "to_compute_1_resumable_cpu_ratio",
    "to_control_1_resumable_cpu_ratio",
    "to_compute_64_resumable_cpu_ratio",
    "to_control_64_resumable_cpu_ratio",
];

/// What only processes between caller and origin have.
const CPU: [&str; 4] = [
    "to_compute_1_cpu_s_per_gb",
    "to_control_1_cpu_s_per_gb",
    "to_compute_8_cpu_s_per_gb",
    "to_control_8_cpu_s_per_gb",
];

#[test]
fn every_figure_of_every_transport_is_measured() {
    let temporary = tempfile::tempdir().unwrap();
    let output = bench(temporary.path()).args(SMALL).arg("--json").output();
    let document = json(output.unwrap());

    assert_eq!(document["rounds"], 1);
    assert_eq!(document["duration_s"], 0.2);
    assert_eq!(document["idle_streams"], 300);
    assert!(document["conditions"]["cores"].as_u64().unwrap() > 0);
    let paths = document["paths"].as_array().unwrap();
    let names: Vec<_> = paths
        .iter()
        .map(|path| path["path"].as_str().unwrap())
        .collect();
    assert_eq!(names[..2], ["direct", "hop"]);
    assert!(
        names.contains(&"quic") && names.contains(&"tls"),
        "{names:?}"
    );
    for path in paths {
        let (name, figures) = (path["path"].as_str().unwrap(), &path["figures"]);
        let median = |figure: &str| figures[figure]["median"].as_f64();
        for figure in TRAFFIC {
            let value = median(figure).unwrap_or_else(|| panic!("{name} has no {figure}"));
            assert!(value > 0.0, "{name}: {figure} is {value}");
            assert_eq!(figures[figure]["rounds"].as_array().unwrap().len(), 1);
            assert!(figures[figure]["to_hop"].as_f64().unwrap() > 0.0);
        }
        for [half, most] in [
            ["ping_p50_us", "ping_p99_us"],
            ["loaded_ping_p50_us", "loaded_ping_p99_us"],
            ["stalled_ping_p50_us", "stalled_ping_p99_us"],
        ] {
            assert!(median(half) <= median(most), "{name}: {figures}");
        }
        for figure in CPU {
            // The system counts it in hundredths of a second, which may be none.
            let cpu = median(figure);
            assert_eq!(cpu.is_some(), name != "direct", "{name}: {figure}");
            assert!(
                cpu.is_none_or(|cpu| cpu >= 0.0),
                "{name}: {figure} is {cpu:?}"
            );
        }
        let is_tunnel = !["direct", "hop"].contains(&name);
        for figure in ["idle_stream_kib", "idle_not_resumable_stream_kib"] {
            let kib = median(figure);
            assert_eq!(kib.is_some(), is_tunnel, "{name}: {figure}");
            // What the processes do besides weighs with so few streams. A buffer that is kept for each would be
            // more: the windows alone are 16 KiB each way at both ends, and a read buffer is 256.
            assert!(
                kib.is_none_or(|kib| kib > 0.0 && kib < 32.0),
                "{name}: {figure} is {kib:?}"
            );
        }
        for figure in RESUMPTION {
            let value = median(figure);
            assert_eq!(value.is_some(), is_tunnel, "{name}: {figure}");
            assert!(value.is_none_or(|value| value > 0.0), "{name}: {figure}");
        }
        for figure in RESUMPTION_CPU {
            assert!(is_tunnel || median(figure).is_none(), "{name}: {figure}");
        }
    }
    assert!(is_empty(temporary.path()));
}

#[test]
fn people_get_a_table_of_what_they_ask_for() {
    let temporary = tempfile::tempdir().unwrap();
    let output = bench(temporary.path())
        .args(SMALL)
        .args(["--transport", "tls"])
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("round 1/1, tls: ping"), "{said}");
    let table = String::from_utf8(output.stdout).unwrap();
    let header = table.lines().find(|line| line.starts_with("| one round"));
    let titles: Vec<_> = header.unwrap().split('|').map(str::trim).collect();
    assert_eq!(titles[3..], ["direct TCP", "one TCP hop", "tls", ""]);
    let rows = table.lines().filter(|line| line.starts_with("| "));
    let figures = TRAFFIC.len() + CPU.len() + RESUMPTION.len() + RESUMPTION_CPU.len();
    let memory = 2;
    assert_eq!(rows.count(), 2 + figures + memory, "{table}");
}

#[test]
fn ctrl_c_leaves_nothing_behind() {
    let temporary = tempfile::tempdir().unwrap();
    let mut child = bench(temporary.path())
        .args([
            "--duration",
            "1m",
            "--idle-streams",
            "10",
            "--transport",
            "tls",
        ])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut progress = BufReader::new(child.stderr.take().unwrap());
    // The first path ends after minutes, so what is begun here is under way when the signal comes.
    said(&mut progress, "direct TCP: ping");
    let children = children(&child);
    assert_eq!(children.len(), 2, "the origin and the hop: {children:?}");
    assert!(!is_empty(temporary.path()));
    interrupt(&child);
    let ended = wait_for("the end of the bench", || child.try_wait().unwrap());
    assert_eq!(ended.code(), Some(1), "it was not done");
    let mut rest = String::new();
    progress.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("stopped before everything"), "{rest}");
    assert!(is_empty(temporary.path()));
    for child in children {
        assert!(!Path::new(&format!("/proc/{child}")).exists());
    }
}

#[test]
fn wrong_arguments_are_told_and_measure_nothing() {
    for (arguments, told) in [
        (["--transport", "sctp"], "quic"),
        (["--rounds", "0"], "1..=100"),
        (["--duration", "1ms"], "from 50ms to 10m"),
        (["--duration", "soon"], "--duration"),
        (["--idle-streams", "0"], "1..=16000"),
        (["--be", "server"], "--be"),
    ] {
        let temporary = tempfile::tempdir().unwrap();
        let output = bench(temporary.path()).args(arguments).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(told), "{arguments:?}: {said}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn too_few_open_files_are_told() {
    let temporary = tempfile::tempdir().unwrap();
    let limited = |files: u32, arguments: &str| {
        let program = bench(temporary.path()).get_program().to_owned();
        let line = format!("ulimit -n {files}; exec \"$0\" bench {arguments}");
        Command::new("sh")
            .args(["-c", &line])
            .arg(program)
            .env("TMPDIR", temporary.path())
            .output()
            .unwrap()
    };
    let output = limited(300, &format!("--transport tls --json {}", SMALL.join(" ")));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("44 idle streams instead of 300"), "{said}");
    let document = json(output);
    assert_eq!(document["idle_streams"], 44);
    assert_eq!(document["idle_streams_asked_for"], 300);

    let output = limited(100, "");
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("10256"), "{said}");
    assert!(is_empty(temporary.path()));
}

/// `causeway bench`, which makes its directory within `temporary`.
fn bench(temporary: &Path) -> Command {
    let mut command = causeway();
    command
        .arg("bench")
        .env("TMPDIR", temporary)
        .stdin(Stdio::null());
    command
}

#[track_caller]
fn json(output: Output) -> Value {
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn is_empty(directory: &Path) -> bool {
    fs::read_dir(directory).unwrap().next().is_none()
}

/// Reads its progress up to a line with `what`.
#[track_caller]
fn said(progress: &mut impl BufRead, what: &str) {
    let mut line = String::new();
    while !line.contains(what) {
        line.clear();
        let read = progress.read_line(&mut line).unwrap();
        assert!(read > 0, "it ended before {what:?}");
    }
}

fn children(parent: &Child) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{}/task", parent.id())).unwrap();
    tasks
        .flat_map(|task| {
            // A thread may have ended meanwhile.
            let children = fs::read_to_string(task.unwrap().path().join("children"));
            let children = children.unwrap_or_default();
            let pids: Vec<u32> = children
                .split(' ')
                .filter_map(|pid| pid.parse().ok())
                .collect();
            pids
        })
        .collect()
}

/// What Ctrl-C does: SIGINT to the process.
fn interrupt(child: &Child) {
    let pid = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
}
