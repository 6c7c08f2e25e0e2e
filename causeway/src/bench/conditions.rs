//! Under what conditions figures were measured.

use std::fmt;
use std::fs;
use std::thread;

use serde_json::{Value, json};

/// What of this machine says how its figures compare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Conditions {
    cores: usize,
    /// Empty where the system does not say.
    processor: String,
    kernel: String,
    /// How many tasks wanted to run, over the last minute, before this command added its own.
    load: String,
}

impl Conditions {
    pub(super) fn now() -> Self {
        let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
        let load = read("/proc/loadavg");
        Self {
            cores: thread::available_parallelism().map_or(0, usize::from),
            processor: processor(&read("/proc/cpuinfo")),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            load: load.split(' ').next().unwrap_or_default().to_owned(),
        }
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "cores": self.cores,
            "processor": self.processor,
            "kernel": self.kernel,
            "load_before": self.load.parse::<f64>().ok(),
        })
    }
}

impl fmt::Display for Conditions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            cores,
            processor,
            kernel,
            load,
        } = self;
        let version = env!("CARGO_PKG_VERSION");
        writeln!(
            f,
            "causeway {version}, all on this machine over loopback: {cores} cores ({processor}), Linux {kernel}, load before {load}"
        )
    }
}

fn processor(cpuinfo: &str) -> String {
    let name = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    let name = name.and_then(|line| line.split_once(':'));
    name.map_or_else(String::new, |(_, name)| name.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_is_named_if_the_system_does() {
        let cpuinfo = "processor\t: 0\nmodel name\t: Some CPU @ 3 GHz\nflags\t: x\n";
        assert_eq!(processor(cpuinfo), "Some CPU @ 3 GHz");
        assert_eq!(processor(""), "");
    }

    #[test]
    fn this_machine_has_conditions() {
        let conditions = Conditions::now();
        assert!(conditions.cores > 0);
        assert!(conditions.json()["load_before"].is_number());
    }
}
