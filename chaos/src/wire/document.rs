//! A link as people write it: a JSON object, in their units.
//!
//! | key | | unless said |
//! | --- | --- | --- |
//! | `link` | what the rest changes: a link of the [`ladder`], or `clear` | |
//! | `delay`, `jitter` | `"100ms"`, `"250us"` | `"0s"` |
//! | `loss` | `"5%"` of all packets, or bursts: `{"begin": "1%", "end": "20%", "within": "100%", "between": "0%", "longest": "50ms"}`, of which the last three may be left out | `"0%"` |
//! | `reorder` | `{"rate": "2%", "delay": "30ms"}` | none |
//! | `duplicate`, `corrupt` | `"0.1%"` | `"0%"` |
//! | `rate` | `"10Mbit"` a second, or `"unlimited"` | `"unlimited"` |
//! | `queue` | `"64KiB"` | `"1MiB"` |
//! | `mtu` | `"1500B"` | `"65535B"` |
//! | `cut`, `udp_blocked`, `tcp_blocked` | `true` or `false` | `false` |
//!
//! [`Shape`] says what each does.

mod quantity;
#[cfg(test)]
mod tests;

use std::time::Duration;

use relay::settings::format_size;
use serde_json::{Map, Value, json};

use self::quantity::{duration, format_duration, format_rate, probability, rate, share, size};
use super::{
    decision::Tally,
    ladder::{self, LADDER},
    shape::{Bursts, Link, Loss, Probability, Rate, Reorder, Shape, Way},
};

/// What IPv4 asks of every link (RFC 791, section 3.2).
const SMALLEST_MTU: usize = 68;

/// Every key but `link`, in the order in which they are shown.
const KEYS: [&str; 12] = [
    "delay",
    "jitter",
    "loss",
    "reorder",
    "duplicate",
    "corrupt",
    "rate",
    "queue",
    "mtu",
    "cut",
    "udp_blocked",
    "tcp_blocked",
];

/// What is to become of a link: read whole before any of it is done.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    beginning: Option<Link>,
    settings: Vec<Setting>,
}

/// Why a document says nothing about a link.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// It is no JSON object.
    #[error("the body must be a JSON object, such as {{\"delay\": \"100ms\", \"loss\": \"5%\"}}")]
    NoObject,
    /// None of this name.
    #[error("there is no \"{key}\" {within}; there is {known}")]
    Key {
        /// What was written.
        key: String,
        /// Where.
        within: String,
        /// What could have been.
        known: String,
    },
    /// A value that is none.
    #[error("{key}: {why}")]
    Value {
        /// Of which key; the keys on the way to it are set apart by dots.
        key: String,
        /// What is wrong with it, and what would be right.
        why: String,
    },
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Setting {
    Delay(Duration),
    Jitter(Duration),
    Loss(Loss),
    Reorder(Reorder),
    Duplicate(Probability),
    Corrupt(Probability),
    Rate(Rate),
    Queue(usize),
    Mtu(usize),
    Cut(bool),
    UdpBlocked(bool),
    TcpBlocked(bool),
}

impl Change {
    /// Reads a document. What it does not name stays as it is, unless it names a `link`.
    ///
    /// # Errors
    /// If it is no object, or has a key or a value that means nothing.
    pub fn from_json(body: &[u8]) -> Result<Self, DocumentError> {
        let mut object: Map<String, Value> =
            serde_json::from_slice(body).map_err(|_| DocumentError::NoObject)?;
        let beginning = object.remove("link");
        let beginning = beginning.map(|name| begin_with(&name)).transpose()?;
        let settings = object.iter().map(|(key, value)| setting(key, value));
        Ok(Self {
            beginning,
            settings: settings.collect::<Result<_, _>>()?,
        })
    }

    /// The same, with all that it does not name as on a link that does nothing to packets.
    #[must_use]
    pub fn of_everything(mut self) -> Self {
        self.beginning.get_or_insert_default();
        self
    }

