//! A fault with its parameters: read from words, from JSON, and shown as it is read.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use relay::settings::{format_duration, format_size, parse_duration, parse_size};
use serde_json::{Map, Value};

use super::direction::Directions;
use super::kind::{Kind, Parameter, Unit, UnknownKind};
use super::rate::{format_rate, parse_rate};
use crate::wire::Share;

/// The longest duration of a parameter. Longer is a mistake rather than a wish, and timers end.
const LONGEST: Duration = Duration::from_secs(86_400);

/// A fault with its parameters; [`Kind`] says what each does.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs, reason = "the catalogue says what each parameter is")]
pub enum Fault {
    /// [`Kind::Latency`]
    Latency { delay: Duration, jitter: Duration },
    /// [`Kind::Bandwidth`], in bytes a second
    Bandwidth { rate: u64, queue: Duration },
    /// [`Kind::Slice`]
    Slice { size: u64, pause: Duration },
    /// [`Kind::SlowClose`]
    SlowClose { delay: Duration },
    /// [`Kind::Truncate`]
    Truncate { bytes: u64 },
    /// [`Kind::Reset`]
    Reset { after: Duration, bytes: Option<u64> },
    /// [`Kind::Timeout`]; no time means never
    Timeout { after: Duration },
    /// [`Kind::Corrupt`]
    Corrupt { rate: Share },
    /// [`Kind::Cut`]
    Cut,
    /// [`Kind::Loss`]
    Loss { rate: Share },
    /// [`Kind::Duplicate`]
    Duplicate { rate: Share },
    /// [`Kind::Reorder`]
    Reorder { rate: Share, delay: Duration },
    /// [`Kind::Rebind`]
    Rebind,
}

/// A fault and where it applies, written `[up|down] KIND [NAME=VALUE]…`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Placed {
    /// Where.
    pub directions: Directions,
    /// What.
    pub fault: Fault,
}

