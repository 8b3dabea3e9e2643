//! What the CA verifies for itself: the certificates of applicants who have some already.

use std::collections::HashMap;
use std::sync::Arc;

use openset_jose::default_provider;
use openset_pki::{Crl, CrlIssuer, PathError, PathVerifier, TrustAnchor};
use openset_service::clock;
use openset_store::StoreError;
use openset_store::crls::StoredCrl;

use crate::CertificateAuthority;
use crate::error::CaError;
use crate::hierarchy::Hierarchy;

/// A verifier that trusts our root and holds no list yet.
pub(crate) fn verifier(hierarchy: &Hierarchy) -> anyhow::Result<Arc<PathVerifier>> {
    let root = &hierarchy.pinned_root().certificate;
    let anchor = TrustAnchor::pinned(root.der(), root.thumbprint().as_bytes())?;
    Ok(Arc::new(PathVerifier::new(anchor, default_provider())))
}

impl CertificateAuthority {
    /// The verifier, with the lists as they stand in the database: whatever replica revoked something, it
    /// counts from now on.
    pub(crate) async fn verifier(&self) -> Result<Arc<PathVerifier>, CaError> {
        let current = self.authorities.crls().await?;
        let (hierarchy, now) = (self.hierarchy(), clock::now_seconds());
        self.install(&current, &hierarchy.pinned_root().id, CrlIssuer::Root, now)?;
        for ca in hierarchy.all().iter().filter(|ca| ca.answers(now)) {
            if let Some(chain) = ca.authority.chain() {
                self.install(&current, &ca.id, CrlIssuer::Chain(&chain), now)?;
            }
        }
        Ok(Arc::clone(&self.verifier))
    }

    fn install(
        &self,
        lists: &HashMap<String, StoredCrl>,
        id: &str,
        issuer: CrlIssuer<'_>,
        now: i64,
    ) -> Result<(), CaError> {
        let Some(stored) = lists.get(id) else {
            return Ok(());
        };
        let crl = Crl::from_der(&stored.der).map_err(|_| StoreError::Corrupt("crls.der"))?;
        match self.verifier.install_crl(crl, issuer, now) {
            // Another request has read a newer one since.
            Ok(_) | Err(PathError::CrlOlder { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
