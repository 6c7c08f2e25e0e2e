//! The units of a link.

use std::{num::NonZeroU64, time::Duration};

use relay::settings::{format_duration as format_millis, parse_duration, parse_size};

use crate::wire::{Probability, Rate, Share};

/// Longer is a mistake rather than a wish.
const LONGEST: Duration = Duration::from_secs(86_400);

/// Of bits in a second, the largest first.
const RATES: [(&str, u64); 4] = [
    ("Gbit", 1_000_000_000),
    ("Mbit", 1_000_000),
    ("kbit", 1_000),
    ("bit", 1),
];

/// `100ms`, `250us`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let micros = text.strip_suffix("us").and_then(whole);
    let duration = match micros {
        Some(micros) => Duration::from_micros(micros),
        None => parse_duration(text).map_err(|error| error.to_string())?,
    };
    if duration > LONGEST {
        return Err(format!("{text} is more than a day"));
    }
    Ok(duration)
}

/// A number without a sign.
fn whole(text: &str) -> Option<u64> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    is_plain.then(|| text.parse().ok()).flatten()
}

pub(super) fn format_duration(duration: Duration) -> String {
    match duration.subsec_micros() % 1000 {
        0 => format_millis(duration),
        _ => format!("{}us", duration.as_micros()),
    }
}

/// `5%`.
pub(super) fn probability(text: &str) -> Result<Probability, String> {
    let share = Share::parse(text)?;
    Probability::try_from(share.get()).map_err(|error| error.to_string())
}

pub(super) fn share(probability: Probability) -> String {
    Share::of(probability).to_string()
}

/// `10Mbit`, or `unlimited`.
pub(super) fn rate(text: &str) -> Result<Rate, String> {
    if text == "unlimited" {
        return Ok(Rate::Unlimited);
    }
    let bits = RATES.iter().find_map(|(unit, factor)| {
        let number = whole(text.strip_suffix(unit)?)?;
        NonZeroU64::new(number.checked_mul(*factor)?)
    });
    bits.map(Rate::BitsPerSecond).ok_or_else(|| {
        format!("\"{text}\" is no rate; write bits a second, at least 1, in bit, kbit, Mbit or Gbit, such as 10Mbit, or unlimited; to let nothing pass, use cut")
    })
}

pub(super) fn format_rate(rate: Rate) -> String {
    let Rate::BitsPerSecond(bits) = rate else {
        return "unlimited".to_owned();
    };
    let exact = RATES.iter().find(|(_, factor)| bits.get() % factor == 0);
    let (unit, factor) = exact.copied().unwrap_or(("bit", 1));
    format!("{}{unit}", bits.get() / factor)
}

/// `64KiB`.
pub(super) fn size(text: &str) -> Result<usize, String> {
    let bytes = parse_size(text).map_err(|error| error.to_string())?;
    usize::try_from(bytes).map_err(|_| format!("{text} is more than this machine can count"))
}
