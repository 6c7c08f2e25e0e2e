//! How much memory this process may use.

use std::fs;
use std::path::Path;

use crate::session::ProcessBudget;

/// What is assumed where nothing can be read, in bytes.
const UNKNOWN: u64 = 1 << 30;

/// Half of what the process may use, for the windows of all sessions together.
pub fn process_budget() -> ProcessBudget {
    ProcessBudget::new(limit() / 2)
}

/// The control group's limit (version 2, then 1) or the machine's memory, whichever is less.
fn limit() -> u64 {
    let files = [
        "/sys/fs/cgroup/memory.max",
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
    ];
    let group = files.iter().find_map(|file| number(Path::new(file)));
    let machine = fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| total(&text));
    group.into_iter().chain(machine).min().unwrap_or(UNKNOWN)
}

/// The number in a file; none if it says `max`.
fn number(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// `MemTotal` of `/proc/meminfo`, in bytes.
fn total(text: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_memory_is_read() {
        let text = "MemTotal:       24576000 kB\nMemFree:        1 kB\n";
        assert_eq!(total(text), Some(24_576_000 * 1024));
        assert_eq!(total("nothing"), None);
        assert!(limit() > 0);
    }
}
