//! Which way a fault applies.

use std::fmt;
use std::str::FromStr;

use super::fault::FaultError;

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// From callers to the server.
    Up,
    /// From the server to callers.
    Down,
}

/// One direction or both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Directions {
    /// Only that one.
    One(Direction),
    /// Up and down.
    Both,
}

impl Direction {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Up, Self::Down];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
        }
    }

    /// The other one.
    pub fn other(self) -> Self {
        match self {
            Self::Up => Self::Down,
            Self::Down => Self::Up,
        }
    }
}

impl FromStr for Direction {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        let known = Self::ALL.into_iter().find(|it| it.name() == text);
        known.ok_or_else(|| FaultError::Direction(text.to_owned()))
    }
}

impl Directions {
    /// Each of them.
    pub fn each(self) -> impl Iterator<Item = Direction> {
        let all = Direction::ALL.into_iter();
        all.filter(move |it| self == Self::Both || self == Self::One(*it))
    }
}

impl fmt::Display for Directions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::One(direction) => direction.name(),
            Self::Both => "both ways",
        })
    }
}
