//! The brands' words on which revocation lists are current: issued anew whenever a list of the brand or of a root is,
//! when CAs come or go, and in time. Their numbers only grow.

use openset_pki::authority::Authority;
use openset_pki::{BrandCrlIdentifier, BrandId, CrlIdentifier, Role};
use openset_service::clock;
use openset_service::offload::offload;
use openset_store::StoreError;
use openset_store::brand_crl_identifiers::{self as bcis, StoredBrandCrlIdentifier};
use openset_store::crls::{self, StoredCrl};

use crate::authorities::{Authorities, brands_of};
use crate::crl::next_number;
use crate::error::CaError;
use crate::hierarchy::{Hierarchy, State};
use crate::journal::RecordedTx;

impl Authorities {
    /// The current one of every brand.
    pub(crate) async fn brand_crl_identifiers(
        &self,
    ) -> Result<Vec<StoredBrandCrlIdentifier>, CaError> {
        Ok(bcis::all(&mut *self.db.read().await?).await?)
    }

    /// Issues anew what names other lists than the current ones, or has lived for half its time.
    pub(crate) async fn renew_brand_crl_identifiers(&self) -> Result<(), CaError> {
        let mut tx = self.begin().await?;
        self.issue_brand_crl_identifiers(&mut tx).await?;
        tx.commit().await
    }

    /// As [`Self::renew_brand_crl_identifiers`], together with the lists that `tx` has just stored.
    pub(crate) async fn issue_brand_crl_identifiers(
        &self,
        tx: &mut RecordedTx,
    ) -> Result<(), CaError> {
        let held = self.current();
        let (now, lifetime_s) = (clock::now_seconds(), self.settings.crl_lifetime_s());
        for brand in brands_of(&held) {
            let Some(signer) = signer(&held, &brand, now) else {
                tracing::warn!(kind = %brand, "no brand CA is left to name the current CRLs: renew it");
                continue;
            };
            lock(tx, &brand).await?;
            let crls = named(&held, &brand, &crls::all(tx).await?, now);
            let previous = bcis::all(tx)
                .await?
                .into_iter()
                .find(|bci| bci.brand == brand.as_str());
            let signer_ends = signer.certificate().not_after();
            let soon_s = now.saturating_add(lifetime_s / 2).min(signer_ends);
            let is_current = previous.as_ref().is_some_and(|previous| {
                previous.not_after >= soon_s
                    && BrandCrlIdentifier::from_der(&previous.der).is_ok_and(|bci| {
                        bci.crls() == crls && bci.issuer_der() == signer.certificate().subject_der()
                    })
            });
            if is_current {
                continue;
            }
            let previous = previous.map(|previous| previous.sequence);
            let sequence = next_number(previous.unwrap_or_default(), now);
            let not_after = now.saturating_add(lifetime_s).min(signer_ends);
            let bci =
                offload(move || signer.issue_brand_crl_identifier(sequence, now, not_after, &crls))
                    .await?;
            let fresh = StoredBrandCrlIdentifier {
                brand: brand.as_str().to_owned(),
                sequence,
                der: bci.der().to_vec(),
                not_after,
            };
            if !bcis::succeed(tx, previous, &fresh).await? {
                return Err(CaError::Overtaken);
            }
        }
        Ok(())
    }
}

/// The brand's CA that speaks for it: the current generation, or else an older one that was not revoked.
fn signer(held: &Hierarchy, brand: &BrandId, now_s: i64) -> Option<Authority> {
    let own = || {
        let all = held.all().iter().rev();
        all.filter(|ca| {
            ca.role() == Role::BrandCa && ca.brand() == Some(brand) && ca.answers(now_s)
        })
    };
    let current = own().find(|ca| ca.state == State::Current);
    let signer = current.or_else(|| own().next())?;
    Some(signer.authority.clone())
}

/// The current list of every root and of every CA of the brand that was not revoked.
fn named(held: &Hierarchy, brand: &BrandId, lists: &[StoredCrl], now_s: i64) -> Vec<CrlIdentifier> {
    let roots = held
        .roots()
        .iter()
        .filter(|root| !root.ended(now_s))
        .map(|root| (root.id.as_str(), root.certificate.subject_der()));
    let cas = held
        .all()
        .iter()
        .filter(|ca| ca.brand() == Some(brand) && ca.answers(now_s))
        .map(|ca| (ca.id.as_str(), ca.authority.certificate().subject_der()));
    roots
        .chain(cas)
        .filter_map(|(id, name)| {
            let list = lists.iter().find(|list| list.issuer_id == id)?;
            Some(CrlIdentifier {
                issuer_der: name.to_vec(),
                number: list.number,
            })
        })
        .collect()
}

/// Makes all who are about to name a brand's lists wait for each other, so that none names an older one than another
/// has.
async fn lock(tx: &mut RecordedTx, brand: &BrandId) -> Result<(), CaError> {
    sqlx::query("UPDATE brand_crl_identifiers SET sequence = sequence WHERE brand = $1")
        .bind(brand.as_str())
        .execute(&mut ***tx)
        .await
        .map_err(StoreError::from)?;
    Ok(())
}
