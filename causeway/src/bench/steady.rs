//! Waiting until something that is looked at again and again no longer changes.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

/// Between two looks.
const BEAT: Duration = Duration::from_millis(20);

/// How long it must have stayed as it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Steady {
    pub(super) for_so_long: Duration,
    /// After this it is not waited for any longer.
    pub(super) patience: Duration,
}

/// What was seen last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen<T> {
    Steady(T),
    StillChanging(T),
}

impl Steady {
    /// Looks until that is the `same` for long enough, or patience ends.
    pub(super) fn wait<T>(
        self,
        mut look: impl FnMut() -> io::Result<T>,
        same: impl Fn(&T, &T) -> bool,
    ) -> io::Result<Seen<T>> {
        let started = Instant::now();
        let (mut level, mut since) = (look()?, started);
        loop {
            thread::sleep(BEAT);
            let now = look()?;
            if !same(&level, &now) {
                (level, since) = (now, Instant::now());
            } else if since.elapsed() >= self.for_so_long {
                return Ok(Seen::Steady(now));
            }
            if started.elapsed() >= self.patience {
                return Ok(Seen::StillChanging(level));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEADY: Steady = Steady {
        for_so_long: Duration::from_millis(40),
        patience: Duration::from_millis(200),
    };

    #[test]
    fn what_comes_to_rest_is_told_from_what_does_not() {
        let mut looks = 0..;
        let mut rises = || Ok(looks.next().expect("it has no end"));
        let seen = STEADY.wait(&mut rises, |a: &u32, b| a == b);
        assert!(matches!(seen.unwrap(), Seen::StillChanging(last) if last >= 1));
        let mut looks = [1, 2, 3].into_iter();
        let rests = || Ok(looks.next().unwrap_or(4));
        let patient = Steady {
            patience: Duration::from_secs(20),
            ..STEADY
        };
        assert_eq!(patient.wait(rests, |a, b| a == b).unwrap(), Seen::Steady(4));
        let looked = STEADY.wait(|| Err::<u32, _>(io::Error::other("gone")), |_, _| true);
        assert_eq!(looked.unwrap_err().to_string(), "gone");
    }
}
