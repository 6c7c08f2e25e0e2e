//! Which version of the protocol two ends speak, and with which optional parts.

use std::fmt;

/// What we say of ourselves in Hello and HelloAck; for people, never for decisions.
pub const SOFTWARE: &str = concat!("causeway/", env!("CARGO_PKG_VERSION"));

/// A version of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u32);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// The versions that an end can speak, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VersionRange {
    /// The oldest.
    pub min: Version,
    /// The newest.
    pub max: Version,
}

/// Two ends have no version in common.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no protocol version in common: we speak {}, the peer speaks {}; update the older one",
    ours,
    theirs
)]
pub struct NegotiationError {
    /// What this end speaks.
    pub ours: VersionRange,
    /// What the other end said.
    pub theirs: VersionRange,
}

impl VersionRange {
    /// What this build speaks.
    pub const SUPPORTED: Self = Self {
        min: Version(1),
        max: Version(1),
    };

    /// The newest version that both ranges hold.
    pub fn negotiate(self, theirs: Self) -> Result<Version, NegotiationError> {
        let newest = self.max.min(theirs.max);
        if newest >= self.min && newest >= theirs.min {
            Ok(newest)
        } else {
            Err(NegotiationError { ours: self, theirs })
        }
    }

    /// Whether `version` is one of these.
    pub fn contains(self, version: Version) -> bool {
        (self.min..=self.max).contains(&version)
    }
}

impl fmt::Display for VersionRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.min == self.max {
            write!(f, "{}", self.min)
        } else {
            write!(f, "{} to {}", self.min, self.max)
        }
    }
}

/// Optional parts of the protocol, one bit each. Both ends say what they can; what both can is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Features(pub u64);

impl Features {
    /// Streams can be attached to another connection of their session.
    pub const RESUME: Self = Self(1 << 0);

    /// A responder answers Pings ahead of Hello: on a further connection of a client that has learnt
    /// so on an earlier one.
    pub const EARLY_PING: Self = Self(1 << 1);

    /// What this build offers.
    pub const SUPPORTED: Self = Self(Self::RESUME.0 | Self::EARLY_PING.0);

    /// What both have.
    pub fn common(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether all of `other` is in this.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(min: u32, max: u32) -> VersionRange {
        VersionRange {
            min: Version(min),
            max: Version(max),
        }
    }

    #[test]
    fn the_newest_common_version_is_spoken() {
        assert_eq!(range(1, 2).negotiate(range(1, 1)), Ok(Version(1)));
        assert_eq!(range(1, 2).negotiate(range(2, 9)), Ok(Version(2)));
        assert_eq!(range(2, 3).negotiate(range(1, 3)), Ok(Version(3)));
    }

    #[test]
    fn without_a_common_version_both_ranges_are_named() {
        let error = range(3, 4).negotiate(range(1, 2)).unwrap_err().to_string();
        assert!(
            error.contains("3 to 4") && error.contains("1 to 2"),
            "{error}"
        );
        assert!(range(1, 2).negotiate(range(3, 4)).is_err());
    }

    #[test]
    fn features_are_on_when_both_have_them() {
        let both = Features(0b110).common(Features(0b011));
        assert_eq!(both, Features(0b010));
        assert!(both.contains(Features(0b010)) && !both.contains(Features::RESUME));
    }
}
