use clap::Parser;

use super::*;

#[test]
fn commands_can_be_copied() {
    let to = "db.internal:6379".parse().unwrap();
    let faults = ["up cut".parse().unwrap(), "latency".parse().unwrap()];
    let mut begun = Begun {
        listen: "127.0.0.1:6380".parse().unwrap(),
        to: &to,
        protocols: Protocols::Both,
        control: ListenAddr::Ip("127.0.0.1:4711".parse().unwrap()),
        seed: 7,
        faults: &faults,
    };
    let text = begun.text();
    for line in [
        "passes  TCP and UDP at 127.0.0.1:6380 to db.internal:6379\n",
        "faults  up cut, latency delay=100ms jitter=0s\n",
        "curl 'http://127.0.0.1:4711/faults/latency' -X PUT -d '{\"delay\": \"250ms\"}'\n",
    ] {
        assert!(text.contains(line), "{text}");
    }
    begun.control = ListenAddr::Unix("/run/chaos.sock".into());
    assert!(
        begun
            .text()
            .contains("curl --unix-socket /run/chaos.sock 'http://localhost/connections'\n")
    );
    assert!(
        begun
            .json()
            .contains("\"control\":\"unix:/run/chaos.sock\"")
    );
}

#[derive(clap::Parser)]
struct Line {
    #[command(flatten)]
    args: ProxyArgs,
}

fn prepared(words: &str) -> Result<(Faults, Option<Timeline>), String> {
    let words = ["proxy"].into_iter().chain(words.split(' '));
    let line = Line::try_parse_from(words).unwrap();
    prepare(&line.args, Protocols::Both)
}

#[test]
fn nobody_leads_to_himself() {
    for (listen, to) in [
        ("127.0.0.1:6380", "127.0.0.1:6380"),
        ("0.0.0.0:6380", "127.0.0.1:6380"),
        ("[::1]:6380", "[::1]:6380"),
        ("[::]:6380", "127.0.0.1:6380"),
        ("127.0.0.1:6380", "0.0.0.0:6380"),
        ("127.0.0.1:6380", "localhost:6380"),
        ("0.0.0.0:6380", "localhost:6380"),
    ] {
        let error = prepared(&format!("--listen {listen} --to {to}")).unwrap_err();
        let begin = format!("--to {to} is where --listen is");
        assert!(error.starts_with(&begin), "{error}");
    }
    for (listen, to) in [
        ("127.0.0.1:6380", "127.0.0.1:6379"),
        ("127.0.0.1:6380", "127.0.0.2:6380"),
        ("127.0.0.1:0", "127.0.0.1:6380"),
        ("127.0.0.1:6380", "localhost:6379"),
        // Of a network that is for documents (RFC 5737).
        ("0.0.0.0:6380", "192.0.2.1:6380"),
    ] {
        assert!(prepared(&format!("--listen {listen} --to {to}")).is_ok());
    }
}

#[test]
fn a_wrong_timeline_is_told_with_its_line_before_anything_is_bound() {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(&file, "at 0s cut\nrepeat 5s\n").unwrap();
    let name = file.path().display();
    let error = prepared(&format!("--to 127.0.0.1:6380 --timeline {name}")).unwrap_err();
    let begin = format!("--timeline {name}: line 2: write: ");
    assert!(error.starts_with(&begin), "{error}");
}

#[test]
fn buffers_have_bounds() {
    assert_eq!(buffer(BUFFER), Ok(1 << 20));
    assert_eq!(buffer("1KiB"), Err("from 16KiB to 1GiB".to_owned()));
    assert_eq!(shown(10), "10 B");
    assert_eq!(shown(1536), "1.5 KiB");
}
