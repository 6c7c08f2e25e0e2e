//! Where records are published: one small trait, and what implements it.

pub(crate) mod embedded;
mod rfc2136;
mod serial;
mod text;
mod zone;
pub(crate) mod zonefile;

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;

use hickory_proto::rr::LowerName;

use super::records::{Change, Snapshot};

pub(crate) use rfc2136::Rfc2136;

/// A future of a [`Provider`].
pub(crate) type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The authority for a zone: it is read, and changed name by name.
pub(crate) trait Provider: Debug + Send + Sync {
    /// Names that an earlier process may have left in the zone, where they would not be seen without
    /// being asked for.
    fn known(&self) -> BTreeSet<LowerName> {
        BTreeSet::new()
    }

    /// What the zone has now, from the authority itself and never from a cache. `known` is the serial
    /// of the last snapshot: nothing is read again while it is still the zone's. Where only queries
    /// are answered, those `names` are asked for. Nothing of a reading that breaks off is used.
    fn read<'a>(
        &'a self,
        names: &'a BTreeSet<LowerName>,
        known: Option<u32>,
    ) -> BoxFuture<'a, Result<Reading, ProviderError>>;

    /// The serial that the zone has now.
    fn serial(&self) -> BoxFuture<'_, Result<u32, ProviderError>>;

    /// Makes one change as a whole, if what it expects still holds. Several may be under way at
    /// once, for different names; the provider sees to it that they are not too many.
    fn apply<'a>(&'a self, change: &'a Change) -> BoxFuture<'a, Result<Applied, ProviderError>>;
}

/// What reading a zone yields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// The serial is the known one.
    Unchanged,
    Zone(Snapshot),
}

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Applied {
    Done,
    /// The zone is not as expected: somebody else has changed it. Nothing was done.
    Overtaken,
}

/// Why a provider did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct ProviderError {
    pub(crate) reason: Reason,
    /// What happened, where, and what to do.
    pub(crate) message: String,
}

/// The closed set of reasons, for metrics and status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Reason {
    /// Nobody answers there.
    Unreachable,
    Timeout,
    /// The server does not know the key, or not with this algorithm.
    BadKey,
    /// The signature is wrong, ours or the server's.
    BadSignature,
    /// The clocks are too far apart.
    BadTime,
    Refused,
    /// The server is not the authority for the zone, or does not let this key change it.
    NotAuthoritative,
    ServerFailure,
    /// An answer that breaks off.
    Truncated,
    /// An answer that cannot be one.
    Malformed,
    /// What is to be written cannot be expressed.
    Unwritable,
    /// A file cannot be read or written.
    File,
}
