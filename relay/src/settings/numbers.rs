//! Keys that hold a number of something: durations, sizes, counts, and the two that a flag has.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::quantity::{format_duration, format_size, parse_duration, parse_size};
use super::section::Section;
use super::value::{Entry, Value};

impl Section<'_> {
    /// `true` or `false`.
    pub fn flag(&self, key: &'static str) -> Option<bool> {
        let Entry { node, .. } = self.entry(key)?;
        match &node.value {
            Value::Boolean(value) => Some(*value),
            Value::Plain(text) if text == "true" => Some(true),
            Value::Plain(text) if text == "false" => Some(false),
            Value::Text(_)
            | Value::Plain(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Date(_)
            | Value::List(_)
            | Value::Table(_) => {
                self.problem(
                    key,
                    format!("expected true or false, found {}", node.value.what()),
                );
                None
            }
        }
    }

    /// A duration such as `"5s"` within bounds; `default` if the key is not set.
    pub fn duration(
        &self,
        key: &'static str,
        default: Duration,
        within: RangeInclusive<Duration>,
    ) -> Duration {
        let Some(Entry { node, .. }) = self.entry(key) else {
            return default;
        };
        read_duration(&node.value, &within).unwrap_or_else(|message| {
            let is_off = matches!(&node.value, Value::Text(text) | Value::Plain(text) if text.eq_ignore_ascii_case(OFF));
            self.problem(
                key,
                if is_off {
                    "cannot be switched off; write a duration such as \"5s\"".to_owned()
                } else {
                    message
                },
            );
            default
        })
    }

    /// A duration within bounds, or `"off"`, which is `None`; `default` if the key is not set.
    pub fn duration_or_off(
        &self,
        key: &'static str,
        default: Option<Duration>,
        within: RangeInclusive<Duration>,
    ) -> Option<Duration> {
        let Some(Entry { node, .. }) = self.entry(key) else {
            return default;
        };
        match &node.value {
            Value::Text(text) | Value::Plain(text) if text == OFF => None,
            value @ (Value::Text(_)
            | Value::Plain(_)
            | Value::Boolean(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Date(_)
            | Value::List(_)
            | Value::Table(_)) => read_duration(value, &within).map_or_else(
                |message| {
                    self.problem(key, format!("{message}, or \"off\""));
                    default
                },
                Some,
            ),
        }
    }

    /// A size such as `"256KiB"`, or a plain number of bytes, within bounds; `default` if the key is not set.
    pub fn size(&self, key: &'static str, default: u64, within: RangeInclusive<u64>) -> u64 {
        let Some(Entry { node, .. }) = self.entry(key) else {
            return default;
        };
        let read = match &node.value {
            Value::Integer(bytes) => {
                u64::try_from(*bytes).map_err(|_| format!("{bytes} is negative"))
            }
            Value::Text(text) | Value::Plain(text) => {
                parse_size(text).map_err(|error| error.to_string())
            }
            Value::Float(_)
            | Value::Boolean(_)
            | Value::Date(_)
            | Value::List(_)
            | Value::Table(_) => Err(format!(
                "expected a size such as \"256KiB\", found {}",
                node.value.what()
            )),
        };
        let checked = read.and_then(|value| {
            in_range(&value, &within, |value| format_size(*value)).map(|()| value)
        });
        checked.unwrap_or_else(|message| {
            self.problem(key, message);
            default
        })
    }

    /// A whole number within bounds; `default` if the key is not set.
    pub fn count(&self, key: &'static str, default: u64, within: RangeInclusive<u64>) -> u64 {
        let Some(Entry { node, .. }) = self.entry(key) else {
            return default;
        };
        let read = match &node.value {
            Value::Integer(number) => u64::try_from(*number).ok(),
            Value::Plain(text) => text.parse().ok(),
            Value::Text(_)
            | Value::Float(_)
            | Value::Boolean(_)
            | Value::Date(_)
            | Value::List(_)
            | Value::Table(_) => None,
        };
        let checked = read
            .ok_or_else(|| {
                let (least, most) = (within.start(), within.end());
                format!(
                    "expected a whole number from {least} to {most}, found {}",
                    node.value.what()
                )
            })
            .and_then(|value| in_range(&value, &within, u64::to_string).map(|()| value));
        checked.unwrap_or_else(|message| {
            self.problem(key, message);
            default
        })
    }
}

/// What switches off whatever a key is about.
pub(super) const OFF: &str = "off";

fn read_duration(value: &Value, within: &RangeInclusive<Duration>) -> Result<Duration, String> {
    let text = match value {
        Value::Text(text) | Value::Plain(text) => text.clone(),
        // So that a number is told which units there are.
        Value::Integer(number) => number.to_string(),
        Value::Float(_) | Value::Boolean(_) | Value::Date(_) | Value::List(_) | Value::Table(_) => {
            return Err(format!(
                "expected a duration such as \"5s\", found {}",
                value.what()
            ));
        }
    };
    let value = parse_duration(&text).map_err(|error| error.to_string())?;
    in_range(&value, within, |value| format_duration(*value))?;
    Ok(value)
}

fn in_range<T: PartialOrd, D: Display>(
    value: &T,
    within: &RangeInclusive<T>,
    show: impl Fn(&T) -> D,
) -> Result<(), String> {
    if within.contains(value) {
        return Ok(());
    }
    let (shown, least, most) = (show(value), show(within.start()), show(within.end()));
    Err(format!(
        "{shown} is out of range; expected {least} to {most}"
    ))
}
