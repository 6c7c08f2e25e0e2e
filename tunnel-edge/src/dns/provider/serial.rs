//! Serials of zones (RFC 1982).

use std::time::{SystemTime, UNIX_EPOCH};

/// Where serials begin: later than before, should what was kept be lost.
pub(super) fn now() -> u32 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    // Serials wrap, and so may the seconds.
    since.map_or(1, |since| since.as_secs() as u32)
}

/// Whether `one` is later than `other` (section 3.2); half of all serials are.
pub(super) fn is_later(one: u32, other: u32) -> bool {
    let distance = one.wrapping_sub(other);
    distance > 0 && distance < 1 << 31
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_goes_on_past_the_end() {
        assert!(is_later(1, 0) && is_later(0, u32::MAX) && is_later(u32::MAX, u32::MAX - 1));
        assert!(!is_later(0, 0) && !is_later(0, 1) && !is_later(u32::MAX, 0));
        assert!(is_later((1 << 31) - 1, 0) && !is_later(1 << 31, 0));
    }
}
