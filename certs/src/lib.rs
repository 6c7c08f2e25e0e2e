//! Who is who in Causeway, and how it is proven.
pub mod identity;
pub mod name;

pub use identity::{Identity, IdentityError, Role, RoleKind};
pub use name::{
    ClusterId, ClusterIdError, Label, LabelError, LabelFault, TrustDomain, TrustDomainError,
};
