//! The figures, of each path in each round, and what is made of them.

use std::ops::AddAssign;

use super::load::{Latency, Moved, Way};
use super::plan::Path;

/// How many bulk streams "many" are.
pub(super) const MANY: usize = 8;

/// How many a crowd is.
const CROWD: usize = 64;

/// What is measured of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Figure {
    /// Gbit/s one way.
    Throughput(Way, Streams),
    /// Seconds of CPU for each of those 10⁹ bytes.
    Cpu(Way, Streams),
    ConnectionsPerSecond,
    PingP50,
    PingP99,
    LoadedPingP50,
    LoadedPingP99,
    /// Gbit/s of what goes on beside the ping.
    LoadBesidePing,
    /// Beside callers that never read.
    StalledPingP50,
    StalledPingP99,
    IdleStreamKib,
    /// The same of a stream that does not resume.
    IdleFleetingKib,
    /// Gbit/s one way over streams that do not resume.
    Fleeting(Way, Streams),
    /// How many times that streams move that do, in the same minute.
    ResumableToFleeting(Way, Streams),
    /// How many times the CPU they take for each byte.
    ResumableCpuToFleeting(Way, Streams),
}

/// How many streams share the bulk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Streams {
    One,
    Many,
    Crowd,
}

/// What went through, and what CPU it took on its way.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spent {
    pub(super) moved: Moved,
    pub(super) cpu_seconds: f64,
}

/// All that was measured.
#[derive(Debug)]
pub(super) struct Figures {
    measured: Vec<(Path, Figure, f64)>,
}

impl Figure {
    /// In the order of the table.
    pub(super) const ALL: [Self; 30] = [
        Self::Throughput(Way::ToCompute, Streams::One),
        Self::Cpu(Way::ToCompute, Streams::One),
        Self::Throughput(Way::ToControl, Streams::One),
        Self::Cpu(Way::ToControl, Streams::One),
        Self::Throughput(Way::ToCompute, Streams::Many),
        Self::Cpu(Way::ToCompute, Streams::Many),
        Self::Throughput(Way::ToControl, Streams::Many),
        Self::Cpu(Way::ToControl, Streams::Many),
        Self::ConnectionsPerSecond,
        Self::PingP50,
        Self::PingP99,
        Self::LoadedPingP50,
        Self::LoadedPingP99,
        Self::LoadBesidePing,
        Self::StalledPingP50,
        Self::StalledPingP99,
        Self::IdleStreamKib,
        Self::IdleFleetingKib,
        Self::Fleeting(Way::ToCompute, Streams::One),
        Self::ResumableToFleeting(Way::ToCompute, Streams::One),
        Self::ResumableCpuToFleeting(Way::ToCompute, Streams::One),
        Self::Fleeting(Way::ToControl, Streams::One),
        Self::ResumableToFleeting(Way::ToControl, Streams::One),
        Self::ResumableCpuToFleeting(Way::ToControl, Streams::One),
        Self::Fleeting(Way::ToCompute, Streams::Crowd),
        Self::ResumableToFleeting(Way::ToCompute, Streams::Crowd),
        Self::ResumableCpuToFleeting(Way::ToCompute, Streams::Crowd),
        Self::Fleeting(Way::ToControl, Streams::Crowd),
        Self::ResumableToFleeting(Way::ToControl, Streams::Crowd),
        Self::ResumableCpuToFleeting(Way::ToControl, Streams::Crowd),
    ];

