//! Durations (`"5s"`) and sizes (`"256KiB"`): a number with its unit, in one way only.

use std::time::Duration;

/// Why a text is no duration or size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// No text at all.
    #[error("empty; write a {kind} such as {example}")]
    Empty {
        /// "duration" or "size".
        kind: &'static str,
        /// A right one.
        example: &'static str,
    },
    /// A number and nothing behind it.
    #[error("\"{text}\" has no unit; write one of {units}, such as {example}")]
    NoUnit {
        /// What was written.
        text: String,
        /// The units there are.
        units: &'static str,
        /// A right one.
        example: &'static str,
    },
    /// A unit that is not one.
    #[error("\"{text}\" has the unknown unit \"{unit}\"; write one of {units}, such as {example}")]
    UnknownUnit {
        /// What was written.
        text: String,
        /// What stands behind the number.
        unit: String,
        /// The units there are.
        units: &'static str,
        /// A right one.
        example: &'static str,
    },
    /// Something else than digits in front of the unit.
    #[error("\"{text}\" does not begin with a whole number; write it like {example}")]
    NoNumber {
        /// What was written.
        text: String,
        /// A right one.
        example: &'static str,
    },
    /// More than fits.
    #[error("\"{text}\" is too large")]
    TooLarge {
        /// What was written.
        text: String,
    },
}

const DURATION: Kind = Kind {
    name: "duration",
    units: &[
        ("ms", 1),
        ("s", 1_000),
        ("m", 60_000),
        ("h", 3_600_000),
        ("d", 86_400_000),
    ],
    listed: "ms, s, m, h, d",
    example: "\"5s\"",
};

const SIZE: Kind = Kind {
    name: "size",
    units: &[
        ("B", 1),
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
    ],
    listed: "B, KiB, MiB, GiB",
    example: "\"256KiB\"",
};

struct Kind {
    name: &'static str,
    units: &'static [(&'static str, u64)],
    listed: &'static str,
    example: &'static str,
}

/// Reads `"250ms"`, `"5s"`, `"2m"`, `"1h"` or `"90d"`: a whole number and one unit.
pub fn parse_duration(text: &str) -> Result<Duration, QuantityError> {
    DURATION.parse(text, None).map(Duration::from_millis)
}

/// Reads `"256KiB"`, `"4MiB"`, `"1GiB"`, `"512B"` or a plain number of bytes.
pub fn parse_size(text: &str) -> Result<u64, QuantityError> {
    SIZE.parse(text, Some(1))
}

/// Writes a duration as [`parse_duration`] reads it, in the largest unit that keeps it exact to the millisecond.
pub fn format_duration(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    DURATION.format(millis)
}

/// Writes a size as [`parse_size`] reads it, in the largest unit that keeps it exact.
pub fn format_size(bytes: u64) -> String {
    SIZE.format(bytes)
}

impl Kind {
    fn parse(&self, text: &str, without_unit: Option<u64>) -> Result<u64, QuantityError> {
        let (kind, example, units) = (self.name, self.example, self.listed);
        let owned = || text.to_owned();
        if text.is_empty() {
            return Err(QuantityError::Empty { kind, example });
        }
        let digits = text
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        if number.is_empty() || unit.starts_with('.') {
            return Err(QuantityError::NoNumber {
                text: owned(),
                example,
            });
        }
        let factor = if unit.is_empty() {
            without_unit.ok_or_else(|| QuantityError::NoUnit {
                text: owned(),
                units,
                example,
            })?
        } else {
            let known = self.units.iter().find(|(name, _)| *name == unit);
            let Some((_, factor)) = known else {
                let unit = unit.to_owned();
                return Err(QuantityError::UnknownUnit {
                    text: owned(),
                    unit,
                    units,
                    example,
                });
            };
            *factor
        };
        number
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(factor))
            .ok_or_else(|| QuantityError::TooLarge { text: owned() })
    }

    fn format(&self, amount: u64) -> String {
        let exact = |&&(_, factor): &&(&str, u64)| amount.is_multiple_of(factor);
        let smallest = self.units[0];
        let (unit, factor) = match amount {
            // Zero divides by everything: the second unit, as people write it.
            0 => *self.units.get(1).unwrap_or(&smallest),
            1.. => *self.units.iter().rev().find(exact).unwrap_or(&smallest),
        };
        format!("{}{unit}", amount / factor)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_read_in_their_units() {
        for (text, millis) in [
            ("250ms", 250),
            ("5s", 5_000),
            ("2m", 120_000),
            ("1h", 3_600_000),
            ("90d", 7_776_000_000),
            ("0s", 0),
        ] {
            assert_eq!(
                parse_duration(text),
                Ok(Duration::from_millis(millis)),
                "{text}"
            );
        }
    }

    #[test]
    fn sizes_are_read_in_their_units() {
        for (text, bytes) in [
            ("256KiB", 262_144),
            ("4MiB", 4_194_304),
            ("1GiB", 1_073_741_824),
            ("512B", 512),
            ("16384", 16_384),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let duration = |text| parse_duration(text).unwrap_err().to_string();
        assert_eq!(duration(""), "empty; write a duration such as \"5s\"");
        assert_eq!(
            duration("5"),
            "\"5\" has no unit; write one of ms, s, m, h, d, such as \"5s\""
        );
        assert_eq!(
            duration("5sec"),
            "\"5sec\" has the unknown unit \"sec\"; write one of ms, s, m, h, d, such as \"5s\""
        );
        assert_eq!(
            duration("-5s"),
            "\"-5s\" does not begin with a whole number; write it like \"5s\""
        );
        assert_eq!(
            duration("0.5s"),
            "\"0.5s\" does not begin with a whole number; write it like \"5s\""
        );
        assert_eq!(
            duration("99999999999999999999d"),
            "\"99999999999999999999d\" is too large"
        );
        assert_eq!(
            parse_size("4MB").unwrap_err().to_string(),
            "\"4MB\" has the unknown unit \"MB\"; write one of B, KiB, MiB, GiB, such as \"256KiB\""
        );
    }

    proptest! {
        #[test]
        fn a_written_duration_is_read_back(millis in 0..=u64::MAX) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        }

        #[test]
        fn a_written_size_is_read_back(bytes in 0..=u64::MAX) {
            prop_assert_eq!(parse_size(&format_size(bytes)), Ok(bytes));
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,24}|[0-9]{0,24}[a-zA-Z.]{0,4}") {
            let _ = parse_duration(&text);
            let _ = parse_size(&text);
        }
    }
}
