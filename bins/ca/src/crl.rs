//! Revocation lists: one of each CA from the start, renewed in time, numbers that only grow. A list is
//! stored before anybody sees it.

use std::collections::HashMap;
use std::sync::Arc;

use openset_pki::authority::RevocationReason;
use openset_service::clock;
use openset_service::offload::offload;
use openset_store::Tx;
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

    /// Issues the next list of a CA; says whether it was stored. It was not if another replica did so at
    /// the same moment.
    async fn issue_crl(&self, tx: &mut Tx, ca: &Arc<Ca>) -> Result<bool, CaError> {
        let now = clock::now_seconds();
        let held = crls::all(&mut *tx)
            .await?
            .into_iter()
            .find(|crl| crl.issuer_id == ca.id);
        let number = held.map_or(1, |crl| crl.number.saturating_add(1));
        let next_update = now.saturating_add(self.crl_lifetime_s());
        let revoked = certificates::revoked(&mut *tx, &ca.id, now).await?;
        let ca = Arc::clone(ca);
        let id = ca.id.clone();
        let crl =
            offload(move || ca.authority.issue_crl(number, now, next_update, &revoked)).await?;
        Ok(crls::put(tx, &id, crl.number(), crl.der(), crl.next_update()).await?)
    }

    fn crl_lifetime_s(&self) -> i64 {
        i64::try_from(self.settings.crl_lifetime.as_secs()).unwrap_or(i64::MAX)
    }
}
