//! Revocation lists: one of each CA from the start, renewed in time, numbers that only grow. Whenever one is
//! issued, so is the BrandCRLIdentifier of each brand that it concerns: the root's concerns all. Both are stored
//! together, before anybody sees them.

use std::collections::HashMap;
use std::sync::Arc;

use openset_pki::authority::RevocationReason;
use openset_pki::{BrandId, CrlIdentifier, Role};
use openset_service::clock;
use openset_service::offload::offload;
use openset_store::Tx;
use openset_store::brand_crl_identifiers::{self as bcis, StoredBrandCrlIdentifier};
use openset_store::crls::{self, StoredCrl};

use crate::CertificateAuthority;
use crate::error::CaError;
use crate::hierarchy::Ca;
use crate::store::certificates;

/// How often two replicas that issue the same list may get in each other's way.
const TRIES_MAX: u8 = 5;

/// What became of a revocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Revocation {
    /// It is on the list now.
    Revoked,
    /// It was before.
    WasRevoked,
    /// There is no such certificate.
    Unknown,
}

impl CertificateAuthority {
    /// The current list of every CA, by the CA's name.
    pub(crate) async fn crls(&self) -> Result<HashMap<String, StoredCrl>, CaError> {
        let all = crls::all(&mut *self.db.read().await?).await?;
        Ok(all
            .into_iter()
            .map(|crl| (crl.issuer_id.clone(), crl))
            .collect())
    }

    /// The current BrandCRLIdentifier of every brand.
    pub(crate) async fn brand_crl_identifiers(
        &self,
    ) -> Result<Vec<StoredBrandCrlIdentifier>, CaError> {
        Ok(bcis::all(&mut *self.db.read().await?).await?)
    }

    /// Issues anew what has lived for half its time.
    pub(crate) async fn renew_crls(&self) -> Result<(), CaError> {
        let current = self.crls().await?;
        let half_s = self.crl_lifetime_s() / 2;
        let soon_s = clock::now_seconds().saturating_add(half_s);
        for ca in self.hierarchy.all() {
            let fresh = current
                .get(&ca.id)
                .is_some_and(|crl| crl.next_update > soon_s);
            if !fresh {
                let mut tx = self.db.begin().await?;
                if self.issue_crl(&mut tx, ca).await? {
                    tx.commit().await?;
                    tracing::info!(kind = %ca.id, "CRL renewed");
                } else {
                    tx.rollback().await?;
                }
            }
        }
        let current = self.brand_crl_identifiers().await?;
        for ca in self.hierarchy.all() {
            let (Role::BrandCa, Some(brand)) = (ca.role(), ca.brand()) else {
                continue;
            };
            let fresh = current
                .iter()
                .any(|bci| bci.brand == brand.as_str() && bci.not_after > soon_s);
            if !fresh {
                let mut tx = self.db.begin().await?;
                let held = bcis::all(&mut tx).await?;
                if self.issue_bci(&mut tx, brand, &held).await? {
                    tx.commit().await?;
                    tracing::info!(kind = %ca.id, "BrandCRLIdentifier renewed");
                } else {
                    tx.rollback().await?;
                }
            }
        }
        Ok(())
    }

    /// Revokes a certificate: its mark and the list that shows it are stored together.
    pub(crate) async fn revoke(
        &self,
        serial: &str,
        reason: RevocationReason,
    ) -> Result<Revocation, CaError> {
        let found = certificates::find(&mut *self.db.read().await?, serial).await?;
        let Some(ca) = found
            .as_ref()
            .and_then(|issued| self.hierarchy.by_id(&issued.authority))
        else {
            return Ok(Revocation::Unknown);
        };
        for _ in 0..TRIES_MAX {
            let mut tx = self.db.begin().await?;
            if !certificates::revoke(&mut tx, serial, reason, clock::now_seconds()).await? {
                tx.rollback().await?;
                return Ok(Revocation::WasRevoked);
            }
            if self.issue_crl(&mut tx, ca).await? {
                tx.commit().await?;
                tracing::info!(kind = %ca.id, outcome = "revoked", "certificate revoked");
                return Ok(Revocation::Revoked);
            }
            tx.rollback().await?;
        }
        Err(CaError::Overtaken)
    }

