//! What processes use, as Linux tells it: CPU in `/proc/<pid>/stat`, memory in `/proc/<pid>/status`
//! (proc_pid_stat(5), proc_pid_status(5)).

use std::fs;
use std::io;
use std::time::Duration;

use super::steady::{Seen, Steady};

/// How CPU time is counted: `USER_HZ`, which is 100 on all that we build for.
const TICKS_PER_SECOND: f64 = 100.0;

/// When memory has settled. What still changes after all that time is taken as it is.
const STEADY: Steady = Steady {
    for_so_long: Duration::from_secs(1),
    patience: Duration::from_secs(15),
};

/// How much may come and go meanwhile.
const SLACK_KIB: u64 = 256;

/// The seconds of CPU that processes have used, those of the kernel for them included.
pub(super) fn cpu_seconds(pids: &[u32]) -> io::Result<f64> {
    let used = pids.iter().map(|pid| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        ticks(&stat).ok_or_else(|| unreadable(*pid, "stat"))
    });
    Ok(used.sum::<io::Result<f64>>()? / TICKS_PER_SECOND)
}

/// The resident memory of processes, in KiB, once it has settled: what was allocated on the way may
/// be given back a moment later.
pub(super) fn settled_memory(pids: &[u32]) -> io::Result<u64> {
    let same = |level: &u64, now: &u64| now.abs_diff(*level) <= SLACK_KIB;
    match STEADY.wait(|| resident(pids), same)? {
        Seen::Steady(kib) | Seen::StillChanging(kib) => Ok(kib),
    }
}

fn resident(pids: &[u32]) -> io::Result<u64> {
    pids.iter()
        .map(|pid| {
            let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
            kib(&status).ok_or_else(|| unreadable(*pid, "status"))
        })
        .sum()
}

/// `utime` and `stime`. The name, in parentheses, may have anything in it.
fn ticks(stat: &str) -> Option<f64> {
    let (_, behind_the_name) = stat.rsplit_once(')')?;
    let mut fields = behind_the_name.split_ascii_whitespace().skip(11);
    let (user, system): (u32, u32) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(f64::from(user) + f64::from(system))
}

fn kib(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

fn unreadable(pid: u32, file: &str) -> io::Error {
    io::Error::other(format!("/proc/{pid}/{file} is not as Linux writes it"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_files_are_read() {
        let stat = "4711 (cause) way) S 1 4711 4711 0 -1 4194560 9 0 0 0 250 50 0 0 20 0 7 0 100 9";
        assert_eq!(ticks(stat), Some(300.0));
        assert_eq!(ticks("4711 (causeway) S 1"), None);
        assert_eq!(
            kib("Name:\tcauseway\nVmRSS:\t   12345 kB\nRssAnon:\t 1 kB\n"),
            Some(12345)
        );
        assert_eq!(kib("Name:\tkthreadd\n"), None);
    }

    #[test]
    fn this_process_uses_something() {
        let me = std::process::id();
        assert!(resident(&[me]).unwrap() > 0);
        assert!(cpu_seconds(&[me]).unwrap() >= 0.0);
        assert!(cpu_seconds(&[u32::MAX]).is_err());
    }
}
