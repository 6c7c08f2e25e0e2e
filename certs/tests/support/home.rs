//! An authority and an identity in directories, with a list of who is revoked beside them.

use std::fs;
use std::path::PathBuf;

use certs::authority::AUTHORITY_LIFE;
use certs::{
    Authority, Issued, Material, Overwrite, Revocations, RevocationsError, RevokeError, Serial,
};
use rcgen::{CertificateRevocationListParams, Issuer, KeyIdMethod, KeyPair, SerialNumber};
use tempfile::TempDir;
use time::OffsetDateTime;

use super::{client_role, edge_role, issue};

/// An authority, and an edge that trusts it and has its list.
pub(crate) struct Home {
    pub(crate) dir: TempDir,
    pub(crate) authority: Authority,
    pub(crate) edge: Material,
}

impl Home {
    pub(crate) fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let ca = dir.path().join("ca");
        let domain = "causeway.internal".parse().unwrap();
        let authority = Authority::create(&ca, domain, AUTHORITY_LIFE, Overwrite::Refuse).unwrap();
        let state = dir.path().join("edge");
        let edge = issue(&authority, edge_role());
        edge.write(&state, Overwrite::Refuse).unwrap();
        let edge = certs::load(&state).unwrap();
        Self {
            dir,
            authority,
            edge,
        }
    }

    pub(crate) fn ca(&self) -> PathBuf {
        self.dir.path().join("ca")
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.dir.path().join("edge")
    }

    pub(crate) fn client(&self) -> Issued {
        issue(&self.authority, client_role())
    }

    pub(crate) fn revoke(&self, serials: &[Serial]) -> Result<Vec<Serial>, RevokeError> {
        self.authority.revoke(&self.ca(), serials, None)
    }

    /// Copies the list by hand.
    pub(crate) fn publish(&self) {
        fs::copy(self.ca().join("crl.pem"), self.state().join("crl.pem")).unwrap();
    }

    pub(crate) fn load(&self) -> Result<Revocations, RevocationsError> {
        Revocations::load(&self.state(), &self.edge)
    }
}

/// A list that nobody but the test would make, beside the edge's identity.
pub(crate) fn write_list(
    home: &Home,
    issuer: &Issuer<'_, KeyPair>,
    adjust: impl FnOnce(&mut CertificateRevocationListParams),
) {
    let now = OffsetDateTime::now_utc();
    let mut params = CertificateRevocationListParams {
        this_update: now,
        next_update: now + time::Duration::DAY,
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: Vec::new(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    adjust(&mut params);
    let list = params.signed_by(issuer).unwrap().pem().unwrap();
    fs::write(home.state().join("crl.pem"), list).unwrap();
}
