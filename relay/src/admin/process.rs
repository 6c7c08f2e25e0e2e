//! Metrics about the process itself.

use std::fmt;
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};
use tokio::runtime;

use crate::worker::Workers;

/// Adds to `registry`, which must have no prefix of its own:
///
/// - `causeway_build_info{version}`: always 1;
/// - `causeway_process_start_time_seconds`: when this was called, in seconds since 1970;
/// - `process_resident_memory_bytes`, `process_open_fds`: on Linux, read at each scrape.
pub fn register_process_metrics(registry: &mut Registry, version: &'static str) {
    registry
        .sub_registry_with_label(("version".into(), version.into()))
        .register(
            "causeway_build_info",
            "Always 1; the version is in the label",
            ConstGauge::new(1_i64),
        );
    // A clock set before 1970 shows as 1970.
    let started = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    registry.register_with_unit(
        "causeway_process_start_time",
        "When the process started, since 1970",
        Unit::Seconds,
        ConstGauge::new(started.as_secs_f64()),
    );
    registry.register_collector(Box::new(Process));
}

/// Adds to `registry` `causeway_tasks`: the tasks on all workers that are not over, counted at
/// each scrape.
pub(super) fn register_task_metrics(registry: &mut Registry, workers: &Workers) {
    let runtimes = workers.handles().iter();
    let runtimes = runtimes.map(|worker| worker.runtime().clone()).collect();
    registry.register_collector(Box::new(Tasks { runtimes }));
}

/// Counts the tasks of runtimes, even if those do not turn.
#[derive(Debug)]
struct Tasks {
    runtimes: Vec<runtime::Handle>,
}

impl Collector for Tasks {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let runtimes = self.runtimes.iter();
        let alive: usize = runtimes
            .map(|runtime| runtime.metrics().num_alive_tasks())
            .sum();
        let metric = encoder.encode_descriptor(
            "causeway_tasks",
            "Tasks on all workers that are not over",
            None,
            MetricType::Gauge,
        )?;
        ConstGauge::new(i64::try_from(alive).unwrap_or(i64::MAX)).encode(metric)
    }
}

/// Reads `/proc/self`; where there is none, its metrics are absent.
#[derive(Debug)]
struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        if let Some(bytes) = resident_memory() {
            let metric = encoder.encode_descriptor(
                "process_resident_memory",
                "Memory of the process that is in RAM",
                Some(&Unit::Bytes),
                MetricType::Gauge,
            )?;
            ConstGauge::new(bytes).encode(metric)?;
        }
        if let Some(count) = open_fds() {
            let metric = encoder.encode_descriptor(
                "process_open_fds",
                "Open file descriptors",
                None,
                MetricType::Gauge,
            )?;
            ConstGauge::new(count).encode(metric)?;
        }
        Ok(())
    }
}

/// `VmRSS` of proc_pid_status(5), which is in kB whatever the page size is.
fn resident_memory() -> Option<i64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: i64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

fn open_fds() -> Option<i64> {
    let open = fs::read_dir("/proc/self/fd").ok()?.count();
    // One of them is the directory that is being read.
    i64::try_from(open).ok().map(|open| open - 1)
}