    /// Its name in JSON, which ends in its unit.
    pub(super) fn name(self) -> String {
        match self {
            Self::Throughput(way, streams) => {
                format!("{}_{}_gbit_per_s", way.name(), streams.count())
            }
            Self::Cpu(way, streams) => format!("{}_{}_cpu_s_per_gb", way.name(), streams.count()),
            Self::ConnectionsPerSecond => "connections_per_s".to_owned(),
            Self::PingP50 => "ping_p50_us".to_owned(),
            Self::PingP99 => "ping_p99_us".to_owned(),
            Self::LoadedPingP50 => "loaded_ping_p50_us".to_owned(),
            Self::LoadedPingP99 => "loaded_ping_p99_us".to_owned(),
            Self::LoadBesidePing => "load_beside_ping_gbit_per_s".to_owned(),
            Self::StalledPingP50 => "stalled_ping_p50_us".to_owned(),
            Self::StalledPingP99 => "stalled_ping_p99_us".to_owned(),
            Self::IdleStreamKib => "idle_stream_kib".to_owned(),
            Self::IdleFleetingKib => "idle_not_resumable_stream_kib".to_owned(),
            Self::Fleeting(way, streams) => {
                format!(
                    "{}_{}_not_resumable_gbit_per_s",
                    way.name(),
                    streams.count()
                )
            }
            Self::ResumableToFleeting(way, streams) => {
                format!("{}_{}_resumable_ratio", way.name(), streams.count())
            }
            Self::ResumableCpuToFleeting(way, streams) => {
                format!("{}_{}_resumable_cpu_ratio", way.name(), streams.count())
            }
        }
    }
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Self::ToCompute => "to_compute",
            Self::ToControl => "to_control",
        }
    }
}

impl Streams {
    pub(super) fn count(self) -> usize {
        match self {
            Self::One => 1,
            Self::Many => MANY,
            Self::Crowd => CROWD,
        }
    }
}

impl AddAssign for Spent {
    fn add_assign(&mut self, more: Self) {
        self.moved += more.moved;
        self.cpu_seconds += more.cpu_seconds;
    }
}

