//! What the CA verifies for itself: the certificates of applicants who have some already.

use std::collections::HashMap;
use std::sync::Arc;

use openset_jose::default_provider;
use openset_pki::{
    BrandCrlIdentifier, Chain, Crl, CrlIssuer, Installed, PathError, PathVerifier, Role,
    TrustAnchor,
};
use openset_protocol::BrandId;
use openset_protocol::thumbs::RevocationState;
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
        let published = self.authorities.published().await?;
        let (hierarchy, current) = (&published.held, &published.crls);
        let now = clock::now_seconds();
        for root in hierarchy.roots().iter().filter(|root| !root.ended(now)) {
            self.verifier
                .accept_root(root.certificate.der())
                .map_err(|_| StoreError::Corrupt("roots.der"))?;
            self.install(current, &root.id, CrlIssuer::Root, now)?;
        }
        let mut brand_cas = Vec::new();
        for ca in hierarchy.all().iter().filter(|ca| ca.answers(now)) {
            let Some(chain) = ca.authority.chain() else {
                continue;
            };
            self.install(current, &ca.id, CrlIssuer::Chain(&chain), now)?;
            if ca.role() == Role::BrandCa {
                brand_cas.push(chain);
            }
        }
        for stored in &published.brand_crl_identifiers {
            self.install_named(&stored.der, &brand_cas, now)?;
        }
        Ok(Arc::clone(&self.verifier))
    }

    /// The newest revocations of a brand, for applicants that lack them.
    pub(crate) async fn revocations(&self, brand: &BrandId) -> Result<RevocationState, CaError> {
        let verifier = self.verifier().await?;
        Ok(RevocationState::of(&verifier, brand))
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
        held(self.verifier.install_crl(crl, issuer, now))
    }

    fn install_named(&self, der: &[u8], brand_cas: &[Chain], now: i64) -> Result<(), CaError> {
        let corrupt = || StoreError::Corrupt("brand_crl_identifiers.der");
        let bci = BrandCrlIdentifier::from_der(der).map_err(|_| corrupt())?;
        let signer = |chain: &&Chain| chain.leaf().subject_der() == bci.issuer_der();
        let signer = brand_cas.iter().find(signer).ok_or_else(corrupt)?;
        held(self.verifier.install_brand_crl_identifier(bci, signer, now))
    }
}

/// What another request has read since may be newer.
fn held(installed: Result<Installed, PathError>) -> Result<(), CaError> {
    match installed {
        Ok(_) | Err(PathError::CrlOlder { .. } | PathError::BciOlder { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