    /// Issues the next list of a CA, and what names it; says whether they were stored. They were not if another
    /// replica did so at the same moment.
    async fn issue_crl(&self, tx: &mut Tx, ca: &Arc<Ca>) -> Result<bool, CaError> {
        // Read before the lists: whoever issues one after this is found out by its BrandCRLIdentifier.
        let held_bcis = bcis::all(&mut *tx).await?;
        let now = clock::now_seconds();
        let held = crls::all(&mut *tx)
            .await?
            .into_iter()
            .find(|crl| crl.issuer_id == ca.id);
        let number = next_number(held.map(|held| held.number), now);
        let next_update = now.saturating_add(self.crl_lifetime_s());
        let revoked = certificates::revoked(&mut *tx, &ca.id, now).await?;
        let issuer = Arc::clone(ca);
        let crl = offload(move || {
            issuer
                .authority
                .issue_crl(number, now, next_update, &revoked)
        })
        .await?;
        if !crls::put(tx, &ca.id, crl.number(), crl.der(), crl.next_update()).await? {
            return Ok(false);
        }
        for brand_ca in self.hierarchy.all() {
            let (Role::BrandCa, Some(brand)) = (brand_ca.role(), brand_ca.brand()) else {
                continue;
            };
            let concerned = ca.brand().is_none_or(|of| of == brand);
            if concerned && !self.issue_bci(tx, brand, &held_bcis).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Issues the brand's next word on which lists are current; says whether it was stored.
    async fn issue_bci(
        &self,
        tx: &mut Tx,
        brand: &BrandId,
        held: &[StoredBrandCrlIdentifier],
    ) -> Result<bool, CaError> {
        let now = clock::now_seconds();
        let lists = crls::all(&mut *tx).await?;
        let named: Vec<_> = self
            .hierarchy
            .all()
            .iter()
            .filter(|ca| ca.brand().is_none_or(|of| of == brand))
            .filter_map(|ca| {
                let list = lists.iter().find(|list| list.issuer_id == ca.id)?;
                Some(CrlIdentifier {
                    issuer_der: ca.authority.certificate().subject_der().to_vec(),
                    number: list.number,
                })
            })
            .collect();
        let brand_ca = |ca: &&Arc<Ca>| ca.role() == Role::BrandCa && ca.brand() == Some(brand);
        let Some(brand_ca) = self.hierarchy.all().iter().find(brand_ca).cloned() else {
            return Ok(false);
        };
        let previous = held
            .iter()
            .find(|bci| bci.brand == brand.as_str())
            .map(|bci| bci.sequence);
        let sequence = next_number(previous, now);
        let not_after = now
            .saturating_add(self.crl_lifetime_s())
            .min(brand_ca.authority.certificate().not_after());
        let bci = offload(move || {
            brand_ca
                .authority
                .issue_brand_crl_identifier(sequence, now, not_after, &named)
        })
        .await?;
        let fresh = StoredBrandCrlIdentifier {
            brand: brand.as_str().to_owned(),
            sequence,
            der: bci.der().to_vec(),
            not_after,
        };
        Ok(bcis::succeed(tx, previous, &fresh).await?)
    }

    fn crl_lifetime_s(&self) -> i64 {
        i64::try_from(self.settings.crl_lifetime.as_secs()).unwrap_or(i64::MAX)
    }
}

/// Numbers grow, and never fall behind the clock: after a restored back-up they are still above all that was
/// published before.
pub(crate) fn next_number(held: Option<u64>, now: i64) -> u64 {
    held.map_or(1, |held| held.saturating_add(1))
        .max(u64::try_from(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::next_number;

    #[test]
    fn numbers_grow_and_never_fall_behind_the_clock() {
        assert_eq!(next_number(None, 1000), 1000);
        assert_eq!(next_number(Some(7), 1000), 1000);
        assert_eq!(next_number(Some(1000), 1000), 1001);
        assert_eq!(next_number(Some(2000), 1000), 2001);
        assert_eq!(next_number(None, -1), 1);
    }
}
