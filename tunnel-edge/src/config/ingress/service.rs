//! A service of a cluster, as the file names it.

use std::fmt;
use std::str::FromStr;

use certs::{ClusterId, ClusterIdError};
use relay::ServiceName;

/// A service of a cluster, written `acme/prod-1/db`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceAddress {
    /// Whose compute plane.
    pub cluster: ClusterId,
    /// Which of its services.
    pub service: ServiceName,
}

/// Why a text is no [`ServiceAddress`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServiceAddressError {
    /// Other than three parts.
    #[error(
        "\"{0}\" is no service of a cluster; write tenant/cluster/service, such as acme/prod-1/db"
    )]
    Shape(String),
    /// A tenant or cluster that is none.
    #[error(transparent)]
    Cluster(#[from] ClusterIdError),
    /// A service that is none.
    #[error(transparent)]
    Service(#[from] relay::proto::InvalidServiceName),
}

impl FromStr for ServiceAddress {
    type Err = ServiceAddressError;

    fn from_str(text: &str) -> Result<Self, ServiceAddressError> {
        let shape = || ServiceAddressError::Shape(text.to_owned());
        if text.split('/').count() != 3 {
            return Err(shape());
        }
        let (cluster, service) = text.rsplit_once('/').ok_or_else(shape)?;
        Ok(Self {
            cluster: cluster.parse()?,
            service: service.parse()?,
        })
    }
}

impl fmt::Display for ServiceAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.cluster, self.service)
    }
}
