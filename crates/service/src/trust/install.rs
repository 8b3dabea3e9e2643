//! Verifies what a trust document says, and keeps what is news.

use std::sync::{Arc, PoisonError};

use openset_jose::Thumbprint;
use openset_pki::{
    BrandCrlIdentifier, Crl, CrlIssuer, Expect, Installed, PathError, Purpose, Role,
};
use openset_store::brand_crl_identifiers::{self as bcis, StoredBrandCrlIdentifier};
use openset_store::crls::{self, StoredCrl};

use super::document::{self, AuthorityEntry, TrustDocument};
use super::{Authority, Trust, TrustError, with_sources};
use crate::clock;

impl Trust {
    /// Verifies a document from the roots down and keeps what is newer. A CA whose entry does not
    /// hold, for example one that was revoked, is left out: without a CRL nothing below it passes.
    pub(super) async fn install(&self, document: &TrustDocument) -> Result<(), TrustError> {
        let (stored, stored_bcis) = {
            let mut conn = self.db.read().await?;
            (crls::all(&mut conn).await?, bcis::all(&mut conn).await?)
        };
        self.accept_roots(&document.roots_der()?);
        self.check_roots(document)?;
        let mut found = Vec::with_capacity(document.authorities.len());
        let mut issuers = Vec::new();
        let mut without_root = None;
        for entry in &document.authorities {
            let kept = stored.iter().find(|kept| kept.issuer_id == entry.id);
            match self.install_entry(entry, kept) {
                Ok((authority, crl)) => {
                    issuers.push((entry.id.clone(), crl));
                    found.push(authority);
                }
                Err(error) => {
                    let shown = with_sources(&error);
                    if entry.chain.is_empty() {
                        without_root.get_or_insert(error);
                    }
                    tracing::warn!(error = shown, kind = %entry.id, "a certificate authority is not trusted");
                }
            }
        }
        // Nothing holds without a root's own CRL.
        if let Some(error) = without_root
            && !found.iter().any(|authority| authority.chain.is_none())
        {
            return Err(error);
        }
        self.install_brands(document, &stored_bcis);
        let now = clock::now_seconds();
        found.retain(|authority| match self.verify_own(authority, now) {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(error = %error, kind = %authority.id, "a certificate authority is not trusted");
                false
            }
        });
        *self
            .authorities
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Arc::new(found);
        self.keep_lists(&issuers, &stored).await?;
        self.keep_bcis(&stored_bcis).await?;
        self.keep_document(document);
        Ok(())
    }

    /// The roots after the pinned one, link by link; those before it are none of ours.
    pub(super) fn accept_roots(&self, roots: &[Vec<u8>]) {
        for root in roots {
            if let Err(error) = self.verifier.accept_root(root) {
                tracing::debug!(error = %error, "a root is not trusted");
            }
        }
    }

    /// A document none of whose roots is trusted is another hierarchy's.
    fn check_roots(&self, document: &TrustDocument) -> Result<(), TrustError> {
        let offered = document.roots_der()?;
        let trusted = self.verifier.roots();
        let is_trusted = |der: &Vec<u8>| trusted.iter().any(|root| root.der() == der.as_slice());
        if offered.iter().any(is_trusted) {
            return Ok(());
        }
        document::pinned(&offered, &self.origin.ca_url, &self.origin.pinned).map(drop)
    }

    /// The brands' BrandCRLIdentifiers. Without one, nothing of its brand passes.
    fn install_brands(&self, document: &TrustDocument, stored: &[StoredBrandCrlIdentifier]) {
        let now = clock::now_seconds();
        for kept in stored {
            let bci = BrandCrlIdentifier::from_der(&kept.der);
            let installed = bci.map_err(|error| error.to_string()).and_then(|bci| {
                self.install_bci(bci, now)
                    .map_err(|error| error.to_string())
            });
            if let Err(error) = installed {
                tracing::debug!(error, kind = %kept.brand, "a kept BrandCRLIdentifier is not used");
            }
        }
        for entry in &document.brands {
            let offered = entry.read().and_then(|bci| {
                let installed = self.install_bci(bci, now);
                let installed = installed.map_err(|source| TrustError::Path {
                    id: entry.brand.to_string(),
                    source,
                })?;
                Ok(installed)
            });
            match offered {
                Ok(_) => {}
                // A document from before the newest one takes nothing back.
                Err(TrustError::Path {
                    source: PathError::BciOlder { .. },
                    ..
                }) => {
                    tracing::warn!(kind = %entry.brand, "the CA offers an older BrandCRLIdentifier than it did before");
                }
                Err(error) => {
                    let error = with_sources(&error);
                    tracing::warn!(error, kind = %entry.brand, "a BrandCRLIdentifier is not used");
                }
            }
        }
    }

    fn install_bci(&self, bci: BrandCrlIdentifier, now: i64) -> Result<Installed, PathError> {
        let brand_ca = self
            .verifier
            .authority_chain(bci.issuer_der(), None)
            .ok_or(PathError::CrlMissing(Role::BrandCa))?;
        self.verifier
            .install_brand_crl_identifier(bci, &brand_ca, now)
    }

    /// A CA's CRL and chain; gives the name under which the CRL was issued.
    fn install_entry(
        &self,
        entry: &AuthorityEntry,
        kept: Option<&StoredCrl>,
    ) -> Result<(Authority, Vec<u8>), TrustError> {
        let now = clock::now_seconds();
        let authority = entry.read()?;
        if let Some(kept) = kept {
            self.install_stored(kept, &authority, now);
        }
        let crl = Crl::from_der(&entry.crl_der()?)
            .map_err(|error| TrustError::Document(error.to_string()))?;
        let name = crl.issuer_der().to_vec();
        match self.verifier.install_crl(crl, issuer(&authority), now) {
            Ok(_) => {}
            // A document from before the newest CRL takes nothing back.
            Err(PathError::CrlOlder { .. }) => {
                tracing::debug!(kind = %entry.id, "a newer CRL is held than the CA offers");
            }
            Err(source) => {
                let id = entry.id.clone();
                return Err(TrustError::Path { id, source });
            }
        }
        Ok((authority, name))
    }

    /// A CRL kept from before, which a document may not go behind. One that is stale by now cannot
    /// be installed, and says nothing that a newer one does not.
    fn install_stored(&self, kept: &StoredCrl, authority: &Authority, now: i64) {
        let installed = Crl::from_der(&kept.der)
            .map_err(|error| error.to_string())
            .and_then(|crl| {
                let installed = self.verifier.install_crl(crl, issuer(authority), now);
                installed.map_err(|error| error.to_string())
            });
        if let Err(error) = installed {
            tracing::debug!(error, kind = %authority.id, "a kept CRL is not used");
        }
    }

    /// An issuing CA's own message certificates.
    fn verify_own(&self, authority: &Authority, now: i64) -> Result<(), PathError> {
        let own = [
            (&authority.message_signature, Purpose::Signature),
            (&authority.key_exchange, Purpose::KeyExchange),
        ];
        for (chain, purpose) in own {
            if let Some(chain) = chain {
                let expect = Expect {
                    role: authority.role,
                    purpose,
                    brand: authority.brand.as_ref(),
                };
                self.verifier.verify(chain, &expect, now)?;
            }
        }
        Ok(())
    }

    /// Keeps the CRLs that are newer than those stored, be it that the CA served them or that they came with a
    /// message.
    async fn keep_lists(
        &self,
        issuers: &[(String, Vec<u8>)],
        stored: &[StoredCrl],
    ) -> Result<(), TrustError> {
        let mut held: Vec<Crl> = Vec::new();
        for brand in self.brands() {
            held.extend(self.verifier.crls_held(&brand));
        }
        let mut newer = Vec::new();
        for (id, issuer) in issuers {
            let kept = stored.iter().find(|kept| kept.issuer_id == *id);
            let is_newer = |crl: &&Crl| kept.is_none_or(|kept| kept.number < crl.number());
            let of_issuer = held
                .iter()
                .find(|crl| crl.issuer_der() == issuer.as_slice());
            newer.extend(of_issuer.filter(is_newer).map(|crl| (id, crl)));
        }
        if newer.is_empty() {
            return Ok(());
        }
        let mut tx = self.db.begin().await?;
        for (id, crl) in newer {
            crls::put(&mut tx, id, crl.number(), crl.der(), crl.next_update()).await?;
        }
        Ok(tx.commit().await?)
    }

    /// The same for the BrandCRLIdentifiers, of each brand CA its own: their numbers do not compare.
    async fn keep_bcis(&self, stored: &[StoredBrandCrlIdentifier]) -> Result<(), TrustError> {
        let mut newer = Vec::new();
        for bci in self
            .brands()
            .iter()
            .flat_map(|one| self.bcis_in_effect(one))
        {
            let key = kept_under(&bci);
            let kept = stored.iter().find(|kept| kept.brand == key);
            if kept.is_none_or(|kept| kept.sequence < bci.sequence()) {
                newer.push(StoredBrandCrlIdentifier {
                    brand: key,
                    sequence: bci.sequence(),
                    der: bci.der().to_vec(),
                    not_after: bci.not_after(),
                });
            }
        }
        if newer.is_empty() {
            return Ok(());
        }
        let mut tx = self.db.begin().await?;
        for fresh in newer {
            bcis::put(&mut tx, &fresh).await?;
        }
        Ok(tx.commit().await?)
    }

    /// Keeps the document, with every root that leads from the pinned one to its own.
    fn keep_document(&self, document: &TrustDocument) {
        let document = document.with_roots(&self.verifier.roots());
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.as_ref() == Some(&document) {
            return;
        }
        match document::keep(&self.origin.kept, &document) {
            Ok(()) => *kept = Some(document),
            Err(error) => tracing::warn!(error = %error, "the trust document cannot be kept"),
        }
    }
}

/// The name under which a brand CA's BrandCRLIdentifier is kept: its brand's and a digest of its own.
fn kept_under(bci: &BrandCrlIdentifier) -> String {
    format!("{}/{}", bci.brand(), Thumbprint::of(bci.issuer_der()))
}

fn issuer(authority: &Authority) -> CrlIssuer<'_> {
    authority
        .chain
        .as_ref()
        .map_or(CrlIssuer::Root, CrlIssuer::Chain)
}
