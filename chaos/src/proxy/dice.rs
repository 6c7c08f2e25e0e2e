//! What is decided at random, each thing by a sequence of its own, so that changing one fault
//! does not change what another one does.

use std::time::Duration;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

use super::direction::Direction;
use crate::wire::Share;

/// The decisions of one direction of one connection.
#[derive(Clone, Debug)]
pub(crate) struct Dice {
    jitter: Xoshiro256PlusPlus,
    corrupt: Xoshiro256PlusPlus,
    loss: Xoshiro256PlusPlus,
    duplicate: Xoshiro256PlusPlus,
    reorder: Xoshiro256PlusPlus,
    gap: Option<Gap>,
}

/// How many bytes stay whole until the next one with a flipped bit.
#[derive(Clone, Copy, Debug)]
struct Gap {
    rate: Share,
    left: u64,
}

impl Dice {
    /// Those of the `number`th connection in this direction. The same seed gives the same.
    pub(crate) fn new(seed: u64, number: u64, direction: Direction) -> Self {
        let mut source = Xoshiro256PlusPlus::seed_from_u64(seed);
        // Far apart for neighbouring numbers: this is the 64-bit golden ratio.
        let connection = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ source.random::<u64>();
        let mut source = Xoshiro256PlusPlus::seed_from_u64(connection);
        let mut next = || Xoshiro256PlusPlus::from_rng(&mut source);
        let (up, down) = (
            [next(), next(), next(), next(), next()],
            [next(), next(), next(), next(), next()],
        );
        let [jitter, corrupt, loss, duplicate, reorder] = match direction {
            Direction::Up => up,
            Direction::Down => down,
        };
        Self {
            jitter,
            corrupt,
            loss,
            duplicate,
            reorder,
            gap: None,
        }
    }

    /// A delay, give or take up to `jitter`, and never below nothing.
    pub(crate) fn delay(&mut self, delay: Duration, jitter: Duration) -> Duration {
        let swing = self.jitter.random_range(-1.0..=1.0);
        let off = jitter.mul_f64(f64::abs(swing));
        if swing < 0.0 {
            delay.saturating_sub(off)
        } else {
            delay + off
        }
    }

    /// Flips a bit in that share of the bytes; in the same ones of a stream, however it is divided.
    pub(crate) fn corrupt(&mut self, rate: Share, bytes: &mut [u8]) -> u64 {
        let mut gap = match self.gap {
            Some(gap) if gap.rate == rate => gap.left,
            Some(_) | None => self.draw_gap(rate),
        };
        let mut rest = bytes;
        let mut flipped = 0;
        loop {
            let at = usize::try_from(gap).unwrap_or(usize::MAX);
            if at >= rest.len() {
                let left = gap - rest.len() as u64;
                self.gap = Some(Gap { rate, left });
                return flipped;
            }
            rest[at] ^= 1 << self.corrupt.random_range(0..8);
            flipped += 1;
            rest = &mut rest[at + 1..];
            gap = self.draw_gap(rate);
        }
    }

    /// Whether a datagram is lost. To be asked of each, so that the decision about one of them
    /// does not depend on since when some are.
    pub(crate) fn loses(&mut self, rate: Share) -> bool {
        self.loss.random::<f64>() < rate.get()
    }

    /// Whether it arrives twice; as [`Self::loses`].
    pub(crate) fn duplicates(&mut self, rate: Share) -> bool {
        self.duplicate.random::<f64>() < rate.get()
    }

    /// Whether it is held back; as [`Self::loses`].
    pub(crate) fn holds_back(&mut self, rate: Share) -> bool {
        self.reorder.random::<f64>() < rate.get()
    }

    /// Bytes until the next flip, as if each byte had been asked for by itself (the geometric
    /// distribution, by its inverse).
    fn draw_gap(&mut self, rate: Share) -> u64 {
        if rate.get() >= 1.0 {
            return 0;
        }
        if rate.get() <= 0.0 {
            return u64::MAX;
        }
        let uniform = 1.0 - self.corrupt.random::<f64>();
        // A float that is too large becomes the largest number, which is as good as never.
        (uniform.ln() / (-rate.get()).ln_1p()) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::fault::{Fault, Placed};

    fn share(text: &str) -> Share {
        let placed: Placed = format!("loss rate={text}").parse().unwrap();
        let Fault::Loss { rate } = placed.fault else {
            panic!("{placed}");
        };
        rate
    }

    #[test]
    fn the_same_bytes_are_corrupted_however_they_are_divided() {
        let rate = share("1%");
        let whole = {
            let mut bytes = vec![0; 10_000];
            let flipped = Dice::new(7, 1, Direction::Up).corrupt(rate, &mut bytes);
            assert_eq!(
                flipped,
                bytes.iter().filter(|byte| **byte != 0).count() as u64
            );
            assert!(bytes.iter().all(|byte| byte.count_ones() <= 1));
            // The number is binomial, n = 10000, p = 0.01: 100 ± 10 σ with σ < 10.
            assert!((1..200).contains(&flipped), "{flipped}");
            bytes
        };
        let mut divided = vec![0; 10_000];
        let mut dice = Dice::new(7, 1, Direction::Up);
        for part in divided.chunks_mut(37) {
            dice.corrupt(rate, part);
        }
        assert!(whole == divided);
    }

    #[test]
    fn none_and_all() {
        let mut dice = Dice::new(1, 1, Direction::Down);
        let mut bytes = [0; 100];
        assert_eq!(dice.corrupt(share("0%"), &mut bytes), 0);
        assert_eq!(dice.corrupt(share("100%"), &mut bytes), 100);
        assert!((0..100).all(|_| !dice.loses(share("0%"))));
        assert!((0..100).all(|_| dice.loses(share("100%"))));
    }

    #[test]
    fn connections_and_directions_differ_and_seeds_repeat() {
        let of = |seed, number, direction| {
            let mut dice = Dice::new(seed, number, direction);
            let losses: Vec<_> = (0..64).map(|_| dice.loses(share("50%"))).collect();
            losses
        };
        let first = of(1, 1, Direction::Up);
        assert_eq!(first, of(1, 1, Direction::Up));
        assert_ne!(first, of(1, 1, Direction::Down));
        assert_ne!(first, of(1, 2, Direction::Up));
        assert_ne!(first, of(2, 1, Direction::Up));
    }

    #[test]
    fn jitter_stays_within_its_bounds_and_uses_both_sides() {
        let mut dice = Dice::new(3, 1, Direction::Up);
        let [delay, jitter] = [100, 20].map(Duration::from_millis);
        let delays: Vec<_> = (0..100).map(|_| dice.delay(delay, jitter)).collect();
        let allowed = delay - jitter..=delay + jitter;
        assert!(delays.iter().all(|it| allowed.contains(it)));
        assert!(delays.iter().any(|it| *it < delay) && delays.iter().any(|it| *it > delay));
        assert_eq!(dice.delay(Duration::ZERO, Duration::ZERO), Duration::ZERO);
    }
}
