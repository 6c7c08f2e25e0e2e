//! The demo whose network can be taken away.

use std::io::{ErrorKind, Write};
use std::net::TcpStream;

use super::*;
use crate::support::{DEADLINE, echoes, run};

/// A running quickstart with `--chaos`, and a stream through its tunnel.
fn demo(directory: &Path) -> (Quickstart, Value, TcpStream) {
    let echo = Origin::echo();
    let expose = format!("echo={}", echo.tcp());
    let (quickstart, document) = Quickstart::start(directory, &["--chaos", "--expose", &expose]);
    let address = document["services"]["echo"]["addr"].as_str().unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    echoes(&mut stream);
    (quickstart, document, stream)
}

/// What `causeway chaos cut` prints, with its exit status.
fn cut(directory: &Path, words: &[&str]) -> (Option<i32>, String, String) {
    let mut command = causeway();
    command.args(["chaos", "cut"]).args(words);
    command.arg("--dir").arg(directory);
    let output = run(&mut command, Stdio::null());
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

#[test]
fn streams_wait_while_it_is_cut_for_a_short_time() {
    let directory = tempfile::tempdir().unwrap();
    let (_quickstart, document, mut stream) = demo(directory.path());
    assert_ne!(document["line"], document["tunnel"]);
    let dials = fs::read_to_string(directory.path().join("client.toml")).unwrap();
    let line = format!("address = {}", document["line"]);
    assert!(dials.contains(&line), "{dials}");

    let (code, result, lines) = cut(directory.path(), &["2s", "--json"]);
    assert_eq!(code, Some(0), "{lines}");
    let result: Value = serde_json::from_str(&result).unwrap();
    assert!(result["given_up_ms"].is_null(), "{lines}");
    assert!(result["works_again_ms"].is_u64(), "{lines}");
    assert_eq!(result["streams_before"], 1);
    assert_eq!(result["streams_after"], 1);
    assert!(result["cut_ms"].as_u64().unwrap() >= 2000);
    assert!(lines.contains("s to go: session over "), "{lines}");
    echoes(&mut stream);
}

#[test]
fn nothing_passes_while_it_is_cut() {
    let directory = tempfile::tempdir().unwrap();
    let (_quickstart, _, mut stream) = demo(directory.path());
    let directory = directory.path().to_owned();
    let cutting = thread::spawn(move || cut(&directory, &["3s"]));
    stream.set_read_timeout(Some(SILENCE)).unwrap();
    wait_for("the cut to begin", || {
        stream.write_all(b".").unwrap();
        let read = stream.read(&mut [0; 64]);
        read.is_err().then_some(())
    });
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    assert_eq!(stream.read(&mut [0; 1]).unwrap(), 1, "it goes on by itself");
    let (code, text, _) = cutting.join().unwrap();
    assert_eq!(code, Some(0));
    assert!(text.contains("no session was given up"), "{text}");
}

#[test]
fn a_session_that_is_given_up_ends_its_streams_with_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let (mut quickstart, _, _) = demo(directory.path());
    quickstart.interrupt();
    quickstart.exit_code();
    // The edge gives up sooner than it does by default, so that this does not take as long; but not
    // because a busy machine lets it wait.
    let file = directory.path().join("edge.toml");
    let text = fs::read_to_string(&file).unwrap();
    let impatient = "[session]\nping_interval = \"200ms\"\ndead_after = \"5s\"\nidle_ping_interval = \"200ms\"\nidle_dead_after = \"5s\"\ngrace = \"1s\"\n";
    fs::write(&file, text.replace("[session]\n", impatient)).unwrap();

    let (_quickstart, _, mut stream) = demo(directory.path());
    let (code, text, lines) = cut(directory.path(), &["15s"]);
    assert_eq!(code, Some(0), "{lines}{text}");
    assert!(
        text.contains("its stream has ended with an error") && text.contains("bytes pass again"),
        "{lines}{text}"
    );
    let error = stream.read(&mut [0; 1]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[test]
fn a_demo_that_ends_meanwhile_is_said_to_have_ended() {
    let directory = tempfile::tempdir().unwrap();
    let (mut quickstart, _, _stream) = demo(directory.path());
    let mut command = causeway();
    command.args(["chaos", "cut", "10m", "--dir"]);
    command.arg(directory.path()).stderr(Stdio::piped());
    let mut cutting = command.spawn().unwrap();
    let mut lines = BufReader::new(cutting.stderr.take().unwrap());
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    assert!(line.starts_with("cut, "), "{line}");
    quickstart.interrupt();
    assert_eq!(quickstart.exit_code(), Some(0));
    let mut rest = String::new();
    lines.read_to_string(&mut rest).unwrap();
    assert_eq!(cutting.wait().unwrap().code(), Some(1), "{rest}");
    let directory = directory.path().display();
    let end = format!("the quickstart in {directory} has ended\n");
    assert!(rest.ends_with(&end), "{rest}");
}

#[test]
fn without_a_demo_there_is_nothing_to_cut() {
    let directory = tempfile::tempdir().unwrap();
    let (_quickstart, _) = Quickstart::start(directory.path(), &[]);
    let (code, _, error) = cut(directory.path(), &["1s"]);
    assert_eq!(code, Some(1));
    assert!(
        error.contains("start one with `causeway quickstart --chaos`"),
        "{error}"
    );
    assert_eq!(cut(directory.path(), &["1"]).0, Some(2));
}
