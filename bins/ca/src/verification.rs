//! What the CA verifies for itself: the certificates of applicants who have some already.

use std::sync::Arc;

use openset_jose::default_provider;
use openset_pki::{Crl, CrlIssuer, PathError, PathVerifier, TrustAnchor};
use openset_service::clock;
use openset_store::StoreError;

use crate::CertificateAuthority;
use crate::error::CaError;
use crate::hierarchy::Hierarchy;

/// A verifier that trusts our root and holds no list yet.
pub(crate) fn verifier(hierarchy: &Hierarchy) -> anyhow::Result<Arc<PathVerifier>> {
    let root = hierarchy.root();
    let anchor = TrustAnchor::pinned(root.der(), root.thumbprint().as_bytes())?;
    Ok(Arc::new(PathVerifier::new(anchor, default_provider())))
}

impl CertificateAuthority {
    /// The verifier, with the lists as they stand in the database: whatever replica revoked something, it
    /// counts from now on.
    pub(crate) async fn verifier(&self) -> Result<Arc<PathVerifier>, CaError> {
        let current = self.crls().await?;
        let now = clock::now_seconds();
        for ca in self.hierarchy.all() {
            let Some(stored) = current.get(&ca.id) else {
                continue;
            };
            let crl = Crl::from_der(&stored.der).map_err(|_| StoreError::Corrupt("crls.der"))?;
            let chain = ca.authority.chain();
            let issuer = chain.as_ref().map_or(CrlIssuer::Root, CrlIssuer::Chain);
            match self.verifier.install_crl(crl, issuer, now) {
                // Another request has read a newer one since.
                Ok(_) | Err(PathError::CrlOlder { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Arc::clone(&self.verifier))
    }
}
