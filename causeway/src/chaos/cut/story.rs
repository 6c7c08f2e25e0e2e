//! What is seen while the tunnel is cut and after, and what is said of it at the end.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::chaos::proxy::shown;
use crate::status::printable;

/// How long after a cut a tunnel may take to be whole again. A client may wait for half a minute
/// between two attempts.
pub(super) const HEALING: Duration = Duration::from_secs(60);

/// What there is to see at a moment.
#[derive(Debug, Default)]
pub(super) struct Look {
    /// As the edge has them. There may be several: a client that moves to another transport leaves
    /// its streams where they are.
    pub(super) sessions: Vec<Session>,
    /// What the client says of itself, unless it can do its work.
    pub(super) client: Option<String>,
    /// Bytes that have passed the proxy.
    pub(super) passed: Passed,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Passed {
    pub(super) up: u64,
    pub(super) down: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Session {
    id: String,
    transport: String,
    streams: u64,
    suspect: bool,
    /// It has no connection.
    lost: bool,
}

/// What came of a cut.
#[derive(Debug)]
pub(super) struct Story {
    streams_before: u64,
    /// The sessions when they were looked at last.
    known: Vec<Session>,
    /// When the first one was given up, since the cut began.
    given_up: Option<Duration>,
    /// How many streams those had that were given up.
    ended: u64,
    /// What had passed when the cut was over.
    at_healing: Option<Passed>,
    /// How long after the cut bytes passed again both ways.
    pub(super) works_again: Option<Duration>,
}

#[derive(Clone, Copy)]
pub(super) enum Phase {
    /// From then until then.
    Cut(Instant, Instant),
    /// It was cut from then until then.
    Healed(Instant, Instant),
}

impl Look {
    /// With what has passed since the first look; nothing, if a proxy counts anew.
    pub(super) fn line(&self, first: Passed) -> String {
        let sessions: Vec<_> = self.sessions.iter().map(Session::line).collect();
        let sessions = match sessions.as_slice() {
            [] => "no session".to_owned(),
            sessions => sessions.join("; "),
        };
        let up = shown(self.passed.up.saturating_sub(first.up));
        let down = shown(self.passed.down.saturating_sub(first.down));
        let client = match &self.client {
            Some(why) => format!("; client: {why}"),
            None => String::new(),
        };
        format!("{sessions}; passed {up} up, {down} down{client}")
    }

    /// Whether nothing is in doubt.
    fn is_well(&self) -> bool {
        let suspect = self.sessions.iter().any(|session| session.suspect);
        self.client.is_none() && !self.sessions.is_empty() && !suspect
    }
}

impl Session {
    pub(super) fn of(session: &Value) -> Self {
        let text = |key: &str| printable(session[key].as_str().unwrap_or("unknown"));
        Self {
            id: text("id"),
            transport: text("transport"),
            streams: session["streams"].as_u64().unwrap_or_default(),
            suspect: session["suspect"].as_bool().unwrap_or_default(),
            lost: session["connected"] == false,
        }
    }

    fn line(&self) -> String {
        let doubt = match (self.lost, self.suspect) {
            (true, _) => ", connection lost",
            (false, true) => ", suspect",
            (false, false) => "",
        };
        let streams = match self.streams {
            1 => "1 stream".to_owned(),
            many => format!("{many} streams"),
        };
        format!("session over {}{doubt}, {streams}", self.transport)
    }
}

impl Story {
    pub(super) fn new(known: Vec<Session>) -> Self {
        Self {
            streams_before: streams(&known),
            known,
            given_up: None,
            ended: 0,
            at_healing: None,
            works_again: None,
        }
    }

    pub(super) fn see(&mut self, look: &Look, now: Instant, phase: Phase) {
        let (Phase::Cut(begun, _) | Phase::Healed(begun, _)) = phase;
        let still = |known: &Session| look.sessions.iter().any(|it| it.id == known.id);
        for gone in self.known.iter().filter(|known| !still(known)) {
            // One without streams that is left for another is no loss.
            if gone.streams > 0 || look.sessions.is_empty() {
                self.given_up.get_or_insert(now - begun);
                self.ended += gone.streams;
            }
        }
        self.known.clone_from(&look.sessions);
        match phase {
            Phase::Cut(..) => {}
            Phase::Healed(_, since) => {
                let then = *self.at_healing.get_or_insert(look.passed);
                let Passed { up, down } = look.passed;
                if look.is_well() && up > then.up && down > then.down {
                    self.works_again.get_or_insert(now - since);
                }
            }
        }
    }

    /// Of a cut that lasted so long, and was watched so long when it was over.
    pub(super) fn text(&self, cut: Duration, watched: Duration) -> String {
        let fate = match (self.given_up, self.ended) {
            (None, _) => "no session was given up".to_owned(),
            (Some(given_up), ended) => {
                let streams = match ended {
                    0 => "it had no streams".to_owned(),
                    1 => "its stream has ended with an error".to_owned(),
                    many => format!("its {many} streams have ended with an error"),
                };
                let given_up = seconds(given_up);
                format!("a session was given up {given_up} after the cut began: {streams}")
            }
        };
        let again = match self.works_again {
            Some(again) => format!(
                "bytes pass again since {} after it was over",
                seconds(again)
            ),
            None => format!(
                "{} after it was over the tunnel does not work yet",
                seconds(watched)
            ),
        };
        format!(
            "cut for {}; {fate}\n{again}\nstreams: {} when it was cut, {} now\n",
            seconds(cut),
            self.streams_before,
            streams(&self.known)
        )
    }

    pub(super) fn json(&self, cut: Duration) -> Value {
        let millis = |it: Duration| u64::try_from(it.as_millis()).unwrap_or(u64::MAX);
        json!({
            "cut_ms": millis(cut),
            "given_up_ms": self.given_up.map(millis),
            "works_again_ms": self.works_again.map(millis),
            "streams_before": self.streams_before,
            "streams_ended": self.ended,
            "streams_after": streams(&self.known),
        })
    }
}

fn streams(sessions: &[Session]) -> u64 {
    sessions.iter().map(|session| session.streams).sum()
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn session(id: &str, streams: u64) -> Session {
        Session {
            id: id.to_owned(),
            transport: "quic".to_owned(),
            streams,
            suspect: false,
            lost: false,
        }
    }

    fn look(sessions: &[Session], passed: u64) -> Look {
        Look {
            sessions: sessions.to_vec(),
            client: None,
            passed: Passed {
                up: passed,
                down: passed,
            },
        }
    }

    #[test]
    fn sessions_that_live_and_one_that_does_not() {
        let begun = Instant::now();
        let (cut, healed) = (
            Phase::Cut(begun, begun + 30 * SECOND),
            Phase::Healed(begun, begun + 30 * SECOND),
        );
        let [old, moved, new] = [session("a", 2), session("b", 1), session("c", 0)];
        let at = |seconds: u32| begun + seconds * SECOND;

        let mut story = Story::new(vec![old.clone(), new.clone()]);
        story.see(&look(&[old.clone(), moved.clone()], 0), at(1), cut);
        story.see(&look(&[old.clone(), moved.clone()], 5), at(30), healed);
        assert_eq!(story.works_again, None, "nothing has passed since then");
        story.see(&look(&[old.clone(), moved.clone()], 6), at(31), healed);
        assert_eq!(
            story.text(30 * SECOND, 2 * SECOND),
            "cut for 30.0 s; no session was given up\n\
             bytes pass again since 1.0 s after it was over\n\
             streams: 2 when it was cut, 3 now\n"
        );

        let mut story = Story::new(vec![old, new.clone()]);
        story.see(&look(&[new], 0), at(16), cut);
        story.see(&look(std::slice::from_ref(&moved), 0), at(30), healed);
        story.see(&look(&[moved], 1), at(32), healed);
        assert_eq!(
            story.text(30 * SECOND, 2 * SECOND),
            "cut for 30.0 s; a session was given up 16.0 s after the cut began: its 2 streams have ended with an error\n\
             bytes pass again since 2.0 s after it was over\n\
             streams: 2 when it was cut, 1 now\n"
        );
        assert_eq!(story.json(30 * SECOND)["given_up_ms"], 16_000);
        assert_eq!(story.json(30 * SECOND)["streams_ended"], 2);
    }

    #[test]
    fn a_client_that_is_not_ready_is_not_back() {
        let begun = Instant::now();
        let mut story = Story::new(vec![session("a", 0)]);
        let healed = Phase::Healed(begun, begun);
        for passed in [0, 9] {
            let mut there = look(&[session("b", 0)], passed);
            there.client = Some("no session".to_owned());
            story.see(&there, begun + SECOND, healed);
        }
        let text = story.text(SECOND, 3 * SECOND);
        let end = "\n3.0 s after it was over the tunnel does not work yet\n";
        assert!(text.contains(end), "{text}");
    }

    #[test]
    fn a_proxy_that_counts_anew_has_passed_nothing() {
        let first = look(&[], 2048).passed;
        let line = look(&[], 5).line(first);
        assert_eq!(line, "no session; passed 0 B up, 0 B down");
    }

    #[test]
    fn the_line_says_what_passes() {
        let first = look(&[], 0).passed;
        let mut later = look(&[session("a", 1), session("b", 0)], 2048);
        later.sessions[1].suspect = true;
        assert_eq!(
            later.line(first),
            "session over quic, 1 stream; session over quic, suspect, 0 streams; passed 2.0 KiB up, 2.0 KiB down"
        );
    }
}
