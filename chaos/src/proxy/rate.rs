//! Rates, as people know lines by: bytes a second (`64KiB`) or bits a second (`10Mbit`).

use relay::settings::{format_size, parse_size};

/// Bits a second, of which a thousand of the smaller unit make one of the larger; in bytes.
const BITS: [(&str, u64); 3] = [
    ("Gbit", 1_000_000_000 / 8),
    ("Mbit", 1_000_000 / 8),
    ("kbit", 1_000 / 8),
];

/// Reads a rate in bytes a second.
///
/// # Errors
/// What is wrong with it, and what would be right.
pub(super) fn parse_rate(text: &str) -> Result<u64, String> {
    let in_bits = BITS.iter().find_map(|(unit, bytes)| {
        let number = text.strip_suffix(unit)?;
        let plain = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
        let number = plain.then(|| number.parse::<u64>().ok()).flatten()?;
        number.checked_mul(*bytes)
    });
    in_bits.or_else(|| parse_size(text).ok()).ok_or_else(|| {
        format!(
            "\"{text}\" is no rate; write a whole number of bytes a second in B, KiB, MiB or GiB, \
             such as 64KiB, or of bits a second in kbit, Mbit or Gbit, such as 10Mbit"
        )
    })
}

/// Writes a rate as [`parse_rate`] reads it, in the unit that makes the number shortest.
pub(super) fn format_rate(bytes: u64) -> String {
    let in_bits = BITS
        .iter()
        .find(|(_, unit)| bytes.is_multiple_of(*unit) && bytes > 0)
        .map(|(name, unit)| format!("{}{name}", bytes / unit));
    let in_bytes = format_size(bytes);
    match in_bits {
        Some(in_bits) if in_bits.len() < in_bytes.len() => in_bits,
        Some(_) | None => in_bytes,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bits_are_eighths_of_bytes_and_go_by_thousands() {
        for (text, bytes) in [
            ("10Mbit", 1_250_000),
            ("1Gbit", 125_000_000),
            ("56kbit", 7_000),
            ("64KiB", 65_536),
            ("512B", 512),
            ("1000", 1_000),
        ] {
            assert_eq!(parse_rate(text), Ok(bytes), "{text}");
        }
        for (bytes, text) in [(1_250_000, "10Mbit"), (65_536, "64KiB"), (512, "512B")] {
            assert_eq!(format_rate(bytes), text);
        }
    }

    #[test]
    fn what_is_no_rate_is_told_both_ways_to_write_one() {
        for text in [
            "",
            "Mbit",
            "1.5Mbit",
            "10mbit",
            "10Mb",
            "10Mbps",
            "-1kbit",
            "+1kbit",
            "10 Mbit",
            "99999999999999Gbit",
        ] {
            let why = parse_rate(text).unwrap_err();
            let begin = format!("\"{text}\" is no rate; ");
            assert!(why.starts_with(&begin), "{why}");
            assert!(why.contains("such as 64KiB") && why.ends_with("such as 10Mbit"));
        }
    }

    proptest! {
        #[test]
        fn a_rate_is_read_as_it_is_written(bytes in 0..u64::MAX) {
            prop_assert_eq!(parse_rate(&format_rate(bytes)), Ok(bytes));
        }
    }
}
