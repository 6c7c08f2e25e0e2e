//! What is measured, from the arguments and from what the system allows.

use std::time::Duration;

use relay::settings::{format_duration, parse_duration};
use tunnel_client::config::Transport;

/// Open files that a process needs beside one for each stream.
const SPARE_DESCRIPTORS: u64 = 256;

/// How long measuring a figure may take. Below, a window has not grown yet; above, nothing is learned.
const DURATIONS: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(50)..=Duration::from_secs(600);

/// What bytes pass on their way to the origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Path {
    /// Nothing.
    Direct,
    /// A process that copies bytes between two TCP connections.
    Hop,
    /// An edge and a client.
    Tunnel(Transport),
}

/// What is measured, and how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) paths: Vec<Path>,
    pub(super) rounds: u32,
    /// For each figure.
    pub(super) duration: Duration,
    pub(super) idle_streams: u64,
    /// How many idle streams were asked for, if there cannot be as many.
    pub(super) asked_for: Option<u64>,
}

/// Why nothing can be measured.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a process may open {limit} files here, which is too few for any measurement; raise the limit to {needed} (ulimit -n, LimitNOFILE)"
)]
pub(super) struct TooFewDescriptors {
    limit: u64,
    needed: u64,
}

impl Plan {
    /// With `descriptors` open files for each process; no transports means all of them.
    pub(super) fn new(
        transports: &[Transport],
        rounds: u32,
        duration: Duration,
        idle_streams: u64,
        descriptors: u64,
    ) -> Result<Self, TooFewDescriptors> {
        let possible = descriptors.saturating_sub(SPARE_DESCRIPTORS);
        if possible == 0 {
            return Err(TooFewDescriptors {
                limit: descriptors,
                needed: needed(idle_streams),
            });
        }
        let mut paths = vec![Path::Direct, Path::Hop];
        for transport in chosen(transports) {
            let tunnel = Path::Tunnel(transport);
            if !paths.contains(&tunnel) {
                paths.push(tunnel);
            }
        }
        Ok(Self {
            paths,
            rounds,
            duration,
            idle_streams: idle_streams.min(possible),
            asked_for: (idle_streams > possible).then_some(idle_streams),
        })
    }

    /// What is missing for what was asked for.
    pub(super) fn shortage(&self) -> Option<String> {
        let (asked_for, possible) = (self.asked_for?, self.idle_streams);
        Some(format!(
            "{possible} idle streams instead of {asked_for}: a process needs one open file for each; raise the limit to {} (ulimit -n, LimitNOFILE)",
            needed(asked_for)
        ))
    }
}

impl Path {
    /// Its name in JSON.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Hop => "hop",
            Self::Tunnel(transport) => transport.name(),
        }
    }

    /// Its name for people.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Direct => "direct TCP",
            Self::Hop => "one TCP hop",
            Self::Tunnel(transport) => transport.name(),
        }
    }
}

/// `--transport`.
pub(super) fn transport(text: &str) -> Result<Transport, String> {
    let known = Transport::ALL.iter().find(|it| it.name() == text);
    known.copied().ok_or_else(|| {
        let names: Vec<_> = Transport::ALL.iter().map(|it| it.name()).collect();
        format!("there is {}", names.join(", "))
    })
}

/// `--duration`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let duration = parse_duration(text).map_err(|error| error.to_string())?;
    if DURATIONS.contains(&duration) {
        return Ok(duration);
    }
    let [from, to] = [DURATIONS.start(), DURATIONS.end()].map(|it| format_duration(*it));
    Err(format!("from {from} to {to}"))
}

/// `auto` is a choice among the others, and so is nothing to measure unless it is asked for.
fn chosen(transports: &[Transport]) -> Vec<Transport> {
    if !transports.is_empty() {
        return transports.to_vec();
    }
    let all = Transport::ALL.iter().copied();
    all.filter(|it| *it != Transport::Auto).collect()
}

fn needed(idle_streams: u64) -> u64 {
    idle_streams + SPARE_DESCRIPTORS
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn plan(transports: &[Transport], descriptors: u64) -> Plan {
        Plan::new(transports, 3, SECOND, 10_000, descriptors).unwrap()
    }

    #[test]
    fn all_transports_are_measured_once_beside_the_yardsticks() {
        let all = plan(&[], 20_000).paths;
        assert_eq!(&all[..2], [Path::Direct, Path::Hop]);
        assert!(all.contains(&Path::Tunnel(Transport::Quic)));
        assert!(!all.contains(&Path::Tunnel(Transport::Auto)));
        assert_eq!(all.len(), 2 + Transport::ALL.len() - 1);
        let asked_for = [Transport::Tls, Transport::Auto, Transport::Tls];
        let names = plan(&asked_for, 20_000).paths.into_iter().map(Path::name);
        assert_eq!(names.collect::<Vec<_>>(), ["direct", "hop", "tls", "auto"]);
    }

    #[test]
    fn fewer_descriptors_make_fewer_idle_streams_and_that_is_told() {
        assert_eq!(plan(&[], 10_256).shortage(), None);
        let fewer = plan(&[], 4096);
        assert_eq!(fewer.idle_streams, 3840);
        let told = fewer.shortage().unwrap();
        assert!(
            told.contains("3840 idle streams instead of 10000"),
            "{told}"
        );
        assert!(told.contains("10256"), "{told}");
        let none = Plan::new(&[], 3, SECOND, 10_000, 256).unwrap_err();
        assert!(none.to_string().contains("10256"), "{none}");
    }

    #[test]
    fn arguments_that_make_no_sense_are_refused_with_what_would() {
        assert_eq!(transport("tls"), Ok(Transport::Tls));
        let refused = transport("sctp").unwrap_err();
        assert!(refused.contains("quic, tls"), "{refused}");
        assert_eq!(duration("200ms"), Ok(Duration::from_millis(200)));
        for text in ["", "2", "1ms", "1h", "-2s"] {
            assert!(duration(text).is_err(), "{text}");
        }
        assert_eq!(duration("1ms").unwrap_err(), "from 50ms to 10m");
    }
}