    /// What becomes of one way of a link.
    pub fn apply(&self, way: Way, before: Shape) -> Shape {
        let beginning = self.beginning.map(|link| link.shape(way));
        let mut shape = beginning.unwrap_or(before);
        for setting in &self.settings {
            match *setting {
                Setting::Delay(delay) => shape.delay = delay,
                Setting::Jitter(jitter) => shape.jitter = jitter,
                Setting::Loss(loss) => shape.loss = loss,
                Setting::Reorder(reorder) => shape.reorder = reorder,
                Setting::Duplicate(probability) => shape.duplicate = probability,
                Setting::Corrupt(probability) => shape.corrupt = probability,
                Setting::Rate(rate) => shape.rate = rate,
                Setting::Queue(bytes) => shape.queue = bytes,
                Setting::Mtu(bytes) => shape.mtu = bytes,
                Setting::Cut(is_cut) => shape.cut = is_cut,
                Setting::UdpBlocked(is_blocked) => shape.udp_blocked = is_blocked,
                Setting::TcpBlocked(is_blocked) => shape.tcp_blocked = is_blocked,
            }
        }
        shape
    }
}

impl Shape {
    /// All of it as a document, which [`Change::from_json`] reads: times to the microsecond, shares to a
    /// billionth of a percent.
    pub fn to_json(&self) -> Value {
        let loss = match self.loss {
            Loss::Never => json!("0%"),
            Loss::Each(probability) => json!(share(probability)),
            Loss::Bursts(bursts) => of_bursts(bursts),
        };
        json!({
            "delay": format_duration(self.delay),
            "jitter": format_duration(self.jitter),
            "loss": loss,
            "reorder": {
                "rate": share(self.reorder.probability),
                "delay": format_duration(self.reorder.held_back),
            },
            "duplicate": share(self.duplicate),
            "corrupt": share(self.corrupt),
            "rate": format_rate(self.rate),
            "queue": format_size(self.queue as u64),
            "mtu": format_size(self.mtu as u64),
            "cut": self.cut,
            "udp_blocked": self.udp_blocked,
            "tcp_blocked": self.tcp_blocked,
        })
    }
}

impl Link {
    /// Both ways as documents, `up` and `down`.
    pub fn to_json(&self) -> Value {
        json!({ "up": self.up.to_json(), "down": self.down.to_json() })
    }
}

impl Tally {
    /// As a document: numbers of packets, and of bytes.
    pub fn to_json(&self) -> Value {
        json!({
            "offered": self.offered,
            "cut": self.cut,
            "udp_blocked": self.udp_blocked,
            "tcp_blocked": self.tcp_blocked,
            "too_long": self.too_long,
            "lost": self.lost,
            "queue_full": self.queue_full,
            "duplicated": self.duplicated,
            "corrupted": self.corrupted,
            "held_back": self.held_back,
            "delivered": self.delivered,
            "delivered_bytes": self.delivered_bytes,
        })
    }
}

fn of_bursts(bursts: Bursts) -> Value {
    let mut object = json!({
        "begin": share(bursts.begin),
        "end": share(bursts.end),
        "within": share(bursts.within),
        "between": share(bursts.between),
    });
    if bursts.longest != Duration::MAX {
        object["longest"] = format_duration(bursts.longest).into();
    }
    object
}

fn begin_with(name: &Value) -> Result<Link, DocumentError> {
    let name = text("link", name)?;
    if name == "clear" {
        return Ok(Link::default());
    }
    ladder::find(&name).ok_or_else(|| {
        let names = LADDER.map(|rung| rung.name).join(", ");
        wrong(
            "link",
            format!("there is no link \"{name}\"; there is clear, {names}"),
        )
    })
}

