//! Revocation lists: one of each CA from the start, renewed in time, numbers that only grow. A list is
//! stored before anybody sees it, together with the BrandCRLIdentifiers that name it.

use std::collections::{BTreeSet, HashMap};

use openset_pki::Purpose;
use openset_pki::authority::{Authority, RevocationReason};
use openset_service::clock;
use openset_service::offload::offload;
use openset_store::crls::{self, StoredCrl};

use crate::authorities::Authorities;
use crate::error::CaError;
use crate::hierarchy::{Hierarchy, State};
use crate::journal::RecordedTx;
use crate::store::certificates::Issued;
use crate::store::{authorities, certificates, regions, registrations};

/// What became of a revocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Revocation {
    /// It is on the list now.
    Revoked,
    /// It was before.
    WasRevoked,
    /// There is no such certificate.
    Unknown,
    /// A root's: nobody stands above it who could revoke it.
    Root,
    /// Its issuer is a root whose key is kept elsewhere.
    OfflineRoot,
}

impl Authorities {
    /// The current list of every CA, by the CA's name.
    pub(crate) async fn crls(&self) -> Result<HashMap<String, StoredCrl>, CaError> {
        Ok(by_id(crls::all(&mut *self.db.read().await?).await?))
    }

    /// Issues anew what has lived for half its time.
    pub(crate) async fn renew_crls(&self) -> Result<(), CaError> {
        let current = self.crls().await?;
        let half_s = self.settings.crl_lifetime_s() / 2;
        let soon_s = clock::now_seconds().saturating_add(half_s);
        for (id, authority) in issuers(&self.current()) {
            let fresh = current.get(&id).is_some_and(|crl| {
                crl.next_update > soon_s.min(authority.certificate().not_after())
            });
            if !fresh {
                let mut tx = self.begin().await?;
                lock(&mut tx, &id).await?;
                self.issue_crl(&mut tx, &id, &authority).await?;
                tx.commit().await?;
                tracing::info!(kind = %id, "CRL renewed");
            }
        }
        self.renew_brand_crl_identifiers().await
    }

    /// Revokes a certificate: its mark and the list that shows it are stored together. A CA that is revoked
    /// issues nothing more, and neither do those below it.
    pub(crate) async fn revoke(
        &self,
        serial: &str,
        reason: RevocationReason,
    ) -> Result<Revocation, CaError> {
        let found = certificates::find(&mut *self.db.read().await?, serial).await?;
        let Some(issued) = found else {
            return Ok(Revocation::Unknown);
        };
        let held = self.current();
        if issued.owner.as_ref() == Some(&issued.authority) && issued.certificate.is_authority() {
            return Ok(Revocation::Root);
        }
        if held.signer(&issued.authority).is_none() {
            return Ok(Revocation::OfflineRoot);
        }
        let mut tx = self.begin().await?;
        if issued.owner.is_some() && issued.certificate.is_authority() {
            // It retires CAs, as a renewal does.
            regions::changed(&mut tx).await?;
        }
        lock(&mut tx, &issued.authority).await?;
        let now_s = clock::now_seconds();
        if !certificates::revoke(&mut tx, serial, reason, now_s).await? {
            tx.rollback().await?;
            return Ok(Revocation::WasRevoked);
        }
        let held = self.held_in(&mut tx).await?;
        let authority_revoked = retire_revoked(&mut tx, &held, &issued, now_s).await?;
        let mut lists = BTreeSet::from([issued.authority.clone()]);
        lists.extend(
            self.revoke_what_came_of(&mut tx, &issued, reason, now_s)
                .await?,
        );
        for id in &lists {
            // The list of a CA that was itself revoked says nothing that is heard.
            let heard = held.by_id(id).is_none_or(|ca| ca.state != State::Revoked);
            if heard && let Some(authority) = held.signer(id) {
                self.issue_crl(&mut tx, id, authority).await?;
            }
        }
        self.issue_brand_crl_identifiers(&mut tx).await?;
        tx.commit().await?;
        tracing::info!(kind = %issued.authority, outcome = "revoked", "certificate revoked");
        if authority_revoked && let Err(error) = self.reload().await {
            tracing::error!(
                error = format!("{error:#}"),
                "the hierarchy is read again later"
            );
        }
        if issued.certificate.purpose() == Purpose::OcspSigning {
            self.renew_responders().await?;
        }
        Ok(Revocation::Revoked)
    }

