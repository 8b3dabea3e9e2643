//! What an operator decides about registrations that wait.
//!
//! Approval issues the certificates: they, what is kept for CertInqReq and the journal are written together,
//! so that a crash leaves the registration waiting or ended.

use std::sync::Arc;

use openset_protocol::Rejection;
use openset_protocol::ca::cert::{Issuer, Record};
use openset_protocol::ids::LocalId;
use openset_service::clock;

use crate::CertificateAuthority;
use crate::error::CaError;
use crate::hierarchy::Ca;
use crate::set::{credentials, step};
use crate::store::certificates::{self, Origin};
use crate::store::registrations::{self, REVOKED, Registration, State};
use crate::store::{authorities, earlier};

/// What applicants are told when the card ran out while they waited.
const OVER: &str = "The card is past its expiry.";
/// What they are told when somebody else came by what they have shown.
const USED: &str = "The key or the certificate that was shown was used meanwhile.";

/// What they are told whose certificates were revoked before they asked.
const REVOKED_SINCE: &str = "The certificates were issued, and are revoked.";
/// How often an approval is made that others get ahead of.
const TRIES_MAX: u8 = 3;

/// What became of a decision.
#[derive(Debug)]
pub(crate) enum Decision {
    /// It counts: serial numbers of the certificates, if it was yes.
    Made(Vec<String>),
    /// The registration was ended so before.
    MadeBefore,
    /// It was ended otherwise before.
    Against(State),
    /// The certificates cannot be issued any more: it is rejected, and the applicant is told why.
    Refused(&'static str),
    /// There is no such registration.
    Unknown,
}

impl CertificateAuthority {
    /// Issues the certificates of a registration that waits.
    ///
    /// # Errors
    /// [`CaError::Overtaken`] when the registration waits still: it can be approved again.
    pub(crate) async fn approve(self: &Arc<Self>, lid_ca: &LocalId) -> Result<Decision, CaError> {
        for _ in 1..TRIES_MAX {
            match self.try_to_approve(lid_ca).await {
                // The issuing CA was renewed, or another operator was faster: it is seen what holds now.
                Err(CaError::Overtaken) => {}
                decided => return decided,
            }
            if let Err(error) = self.authorities.refresh().await {
                return Err(CaError::Hierarchy(format!("{error:#}")));
            }
        }
        self.try_to_approve(lid_ca).await
    }

    async fn try_to_approve(self: &Arc<Self>, lid_ca: &LocalId) -> Result<Decision, CaError> {
        let found = match self.waiting(lid_ca, State::Issued).await? {
            Ok(found) => found,
            Err(decision) => return Ok(decision),
        };
        let record = found.record(&self.authorities.vault)?;
        let approved = record.waits().ok_or(Rejection::Internal)?.clone();
        let now = clock::now();
        if approved.is_over(now) {
            return self.refuse(&found, record, OVER).await;
        }
        let hierarchy = self.hierarchy();
        let asked = hierarchy.by_id(&found.authority);
        let current = asked.and_then(|asked| hierarchy.current_of(asked));
        let (Some(asked), Some(issuer)) = (asked.cloned(), current.cloned()) else {
            return Err(Rejection::NotServed("this brand any more").into());
        };
        let (ended, issued) = self
            .issue(record.clone(), asked, Arc::clone(&issuer))
            .await?;
        let mut tx = self.authorities.begin().await?;
        let vault = &self.authorities.vault;
        let lid_ca = &found.lid_ca;
        let decided = (State::Issued, &ended);
        // Certificates before registrations, as a revocation locks them: neither waits for the other in a circle.
        if !certificates::hold_all_unrevoked(&mut tx, approved.shown()).await? {
            tx.rollback().await?;
            return self.refuse(&found, record, REVOKED).await;
        }
        if !registrations::decide(&mut tx, vault, lid_ca, decided, now.seconds()).await? {
            tx.rollback().await?;
            return Err(CaError::Overtaken);
        }
        let origin = Origin {
            renews: approved.renews(),
            signed_by: approved.signer(),
            nonce_cca: issued
                .first()
                .zip(approved.nonce_cca())
                .map(|(certificate, nonce)| earlier::seal(vault, certificate, &nonce)),
        };
        let shown = (approved.shown(), &origin);
        if !certificates::issue(&mut tx, &issuer.id, &issued, shown, now.seconds()).await? {
            let issues = authorities::issues(&mut tx, &issuer.id).await?;
            tx.rollback().await?;
            if !issues {
                // It was retired since we looked: its next generation certifies.
                return Err(CaError::Overtaken);
            }
            return self.refuse(&found, record, USED).await;
        }
        tx.commit().await?;
        for certificate in &issued {
            self.metrics.count_certificate(certificate);
            tracing::info!(kind = %issuer.id, outcome = "issued", "certificate issued");
        }
        Ok(Decision::Made(
            issued.iter().map(certificates::serial).collect(),
        ))
    }

