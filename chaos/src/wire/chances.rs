//! All that looks random.

use rand_pcg::{
    Pcg32,
    rand_core::{Rng, SeedableRng},
};

/// What every random decision follows from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Seed(pub u64);

impl Seed {
    /// A seed that follows from this one, and differs for every `number`. Those that follow from it
    /// in turn have nothing to do with those that follow from others: it is mixed as SplitMix64 does
    /// (Steele, Lea and Flood, *Fast splittable pseudorandom number generators*, 2014).
    #[must_use]
    pub fn derive(self, number: u64) -> Self {
        const DISTANCE: u64 = 0x9e37_79b9_7f4a_7c15;
        let next = self.0.wrapping_add(number.wrapping_mul(DISTANCE));
        let mixed = (next ^ (next >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Self(mixed ^ (mixed >> 31))
    }

    fn generator(self) -> Pcg32 {
        Pcg32::seed_from_u64(self.0)
    }
}

/// One sequence of numbers for each kind of decision.
#[derive(Clone, Debug)]
pub(super) struct Chances {
    loss: Pcg32,
    burst: Pcg32,
    reorder: Pcg32,
    duplicate: Pcg32,
    corrupt: Pcg32,
    bit: Pcg32,
    jitter: Pcg32,
}

/// The numbers that one packet drew, all of them of 64 bits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Draw {
    pub(super) loss: u64,
    pub(super) burst: u64,
    pub(super) reorder: u64,
    pub(super) duplicate: u64,
    pub(super) corrupt: u64,
    pub(super) bit: u64,
    pub(super) jitter: u64,
}

impl Chances {
    pub(super) fn new(seed: Seed) -> Self {
        let generator = |number| seed.derive(number).generator();
        Self {
            loss: generator(1),
            burst: generator(2),
            reorder: generator(3),
            duplicate: generator(4),
            corrupt: generator(5),
            bit: generator(6),
            jitter: generator(7),
        }
    }

    /// The next packet's numbers: one of each sequence, so that they never get out of step.
    pub(super) fn draw(&mut self) -> Draw {
        Draw {
            loss: self.loss.next_u64(),
            burst: self.burst.next_u64(),
            reorder: self.reorder.next_u64(),
            duplicate: self.duplicate.next_u64(),
            corrupt: self.corrupt.next_u64(),
            bit: self.bit.next_u64(),
            jitter: self.jitter.next_u64(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_kinds_ways_and_runs_share_a_sequence() {
        let mut sequences = HashSet::new();
        for run in 0..100 {
            for way in 0..2 {
                let drawn = Chances::new(Seed(7).derive(run).derive(way)).draw();
                let Draw {
                    loss,
                    burst,
                    reorder,
                    duplicate,
                    corrupt,
                    bit,
                    jitter,
                } = drawn;
                sequences.extend([loss, burst, reorder, duplicate, corrupt, bit, jitter]);
            }
        }
        assert_eq!(sequences.len(), 100 * 2 * 7);
    }
}
