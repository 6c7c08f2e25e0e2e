//! From when until when a certificate may be used.

use std::fmt;
use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// How far the beginning of a new certificate lies in the past, so that a peer whose clock is
/// behind accepts it at once.
pub const CLOCK_SKEW: Duration = Duration::from_secs(5 * 60);

/// A period of time with a resolution of one second; both ends are included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// The first second.
    pub not_before: OffsetDateTime,
    /// The last second.
    pub not_after: OffsetDateTime,
}

impl Validity {
    /// From [`CLOCK_SKEW`] before now until `ttl` after now.
    #[must_use]
    pub fn from_now(ttl: Duration) -> Self {
        let now = OffsetDateTime::now_utc().truncate_to_second();
        Self {
            not_before: now.saturating_sub(signed(CLOCK_SKEW)),
            not_after: now.saturating_add(signed(ttl)),
        }
    }

    /// Whether `moment` lies in it.
    #[must_use]
    pub fn contains(&self, moment: OffsetDateTime) -> bool {
        self.at(moment) == Moment::Within
    }

    /// On which side of it `moment` lies.
    #[must_use]
    pub fn at(&self, moment: OffsetDateTime) -> Moment {
        if moment < self.not_before {
            Moment::Before
        } else if moment > self.not_after {
            Moment::After
        } else {
            Moment::Within
        }
    }
}

/// `2026-11-03T10:00:00Z to 2027-02-01T10:00:00Z`
impl fmt::Display for Validity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} to {}",
            rfc3339(self.not_before),
            rfc3339(self.not_after)
        )
    }
}

/// A moment, seen from a [`Validity`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// It is not valid yet.
    Before,
    /// It is valid.
    Within,
    /// It is no longer valid.
    After,
}

/// The moment as `2026-11-03T10:00:00Z`: UTC, whole seconds.
#[must_use]
pub fn rfc3339(moment: OffsetDateTime) -> String {
    let seconds = moment.to_offset(time::UtcOffset::UTC).truncate_to_second();
    // Only a year beyond 9999 cannot be written; seconds since 1970 still say what it is.
    seconds
        .format(&Rfc3339)
        .unwrap_or_else(|_| format!("@{}", seconds.unix_timestamp()))
}

/// A length of time in its two largest units: `89d 23h`, `4m 10s`, `12s`.
#[must_use]
pub fn about(length: Duration) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    let seconds = length.as_secs();
    let parts: Vec<String> = UNITS
        .iter()
        .scan(seconds, |rest, (size, unit)| {
            let count = *rest / size;
            *rest %= size;
            Some((count, unit))
        })
        .skip_while(|(count, _)| *count == 0)
        .take(2)
        .filter(|(count, _)| *count != 0)
        .map(|(count, unit)| format!("{count}{unit}"))
        .collect();
    if parts.is_empty() {
        "0s".to_owned()
    } else {
        parts.join(" ")
    }
}

fn signed(length: Duration) -> time::Duration {
    time::Duration::try_from(length).unwrap_or(time::Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_written_in_two_units() {
        let text = |seconds| about(Duration::from_secs(seconds));
        assert_eq!(text(0), "0s");
        assert_eq!(text(12), "12s");
        assert_eq!(text(250), "4m 10s");
        assert_eq!(text(3_600), "1h");
        assert_eq!(text(90 * 86_400 - 1), "89d 23h");
        assert_eq!(text(86_400 + 5), "1d");
    }

    #[test]
    fn a_new_validity_tolerates_clocks_that_are_behind() {
        let validity = Validity::from_now(Duration::from_secs(60));
        let now = OffsetDateTime::now_utc();
        assert_eq!(
            validity.at(now - time::Duration::minutes(4)),
            Moment::Within
        );
        assert_eq!(
            validity.at(now - time::Duration::minutes(6)),
            Moment::Before
        );
        assert_eq!(validity.at(now + time::Duration::minutes(2)), Moment::After);
    }

    #[test]
    fn moments_are_written_in_utc() {
        let moment = OffsetDateTime::from_unix_timestamp(1_700_000_000).unwrap();
        assert_eq!(rfc3339(moment), "2023-11-14T22:13:20Z");
    }
}
