//! What an edge and a client hold, round after round.

use std::{fmt, time::Duration};

use super::load::Done;
use crate::support::{Plane, Process, Side};

const SIDES: [Side; 2] = [Side::Edge, Side::Client];

/// What one process holds at one time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) rss: u64,
    pub(super) fds: u64,
    pub(super) tasks: u64,
    pub(super) streams: u64,
    /// What windows are granted beyond their base, in bytes.
    pub(super) growth: u64,
}

impl Held {
    /// The greater of each.
    pub(super) fn most(self, other: Self) -> Self {
        Self {
            rss: self.rss.max(other.rss),
            fds: self.fds.max(other.fds),
            tasks: self.tasks.max(other.tasks),
            streams: self.streams.max(other.streams),
            growth: self.growth.max(other.growth),
        }
    }

    /// Whether it is no more than another, but for memory, which is judged over many rounds.
    pub(super) fn is_within(self, other: Self) -> bool {
        self.most(other)
            == Self {
                rss: self.rss.max(other.rss),
                ..other
            }
    }
}

/// What the edge and the client hold now.
pub(super) fn held(plane: &Plane) -> [Held; 2] {
    SIDES.map(|side| {
        let process: &Process = match side {
            Side::Edge => &plane.edge,
            Side::Client => &plane.client,
        };
        // Counted before asking for the metrics, which opens one more.
        let fds = process.open_fds() as u64;
        let metrics = plane.metrics(side);
        let sum = |name: &str| -> u64 {
            let samples = metrics.lines().filter_map(|line| line.strip_prefix(name));
            let values = samples.filter(|rest| rest.starts_with(['{', ' ']));
            values
                .filter_map(|rest| rest.rsplit(' ').next()?.parse::<u64>().ok())
                .sum()
        };
        assert!(metrics.contains("\ncauseway_tasks "), "{metrics}");
        Held {
            rss: process.rss_bytes(),
            fds,
            tasks: sum("causeway_tasks"),
            streams: sum("causeway_streams_opened_total") - sum("causeway_streams_ended_total"),
            growth: sum("causeway_window_growth_bytes"),
        }
    })
}

/// The metrics that say that something failed which should not have: what a process refused, could
/// not reach, or answered itself.
pub(super) fn failures(plane: &Plane) -> Vec<String> {
    const FAILED: [&str; 10] = [
        "causeway_protocol_violations_total{",
        "class=\"5xx\"",
        "outcome=\"not_allowed\"",
        "outcome=\"not_connected\"",
        "outcome=\"not_opened\"",
        "outcome=\"no_session\"",
        "outcome=\"unknown_service\"",
        "outcome=\"connect_refused\"",
        "outcome=\"connect_timeout\"",
        "outcome=\"connect_failed\"",
    ];
    let said: Vec<_> = SIDES.iter().map(|side| plane.metrics(*side)).collect();
    let lines = said.iter().flat_map(|metrics| metrics.lines());
    let failed =
        lines.filter(|line| !line.ends_with(" 0") && FAILED.iter().any(|name| line.contains(name)));
    failed.map(str::to_owned).collect()
}

/// What one round did, the most that was held in it, and what was held after it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) at: Duration,
    pub(super) done: Done,
    pub(super) most: [Held; 2],
    pub(super) after: [Held; 2],
}

impl Row {
    /// What the columns are.
    pub(super) const HEAD: &str = concat!(
        "         |                     done in the round                     ",
        "|           edge: most / at rest             |          client: most / at rest\n",
        "       s | requests   calls messages  commands transfers      cut ",
        "|     RSS, MiB       fds       tasks   streams |     RSS, MiB       fds       tasks   streams",
    );
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let done = &self.done;
        write!(
            f,
            "{:8.0} | {:8} {:7} {:8} {:9} {:9} {:8} ",
            self.at.as_secs_f64(),
            done.requests,
            done.calls,
            done.messages,
            done.commands,
            done.transfers,
            done.cut
        )?;
        for (most, after) in self.most.iter().zip(&self.after) {
            let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
            write!(
                f,
                "| {:5.1}/{:5.1} {:4}/{:4} {:5}/{:5} {:4}/{:4} ",
                mib(most.rss),
                mib(after.rss),
                most.fds,
                after.fds,
                most.tasks,
                after.tasks,
                most.streams,
                after.streams
            )?;
        }
        Ok(())
    }
}

/// How much more is resident at rest in the last quarter of the rounds than in the second, by the
/// median of each, for the edge and for the client.
pub(super) fn growth(rows: &[Row]) -> [i64; 2] {
    let quarter = rows.len() / 4;
    assert!(quarter > 0, "{} rounds have no quarters", rows.len());
    let median = |rows: &[Row], side: usize| {
        let mut sizes: Vec<_> = rows.iter().map(|row| row.after[side].rss).collect();
        sizes.sort_unstable();
        i64::try_from(sizes[sizes.len() / 2]).unwrap()
    };
    [0, 1].map(|side| {
        let second = &rows[quarter..2 * quarter];
        let last = &rows[rows.len() - quarter..];
        median(last, side) - median(second, side)
    })
}