/// Why words are no fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FaultError {
    /// No words.
    #[error("no fault is named; write one such as: latency delay=100ms, or: up cut")]
    Empty,
    /// None of this name.
    #[error(transparent)]
    Kind(#[from] UnknownKind),
    /// Something else than `NAME=VALUE`.
    #[error("\"{0}\" is no parameter; write NAME=VALUE, such as delay=100ms")]
    Shape(String),
    /// The same parameter again.
    #[error("{0} is given twice")]
    Twice(String),
    /// None of this name.
    #[error("{kind} has no parameter \"{name}\"; {}", parameters_of(kind))]
    Parameter {
        /// Of which kind of fault.
        kind: Kind,
        /// What was written.
        name: String,
    },
    /// A value that is none.
    #[error("{kind}: {name}: {why}")]
    Value {
        /// Of which kind of fault.
        kind: Kind,
        /// Which parameter.
        name: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// JSON, but no object of parameters.
    #[error("the body must be a JSON object of parameters, such as {{\"delay\": \"100ms\"}}")]
    Body,
    /// Neither up nor down.
    #[error("there is no direction \"{0}\"; there is up (to the server) and down (to the caller)")]
    Direction(String),
    /// A direction where there is none.
    #[error("rebind has no direction: it changes the port that the server sees; leave it out")]
    Undirected,
}

impl Fault {
    /// Its kind.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Latency { .. } => Kind::Latency,
            Self::Bandwidth { .. } => Kind::Bandwidth,
            Self::Slice { .. } => Kind::Slice,
            Self::SlowClose { .. } => Kind::SlowClose,
            Self::Truncate { .. } => Kind::Truncate,
            Self::Reset { .. } => Kind::Reset,
            Self::Timeout { .. } => Kind::Timeout,
            Self::Corrupt { .. } => Kind::Corrupt,
            Self::Cut => Kind::Cut,
            Self::Loss { .. } => Kind::Loss,
            Self::Duplicate { .. } => Kind::Duplicate,
            Self::Reorder { .. } => Kind::Reorder,
            Self::Rebind => Kind::Rebind,
        }
    }

    /// A fault of this kind with these parameters; what is not given has its default.
    ///
    /// # Errors
    /// If there is no such parameter, or it is given twice, or its value is none.
    pub fn new(kind: Kind, given: &[(String, String)]) -> Result<Self, FaultError> {
        let known = kind.description().parameters;
        for (at, (name, _)) in given.iter().enumerate() {
            if !known.iter().any(|parameter| parameter.name == name) {
                let name = name.clone();
                return Err(FaultError::Parameter { kind, name });
            }
            if given[..at].iter().any(|(earlier, _)| earlier == name) {
                return Err(FaultError::Twice(name.clone()));
            }
        }
        let values = Values { kind, given };
        Ok(match kind {
            Kind::Latency => Self::Latency {
                delay: values.duration("delay")?,
                jitter: values.duration("jitter")?,
            },
            Kind::Bandwidth => Self::Bandwidth {
                rate: values.rate("rate")?,
                queue: values.duration("queue")?,
            },
            Kind::Slice => Self::Slice {
                size: values.positive("size")?,
                pause: values.duration("pause")?,
            },
            Kind::SlowClose => Self::SlowClose {
                delay: values.duration("delay")?,
            },
            Kind::Truncate => Self::Truncate {
                bytes: values.size("bytes")?.unwrap_or_default(),
            },
            Kind::Reset => Self::Reset {
                after: values.duration("after")?,
                bytes: values.size("bytes")?,
            },
            Kind::Timeout => Self::Timeout {
                after: values.duration("after")?,
            },
            Kind::Corrupt => Self::Corrupt {
                rate: values.share("rate")?,
            },
            Kind::Cut => Self::Cut,
            Kind::Loss => Self::Loss {
                rate: values.share("rate")?,
            },
            Kind::Duplicate => Self::Duplicate {
                rate: values.share("rate")?,
            },
            Kind::Reorder => Self::Reorder {
                rate: values.share("rate")?,
                delay: values.duration("delay")?,
            },
            Kind::Rebind => Self::Rebind,
        })
    }

    /// A fault of this kind with the parameters of a JSON object; no body at all is an empty one.
    ///
    /// # Errors
    /// As [`Fault::new`].
    pub fn from_json(kind: Kind, body: &[u8]) -> Result<Self, FaultError> {
        if body.trim_ascii().is_empty() {
            return Self::new(kind, &[]);
        }
        let object: Map<String, Value> =
            serde_json::from_slice(body).map_err(|_| FaultError::Body)?;
        let text = |value: &Value| match value {
            Value::String(text) => Ok(text.clone()),
            Value::Number(number) => Ok(number.to_string()),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
                Err(FaultError::Body)
            }
        };
        let given = object
            .iter()
            .map(|(name, value)| Ok((name.clone(), text(value)?)))
            .collect::<Result<Vec<_>, FaultError>>()?;
        Self::new(kind, &given)
    }

    /// Its parameters as they are written.
    pub fn parameters(&self) -> Vec<(&'static str, String)> {
        let time = |duration: &Duration| format_duration(*duration);
        match self {
            Self::Latency { delay, jitter } => {
                vec![("delay", time(delay)), ("jitter", time(jitter))]
            }
            Self::Bandwidth { rate, queue } => {
                vec![("rate", format_rate(*rate)), ("queue", time(queue))]
            }
            Self::Slice { size, pause } => {
                vec![("size", format_size(*size)), ("pause", time(pause))]
            }
            Self::SlowClose { delay } => vec![("delay", time(delay))],
            Self::Truncate { bytes } => vec![("bytes", format_size(*bytes))],
            Self::Reset {
                bytes: Some(bytes), ..
            } => vec![("bytes", format_size(*bytes))],
            Self::Reset { after, bytes: None } | Self::Timeout { after } => {
                vec![("after", time(after))]
            }
            Self::Corrupt { rate } | Self::Loss { rate } | Self::Duplicate { rate } => {
                vec![("rate", rate.to_string())]
            }
            Self::Reorder { rate, delay } => {
                vec![("rate", rate.to_string()), ("delay", time(delay))]
            }
            Self::Cut | Self::Rebind => Vec::new(),
        }
    }

    /// The same as a JSON object.
    pub fn to_json(&self) -> Value {
        let parameters = self.parameters().into_iter();
        let object: Map<String, Value> = parameters
            .map(|(name, value)| (name.to_owned(), value.into()))
            .collect();
        object.into()
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind())?;
        let mut parameters = self.parameters().into_iter();
        parameters.try_for_each(|(name, value)| write!(f, " {name}={value}"))
    }
}