    /// Whoever had the key of a revoked certificate may have come by others with it: those are revoked, too, and
    /// what still waits is rejected. Only where a successor is the reason of the revocation do successors stay.
    /// Says which CAs' lists change.
    async fn revoke_what_came_of(
        &self,
        tx: &mut RecordedTx,
        issued: &Issued,
        reason: RevocationReason,
        now_s: i64,
    ) -> Result<Vec<String>, CaError> {
        let mut changed = Vec::new();
        let mut revoked = vec![issued.certificate.thumbprint()];
        while let Some(thumbprint) = revoked.pop() {
            registrations::reject_for(tx, &self.vault, &thumbprint, now_s).await?;
            if reason == RevocationReason::Superseded {
                continue;
            }
            for serial in certificates::come_of(tx, &thumbprint).await? {
                let Some(found) = certificates::find(tx, &serial).await? else {
                    continue;
                };
                lock(tx, &found.authority).await?;
                if certificates::revoke(tx, &serial, reason, now_s).await? {
                    revoked.push(found.certificate.thumbprint());
                    changed.push(found.authority);
                }
            }
        }
        Ok(changed)
    }

    /// Issues the next list of every root that has not run out, whatever time the last one has left.
    pub(crate) async fn issue_root_crls(&self) -> Result<(), CaError> {
        let (held, now) = (self.current(), clock::now_seconds());
        for root in held.roots().iter().filter(|root| !root.ended(now)) {
            let Some(authority) = &root.authority else {
                continue;
            };
            let mut tx = self.begin().await?;
            lock(&mut tx, &root.id).await?;
            self.issue_crl(&mut tx, &root.id, authority).await?;
            tx.commit().await?;
        }
        Ok(())
    }

    /// Issues the next list of a CA, whose row is locked, and what names it.
    async fn issue_crl(
        &self,
        tx: &mut RecordedTx,
        id: &str,
        authority: &Authority,
    ) -> Result<(), CaError> {
        let now = clock::now_seconds();
        let held = crls::all(tx).await?;
        let last = held
            .iter()
            .find(|crl| crl.issuer_id == id)
            .map_or(0, |crl| crl.number);
        let number = next_number(last, now);
        let next_update = now.saturating_add(self.settings.crl_lifetime_s());
        let revoked = certificates::revoked(&mut *tx, id, now).await?;
        let authority = authority.clone();
        let crl = offload(move || authority.issue_crl(number, now, next_update, &revoked)).await?;
        if crls::put(tx, id, crl.number(), crl.der(), crl.next_update()).await? {
            self.issue_brand_crl_identifiers(tx).await
        } else {
            Err(CaError::Overtaken)
        }
    }
}

/// Lists by the names of their CAs.
pub(crate) fn by_id(all: Vec<StoredCrl>) -> HashMap<String, StoredCrl> {
    all.into_iter()
        .map(|crl| (crl.issuer_id.clone(), crl))
        .collect()
}

/// A number above the last one, and above any that was given out before a back-up was restored.
pub(crate) fn next_number(last: u64, now_s: i64) -> u64 {
    last.saturating_add(1)
        .max(u64::try_from(now_s).unwrap_or_default())
}

/// Makes all who are about to issue a list of this CA wait for each other, so that none leaves out what
/// another has just revoked.
pub(crate) async fn lock(tx: &mut RecordedTx, id: &str) -> Result<(), CaError> {
    sqlx::query("UPDATE authorities SET place = place WHERE id = $1")
        .bind(id)
        .execute(&mut ***tx)
        .await
        .map_err(openset_store::StoreError::from)?;
    Ok(())
}

