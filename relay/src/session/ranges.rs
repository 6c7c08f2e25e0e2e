//! Which ids of one opener were ever seen: everything below a mark, but for a few gaps.

use std::collections::BTreeSet;

/// Ids are dense, so what was seen is a mark and the gaps that are still on their way.
#[derive(Debug, Default)]
pub(super) struct SeenIds {
    mark: u64,
    gaps: BTreeSet<u64>,
}

/// An id so far ahead that too many before it would be missing.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooFarAhead;

impl SeenIds {
    /// Whether `index` was seen.
    pub(super) fn contains(&self, index: u64) -> bool {
        index < self.mark && !self.gaps.contains(&index)
    }

    /// Whether every id below `index` was seen.
    pub(super) fn contains_all_below(&self, index: u64) -> bool {
        let first_gap = self.gaps.first().copied().unwrap_or(self.mark);
        index <= first_gap
    }

    /// Notes that `index` was seen, if at most `max_gaps` stay open.
    pub(super) fn insert(&mut self, index: u64, max_gaps: u64) -> Result<(), TooFarAhead> {
        if index < self.mark {
            self.gaps.remove(&index);
            return Ok(());
        }
        if index - self.mark + self.gaps.len() as u64 > max_gaps {
            return Err(TooFarAhead);
        }
        self.gaps.extend(self.mark..index);
        self.mark = index + 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_close_in_any_order() {
        let mut seen = SeenIds::default();
        for index in [2, 0, 5, 1, 4, 3] {
            assert!(!seen.contains(index));
            seen.insert(index, 10).unwrap();
            assert!(seen.contains(index));
            let all_below = |most: u64| (0..most).all(|index| seen.contains(index));
            for most in 0..8 {
                assert_eq!(seen.contains_all_below(most), all_below(most), "{most}");
            }
        }
        assert!(seen.gaps.is_empty() && !seen.contains(6));
    }

    #[test]
    fn an_id_far_ahead_is_refused_and_changes_nothing() {
        let mut seen = SeenIds::default();
        assert_eq!(seen.insert(u64::MAX >> 1, 10), Err(TooFarAhead));
        assert_eq!(seen.insert(10, 10), Ok(()));
        assert_eq!(seen.insert(12, 10), Err(TooFarAhead));
        assert_eq!(seen.insert(11, 10), Ok(()));
    }
}
