//! Identifiers, each a type of its own.

use std::fmt;
use std::str::FromStr;

/// Which end of a session opened a stream. The initiator sent Hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Opener {
    /// The end that dialled and sent Hello.
    Initiator,
    /// The end that answered with HelloAck.
    Responder,
}

impl Opener {
    /// The other end.
    pub fn other(self) -> Self {
        match self {
            Self::Initiator => Self::Responder,
            Self::Responder => Self::Initiator,
        }
    }
}

/// A stream within its session: dense per opener, never used twice.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(u64);

impl StreamId {
    /// The `index`-th stream of `opener`, counted from 0.
    pub fn new(opener: Opener, index: u64) -> Self {
        let side = match opener {
            Opener::Initiator => 0,
            Opener::Responder => 1,
        };
        Self(index << 1 | side)
    }

    /// As it is on the wire.
    pub fn from_number(number: u64) -> Self {
        Self(number)
    }

    /// As it is on the wire: twice the index, plus one for the responder's.
    pub fn number(self) -> u64 {
        self.0
    }

    /// Who opened it.
    pub fn opener(self) -> Opener {
        if self.0 & 1 == 0 {
            Opener::Initiator
        } else {
            Opener::Responder
        }
    }

    /// The how-manieth of its opener's streams it is, from 0.
    pub fn index(self) -> u64 {
        self.0 >> 1
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = match self.opener() {
            Opener::Initiator => 'i',
            Opener::Responder => 'r',
        };
        write!(f, "{side}{}", self.index())
    }
}

impl fmt::Debug for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Counts the connections that a client has begun for a session; only higher numbers are accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Attempt(pub u64);

/// Counts the transport streams that a stream has been attached to. The first is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Generation(pub u64);

/// Sixteen random bytes, shown as hexadecimal digits.
macro_rules! random_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name([u8; 16]);

        impl $name {
            /// From sixteen random bytes.
            pub fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// The bytes.
            pub fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

random_id! {
    /// A session, named by the edge that began it.
    SessionId
}
random_id! {
    /// A process: random at every start.
    Instance
}

/// Which copy of a client this is, among those that share its certificate's identity. Kept in
/// the state directory, so that a restarted copy is known to replace itself and nobody else.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReplicaId(Box<str>);

impl ReplicaId {
    /// The longest that is accepted, in bytes.
    pub const MAX_LENGTH: usize = 64;

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A replica's name is 1 to 64 of a-z, A-Z, 0-9, `.`, `_` and `-`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a replica's name has 1 to 64 letters, digits, dots, underscores and hyphens")]
pub struct InvalidReplicaId;

impl FromStr for ReplicaId {
    type Err = InvalidReplicaId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        if (1..=Self::MAX_LENGTH).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidReplicaId)
        }
    }
}

impl fmt::Display for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Opaque to the client, which shows it again when it connects, so that the edge can put the
/// connection on the worker that its session lives on. For placement only, never for trust.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WorkerHint(pub [u8; 8]);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_id_keeps_its_opener_and_index() {
        for opener in [Opener::Initiator, Opener::Responder] {
            for index in [0, 1, 2, 1 << 40] {
                let id = StreamId::new(opener, index);
                assert_eq!((id.opener(), id.index()), (opener, index));
                assert_eq!(StreamId::from_number(id.number()), id);
            }
        }
        assert_eq!(StreamId::new(Opener::Responder, 3).to_string(), "r3");
    }

    #[test]
    fn a_replica_id_is_short_and_plain() {
        assert!("r-1.example_2".parse::<ReplicaId>().is_ok());
        for bad in ["", "a b", "a/b", "a\n", &"x".repeat(65)] {
            assert_eq!(bad.parse::<ReplicaId>(), Err(InvalidReplicaId));
        }
    }
}
