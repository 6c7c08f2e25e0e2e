//! Names of services.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The name of a service: a lower-case DNS label (RFC 1035 §2.3.1, digits first allowed as in
/// RFC 1123 §2.1) of at most 63 bytes, without `--`, which separates labels in host names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ServiceName(Box<str>);

/// Why a text is not a service name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidServiceName {
    /// Empty, or longer than a DNS label may be.
    #[error("a service name has 1 to 63 characters, not {0}")]
    Length(usize),
    /// A character that a lower-case DNS label cannot have at this place.
    #[error(
        "service name {0:?} may have only a-z, 0-9 and inner single hyphens, e.g. \"log-relay\""
    )]
    Character(String),
}

impl ServiceName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ServiceName {
    type Err = InvalidServiceName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() || text.len() > 63 {
            return Err(InvalidServiceName::Length(text.len()));
        }
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let hyphens_are_inner = !text.starts_with('-') && !text.ends_with('-');
        if text.bytes().all(allowed) && hyphens_are_inner && !text.contains("--") {
            Ok(Self(text.into()))
        } else {
            Err(InvalidServiceName::Character(text.to_owned()))
        }
    }
}

impl TryFrom<String> for ServiceName {
    type Error = InvalidServiceName;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<ServiceName> for String {
    fn from(name: ServiceName) -> Self {
        name.0.into()
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lower_case_labels_without_double_hyphens_are_names() {
        for good in ["a", "0", "state", "log-relay", "a1-b2-c3", &"x".repeat(63)] {
            assert_eq!(good.parse::<ServiceName>().unwrap().as_str(), good);
        }
        for bad in [
            "",
            "-a",
            "a-",
            "a--b",
            "A",
            "a.b",
            "a_b",
            "ä",
            &"x".repeat(64),
        ] {
            assert!(bad.parse::<ServiceName>().is_err(), "{bad:?}");
        }
    }
}
