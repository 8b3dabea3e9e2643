//! The brands' words on which revocation lists are current. Each brand CA has one, also when it was retired: a
//! certificate is judged by that of the brand CA above it. They are issued anew whenever a list of the brand or of a
//! root is, when CAs come or go, and in time. Their numbers only grow.
//!
//! Kept under the brand CA's id, and made of what the database holds in the transaction that stores the lists.

use std::sync::Arc;

use openset_pki::{BrandCrlIdentifier, BrandId, CrlIdentifier, Role};
use openset_service::clock;
use openset_service::offload::offload;
use openset_store::brand_crl_identifiers::{self as bcis, StoredBrandCrlIdentifier};
use openset_store::crls::{self, StoredCrl};
use openset_store::{StoreError, Tx};
use sqlx::AnyConnection;

use crate::authorities::Authorities;
use crate::crl::next_number;
use crate::error::CaError;
use crate::hierarchy::{Ca, Hierarchy};

impl Authorities {
    /// Issues anew what names other lists than the current ones, or has lived for half its time.
    pub(crate) async fn renew_brand_crl_identifiers(&self) -> Result<(), CaError> {
        let mut tx = self.begin().await?;
        self.issue_brand_crl_identifiers(&mut tx).await?;
        tx.commit().await
    }

    /// As [`Self::renew_brand_crl_identifiers`], together with the lists that `tx` has just stored.
    pub(crate) async fn issue_brand_crl_identifiers(&self, tx: &mut Tx) -> Result<(), CaError> {
        lock(tx).await?;
        let held = self.held_in(tx).await?;
        issue(tx, &held, self.settings.crl_lifetime_s()).await
    }
}

/// Issues those that are due, for a hierarchy as `tx` sees it.
pub(crate) async fn issue(tx: &mut Tx, held: &Hierarchy, lifetime_s: i64) -> Result<(), CaError> {
    let now = clock::now_seconds();
    let (lists, before) = (crls::all(tx).await?, bcis::all(tx).await?);
    let brand_cas: Vec<&Arc<Ca>> = held
        .all()
        .iter()
        .filter(|ca| ca.role() == Role::BrandCa && ca.answers(now))
        .collect();
    for ca in &brand_cas {
        let Some(brand) = ca.brand() else { continue };
        let crls = named(held, brand, &lists, now);
        let previous = before.iter().find(|bci| bci.brand == ca.id);
        let own = ca.authority.certificate();
        let soon_s = now.saturating_add(lifetime_s / 2).min(own.not_after());
        let is_current = previous.is_some_and(|previous| {
            previous.not_after >= soon_s
                && BrandCrlIdentifier::from_der(&previous.der).is_ok_and(|bci| bci.crls() == crls)
        });
        if is_current {
            continue;
        }
        let previous = previous.map(|previous| previous.sequence);
        let sequence = next_number(previous.unwrap_or_default(), now);
        let not_after = now.saturating_add(lifetime_s).min(own.not_after());
        let signer = ca.authority.clone();
        let bci =
            offload(move || signer.issue_brand_crl_identifier(sequence, now, not_after, &crls))
                .await?;
        let fresh = StoredBrandCrlIdentifier {
            brand: ca.id.clone(),
            sequence,
            der: bci.der().to_vec(),
            not_after,
        };
        if !bcis::succeed(tx, previous, &fresh).await? {
            return Err(CaError::Overtaken);
        }
    }
    // The word of one that was revoked counts for nothing.
    let speaks = |id: &str| brand_cas.iter().any(|ca| ca.id == id);
    for silent in before.iter().filter(|bci| !speaks(&bci.brand)) {
        sqlx::query("DELETE FROM brand_crl_identifiers WHERE brand = $1")
            .bind(&silent.brand)
            .execute(&mut **tx)
            .await
            .map_err(StoreError::from)?;
    }
    Ok(())
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

/// Makes all who are about to name lists wait for each other, so that none names an older one than another has. Who
/// holds it sees what those before have stored.
pub(crate) async fn lock(conn: &mut AnyConnection) -> Result<(), CaError> {
    sqlx::query("UPDATE counters SET value = value + 1 WHERE name = 'brand_crl_identifiers'")
        .execute(conn)
        .await
        .map_err(StoreError::from)?;
    Ok(())
}