impl Figures {
    pub(super) fn new() -> Self {
        Self {
            measured: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, path: Path, figure: Figure, value: f64) {
        self.measured.push((path, figure, value));
    }

    /// The CPU is that of what lies between caller and origin, if anything does.
    pub(super) fn add_bulk(
        &mut self,
        path: Path,
        (way, streams): (Way, Streams),
        moved: Moved,
        cpu_seconds: Option<f64>,
    ) {
        self.add(
            path,
            Figure::Throughput(way, streams),
            moved.gbit_per_second(),
        );
        if let Some(cpu) = cpu_seconds {
            self.add(path, Figure::Cpu(way, streams), cpu / moved.gigabytes());
        }
    }

    /// Bulk over streams that resume, beside bulk over streams that do not.
    pub(super) fn add_beside(
        &mut self,
        path: Path,
        (way, streams): (Way, Streams),
        resumable: Spent,
        fleeting: Spent,
    ) {
        let gbit = fleeting.moved.gbit_per_second();
        self.add(path, Figure::Fleeting(way, streams), gbit);
        self.add(
            path,
            Figure::ResumableToFleeting(way, streams),
            resumable.moved.gbit_per_second() / gbit,
        );
        let cpu = |spent: Spent| spent.cpu_seconds / spent.moved.gigabytes();
        // The system counts it in hundredths of a second, which may be none.
        if fleeting.cpu_seconds > 0.0 {
            self.add(
                path,
                Figure::ResumableCpuToFleeting(way, streams),
                cpu(resumable) / cpu(fleeting),
            );
        }
    }

    pub(super) fn add_ping(&mut self, path: Path, latency: Latency) {
        self.add(path, Figure::PingP50, micros(latency.p50));
        self.add(path, Figure::PingP99, micros(latency.p99));
    }

    pub(super) fn add_loaded_ping(&mut self, path: Path, latency: Latency, beside: Moved) {
        self.add(path, Figure::LoadedPingP50, micros(latency.p50));
        self.add(path, Figure::LoadedPingP99, micros(latency.p99));
        self.add(path, Figure::LoadBesidePing, beside.gbit_per_second());
    }

    pub(super) fn add_stalled_ping(&mut self, path: Path, latency: Latency) {
        self.add(path, Figure::StalledPingP50, micros(latency.p50));
        self.add(path, Figure::StalledPingP99, micros(latency.p99));
    }

    /// Each round's.
    pub(super) fn rounds(&self, path: Path, figure: Figure) -> Vec<f64> {
        self.measured
            .iter()
            .filter(|(of, what, _)| (*of, *what) == (path, figure))
            .map(|(_, _, value)| *value)
            .collect()
    }

    /// The one in the middle, or between the two in the middle.
    pub(super) fn median(&self, path: Path, figure: Figure) -> Option<f64> {
        let mut rounds = self.rounds(path, figure);
        rounds.sort_unstable_by(f64::total_cmp);
        let (below, above) = (rounds.len().checked_sub(1)? / 2, rounds.len() / 2);
        Some(f64::midpoint(rounds[below], rounds[above]))
    }

    /// How many times that of the plain hop, if both have it.
    pub(super) fn to_hop(&self, path: Path, figure: Figure) -> Option<f64> {
        let hop = self.median(Path::Hop, figure).filter(|hop| *hop > 0.0)?;
        Some(self.median(path, figure)? / hop)
    }
}

fn micros(duration: std::time::Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use tunnel_client::config::Transport;

    use super::*;

    const TLS: Path = Path::Tunnel(Transport::Tls);

    #[test]
    fn medians_and_ratios() {
        let mut figures = Figures::new();
        let figure = Figure::ConnectionsPerSecond;
        assert_eq!(figures.median(TLS, figure), None);
        for value in [9.0, 1.0, 4.0] {
            figures.add(TLS, figure, value);
        }
        assert_eq!(figures.rounds(TLS, figure), [9.0, 1.0, 4.0]);
        assert_eq!(figures.median(TLS, figure), Some(4.0));
        assert_eq!(figures.to_hop(TLS, figure), None, "the hop has none");
        for value in [6.0, 10.0] {
            figures.add(Path::Hop, figure, value);
        }
        assert_eq!(figures.median(Path::Hop, figure), Some(8.0));
        assert_eq!(figures.to_hop(TLS, figure), Some(0.5));
    }

    #[test]
    fn units_are_what_their_names_say() {
        let mut figures = Figures::new();
        let bulk = (Way::ToControl, Streams::One);
        let moved = Moved {
            bytes: 500_000_000,
            took: Duration::from_secs(2),
        };
        figures.add_bulk(TLS, bulk, moved, Some(0.25));
        figures.add_bulk(Path::Direct, bulk, moved, None);
        let (throughput, cpu) = (
            Figure::Throughput(bulk.0, bulk.1),
            Figure::Cpu(bulk.0, bulk.1),
        );
        assert_eq!(throughput.name(), "to_control_1_gbit_per_s");
        assert_eq!(figures.median(TLS, throughput), Some(2.0));
        assert_eq!(cpu.name(), "to_control_1_cpu_s_per_gb");
        assert_eq!(figures.median(TLS, cpu), Some(0.5));
        assert_eq!(figures.median(Path::Direct, cpu), None);
        let latency = Latency {
            p50: Duration::from_micros(40),
            p99: Duration::from_millis(2),
        };
        figures.add_ping(TLS, latency);
        assert_eq!(figures.median(TLS, Figure::PingP99), Some(2000.0));
    }

    #[test]
    fn streams_that_resume_are_compared_with_streams_that_do_not() {
        let mut figures = Figures::new();
        let bulk = (Way::ToCompute, Streams::Crowd);
        let spent = |bytes, cpu_seconds| {
            let took = Duration::from_secs(1);
            let mut spent = Spent::default();
            for _ in 0..2 {
                spent += Spent {
                    moved: Moved { bytes, took },
                    cpu_seconds,
                };
            }
            spent
        };
        figures.add_beside(TLS, bulk, spent(125_000_000, 0.75), spent(250_000_000, 1.0));
        figures.add_beside(TLS, bulk, spent(125_000_000, 0.75), spent(250_000_000, 0.0));
        let all = |figure| figures.rounds(TLS, figure);
        assert_eq!(all(Figure::Fleeting(bulk.0, bulk.1)), [2.0, 2.0]);
        assert_eq!(all(Figure::ResumableToFleeting(bulk.0, bulk.1)), [0.5, 0.5]);
        assert_eq!(all(Figure::ResumableCpuToFleeting(bulk.0, bulk.1)), [1.5]);
    }

    #[test]
    fn every_figure_has_a_name_of_its_own() {
        let names: BTreeSet<_> = Figure::ALL.map(Figure::name).into();
        assert_eq!(names.len(), Figure::ALL.len());
    }
}