fn setting(key: &str, value: &Value) -> Result<Setting, DocumentError> {
    let time = || read(key, value, duration);
    let chance = || read(key, value, probability);
    let bytes = || read(key, value, size);
    Ok(match key {
        "delay" => Setting::Delay(time()?),
        "jitter" => Setting::Jitter(time()?),
        "loss" => Setting::Loss(loss(value)?),
        "reorder" => Setting::Reorder(reorder(value)?),
        "duplicate" => Setting::Duplicate(chance()?),
        "corrupt" => Setting::Corrupt(chance()?),
        "rate" => Setting::Rate(read(key, value, rate)?),
        "queue" => Setting::Queue(bytes()?),
        "mtu" => match bytes()? {
            mtu @ SMALLEST_MTU.. => Setting::Mtu(mtu),
            less => {
                let why = format!(
                    "{less} bytes are less than {SMALLEST_MTU}, which every link carries; to let nothing pass, use cut"
                );
                return Err(wrong(key, why));
            }
        },
        "cut" => Setting::Cut(yes_or_no(key, value)?),
        "udp_blocked" => Setting::UdpBlocked(yes_or_no(key, value)?),
        "tcp_blocked" => Setting::TcpBlocked(yes_or_no(key, value)?),
        unknown => {
            return Err(no_such(
                unknown,
                "of a link",
                &[&["link"], &KEYS[..]].concat(),
            ));
        }
    })
}

fn loss(value: &Value) -> Result<Loss, DocumentError> {
    let Value::Object(parts) = value else {
        return read("loss", value, probability).map(Loss::Each);
    };
    let known = ["begin", "end", "within", "between", "longest"];
    only(parts, "of bursts of loss", &known)?;
    let chance = |name: &str| read(&format!("loss.{name}"), &parts[name], probability);
    let or = |name: &str, default| parts.get(name).map_or(Ok(default), |_| chance(name));
    for name in ["begin", "end"] {
        if !parts.contains_key(name) {
            return Err(wrong(
                "loss",
                format!("bursts need \"{name}\": how probably one does, such as 20%"),
            ));
        }
    }
    let longest = parts.get("longest");
    let longest = longest.map(|longest| read("loss.longest", longest, duration));
    Ok(Loss::Bursts(Bursts {
        begin: chance("begin")?,
        end: chance("end")?,
        within: or("within", Probability::ALWAYS)?,
        between: or("between", Probability::NEVER)?,
        longest: longest.transpose()?.unwrap_or(Duration::MAX),
    }))
}

fn reorder(value: &Value) -> Result<Reorder, DocumentError> {
    let example = "{\"rate\": \"2%\", \"delay\": \"30ms\"}";
    let Value::Object(parts) = value else {
        return Err(wrong(
            "reorder",
            format!("{value} is no object; write {example}"),
        ));
    };
    only(parts, "of reorder", &["rate", "delay"])?;
    let (Some(rate), Some(delay)) = (parts.get("rate"), parts.get("delay")) else {
        return Err(wrong("reorder", format!("it needs both; write {example}")));
    };
    Ok(Reorder {
        probability: read("reorder.rate", rate, probability)?,
        held_back: read("reorder.delay", delay, duration)?,
    })
}

/// That an object has no other keys than these.
fn only(parts: &Map<String, Value>, within: &str, known: &[&str]) -> Result<(), DocumentError> {
    match parts.keys().find(|key| !known.contains(&key.as_str())) {
        None => Ok(()),
        Some(key) => Err(no_such(key, within, known)),
    }
}

fn no_such(key: &str, within: &str, known: &[&str]) -> DocumentError {
    DocumentError::Key {
        key: key.to_owned(),
        within: within.to_owned(),
        known: known.join(", "),
    }
}

fn read<T>(
    key: &str,
    value: &Value,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<T, DocumentError> {
    parse(&text(key, value)?).map_err(|why| wrong(key, why))
}

/// What is written without a unit needs no quotes.
fn text(key: &str, value: &Value) -> Result<String, DocumentError> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
            Err(wrong(key, format!("{value} is neither text nor a number")))
        }
    }
}

fn yes_or_no(key: &str, value: &Value) -> Result<bool, DocumentError> {
    value
        .as_bool()
        .ok_or_else(|| wrong(key, format!("{value} is neither true nor false")))
}

fn wrong(key: &str, why: impl ToString) -> DocumentError {
    DocumentError::Value {
        key: key.to_owned(),
        why: why.to_string(),
    }
}
