//! What the two processes wrote to their logs, made readable: JSON lines by the processes' logging,
//! and plain lines by which they tell people why they end.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use serde_json::{Map, Value};

use crate::logging::LAST_WORDS;
use crate::status::printable;

/// No more of a log is looked at; a tail is much shorter.
const MOST: u64 = 64 * 1024;

/// The end of a log.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tail {
    /// What the process told people, without the `error:` in front: usually why it ended.
    pub(crate) said: Vec<String>,
    /// What it logged last.
    pub(crate) logged: Vec<String>,
}

impl Tail {
    /// The last `count` lines of a log that a process has written.
    pub(crate) fn of(file: &Path, count: usize) -> io::Result<Self> {
        let mut file = File::open(file)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(MOST)))?;
        let mut bytes = Vec::new();
        file.take(MOST).read_to_end(&mut bytes)?;
        Ok(Self::read(&String::from_utf8_lossy(&bytes), count))
    }

    fn read(text: &str, count: usize) -> Self {
        let mut tail = Self::default();
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            match serde_json::from_str::<Map<String, Value>>(line) {
                Ok(event) if event.get("message").is_some_and(|said| said == LAST_WORDS) => {
                    let error = event.get("error").and_then(Value::as_str);
                    tail.said.push(printable(error.unwrap_or(LAST_WORDS)));
                }
                Ok(event) => tail.logged.push(readable(event)),
                Err(_) => {
                    let line = line.strip_prefix("error: ").unwrap_or(line);
                    tail.said.push(printable(line));
                }
            }
        }
        for lines in [&mut tail.said, &mut tail.logged] {
            lines.drain(..lines.len().saturating_sub(count));
        }
        tail
    }
}

/// `12:04:05 WARN  message key=value`: in the order of the event, then what its spans say besides,
/// the innermost first.
fn readable(mut event: Map<String, Value>) -> String {
    let mut take = |key: &str| {
        let value = event.remove(key).unwrap_or_default();
        value.as_str().unwrap_or_default().to_owned()
    };
    let (timestamp, level, message) = (take("timestamp"), take("level"), take("message"));
    take("target");
    let spans = event.remove("spans");
    let time = timestamp.get(11..19).unwrap_or(&timestamp);
    let mut line = format!("{time} {level:5} {message}");
    let spans = spans.as_ref().and_then(Value::as_array);
    let of_spans = spans
        .into_iter()
        .flatten()
        .rev()
        .filter_map(Value::as_object);
    let of_spans = of_spans.flatten().filter(|(key, _)| *key != "name");
    let mut said = Vec::new();
    for (key, value) in event.iter().chain(of_spans) {
        if !said.contains(&key) {
            said.push(key);
            let value = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            line += &format!(" {key}={value}");
        }
    }
    printable(&line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_and_what_was_logged_are_told_apart() {
        let text = r#"{"timestamp":"2026-11-21T00:04:05.123Z","level":"INFO","message":"edge started","edge":"demo","ingresses":1,"target":"tunnel_edge::run"}
error: cannot listen on 127.0.0.1:8080: address in use
{"timestamp":"2026-11-21T00:04:06.123Z","level":"ERROR","message":"cannot go on","error":"no threads","target":"causeway::logging"}

not JSON "at" all
"#;
        let tail = Tail::read(text, 5);
        assert_eq!(
            tail.said,
            [
                "cannot listen on 127.0.0.1:8080: address in use",
                "no threads",
                "not JSON \"at\" all"
            ]
        );
        assert_eq!(
            tail.logged,
            ["00:04:05 INFO  edge started edge=demo ingresses=1"]
        );
    }

    #[test]
    fn what_spans_say_follows_once() {
        let text = r#"{"timestamp":"2026-11-21T00:04:05.123Z","level":"WARN","message":"target not reached","service":"db","spans":[{"peer.address":"10.0.0.7:1","name":"accept"},{"service":"db","stream":"r3","name":"stream"}],"target":"tunnel_client::expose"}"#;
        assert_eq!(
            Tail::read(text, 1).logged,
            ["00:04:05 WARN  target not reached service=db stream=r3 peer.address=10.0.0.7:1"]
        );
    }

    #[test]
    fn only_the_end_is_kept_and_nothing_is_trusted() {
        let tail = Tail::read("{}\n{\"level\":3}\n{\"message\":\"\\u001b[2J\"}\na\nb\n", 1);
        assert_eq!(tail.said, ["b"]);
        assert_eq!(tail.logged, ["       \\u{1b}[2J"]);
    }

    #[test]
    fn a_long_log_is_read_from_near_its_end() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("edge.log");
        let text: String = (0..20_000)
            .map(|n| format!("{{\"message\":\"{n}\"}}\n"))
            .collect();
        std::fs::write(&file, text).unwrap();
        let tail = Tail::of(&file, 2).unwrap();
        assert_eq!(tail.logged, ["       19998", "       19999"]);
    }
}
