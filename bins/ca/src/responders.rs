//! OCSP responders: each issuing CA certifies one for a few days, and the next one when half of them are over.
//! A CA that was retired goes on with it, for it is asked about what it issued.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use openset_jose::{PrivateKey, Thumbprint};
use openset_pki::authority::Subject;
use openset_pki::ocsp::Responder;
use openset_service::clock;
use openset_service::offload::offload;
use openset_store::Db;
use tokio::task::JoinSet;

use crate::authorities::Authorities;
use crate::error::CaError;
use crate::hierarchy::{Ca, Hierarchy, draft};
use crate::store::{certificates, responders};

/// How long a responder's certificate is good: nobody asks whether it was revoked, so not for long.
pub(crate) const LIFETIME_S: i64 = 4 * 86_400;
/// What it is called; whose it is, its issuer says.
const NAME: &str = "OCSP Responder";

/// Responders whose keys were unsealed, by their CAs.
#[derive(Debug, Default)]
pub(crate) struct Unsealed {
    held: RwLock<HashMap<String, Arc<Responder>>>,
    /// Held by whoever makes the first responder of a CA because somebody asks: questions make one key at a time.
    making: tokio::sync::Mutex<()>,
}

/// The CAs for which there are responders.
pub(crate) fn answering(held: &Hierarchy, now_s: i64) -> impl Iterator<Item = &Arc<Ca>> {
    held.all()
        .iter()
        .filter(move |ca| ca.role().is_issuing_authority() && ca.answers(now_s))
}

impl Authorities {
    /// Makes responders where there is none, or one that has lived for half its time.
    pub(crate) async fn renew_responders(&self) -> Result<(), CaError> {
        let (held, now_s) = (self.current(), clock::now_seconds());
        let mut due: Vec<(Arc<Ca>, Option<Thumbprint>)> = Vec::new();
        {
            let mut conn = self.db.read().await?;
            for ca in answering(&held, now_s) {
                let found = responders::find(&mut conn, &ca.id).await?;
                let half_s = now_s.saturating_add(LIFETIME_S / 2);
                // One that ends with its CA has no successor.
                let enough_s = half_s.min(ca.authority.certificate().not_after());
                if found
                    .as_ref()
                    .is_none_or(|found| found.not_after() < enough_s)
                {
                    due.push((Arc::clone(ca), found.map(|found| found.thumbprint())));
                }
            }
        }
        let mut making = JoinSet::new();
        for (ca, before) in due {
            making.spawn_blocking(move || (ca, before, draft::new_key()));
        }
        while let Some(made) = making.join_next().await {
            let Ok((ca, before, key)) = made else {
                continue;
            };
            self.put_responder(&ca, before.as_ref(), key?).await?;
        }
        Ok(())
    }

    /// Certifies a key for the responder of a CA, unless somebody else has renewed it since it was looked at.
    async fn put_responder(
        &self,
        ca: &Arc<Ca>,
        before: Option<&Thumbprint>,
        key: PrivateKey,
    ) -> Result<(), CaError> {
        let (issuer, public_key) = (Arc::clone(ca), key.public_key().clone());
        let certificate = offload(move || {
            let own = issuer.authority.certificate();
            let subject = Subject {
                country: None,
                brand: own.brand().cloned(),
                organizational_unit: own.organizational_unit().map(str::to_owned),
                common_name: NAME.to_owned(),
            };
            let validity = draft::validity_s(LIFETIME_S, Some(own));
            let authority = &issuer.authority;
            authority.issue_ocsp_responder(&public_key, &subject, validity, draft::serial())
        })
        .await?;
        let mut tx = self.begin().await?;
        crate::crl::lock(&mut tx, &ca.id).await?;
        let now = responders::find(&mut tx, &ca.id).await?;
        if now.map(|now| now.thumbprint()).as_ref() != before {
            return Ok(tx.rollback().await?);
        }
        let now_s = clock::now_seconds();
        let stored = certificates::insert_own(&mut tx, &ca.id, &ca.id, &certificate, now_s).await?
            && responders::replace(&mut tx, &self.vault, &ca.id, &certificate, &key).await?;
        if !stored {
            return Err(CaError::Overtaken);
        }
        tx.commit().await?;
        tracing::info!(kind = %ca.id, "OCSP responder certified");
        Ok(())
    }

    /// The responder of a CA; where there is none yet, as for a CA that another process has just made, it is made now.
    pub(crate) async fn responder_or_new(
        &self,
        unsealed: &Unsealed,
        ca: &Arc<Ca>,
    ) -> Result<Option<Arc<Responder>>, CaError> {
        if let Some(found) = self.responder(unsealed, ca).await? {
            return Ok(Some(found));
        }
        let _alone = unsealed.making.lock().await;
        let before = responders::find(&mut *self.db.read().await?, &ca.id).await?;
        let live = before
            .as_ref()
            .is_some_and(|it| it.not_after() > clock::now_seconds());
        if !live {
            let key = offload(draft::new_key).await?;
            let before = before.map(|before| before.thumbprint());
            self.put_responder(ca, before.as_ref(), key).await?;
        }
        self.responder(unsealed, ca).await
    }

    /// The responder of a CA, if it has one now.
    async fn responder(
        &self,
        unsealed: &Unsealed,
        ca: &Ca,
    ) -> Result<Option<Arc<Responder>>, CaError> {
        let Some(certificate) = current(&self.db, ca).await? else {
            return Ok(None);
        };
        if let Some(known) = unsealed.of(&ca.id)
            && *known.certificate() == certificate
        {
            return Ok(Some(known));
        }
        let key = responders::key(&mut *self.db.read().await?, &self.vault, &certificate).await?;
        // Another replica has just put the next one in its place.
        let Some(key) = key else { return Ok(None) };
        let issuer = ca.authority.certificate().clone();
        let responder = Arc::new(Responder::new(issuer, certificate, key)?);
        let mut all = unsealed
            .held
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        all.insert(ca.id.clone(), Arc::clone(&responder));
        Ok(Some(responder))
    }
}

/// The certificate of a CA's responder that has not run out.
async fn current(db: &Db, ca: &Ca) -> Result<Option<openset_pki::Certificate>, CaError> {
    let found = responders::find(&mut *db.read().await?, &ca.id).await?;
    let now_s = clock::now_seconds();
    Ok(found.filter(|found| found.not_after() > now_s))
}

impl Unsealed {
    fn of(&self, ca: &str) -> Option<Arc<Responder>> {
        let all = self.held.read().unwrap_or_else(PoisonError::into_inner);
        all.get(ca).cloned()
    }
}
