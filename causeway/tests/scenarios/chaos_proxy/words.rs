//! What the proxy says: commands to copy, refusals, its log, and its list of faults.

use super::*;

/// Whoever copies what it prints gets what it says.
#[test]
fn the_commands_that_it_prints_work() {
    let Some(redis) = Redis::start() else { return };
    let directory = tempfile::tempdir().unwrap();
    let control = format!("unix:{}/control.sock", directory.path().display());
    for control in ["127.0.0.1:0", &control] {
        let log = directory.path().join("text");
        let to = redis.address.to_string();
        let proxy = Process::start(
            "chaos proxy",
            causeway().args(["chaos", "proxy", "--control", control, "--to", &to]),
            &log,
        );
        wait_for("what it prints", || {
            proxy.log().contains("Ctrl-C stops it").then_some(())
        });
        let text = proxy.log();
        let commands: Vec<_> = text
            .lines()
            .filter_map(|line| line.trim_start_matches("Try").trim().strip_prefix("curl "))
            .map(|rest| rest.split("   ").next().unwrap())
            .collect();
        assert_eq!(commands.len(), 5, "{text}");
        for command in commands {
            let shell = format!("curl --silent --show-error --fail {command}");
            let Output { status, stderr, .. } =
                run(Command::new("sh").args(["-c", &shell]), Stdio::null());
            assert!(status.success(), "{shell}: {stderr:?}");
        }
        fs::remove_file(log).unwrap();
    }
}

/// Whoever sends both of its streams to one place finds one kind of lines there, with what is logged
/// of a server that is not there, and with the totals.
#[test]
fn all_that_it_prints_is_for_people_or_all_is_json() {
    let directory = tempfile::tempdir().unwrap();
    let nobody = address_for_server().to_string();
    for json in [false, true] {
        let log = directory.path().join(format!("{json}.log"));
        let mut command = causeway();
        command.args(["chaos", "proxy", "--tcp", "--to", &nobody]);
        command.args(json.then_some("--json"));
        let mut proxy = Process::start("chaos proxy", &mut command, &log);
        let listen = wait_for("its address", || {
            let log = proxy.log();
            let (before, after) = if json {
                ("\"listen\":\"", "\"")
            } else {
                ("TCP at ", " to ")
            };
            let (listen, _) = log.split_once(before)?.1.split_once(after)?;
            listen.parse::<SocketAddr>().ok()
        });
        let mut caller = TcpStream::connect(listen).unwrap();
        caller.set_read_timeout(Some(DEADLINE)).unwrap();
        assert!(caller.read(&mut [0]).is_err());
        wait_for("what it logs", || {
            proxy.log().contains("cannot connect").then_some(())
        });
        proxy.signal("TERM");
        assert_eq!(proxy.ended().code(), Some(0));
        let log = proxy.log();
        for line in log.lines() {
            let read = serde_json::from_str::<Value>(line);
            assert_eq!(read.is_ok_and(|it| it.is_object()), json, "{log}");
        }
        let last = log.lines().last().unwrap();
        if json {
            let last: Value = serde_json::from_str(last).unwrap();
            assert_eq!(last["message"], "stopped");
            assert_eq!(last["connections"], 1);
        } else {
            assert!(last.starts_with("stopped: 1 connections, 0 B up"), "{log}");
            assert!(!log.contains('\u{1b}'), "colours are for terminals: {log}");
        }
    }
}

#[test]
fn mistakes_say_what_would_be_right() {
    let directory = tempfile::tempdir().unwrap();
    let timeline = directory.path().join("train.txt");
    fs::write(&timeline, "at 1s cut\nin 2s clear\n").unwrap();
    let timeline = timeline.to_str().unwrap();
    let to = ["proxy", "--to", "127.0.0.1:1"];
    for (more, error) in [
        (
            &["--fault", "lag"][..],
            "there is no fault \"lag\"; there is latency",
        ),
        (
            &["--fault", "latency dely=1s"],
            "write delay=100ms jitter=0s",
        ),
        (
            &["--udp", "--fault", "slice"],
            "slice is for TCP, and this proxy passes UDP only",
        ),
        (
            &["--timeline", timeline],
            "train.txt: line 2: \"in\" begins no line; write: at TIME",
        ),
        (
            &["--timeline", "/nowhere"],
            "--timeline /nowhere: No such file",
        ),
        (&["--control", "0.0.0.0:0"], "it must be a loopback address"),
        (&["--listen", "here"], "write an IP address and a port"),
        (
            &["--listen", "127.0.0.1:1"],
            "--to 127.0.0.1:1 is where --listen is",
        ),
        (
            &["--fault", "bandwidth rate=10Mbps"],
            "or of bits a second in kbit, Mbit or Gbit, such as 10Mbit",
        ),
    ] {
        let mut command = causeway();
        command.arg("chaos").args(to).args(more);
        let Output { status, stderr, .. } = run(&mut command, Stdio::null());
        let stderr = String::from_utf8(stderr).unwrap();
        assert_eq!(status.code(), Some(2), "{stderr}");
        assert!(stderr.contains(error), "{stderr}");
    }
    let mut taken = causeway();
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = held.local_addr().unwrap().to_string();
    taken.arg("chaos").args(to).args(["--listen", &listen]);
    let Output { status, stderr, .. } = run(&mut taken, Stdio::null());
    let stderr = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(1));
    assert!(stderr.contains("address in use"), "{stderr}");
}

#[test]
fn every_fault_is_listed() {
    let list = |more: &[&str]| {
        let output = run(causeway().args(["chaos", "list"]).args(more), Stdio::null());
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    let all: Value = serde_json::from_str(&list(&["--json"])).unwrap();
    let text = list(&[]);
    for fault in all.as_array().unwrap() {
        let name = fault["name"].as_str().unwrap();
        assert!(text.contains(&format!("{name} (")), "{name}");
        assert!(list(&[name]).starts_with(name));
    }
    assert_eq!(all[0]["parameters"][0]["default"], "100ms");
}