impl FromStr for Placed {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        let mut words = text.split_whitespace().peekable();
        let first = words.peek().ok_or(FaultError::Empty)?;
        let directions = match first.parse() {
            Ok(direction) => {
                words.next();
                Directions::One(direction)
            }
            Err(_) => Directions::Both,
        };
        let kind: Kind = words.next().ok_or(FaultError::Empty)?.parse()?;
        let given = words
            .map(|word| {
                let (name, value) = word
                    .split_once('=')
                    .ok_or_else(|| FaultError::Shape(word.to_owned()))?;
                Ok((name.to_owned(), value.to_owned()))
            })
            .collect::<Result<Vec<_>, FaultError>>()?;
        Self::new(directions, Fault::new(kind, &given)?)
    }
}

impl Placed {
    /// A fault in its place.
    ///
    /// # Errors
    /// If a fault that has no direction is given one.
    pub fn new(directions: Directions, fault: Fault) -> Result<Self, FaultError> {
        match (fault, directions) {
            (Fault::Rebind, Directions::One(_)) => Err(FaultError::Undirected),
            (fault, directions) => Ok(Self { directions, fault }),
        }
    }
}

impl fmt::Display for Placed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.directions {
            Directions::One(direction) => write!(f, "{} {}", direction.name(), self.fault),
            Directions::Both => write!(f, "{}", self.fault),
        }
    }
}

/// What was given of a kind's parameters, and its defaults.
struct Values<'g> {
    kind: Kind,
    given: &'g [(String, String)],
}

impl Values<'_> {
    fn duration(&self, name: &'static str) -> Result<Duration, FaultError> {
        let text = self.text(name).unwrap_or("0s");
        let duration = parse_duration(text).map_err(|error| self.wrong(name, &error))?;
        if duration > LONGEST {
            let why = format!("{text} is more than a day");
            return Err(self.wrong(name, &why));
        }
        Ok(duration)
    }

    fn size(&self, name: &'static str) -> Result<Option<u64>, FaultError> {
        let size = self.text(name).map(parse_size).transpose();
        size.map_err(|error| self.wrong(name, &error))
    }

    fn positive(&self, name: &'static str) -> Result<u64, FaultError> {
        let size = self.size(name)?.unwrap_or_default();
        self.not_zero(name, size)
    }

    fn rate(&self, name: &'static str) -> Result<u64, FaultError> {
        let text = self.text(name).unwrap_or_default();
        let rate = parse_rate(text).map_err(|why| self.wrong(name, &why))?;
        self.not_zero(name, rate)
    }

    fn not_zero(&self, name: &'static str, amount: u64) -> Result<u64, FaultError> {
        if amount == 0 {
            let why = "at least 1B; to let nothing pass, use cut";
            return Err(self.wrong(name, &why));
        }
        Ok(amount)
    }

    fn share(&self, name: &'static str) -> Result<Share, FaultError> {
        let text = self.text(name).unwrap_or("0%");
        Share::parse(text).map_err(|why| self.wrong(name, &why))
    }

    /// As given, or by default.
    fn text(&self, name: &str) -> Option<&str> {
        let given = self.given.iter().find(|(given, _)| given == name);
        match given {
            Some((_, value)) => Some(value),
            None => default(self.kind, name),
        }
    }

    fn wrong(&self, name: &'static str, why: &impl fmt::Display) -> FaultError {
        FaultError::Value {
            kind: self.kind,
            name,
            why: why.to_string(),
        }
    }
}

fn default(kind: Kind, name: &str) -> Option<&'static str> {
    let mut parameters = kind.description().parameters.iter();
    parameters.find(|it| it.name == name)?.default
}

fn parameters_of(kind: &Kind) -> String {
    let shown = |it: &Parameter| {
        let example = match it.unit {
            Unit::Duration => "250ms",
            Unit::Size => "16KiB",
            Unit::Rate => "10Mbit",
            Unit::Share => "5%",
        };
        format!("{}={}", it.name, it.default.unwrap_or(example))
    };
    match kind.description().parameters {
        [] => "it has none".to_owned(),
        all => {
            let all: Vec<_> = all.iter().map(shown).collect();
            format!("write {}", all.join(" "))
        }
    }
}

#[cfg(test)]
mod tests;
