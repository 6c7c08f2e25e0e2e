//! What a record says.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Instant, SystemTime};

use serde::Serialize;
use time::OffsetDateTime;

use super::AuditLog;
use crate::proto::{Caller, Opener, ServiceName, SessionId, StreamId};
use crate::session::{Over, ResetBy};

/// Who the two ends of a session are, which all records of its streams say.
#[derive(Clone, Debug)]
pub struct Parties {
    /// Where the records go.
    pub log: Arc<AuditLog>,
    /// The client's cluster, from its verified certificate.
    pub cluster: String,
    /// Which of the cluster's clients it is.
    pub replica: String,
    /// The edge's name.
    pub edge: String,
    /// The session.
    pub session: SessionId,
}

/// A record in the making: what is known of a stream while it lives.
#[derive(Debug)]
pub(crate) struct Entry {
    parties: Parties,
    began: (SystemTime, Instant),
    service: ServiceName,
    caller: Caller,
    traceparent: Option<String>,
    target: OnceLock<String>,
}

/// A record that lacks no more than how the stream ended.
#[derive(Debug)]
pub(crate) struct Recording {
    pub(crate) entry: Box<Entry>,
    pub(crate) bytes_sent: u64,
    pub(crate) bytes_received: u64,
}

/// One line.
#[derive(Serialize)]
struct Record<'a> {
    time: String,
    began: String,
    duration_ms: u64,
    session: String,
    stream: String,
    direction: &'static str,
    cluster: &'a str,
    replica: &'a str,
    edge: &'a str,
    service: &'a str,
    caller: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    caller_address: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<&'a str>,
    bytes_sent: u64,
    bytes_received: u64,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reset_by: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<&'a str>,
}

/// The line that tells of records which are not there.
#[derive(Serialize)]
struct Lost {
    time: String,
    lost_records: u64,
}

impl Entry {
    /// Begins with the stream.
    pub(crate) fn new(
        parties: Parties,
        service: ServiceName,
        caller: Caller,
        traceparent: Option<String>,
    ) -> Self {
        Self {
            parties,
            began: (SystemTime::now(), Instant::now()),
            service,
            caller,
            traceparent,
            target: OnceLock::new(),
        }
    }

    /// What was dialled for it; the first time counts.
    pub(crate) fn dialled(&self, target: String) {
        let _ = self.target.set(target);
    }
}

impl Recording {
    /// Writes the record.
    pub(crate) fn end(self, stream: StreamId, over: &Over) {
        let Self {
            entry,
            bytes_sent,
            bytes_received,
        } = self;
        let duration = entry.began.1.elapsed();
        let (outcome, code, reset_by) = match over {
            Over::Complete => ("complete", None, None),
            Over::Reset { code, by, .. } => {
                let by = match by {
                    ResetBy::Local => "here",
                    ResetBy::Peer => "peer",
                };
                ("reset", Some(code.label()), Some(by))
            }
        };
        let record = Record {
            time: timestamp(entry.began.0 + duration),
            began: timestamp(entry.began.0),
            duration_ms: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
            session: entry.parties.session.to_string(),
            stream: stream.to_string(),
            direction: direction(stream),
            cluster: &entry.parties.cluster,
            replica: &entry.parties.replica,
            edge: &entry.parties.edge,
            service: entry.service.as_str(),
            caller: &entry.caller.principal,
            caller_address: entry.caller.address,
            target: entry.target.get().map(String::as_str),
            bytes_sent,
            bytes_received,
            outcome,
            code,
            reset_by,
            traceparent: entry.traceparent.as_deref(),
        };
        entry.parties.log.submit(line(&record));
    }
}

/// Which plane is called: the client is the initiator of every session.
pub(crate) fn direction(stream: StreamId) -> &'static str {
    match stream.opener() {
        Opener::Initiator => "to_control",
        Opener::Responder => "to_compute",
    }
}

/// The record that `lost_records` were not written before.
pub(super) fn lost(lost_records: u64) -> String {
    line(&Lost {
        time: timestamp(SystemTime::now()),
        lost_records,
    })
}

fn line(record: &impl Serialize) -> String {
    let mut line = serde_json::to_string(record).expect("a record has only strings and numbers");
    line.push('\n');
    line
}

/// RFC 3339, in UTC, to the millisecond: always as long, so that sorting lines sorts times.
fn timestamp(time: SystemTime) -> String {
    let time = OffsetDateTime::from(time);
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
        time.year(),
        u8::from(time.month()),
        time.day(),
        time.hour(),
        time.minute(),
        time.second(),
        time.millisecond()
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_are_to_the_millisecond() {
        for (nanoseconds, shown) in [
            (0, "2026-11-21T04:16:02.000Z"),
            (999_999, "2026-11-21T04:16:02.000Z"),
            (120_000_000, "2026-11-21T04:16:02.120Z"),
            (999_999_999, "2026-11-21T04:16:02.999Z"),
        ] {
            let time = SystemTime::UNIX_EPOCH + Duration::new(1_795_234_562, nanoseconds);
            assert_eq!(timestamp(time), shown);
        }
    }
}
