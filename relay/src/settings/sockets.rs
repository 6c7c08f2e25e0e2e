//! The keys that every TCP socket of ours shares, whether a caller's or a target's.

use std::time::Duration;

use super::section::Section;

/// Long enough to cost nothing, short enough to keep the mappings of common NATs and firewalls alive.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// `idle_timeout`: how long a stream may move nothing either way before it is reset; `None`, the
/// default, if it may for good. Database sessions and log tails are silent for days, and a peer
/// that has vanished is found by `keepalive`.
pub fn idle_timeout(section: &Section<'_>) -> Option<Duration> {
    let within = Duration::from_secs(1)..=Duration::from_secs(7 * 86_400);
    section.duration_or_off("idle_timeout", None, within)
}

/// `keepalive`: how long a TCP connection may be silent before the kernel probes it; `None` if it
/// never does. Default 30 s.
pub fn keepalive(section: &Section<'_>) -> Option<Duration> {
    let within = Duration::from_secs(1)..=Duration::from_secs(7200);
    section.duration_or_off("keepalive", Some(KEEPALIVE), within)
}
