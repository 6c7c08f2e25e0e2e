//! Why a network cannot be made.

use std::io;

use thiserror::Error;

/// Why a network cannot be made, or what is asked of it cannot be done.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The kernel lets only root make one.
    #[error("network namespaces need root")]
    NeedsRoot,
    /// The system did not do it.
    #[error("cannot {doing}: {source}")]
    System {
        /// What was tried.
        doing: String,
        /// What the system said.
        source: io::Error,
    },
    /// A program did not do it.
    #[error("{command} failed: {said}")]
    Program {
        /// The command line.
        command: String,
        /// What it said.
        said: String,
    },
    /// A host is to be found by its name.
    #[error(
        "\"{0}\" is no name for a host: write up to 63 small letters, digits and hyphens, such as edge-1, a hyphen neither first nor last"
    )]
    Name(String),
    /// There is one already.
    #[error("there is a host \"{0}\" already")]
    Taken(String),
    /// There is none.
    #[error("there is no host \"{name}\"; there is {known}")]
    Unknown {
        /// Which was asked for.
        name: String,
        /// Those that there are.
        known: String,
    },
    /// The documentation's networks are used up.
    #[error("a topology has room for {0} hosts")]
    Full(u8),
}

impl Error {
    pub(super) fn system(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::System { doing, source }
    }
}
