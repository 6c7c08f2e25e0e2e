//! Why a connection was closed and why a stream was reset, as numbers that never change meaning.

use std::fmt;

/// Declares a closed set of codes with their numbers and labels in one table.
macro_rules! codes {
    ($(#[$doc:meta])* $name:ident, unknown = $unknown:ident {
        $($(#[$variant_doc:meta])* $variant:ident = $number:literal, $label:literal;)*
    }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
        }

        impl $name {
            /// Every code there is.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The number on the wire.
            pub fn number(self) -> u32 {
                match self {
                    $(Self::$variant => $number,)*
                }
            }

            /// The code of a number; one that we do not know is taken as the most general.
            pub fn from_number(number: u32) -> Self {
                Self::ALL
                    .iter()
                    .copied()
                    .find(|code| code.number() == number)
                    .unwrap_or(Self::$unknown)
            }

            /// A stable short name, for logs and for the label of a metric.
            pub fn label(self) -> &'static str {
                match self {
                    $(Self::$variant => $label,)*
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.label())
            }
        }
    };
}

codes! {
    /// Why a connection was closed, and with it, but for two of them, a session.
    CloseCode, unknown = Internal {
        /// A planned stop, after draining.
        Shutdown = 0, "shutdown";
        /// A new instance of the same replica has taken over.
        Superseded = 1, "superseded";
        /// Not let in; said for every reason that a stranger must not tell apart.
        Refused = 2, "refused";
        /// No room now; try again after the stated time.
        Overload = 3, "overload";
        /// The session belongs to another edge of the same address.
        WrongEdge = 4, "wrong_edge";
        /// No protocol version in common.
        Version = 5, "version";
        /// A message that breaks the protocol.
        Protocol = 6, "protocol";
        /// More bytes than were granted.
        CreditExceeded = 7, "credit_exceeded";
        /// A frame longer than is allowed.
        TooLarge = 8, "too_large";
        /// The handshake took too long.
        HandshakeTimeout = 9, "handshake_timeout";
        /// Nothing was heard for too long.
        Dead = 10, "dead";
        /// The certificate was withdrawn.
        Revoked = 11, "revoked";
        /// A fault on the closing side.
        Internal = 12, "internal";
        /// Another connection carries the session now.
        Moved = 13, "moved";
        /// The session that was to go on is not known here: it is over, or was another process's.
        Unknown = 14, "unknown";
    }
}

codes! {
    /// Why a stream was reset. A reset is never an end: what was received may be incomplete.
    ResetCode, unknown = Internal {
        /// The one who used the stream dropped it before it was complete.
        Cancelled = 0, "cancelled";
        /// Policy of the accepting side forbids it.
        NotAllowed = 1, "not_allowed";
        /// The accepting side has no service of this name.
        UnknownService = 2, "unknown_service";
        /// The target refused the connection.
        ConnectRefused = 3, "connect_refused";
        /// The target did not answer in time.
        ConnectTimeout = 4, "connect_timeout";
        /// The target could not be reached otherwise: name, route, TLS.
        ConnectFailed = 5, "connect_failed";
        /// The target's connection broke.
        OriginReset = 6, "origin_reset";
        /// The caller's connection broke.
        CallerReset = 7, "caller_reset";
        /// A limit was reached.
        Overload = 8, "overload";
        /// The session did not come back in time.
        GraceExpired = 9, "grace_expired";
        /// The session ended.
        SessionClosed = 10, "session_closed";
        /// The accepting side is stopping and takes no new streams.
        Draining = 11, "draining";
        /// Nothing moved for longer than the configured limit.
        IdleTimeout = 12, "idle_timeout";
        /// The peer broke a rule of this stream.
        Protocol = 13, "protocol";
        /// A fault on the resetting side.
        Internal = 14, "internal";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_labels_are_unique_and_come_back() {
        let mut labels = std::collections::HashSet::new();
        for code in CloseCode::ALL {
            assert_eq!(CloseCode::from_number(code.number()), *code);
            assert!(labels.insert(code.label()));
        }
        labels.clear();
        for code in ResetCode::ALL {
            assert_eq!(ResetCode::from_number(code.number()), *code);
            assert!(labels.insert(code.label()));
        }
    }

    #[test]
    fn a_number_from_the_future_is_the_general_code() {
        assert_eq!(CloseCode::from_number(9999), CloseCode::Internal);
        assert_eq!(ResetCode::from_number(9999), ResetCode::Internal);
    }
}
