//! How probable something is, as people write it.

use std::fmt;

use super::shape::Probability;

/// A probability, from 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub struct Share(f64);

impl Share {
    /// The probability.
    pub fn get(self) -> f64 {
        self.0
    }

    pub(crate) fn of(probability: Probability) -> Self {
        Self(probability.get())
    }

    /// Reads `5%` or `0.01%`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("\"{text}\" is no share; write one from 0% to 100%, such as 5%");
        let number = text.strip_suffix('%').ok_or_else(wrong)?;
        let plain = number.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        let percent: f64 = number.parse().map_err(|_| wrong())?;
        if plain && (0.0..=100.0).contains(&percent) {
            Ok(Self(percent / 100.0))
        } else {
            Err(wrong())
        }
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Two divisions of a decimal may leave a last digit that nobody wrote.
        let percent = (self.0 * 100.0 * 1e9).round() / 1e9;
        write!(f, "{percent}%")
    }
}