    /// Ends a registration that waits without certificates.
    pub(crate) async fn reject(&self, lid_ca: &LocalId, reason: &str) -> Result<Decision, CaError> {
        let found = match self.waiting(lid_ca, State::Rejected).await? {
            Ok(found) => found,
            Err(decision) => return Ok(decision),
        };
        let record = found.record(&self.authorities.vault)?;
        self.end(&found, &record.reject(reason)).await?;
        Ok(Decision::Made(Vec::new()))
    }

    /// Ends registrations that wait in a restored back-up and were approved since: the journal has brought their
    /// certificates, and their keys wait for nothing any more.
    pub(crate) async fn settle_restored(&self) -> Result<(), CaError> {
        let vault = &self.authorities.vault;
        let waiting = registrations::without_keys(&mut *self.db.read().await?).await?;
        for found in waiting {
            let record = found.record(vault)?;
            let keys = record.waits().ok_or(Rejection::Internal)?.keys();
            let certified = earlier::of_keys(&mut *self.db.read().await?, vault, &keys).await?;
            let hierarchy = self.hierarchy();
            let chain =
                |one: &earlier::Certified| hierarchy.chain_of(&one.authority, &one.certificate);
            let chains: Vec<_> = certified.iter().filter_map(chain).collect();
            let (state, ended) = if chains.is_empty() {
                (State::Rejected, record.reject(REVOKED_SINCE))
            } else {
                (State::Issued, record.found(&chains))
            };
            let (mut tx, now_s) = (self.db.begin().await?, clock::now_seconds());
            let decided = (state, &ended);
            let _ = registrations::decide(&mut tx, vault, &found.lid_ca, decided, now_s).await?;
            tx.commit().await?;
            tracing::info!(kind = %found.authority, outcome = ?state, "a restored registration was decided before");
        }
        Ok(())
    }

    /// The registration, if it waits.
    async fn waiting(
        &self,
        lid_ca: &LocalId,
        wanted: State,
    ) -> Result<Result<Registration, Decision>, CaError> {
        let now_s = clock::now_seconds();
        let found = registrations::find(&mut *self.db.read().await?, lid_ca, now_s).await?;
        Ok(match found {
            None => Err(Decision::Unknown),
            Some(found) if found.state == State::Pended => Ok(found),
            Some(found) if found.state == wanted => Err(Decision::MadeBefore),
            Some(found) => Err(Decision::Against(found.state)),
        })
    }

    async fn issue(
        &self,
        record: Record,
        asked: Arc<Ca>,
        issuer: Arc<Ca>,
    ) -> Result<(Record, Vec<openset_pki::Certificate>), CaError> {
        let certificate_seconds = self.settings.certificate_seconds;
        let brand = issuer.authority.certificate().brand();
        let card_cert_required = self.settings.card_cert_required(brand);
        let issued = step(clock::now(), move |ctx| {
            let issuer = Issuer {
                credentials: credentials(&asked)?,
                authority: &issuer.authority,
                certificate_seconds,
                card_cert_required,
            };
            record.issue(ctx, &issuer)
        });
        Ok(issued.await?)
    }

    async fn refuse(
        &self,
        found: &Registration,
        record: Record,
        why: &'static str,
    ) -> Result<Decision, CaError> {
        self.end(found, &record.reject(why)).await?;
        Ok(Decision::Refused(why))
    }

    async fn end(&self, found: &Registration, record: &Record) -> Result<(), CaError> {
        let mut tx = self.db.begin().await?;
        let vault = &self.authorities.vault;
        let decided = (State::Rejected, record);
        let now_s = clock::now_seconds();
        if !registrations::decide(&mut tx, vault, &found.lid_ca, decided, now_s).await? {
            tx.rollback().await?;
            return Err(CaError::Overtaken);
        }
        tx.commit().await?;
        self.metrics.count_refusal("operator", "rejected");
        tracing::info!(kind = %found.authority, outcome = "refused", "registration rejected");
        Ok(())
    }
}
