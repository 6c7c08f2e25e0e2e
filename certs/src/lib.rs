//! Who is who in Causeway, and how it is proven.
//!
//! A certificate carries exactly one URI, and nothing else says who its holder is:
//!
//! ```text
//! spiffe://<trust-domain>/tenant/<tenant>/cluster/<cluster>    a client
//! spiffe://<trust-domain>/edge/<name>                          an edge
//! spiffe://<trust-domain>/service/<name>                       a caller in the control plane
//! ```
//!
//! | module | for |
//! | --- | --- |
//! | [`name`] | labels, clusters and trust domains, checked when parsed |
//! | [`identity`] | the URI: strict reading of a certificate |
//! | [`authority`] | the key that issues identities |
//! | [`material`] | an identity as a process uses it, read from its directory |
//! | [`revocation`] | who is revoked: the list that an authority keeps, and whom it is read against |
//! | [`files`] | keys, certificates and lists on disk |
//! | [`tls`] | every rustls configuration, and failed handshakes in plain words |
//! | [`certificate`], [`validity`] | what a certificate says, and from when until when |
//!
//! ```text
//! Authority ── issue(Role, ttl) ──► Issued ── write ──► directory ── load ──► Material ──► tls::*
//!                                     └────────────── material ──────────────────▲
//! ```

pub mod authority;
pub mod certificate;
pub mod files;
pub mod identity;
pub mod material;
pub mod name;
pub mod revocation;
pub mod tls;
pub mod validity;

pub use authority::{Authority, AuthorityError, Issued, RevokeError};
pub use certificate::{CertificateInfo, Fingerprint, Serial, SerialError};
pub use files::{FileError, Overwrite};
pub use identity::{Identity, IdentityError, Role, RoleKind};
pub use material::{CertsError, Material, files_in, load};
pub use name::{ClusterId, ClusterIdError, Label, LabelError, LabelFault};
pub use name::{TrustDomain, TrustDomainError};
pub use revocation::{Chain, Reason, Revocations, RevocationsError, Revoked};
pub use validity::Validity;