/// Retires a CA whose certificate was revoked, and all below it; says whether it was a CA's. Whoever calls this has
/// locked the hierarchy before any CA.
pub(crate) async fn retire_revoked(
    tx: &mut RecordedTx,
    held: &Hierarchy,
    issued: &Issued,
    now_s: i64,
) -> Result<bool, CaError> {
    let Some(owner) = issued
        .owner
        .as_ref()
        .filter(|_| issued.certificate.is_authority())
    else {
        return Ok(false);
    };
    for id in held.with_below(owner) {
        let _ = authorities::retire(tx, &id, now_s).await?;
    }
    Ok(true)
}

/// All CAs that still have a list to issue, with their keys.
fn issuers(held: &Hierarchy) -> Vec<(String, Authority)> {
    let now = clock::now_seconds();
    let roots = held.roots().iter().filter_map(|root| {
        let authority = root.authority.clone()?;
        (!root.ended(now)).then(|| (root.id.clone(), authority))
    });
    let below = held
        .all()
        .iter()
        .filter(|ca| ca.answers(now))
        .map(|ca| (ca.id.clone(), ca.authority.clone()));
    roots.chain(below).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]
    use std::sync::Arc;
    use std::time::Duration;

    use openset_store::{Db, SecretString, Vault, sqlx};
    use openset_testkit::postgres::PostgresServer;

    use super::*;
    use crate::config::Options;
    use crate::journal::Journal;
    use crate::store::MIGRATIONS;

    async fn authorities(url: &str, folder: &std::path::Path, name: &str) -> Arc<Authorities> {
        let data = folder.join(name);
        std::fs::create_dir_all(&data).unwrap();
        let db = Db::open(url, MIGRATIONS).await.unwrap();
        let passphrase = SecretString::from("of the locks");
        let vault = Vault::unlock(&db, &passphrase).await.unwrap();
        let journal = Journal::open(&data, name, &db).await.unwrap();
        let settings = Arc::new(Options::default().check().unwrap());
        let opened = Authorities::open(db, vault, journal, settings).await;
        Arc::new(opened.unwrap())
    }

    /// Waits until so many transactions wait for locks of others.
    async fn until_waiting(db: &Db, count: i64) {
        for _ in 0..1200 {
            let waiting: i64 =
                sqlx::query_scalar("SELECT COUNT(*) FROM pg_locks WHERE NOT granted")
                    .fetch_one(&mut *db.read().await.unwrap())
                    .await
                    .unwrap();
            if waiting >= count {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{count} transactions do not come to wait");
    }

    /// Both want the CA's row, which is held until they stand before it.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_ca_is_revoked_and_renewed_at_once_without_a_deadlock_on_postgresql() {
        let Some(server) = tokio::task::spawn_blocking(PostgresServer::start)
            .await
            .unwrap()
            .unwrap()
        else {
            println!("SKIPPED: PostgreSQL is not installed");
            return;
        };
        let (url, folder) = (
            server.create_database().unwrap(),
            tempfile::tempdir().unwrap(),
        );
        let one = authorities(&url, folder.path(), "one").await;
        let other = authorities(&url, folder.path(), "other").await;
        let watcher = Db::open(&url, MIGRATIONS).await.unwrap();
        let mut id = "visa-pca".to_owned();
        for _ in 0..3 {
            other.refresh().await.unwrap();
            let held = other.current();
            let serial = hex::encode(held.by_id(&id).unwrap().authority.certificate().serial());
            let mut row = watcher.begin().await.unwrap();
            sqlx::query("UPDATE authorities SET place = place WHERE id = $1")
                .bind(&id)
                .execute(&mut *row)
                .await
                .unwrap();
            let revoking = tokio::spawn({
                let (ca, serial) = (Arc::clone(&other), serial.clone());
                async move { ca.revoke(&serial, RevocationReason::CaCompromise).await }
            });
            until_waiting(&watcher, 1).await;
            let renewing = tokio::spawn({
                let (ca, id) = (Arc::clone(&one), id.clone());
                async move { ca.renew(&id, false).await }
            });
            until_waiting(&watcher, 2).await;
            row.rollback().await.unwrap();
            assert_eq!(revoking.await.unwrap().unwrap(), Revocation::Revoked);
            let made = renewing.await.unwrap().unwrap();
            id = made.into_iter().next().unwrap();
        }
    }
}
