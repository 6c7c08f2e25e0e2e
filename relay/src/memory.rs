//! How much memory this process may use.

use std::fs;
use std::path::{Component, Path};

use crate::session::SharedBudget;

/// What is assumed where nothing can be read, in bytes.
const UNKNOWN: u64 = 1 << 30;

/// Half of what the process may use, for the windows of all sessions together.
pub fn process_budget() -> SharedBudget {
    SharedBudget::new(limit() / 2)
}

/// Where control groups show their memory limit, and which line of `/proc/self/cgroup` names the
/// group of the process (cgroups(7)).
struct Hierarchy {
    mount: &'static str,
    file: &'static str,
    /// The controllers in the line: version 2 has none.
    controller: &'static str,
}

const HIERARCHIES: [Hierarchy; 2] = [
    Hierarchy {
        mount: "/sys/fs/cgroup",
        file: "memory.max",
        controller: "",
    },
    Hierarchy {
        mount: "/sys/fs/cgroup/memory",
        file: "memory.limit_in_bytes",
        controller: "memory",
    },
];

/// The least of the machine's memory and the limits of all control groups that hold the process.
fn limit() -> u64 {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let groups = HIERARCHIES.iter().filter_map(|hierarchy| {
        let group = group_in(&own, hierarchy.controller);
        group_limit(Path::new(hierarchy.mount), group, hierarchy.file)
    });
    let machine = fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| total(&text));
    groups.chain(machine).min().unwrap_or(UNKNOWN)
}

/// The process's group in the hierarchy of `controller`, from the text of `/proc/self/cgroup`;
/// the root if it is not told, or is outside of what this container sees.
fn group_in<'a>(text: &'a str, controller: &str) -> &'a Path {
    let found = text.lines().find_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, group) = rest.split_once(':')?;
        let mut controllers = controllers.split(',');
        controllers.any(|one| one == controller).then_some(group)
    });
    let group = Path::new(found.unwrap_or_default().trim_start_matches('/'));
    if group.components().any(|part| part == Component::ParentDir) {
        return Path::new("");
    }
    group
}

/// The smallest limit of `group` and of those around it, up to the root at `mount`: each binds.
fn group_limit(mount: &Path, group: &Path, file: &str) -> Option<u64> {
    let directory = mount.join(group);
    let around = directory.ancestors().take_while(|at| at.starts_with(mount));
    around.filter_map(|at| number(&at.join(file))).min()
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

    #[test]
    fn the_own_group_is_found_in_both_versions() {
        let unit = "system.slice/causeway.service";
        let both = format!("9:name=systemd:/x\n4:cpu,memory:/docker/a:b\n0::/{unit}\n");
        assert_eq!(group_in(&both, ""), Path::new(unit));
        assert_eq!(group_in(&both, "memory"), Path::new("docker/a:b"));
    }

    #[test]
    fn a_group_that_is_not_told_or_not_seen_is_the_root() {
        for text in [
            "",
            "0::/\n",
            "0::/../../other\n",
            "4:memory:/elsewhere\n",
            "?",
        ] {
            assert_eq!(group_in(text, ""), Path::new(""), "{text:?}");
        }
    }

    #[test]
    fn the_smallest_limit_on_the_way_to_the_root_counts() {
        let root = tempfile::tempdir().unwrap();
        let (mount, outside) = (root.path().join("cgroup"), root.path().join("memory.max"));
        let group = Path::new("system.slice/causeway.service");
        let limit_at = |directory: &Path, limit: &str| {
            fs::create_dir_all(directory).unwrap();
            fs::write(directory.join("memory.max"), limit).unwrap();
        };
        fs::write(outside, "1\n").unwrap();
        assert_eq!(group_limit(&mount, group, "memory.max"), None);

        limit_at(&mount.join(group), "max\n");
        assert_eq!(group_limit(&mount, group, "memory.max"), None);
        limit_at(&mount.join("system.slice"), "4096\n");
        assert_eq!(group_limit(&mount, group, "memory.max"), Some(4096));
        limit_at(&mount.join(group), "8192\n");
        assert_eq!(group_limit(&mount, group, "memory.max"), Some(4096));
        limit_at(&mount.join(group), "2048\n");
        assert_eq!(group_limit(&mount, group, "memory.max"), Some(2048));
        limit_at(&mount, "1024\n");
        let gone = Path::new("system.slice/gone.service");
        assert_eq!(group_limit(&mount, gone, "memory.max"), Some(1024));
    }
}
